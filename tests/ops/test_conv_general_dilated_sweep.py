"""All that `lax.conv_general_dilated` accepts, drawn: values, both gradients, and its errors where it has them."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcnn import ops
from jaxcnn.ops._conv._by_rules import NotOurs

FLOATS = ("float64", "float64", "float64", "float32", "bfloat16", "float16")
OTHERS = ("int32", "int8", "uint8", "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2")
CALLS_PER_TEST = 10


class Call(NamedTuple):
    """Shapes, a dtype and options, which lax may refuse."""

    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    dtype: str
    options: dict[str, Any]


def drawn(rng: np.random.Generator) -> Call:
    """Any number of axes to 5, sizes from 0, every layout, strides, dilations, groups and padding."""
    axes = int(rng.choice([0, *[1] * 5, *[2] * 8, 3, 3, 4, 5]))

    def per_axis(least: int, greatest: int) -> tuple[int, ...]:
        return tuple(map(int, rng.integers(least, greatest, axes, endpoint=True)))

    def chance(of: float) -> bool:
        return bool(rng.random() < of)

    places, size = per_axis(1, 6 if axes < 3 else 3), per_axis(1, 3 if axes < 3 else 2)
    kind = rng.choice(["conv", "conv", "conv", "transposed", "transposed", "transposed", "both"])
    groups = int(rng.integers(1, 3, endpoint=True))
    grouped = rng.choice(["feature_group_count", "batch_group_count", "", ""])
    images, c_in, c_out = (int(rng.integers(1, 3, endpoint=True)) for _ in range(3))
    if chance(0.15):  # of nothing
        nothing = rng.choice(["images", "c_in", "c_out", "places", "size"], p=[0.25, 0.2, 0.2, 0.25, 0.1])
        images, c_in, c_out = (
            0 if nothing == name else n
            for name, n in zip(("images", "c_in", "c_out"), (images, c_in, c_out), strict=True)
        )
        places = (0, *places[1:]) if nothing == "places" and axes else places
        size = (0, *size[1:]) if nothing == "size" and axes else size
    options: dict[str, Any] = {
        "window_strides": (1,) * axes if kind == "transposed" else per_axis(1, 3),
        "lhs_dilation": None if kind == "conv" else per_axis(1, 3),
        "rhs_dilation": per_axis(1, 2) if chance(0.5) else None,
        "padding": tuple(zip(per_axis(-2, 5), per_axis(-2, 5), strict=True)),
    }
    if kind == "conv" and chance(0.4):
        options["padding"] = str(rng.choice(["SAME", "VALID", "SAME_LOWER"]))
    if grouped:
        options[grouped] = groups
        c_out *= groups
    lhs_of_group = c_in * (groups if grouped == "feature_group_count" else 1)
    images *= groups if grouped == "batch_group_count" else 1
    lhs, rhs, specs = [images, lhs_of_group, *places], [c_out, c_in, *size], []
    for _ in range(3):
        specs.append(tuple(map(int, rng.permutation(axes + 2))))
    if chance(0.25):
        specs = [tuple(range(axes + 2))] * 3
    else:
        letters = "0123456"[:axes]
        names = [_spelled(spec, pair + letters) for spec, pair in zip(specs, ("NC", "OI", "NC"), strict=True)]
        by_name = chance(0.6)
        options["dimension_numbers"] = tuple(names) if by_name else lax.ConvDimensionNumbers(*specs)
        if by_name:  # lax has spatial axes in the order of rhs
            specs = [tuple(spec) for spec in lax.conv_dimension_numbers(lhs, rhs, options["dimension_numbers"])]
    dtype = str(rng.choice(FLOATS if chance(0.85) else OTHERS))
    if dtype in ("bfloat16", "float16", "float32", "int8") and chance(0.3):
        options["preferred_element_type"] = "int32" if dtype == "int8" else "float32"
    return Call(_laid_out(lhs, specs[0]), _laid_out(rhs, specs[1]), dtype, options)


def _spelled(spec: tuple[int, ...], letters: str) -> str:
    return "".join(_laid_out(list(letters), spec))


def _laid_out(sizes: list[Any], spec: tuple[int, ...]) -> tuple[Any, ...]:
    found = [None] * len(sizes)
    for size, axis in zip(sizes, spec, strict=True):
        found[axis] = size
    return tuple(found)


def numbers(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> jax.Array:
    least = 0 if dtype in ("uint8", "bool") else -2
    whole = rng.integers(least, 2, shape, endpoint=True)
    parts = 1j * rng.integers(-2, 2, shape) if "complex" in str(dtype) else 0
    return jnp.asarray(whole + parts).astype(dtype)


def value_and_gradients(conv: Any, lhs: jax.Array, rhs: jax.Array, dy: jax.Array) -> Any:
    """What there is to hold: of integers, the value alone."""
    if not jnp.issubdtype(lhs.dtype, jnp.inexact):
        return (conv(lhs, rhs),)
    y, pull = jax.vjp(conv, lhs, rhs)
    return y, *pull(dy)


def compare(call: Call, seed: int) -> str:
    """Hold one call to lax; how it went: "ours", "lax's own" or "both raise".

    What is ours is held to lax in float64: in float32, where padding is below 0 before x and above 0 after it, jaxlib
    0.10.2 computes wrong values on a CPU.
    """
    rng, dy = np.random.default_rng([seed, 1]), jnp.zeros(())
    lhs, rhs = numbers(call.lhs, call.dtype, rng), numbers(call.rhs, call.dtype, rng)
    theirs, ours = (partial(m.conv_general_dilated, **call.options) for m in (lax, ops))
    try:
        y = jax.eval_shape(theirs, lhs, rhs)
        dy = numbers(y.shape, str(y.dtype), rng)
        expected = jax.block_until_ready(jax.jit(partial(value_and_gradients, theirs))(lhs, rhs, dy))
    except Exception:
        with pytest.raises(Exception) as raised:
            jax.block_until_ready(jax.jit(partial(value_and_gradients, ours))(lhs, rhs, dy))
        assert not isinstance(raised.value, NotOurs)
        return "both raise"
    found = jax.jit(partial(value_and_gradients, ours))(lhs, rhs, dy)
    assert [(a.shape, a.dtype) for a in found] == [(b.shape, b.dtype) for b in expected], call
    is_ours = "custom_vjp" in str(jax.make_jaxpr(ours)(lhs, rhs))
    if is_ours and call.dtype != "float64":
        in_float64 = partial(lax.conv_general_dilated, **call.options | {"preferred_element_type": None})
        wide = (array.astype(np.float64) for array in (lhs, rhs, dy))
        expected = jax.jit(partial(value_and_gradients, in_float64))(*wide)
    for name, a, b in zip(("y", "dlhs", "drhs"), found, expected, strict=False):
        rounding = float(jnp.finfo(a.dtype).eps) if call.dtype in ("bfloat16", "float16") else 0
        dtype = np.complex128 if jnp.iscomplexobj(a) else np.float64
        a, b = np.asarray(a).astype(dtype), np.asarray(b).astype(dtype)
        np.testing.assert_allclose(a, b, rtol=rounding, atol=0, err_msg=f"{name} of {call}")
    return "ours" if is_ours else "lax's own"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 40))])
def test_drawn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    went = [compare(drawn(rng), 100 * seed + number) for number in range(CALLS_PER_TEST)]
    assert went.count("ours") >= 2, went
