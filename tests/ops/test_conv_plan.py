"""Plans: what would compute a convolution, and what is asked for."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_equal_trees, integers
from test_conv_algorithms import problem_of

from jaxcnn import ops, reference
from jaxcnn.ops._conv._algorithm import MAPS
from jaxcnn.ops._conv._algorithms import ALGORITHMS
from jaxcnn.ops._conv._table import TABLE

SHAPES: dict[str, Any] = {"x": jax.ShapeDtypeStruct((8, 16, 16, 4), np.float32), "kernel": np.ones((3, 3, 1, 4))}


@pytest.mark.parametrize("row", TABLE, ids=[f"{row.which}, {row.problems}" for row in TABLE])
def test_the_example_of_each_row_gets_its_algorithm_and_its_words(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxcnn.ops._conv._algorithms._overhang.ONE_CORE", True)
    x, kernel = (jax.ShapeDtypeStruct(shape, np.float32) for shape in row.example[:2])
    options: dict[str, Any] = row.example.options
    plan = ops.conv_plan(x, kernel, **options, platform=row.platform)
    assert getattr(plan, row.which) == row.algorithm
    assert plan.reasons is not None and row.problems in plan.reasons[MAPS.index(row.which)]
    assert row.problems in str(plan)


def test_a_plan_is_what_runs() -> None:
    """A program by the plan is the program that "auto" gives on a CPU."""
    x, kernel = integers((2, 6, 6, 4)), integers((3, 3, 1, 4), seed=1)
    plan = ops.conv_plan(x, kernel, groups=4, platform="cpu")
    assert (plan.correlate, plan.input_gradient, plan.kernel_gradient) == ("taps", "taps", "taps")
    text = str(jax.make_jaxpr(partial(ops.conv, groups=4, algorithm=plan))(x, kernel))
    assert "conv_general_dilated" not in text and "platform_index" not in text
    found = jax.grad(lambda k: jnp.sum(ops.conv(x, k, groups=4, algorithm=plan) ** 2))(kernel)
    expected = jax.grad(lambda k: jnp.sum(reference.conv(x, k, groups=4) ** 2))(kernel)
    assert_equal_trees(found, expected)


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_plan_keeps_nan_to_its_windows_where_it_is_guarded(is_guarded: bool) -> None:
    x, kernel = jnp.zeros((1, 6, 6, 1)).at[0, 0, 0, 0].set(jnp.nan), jnp.ones((3, 3, 1, 1))
    plan = ops.Plan(correlate="toeplitz", is_guarded=is_guarded)
    y = jax.jit(partial(ops.conv, algorithm=plan))(x, kernel)
    assert jnp.sum(jnp.isnan(y)) == (1 if is_guarded else 4)
    assert ops.conv_plan(x, kernel, algorithm="toeplitz").is_guarded


def test_what_stays_auto_beside_a_name_is_guarded() -> None:
    x, kernel = jnp.zeros((1, 6, 6, 1)).at[0, 0, 0, 0].set(jnp.nan), jnp.ones((3, 3, 1, 1))
    assert ops.conv_plan(x, kernel, platform="cpu").correlate == "toeplitz"
    for algorithm in ({"kernel_gradient": "direct"}, "phases", ops.Plan(kernel_gradient="taps", is_guarded=False)):
        options: dict[str, Any] = {} if algorithm != "phases" else {"stride": 2}
        y = jax.jit(partial(ops.conv, **options, algorithm=algorithm))(x, kernel)
        assert jnp.sum(jnp.isnan(y)) == 1


def test_its_reasons() -> None:
    plan = ops.conv_plan(**SHAPES, groups=4, platform="tpu", algorithm={"kernel_gradient": "taps"})
    assert plan == ops.Plan("direct", "direct", "taps")
    assert plan.reasons == (*["no row of the table fits: jax.lax's own"] * 2, "as asked for")
    assert str(plan).splitlines()[2] == "kernel_gradient taps            as asked for"
    empty = ops.conv_plan(jnp.ones((0, 8, 8, 4)), SHAPES["kernel"], groups=4)
    assert empty.reasons == ("nothing to compute: all is zeros",) * 3
    (size,) = jax.export.symbolic_shape("h")
    symbolic = ops.conv_plan(jax.ShapeDtypeStruct((1, size, 8, 4), np.float32), SHAPES["kernel"], groups=4)
    assert symbolic.correlate == "direct" and "known only when" in str(symbolic)
    assert repr(hash(plan)) and plan != ops.Plan("direct", "direct", "taps", is_guarded=False)


def test_it_is_of_the_padded_image_where_padding_is_not_zeros() -> None:
    x, kernel = jnp.ones((1, 46, 46, 1)), jnp.ones((3, 3, 1, 2))
    plans = [ops.conv_plan(x, kernel, padding=2, padding_mode=mode, platform="cpu") for mode in ("zeros", "edge")]
    assert [plan.correlate for plan in plans] == ["toeplitz", "taps"]  # of 46 and of 50 places along the last axis


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"platform": "gpu"}, "conv_plan: platform must be one of 'cpu', 'cuda', 'rocm', 'tpu', got 'gpu'"),
        ({"groups": 3}, "conv_plan: groups must be a positive int that divides"),
        ({"groups": 4, "algorithm": "fft"}, "conv_plan: algorithm 'fft' cannot compute correlate"),
    ],
)
def test_errors(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        ops.conv_plan(**SHAPES, **options)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_is_known_by_what_it_is_asked_for(name: str) -> None:
    algorithm = ALGORITHMS[name]
    assert algorithm.name == name and set(algorithm.maps) <= set(MAPS)
    assert set(algorithm.spreads) <= set(algorithm.maps) and set(algorithm.of_examples) <= set(algorithm.maps)
    missing = set(MAPS) - set(algorithm.maps)
    problem = problem_of((1, 8, 8, 2), (3, 3, 2, 2), {})
    assert {algorithm.cannot(which, problem) for which in missing} == {f"it has no {which}" for which in missing}
