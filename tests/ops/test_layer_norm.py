"""Layer normalization."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, check, normals

from jaxcnn import ops, reference


def test_by_hand() -> None:
    """x = (1, 3): mu = 2, v + e = 1 + 3 = 4, r = 1/2, h = (-1/2, 1/2).

    dy = (8, 16), scale (1, 2): t = (8, 32), mean(t) = 20, mean(t h) = (-4 + 16) / 2 = 6, and
    dx = r (t - mean(t) - h mean(t h)) = 1/2 (8 - 20 + 3, 32 - 20 - 3).
    """
    x, scale, bias = jnp.array([[1.0, 3.0]]), jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0])
    y, pull = jax.vjp(partial(ops.layer_norm, epsilon=3.0), x, scale, bias)
    assert y.tolist() == [[10 - 1 / 2, 20 + 2 * 1 / 2]]
    dx, dscale, dbias = pull(jnp.array([[8.0, 16.0]]))
    assert dx.tolist() == [[1 / 2 * (8 - 20 + 3), 1 / 2 * (32 - 20 - 3)]]
    assert dscale.tolist() == [8 * -1 / 2, 16 * 1 / 2]
    assert dbias.tolist() == [8, 16]


AXES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "last": (-1, (3,)),
    "several, named out of order": ([-1, 1], (4, 3)),
}


@pytest.mark.parametrize(("axis", "shape"), AXES.values(), ids=AXES.keys())
def test_to_second_order(axis: Any, shape: tuple[int, ...]) -> None:
    options = {"axis": axis, "epsilon": 0.1}
    args = normals((2, 4, 3)), normals(shape), normals(shape, seed=1)
    assert_agree(partial(ops.layer_norm, **options), partial(reference.layer_norm, **options), *args, exact=False)


@pytest.mark.long
def test_against_differences() -> None:
    check(ops.layer_norm, reference.layer_norm, normals((3, 4)), normals((4,)), normals((4,), seed=1))


def test_it_takes_away_shift_and_scale() -> None:
    x, one, zero = normals((3, 8)), jnp.ones(8), jnp.zeros(8)
    y = ops.layer_norm(x, one, zero, epsilon=1e-12)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(-1), 1, atol=1e-9)
    assert_equal_trees(ops.layer_norm(5 * x + 7, one, zero, epsilon=1e-12), y, roundings=1e5)


def test_a_constant_gives_the_bias_and_finite_gradients() -> None:
    y, pull = jax.vjp(ops.layer_norm, jnp.full((1, 4), 3.0), jnp.ones(4), jnp.arange(4.0))
    assert y.tolist() == [[0, 1, 2, 3]]
    assert all(jnp.isfinite(gradient).all() for gradient in pull(normals((1, 4))))


@pytest.mark.long
@pytest.mark.parametrize("constant", [0.0, 3.0, -5.0])
@pytest.mark.parametrize("epsilon", [1.0, 1e-5])
def test_third_derivatives_at_a_constant(constant: float, epsilon: float) -> None:
    """r has none of first order there, but of second."""
    v = jnp.array([1.0, -2.0, 0.5])

    def ours(x: jax.Array) -> jax.Array:
        return jnp.sum(ops.layer_norm(x, jnp.ones(3), jnp.zeros(3), epsilon=epsilon) * v)

    def plain(x: jax.Array) -> jax.Array:
        apart = x - jnp.mean(x)
        return jnp.sum(apart / jnp.sqrt(jnp.mean(apart**2) + epsilon) * v)

    found, expected = (jax.jacrev(jax.jacrev(jax.grad(f)))(jnp.full(3, constant)) for f in (ours, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * float(jnp.max(jnp.abs(expected))))


@pytest.mark.parametrize("axis", [np.array(1), np.int64(1), jnp.array(-1), jnp.array([1])])
def test_an_axis_of_any_kind_of_integer(axis: Any) -> None:
    x = normals((2, 3))
    ours, plain = (m.layer_norm(x, jnp.ones(3), jnp.zeros(3), axis=axis) for m in (ops, reference))
    np.testing.assert_allclose(ours, plain, rtol=1e-12)


def test_numpy_arrays_are_welcome() -> None:
    assert ops.layer_norm(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), epsilon=3.0).tolist() == [[-0.5, 0.5]]


EXTREMES: dict[str, tuple[list[float], float]] = {
    "beyond what squares hold": ([1e20, 2e20, 3e20], 1e-5),
    "near the greatest": ([3e38, -3e38, 1e38, 0.0], 1e-5),
    "equal": ([1.5678] * 12, 1e-12),
    "equal and great": ([3.4e38] * 5, 1e-5),
    "a great mean": ([1e6 + 0.25, 1e6, 1e6 + 0.5], 1e-5),
    "one far greater": ([1e30, 1.0, 2.0, -5.0], 1e-5),
    "tiny, beside epsilon": ([1e-20, 2e-20, 3e-20], 1e-5),
    "tiny, with an epsilon of their size": ([1e-18, 2e-18, 3e-18], 1e-36),
    "zeros": ([0.0] * 4, 1e-5),
}


@pytest.mark.parametrize(("numbers", "epsilon"), EXTREMES.values(), ids=EXTREMES.keys())
def test_numbers_of_any_size(numbers: list[float], epsilon: float) -> None:
    """In float32, compiled, against float64; gradients to what their greatest is."""
    x, dy = np.array([numbers], np.float32), np.asarray(normals((1, len(numbers))), np.float32)
    scale, bias = np.ones(len(numbers), np.float32), np.zeros(len(numbers), np.float32)

    def pulled(norm: Any, dy: Any, *args: Any) -> Any:
        y, pull = jax.vjp(lambda *args: norm(*args, epsilon=epsilon), *args)
        return y, pull(dy)

    found = jax.jit(partial(pulled, ops.layer_norm))(dy, x, scale, bias)
    wide = [jnp.asarray(array, np.float64) for array in (dy, x, scale, bias)]
    expected = pulled(reference.layer_norm, *wide)
    for ours, exact in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        greatest = float(np.max(np.abs(exact)))
        if greatest > 1e-36:  # what float32 holds
            np.testing.assert_allclose(np.asarray(ours, np.float64), exact, rtol=0, atol=2e-5 * greatest)


@pytest.mark.parametrize("epsilon", [0.0, -1e-5, 1e-46, float("nan")])
def test_an_epsilon_that_float32_rounds_to_0_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="layer_norm: epsilon must be positive in float32"):
        ops.layer_norm(jnp.ones((1, 3), np.float32), jnp.ones(3), jnp.ones(3), epsilon=epsilon)
