"""The table of sites: lines, scopes, words, totals; and the names that profiles show."""

from __future__ import annotations

import inspect
import json

import jax
import jax.numpy as jnp
from programs import conv, max_pool, net, point

import jaxcnn


def scoped(kernel: jax.Array, x: jax.Array) -> jax.Array:
    with jax.named_scope("block"):
        y = conv(x, kernel)
    return max_pool(y.astype(jnp.int32)).astype(float) if kernel.dtype == jnp.int8 else max_pool(y)


def test_a_row_says_where_and_what() -> None:
    kernel, x = point()
    first, second = jaxcnn.sites(jax.jit(scoped), kernel, x)
    source, start = inspect.getsourcelines(conv)
    line = start + next(number for number, text in enumerate(source) if "lax." in text)
    assert first.line.endswith(f"programs.py:{line} (conv)")
    assert first.scope == "block" and first.inside == ("jit scoped",)
    assert first.shapes == ("float64[2,6,6,2]", "float64[3,3,2,2]", "float64[2,6,6,2]")
    plan = jaxcnn.ops.conv_plan(x, kernel, padding="SAME")
    assert first.runs == {which: getattr(plan, which) for which in ("correlate", "input_gradient", "kernel_gradient")}
    assert (second.what, second.scope, second.runs) == ("max pool", "", {"max_pool": "first"})


def test_printed_and_as_data() -> None:
    kernel, x = point()
    found = jaxcnn.sites(net, kernel, x)
    lines = str(found).splitlines()
    assert len(lines) == 4 and lines[0].split() == ["line", "scope", "what", "shapes", "runs"]
    assert "float64[2,6,6,2] * float64[3,3,2,2] -> float64[2,6,6,2]" in lines[1]
    assert lines[3] == "1 convolution, 1 max pool by hand-derived rules, none left to jax.lax"
    assert repr(found) == str(found) and len(found) == 2 and list(found) == [found[0], found[1]]
    data = json.loads(found.to_json())
    assert (data["replaced"], data["left"]) == (2, 0)
    assert data["sites"][0]["runs"] == found[0].runs
    assert str(jaxcnn.sites(jnp.sin, x)) == "no convolution and no pool found"
    left = jaxcnn.sites(jaxcnn.accelerate(net, forward_mode=True), kernel, x)
    assert str(left).splitlines()[1].endswith("left to jax.lax: forward_mode=True")


def test_types_stand_for_arrays() -> None:
    kernel, x = point()
    types = jax.tree.map(lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype), (kernel, x))
    assert jaxcnn.sites(net, *types) == jaxcnn.sites(net, kernel, x)


def test_scopes_and_lines_survive_in_the_program() -> None:
    kernel, x = point()
    text = jax.jit(jax.grad(lambda kernel, x: jaxcnn.accelerate(jax.jit(scoped))(kernel, x).sum())).lower(kernel, x)
    compiled = text.as_text(debug_info=True)
    assert "block/jaxcnn" in compiled and "programs.py" in compiled
