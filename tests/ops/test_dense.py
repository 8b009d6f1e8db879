"""The dense layer and flattening."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, check, integers, normals

from jaxcnn import ops, reference


def test_by_hand() -> None:
    x, kernel, bias = jnp.array([[1.0, 2], [3, 4]]), jnp.array([[1.0, 10, 0], [100, 1000, 1]]), jnp.array([0.0, 5, 7])
    y, pull = jax.vjp(ops.dense, x, kernel, bias)
    assert y.tolist() == [[1 + 200, 10 + 2000 + 5, 0 + 2 + 7], [3 + 400, 30 + 4000 + 5, 0 + 4 + 7]]
    dx, dk, db = pull(jnp.array([[1.0, 2, 3], [4, 5, 6]]))
    assert dx.tolist() == [[1 + 20 + 0, 100 + 2000 + 3], [4 + 50 + 0, 400 + 5000 + 6]]
    assert dk.tolist() == [
        [1 * 1 + 3 * 4, 1 * 2 + 3 * 5, 1 * 3 + 3 * 6],
        [2 * 1 + 4 * 4, 2 * 2 + 4 * 5, 2 * 3 + 4 * 6],
    ]
    assert db.tolist() == [1 + 4, 2 + 5, 3 + 6]


@pytest.mark.parametrize("more", [(), (3,), (2, 2)], ids=str)
def test_to_second_order(more: tuple[int, ...]) -> None:
    args = (2, *more, 4), (4, 3), (3,)
    assert_agree(ops.dense, reference.dense, *[integers(shape) for shape in args])
    assert_agree(ops.dense, reference.dense, *[integers(shape) for shape in args[:2]])


def test_differences_to_second_order() -> None:
    check(ops.dense, reference.dense, normals((2, 4)), normals((4, 3)), normals((3,)))


def test_float32_kernel_gets_a_float32_gradient_from_bfloat16_features() -> None:
    x, kernel = normals((8, 4), jnp.bfloat16), normals((4, 3), np.float32)
    bias = normals((3,), np.float32)
    y, pull = jax.vjp(ops.dense, x, kernel, bias)
    dy = normals(y.shape, y.dtype, seed=1)
    dx, dk, db = pull(dy)
    assert (y.dtype, dx.dtype, dk.dtype, db.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32, jnp.float32)
    for gradient in (dk, db):
        assert jnp.any(gradient != gradient.astype(jnp.bfloat16).astype(np.float32))
    exact = np.asarray(x, np.float64).T @ np.asarray(dy, np.float64)
    assert_equal_trees(dk, jnp.asarray(exact, np.float32), roundings=4)


def test_gradients_of_each_row_by_vmap_are_taken_in_turns_on_a_cpu_alone() -> None:
    x, dy = integers((5, 1, 4)), integers((5, 1, 3), seed=1)

    def dk(x: jax.Array, dy: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: ops.dense(x, kernel), jnp.zeros((4, 3), x.dtype))[1](dy)[0]

    each = jax.jit(jax.vmap(dk))
    assert_equal_trees(each(x, dy), jnp.stack([row.T @ of_row for row, of_row in zip(x, dy, strict=True)]))
    assert each(x[:0], dy[:0]).shape == (0, 4, 3)
    same_dy = jax.jit(jax.vmap(dk, in_axes=(0, None)))(x, dy[0])
    assert_equal_trees(same_dy, jnp.stack([row.T @ dy[0] for row in x]))
    loops = {
        platform: str(each.trace(x, dy).lower(lowering_platforms=(platform,)).as_text()).count("stablehlo.while")
        for platform in ("cpu", "cuda")
    }
    assert loops == {"cpu": 1, "cuda": 0}


def test_flatten_by_hand() -> None:
    x = jnp.arange(12.0).reshape(2, 3, 1, 2)
    rows, pull = jax.vjp(ops.flatten, x)
    assert rows.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert_equal_trees(pull(rows)[0], x)
    check(ops.flatten, reference.flatten, normals((2, 3, 1, 2)))
    assert ops.flatten(jnp.zeros(3)).shape == (3, 1)


def test_numpy_arrays_are_welcome() -> None:
    assert ops.dense(np.ones((1, 2)), np.ones((2, 1)), np.ones(1)).item() == 3
    assert ops.flatten(np.ones((1, 2, 2))).shape == (1, 4)
