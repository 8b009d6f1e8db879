"""im2col and col2im, each the other's adjoint."""

from __future__ import annotations

from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import Geometry, assert_agree, assert_equal_trees, check, drawn, geometries, integers, normals

from jaxcnn import ops, reference


def test_unfold_by_hand() -> None:
    x = jnp.array([[1.0, 2, 3], [4, 5, 6]])[None, ..., None]
    rows, pull = jax.vjp(partial(ops.unfold, window=2), x)
    assert rows.tolist() == [[[[1, 2, 4, 5], [2, 3, 5, 6]]]]
    (dx,) = pull(jnp.array([[[[1.0, 2, 3, 4], [10, 20, 30, 40]]]]))
    assert dx[0, :, :, 0].tolist() == [[1, 2 + 10, 20], [3, 4 + 30, 40]]


def test_unfold_of_two_channels_padded_dilated_and_strided_by_hand() -> None:
    x = jnp.array([[[1.0, -1], [2, -2], [3, -3], [4, -4], [5, -5]]])
    rows, pull = jax.vjp(partial(ops.unfold, window=2, stride=3, padding=((1, 0),), dilation=2), x)
    # windows at (-1, 1) and (2, 4); the row at 0 and that at 3 are in none
    assert rows.tolist() == [[[0, 0, 2, -2], [3, -3, 5, -5]]]
    (dx,) = pull(jnp.array([[[1.0, 2, 3, 4], [5, 6, 7, 8]]]))
    assert dx.tolist() == [[[0, 0], [3, 4], [5, 6], [0, 0], [7, 8]]]


def test_fold_by_hand() -> None:
    patches = jnp.array([[[1.0, 2], [10, 20], [100, 200]]])
    x, pull = jax.vjp(partial(ops.fold, shape=(1, 4, 1), window=2), patches)
    assert x.ravel().tolist() == [1, 2 + 10, 20 + 100, 200]
    assert pull(jnp.array([[[1.0], [2], [3], [4]]]))[0].tolist() == [[[1, 2], [2, 3], [3, 4]]]


OPTIONS: dict[str, Any] = {"window": (2, 3), "stride": (2, 1), "padding": ((1, 0), (0, 2)), "dilation": (1, 2)}


def test_unfold_to_second_order() -> None:
    check(partial(ops.unfold, **OPTIONS), partial(reference.unfold, **OPTIONS), normals((2, 4, 5, 2)))


def test_fold_to_second_order() -> None:
    shape = (2, 4, 5, 2)
    patches = normals(ops.unfold(jnp.zeros(shape), **OPTIONS).shape)
    check(partial(ops.fold, shape=shape, **OPTIONS), partial(reference.fold, shape=shape, **OPTIONS), patches)


@drawn(max_examples=6)
@hypothesis.given(geometry=geometries())
def test_any_geometry(geometry: Geometry) -> None:
    shape = (2, *geometry.spatial, 2)
    options: dict[str, Any] = {
        "window": geometry.window,
        "stride": geometry.stride,
        "padding": geometry.padding,
        "dilation": geometry.dilation,
    }
    x, patches = integers(shape), integers((2, *geometry.out, int(np.prod(geometry.window)) * 2), seed=1)

    def both(module: Any, x: jax.Array, patches: jax.Array) -> jax.Array:
        return jnp.concatenate(
            [jnp.ravel(module.unfold(x, **options)), jnp.ravel(module.fold(patches, shape, **options))]
        )

    assert jax.eval_shape(partial(ops.unfold, **options), x).shape == patches.shape
    assert_agree(partial(both, ops), partial(both, reference), x, patches, order=1)


def test_patches_are_summed_in_float32() -> None:
    """The middle gets 1 + 256 + 1; bfloat16, whose spacing there is 2, would stay at 256."""
    patches = jnp.array([[[0, 0, 1], [0, 256, 0], [1, 0, 0]]], jnp.bfloat16)
    assert ops.fold(patches, (1, 5, 1), 3).ravel().tolist() == [0, 0, 258, 0, 0]


@pytest.mark.long
@pytest.mark.parametrize("window", [8, 9])
def test_an_empty_batch(window: int) -> None:
    x = jnp.zeros((0, 10, 10, 1))
    patches, pull = jax.vjp(lambda x: ops.unfold(x, window), x)
    assert pull(patches)[0].shape == ops.fold(patches, x.shape, window).shape == x.shape


def test_numpy_arrays_are_welcome() -> None:
    assert ops.unfold(np.arange(3.0).reshape(1, 3, 1), 2).tolist() == [[[0, 1], [1, 2]]]
    assert ops.fold(np.ones((1, 2, 2)), [1, 3, 1], 2).ravel().tolist() == [1, 2, 1]


def test_the_adjoint_of_unfold_is_fold() -> None:
    x, patches = integers((1, 5, 1)), integers((1, 4, 2))
    assert_equal_trees(jax.vjp(partial(ops.unfold, window=2), x)[1](patches)[0], ops.fold(patches, x.shape, 2))
