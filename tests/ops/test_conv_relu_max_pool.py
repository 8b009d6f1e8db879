"""The fused block: the three ops in sequence, to the last bit but for the order of sums in narrow floats."""

from __future__ import annotations

from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, check, drawn, integers, normals, value_and_gradients
from hypothesis import strategies as st

from jaxcnn import ops, reference
from jaxcnn.ops._conv import _conv_relu_max_pool
from jaxcnn.ops._conv._plan import Planned
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._dtypes import Dtypes

OF_CONV: dict[str, Any] = {"stride": 1, "padding": 1, "dilation": 1}


def in_sequence(module: Any, x: Any, kernel: Any, bias: Any, window: Any, **options: Any) -> jax.Array:
    pool = {
        name.removeprefix("pool_"): options.pop(name)
        for name in ("pool_stride", "pool_padding", "pool_dilation")
        if name in options
    }
    return module.max_pool(module.relu(module.conv(x, kernel, bias, **options)), window, **pool)


def line(*values: float) -> jax.Array:
    return jnp.asarray(values, jnp.float64)[None, :, None]


def test_by_hand() -> None:
    """Four windows: a maximum above zero, one below, tied maxima, and zeros."""
    x, kernel, bias = line(2, 5, -3, -4, 7, 7, -1, -1), jnp.ones((1, 1, 1)), jnp.array([1.0])

    def block(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return ops.conv_relu_max_pool(x, kernel, bias, 2)

    y, dx, dk, db = value_and_gradients(block, line(1, 2, 3, 4), x, kernel, bias)
    assert y.ravel().tolist() == [6, 0, 8, 0]
    assert dx.ravel().tolist() == [0, 1, 0, 0, 3, 0, 0, 0]
    assert (dk.item(), db.item()) == (5 * 1 + 7 * 3, 1 + 3)


# at integers, so that maxima tie, and zeros are everywhere
BLOCKS: dict[str, dict[str, Any]] = {
    "windows side by side": {"window": 2, "padding": 1},
    "overlapping, in padding": {"window": (3, 2), "pool_stride": 1, "pool_padding": ((1, 0), (0, 1)), "stride": (1, 2)},
    "groups, dilation": {"window": 2, "groups": 2, "dilation": 2, "padding": 2},
    "as told, of dilated windows": {
        "window": 2,
        "padding": 1,
        "pool_stride": 1,
        "pool_dilation": (2, 1),
        "precision": "highest",
        "algorithm": {"correlate": "im2col", "input_gradient": "taps", "kernel_gradient": "direct"},
    },
}


def test_the_algorithm_and_the_precision_that_are_asked_for() -> None:
    x, kernel = jnp.ones((2, 6, 5, 2)), jnp.ones((3, 2, 2, 4))
    asked = partial(ops.conv_relu_max_pool, bias=None, window=2, algorithm="direct", precision="highest")
    program = str(jax.make_jaxpr(asked)(x, kernel))
    assert "conv_general_dilated" in program and "Precision.HIGHEST" in program
    with pytest.raises(ValueError, match="^conv_relu_max_pool: algorithm 'winograd2' cannot compute correlate"):
        ops.conv_relu_max_pool(x, kernel, None, 2, algorithm="winograd2")


@pytest.mark.long
@pytest.mark.parametrize("options", BLOCKS.values(), ids=BLOCKS.keys())
def test_gradients_to_second_order(options: dict[str, Any]) -> None:
    groups = options.get("groups", 1)
    args = integers((2, 6, 5, 2)), integers((3, 2, 2 // groups, 4), seed=1), integers((4,), seed=2)

    def block(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return ops.conv_relu_max_pool(x, kernel, bias, **options)

    def plain(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return reference.conv_relu_max_pool(x, kernel, bias, **options)

    assert_agree(block, plain, *args)
    assert_agree(block, lambda x, k, b: in_sequence(ops, x, k, b, **options), *args)


@pytest.mark.parametrize(("batch", "chunk"), [(4, 2), (6, 3), (7, 3), (2, None)])
def test_some_images_at_a_time(monkeypatch: pytest.MonkeyPatch, batch: int, chunk: int | None) -> None:
    """Chunks that the batch is a multiple of, or is not, or that take all of it."""
    args = integers((batch, 6, 5, 2)), integers((3, 2, 2, 4), seed=1), integers((4,), seed=2)
    monkeypatch.setattr(_conv_relu_max_pool, "CHUNK_BYTES", 3 * 8 * 6 * 6 * (4 + 2 * 6))
    problem = Problem.of(
        "conv", args[0].shape, args[1].shape, Dtypes(*[np.dtype(float)] * 3), **OF_CONV, groups=1, precision=None
    )
    assert _conv_relu_max_pool._images_per_chunk(Planned(problem, ops.Plan()), args[0]) == chunk

    def block(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return ops.conv_relu_max_pool(x, kernel, bias, 2, padding=1)

    gradients = jax.make_jaxpr(jax.grad(lambda *args: block(*args).sum(), (0, 1, 2)))(*args)
    assert ("_gradients_by_platform" in str(gradients)) == (chunk is not None)
    assert_agree(block, lambda x, k, b: reference.conv_relu_max_pool(x, k, b, 2, padding=1), *args)


def test_third_order_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_conv_relu_max_pool, "CHUNK_BYTES", 1)
    x, kernel = normals((4, 6, 3)), normals((3, 3, 4), seed=1)

    def third(module: Any) -> jax.Array:
        def block(k: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(module.conv_relu_max_pool(x, k, None, 2)))

        return jax.jit(jax.grad(lambda k: jnp.sum(jnp.sin(jax.grad(lambda k: jnp.sum(jax.grad(block)(k) ** 2))(k)))))(
            kernel
        )

    np.testing.assert_allclose(third(ops), third(reference), rtol=1e-9, atol=1e-9)


def test_kernel_gradients_of_chunks_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,024 images that each add 1: bfloat16 would stop at 256."""
    monkeypatch.setattr(_conv_relu_max_pool, "CHUNK_BYTES", 1)
    x, kernel = jnp.ones((1024, 2, 1), jnp.bfloat16), jnp.ones((1, 1, 1), jnp.bfloat16)
    dk = jax.jit(jax.grad(lambda k: ops.conv_relu_max_pool(x, k, None, 2).sum().astype(jnp.float32)))(kernel)
    assert dk.dtype == jnp.bfloat16 and dk.item() == 1024


@pytest.mark.long
def test_away_from_ties_by_differences_too() -> None:
    args = normals((2, 6, 5, 2)), normals((3, 3, 2, 3), seed=1), normals((3,), seed=2)
    check(
        lambda x, k, b: ops.conv_relu_max_pool(x, k, b, window=2, padding=1),
        lambda x, k, b: reference.conv_relu_max_pool(x, k, b, window=2, padding=1),
        *args,
    )


@drawn(max_examples=3)
@hypothesis.given(st.integers(4, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 1]))
def test_any_geometry(side: int, kernel: int, window: int, stride: int, padding: int) -> None:
    hypothesis.assume((side + 2 * padding - kernel + 1) >= window > padding)
    args = integers((2, side, side + 1, 2)), integers((kernel, kernel, 2, 3), seed=1), integers((3,), seed=2)
    options: dict[str, Any] = {"window": window, "pool_stride": stride, "padding": padding, "pool_padding": padding}
    hypothesis.assume(kernel > padding)

    def both(module: Any) -> Any:
        return lambda x, k, b: module.conv_relu_max_pool(x, k, b, **options)

    assert_agree(both(ops), both(reference), *args, order=1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float32])
def test_rounded_as_the_three_in_sequence(dtype: Any) -> None:
    """A bias of 64 rounds neighbours to ties: the first of them wins."""
    x, kernel = normals((3, 8, 8, 2), dtype), normals((3, 3, 2, 4), dtype, seed=1)
    bias = jnp.array([64, -1, 0, 300], dtype)
    dy = normals((3, 4, 4, 4), dtype, seed=2)

    def fused(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return ops.conv_relu_max_pool(x, kernel, bias, 2, padding=1)

    apart = value_and_gradients(lambda x, k, b: in_sequence(ops, x, k, b, window=2, padding=1), dy, x, kernel, bias)
    found = value_and_gradients(fused, dy, x, kernel, bias)
    assert_equal_trees(found[:2], apart[:2])
    assert_equal_trees(found[2:], apart[2:], roundings=4)  # db adds a quarter of the terms


def test_nan_is_passed_on_and_has_no_gradient() -> None:
    x = line(1, np.nan, 3, 4, -5, -6).astype(np.float64)
    kernel, bias, dy = jnp.ones((1, 1, 1)), jnp.zeros(1), line(1, 2, 3)
    for f in (
        lambda x, k, b: ops.conv_relu_max_pool(x, k, b, window=2),
        lambda x, k, b: in_sequence(ops, x, k, b, window=2),
        lambda x, k, b: reference.conv_relu_max_pool(x, k, b, window=2),
    ):
        y, dx = value_and_gradients(f, dy, x, kernel, bias)[:2]
        assert np.isnan(y[0, 0, 0]) and y[0, 1:, 0].tolist() == [4, 0]
        assert dx.ravel().tolist() == [0, 0, 0, 2, 0, 0]


def test_more_taps_than_a_byte_holds() -> None:
    x, kernel = integers((1, 300, 1), greatest=100), jnp.ones((1, 1, 1))
    y, dx, _, _ = value_and_gradients(
        lambda x, k, b: ops.conv_relu_max_pool(x, k, b, window=255), jnp.ones((1, 1, 1)), x, kernel, jnp.zeros(1)
    )
    assert y.item() == x[0, :255].max() and dx[0, int(jnp.argmax(x[0, :255])), 0] == 1 == dx.sum()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"x": jnp.ones((4, 4, 2))},
            "conv_relu_max_pool: x must be|conv_relu_max_pool: kernel must|of as many spatial",
        ),
        ({"bias": jnp.ones(4)}, r"conv_relu_max_pool: bias must be \(C_out,\) = \(3,\) .* got shape \(4,\)"),
        ({"window": 9}, "conv_relu_max_pool: the window spans 9 on spatial axis 0"),
        ({"groups": 2}, "conv_relu_max_pool: groups must be a positive int that divides"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], says: str) -> None:
    options = {"x": jnp.ones((1, 6, 6, 2)), "kernel": jnp.ones((3, 3, 2, 3)), "bias": None, "window": 2} | change
    with pytest.raises(ValueError, match=says):
        ops.conv_relu_max_pool(**options)
