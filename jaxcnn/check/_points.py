"""Points to check at: away from every tie and kink, or at them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

PyTree = Any


def distinct(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = float) -> jax.Array:
    """Numbers in (-2, 2) in random order, evenly spaced about zero: no two tie, none is at zero's kink.

    Args:
        key: the random key of their order.
        shape: how many, and how arranged.
        dtype: a floating dtype that can hold so many apart.

    Returns:
        n numbers, each at least 4/n from every other and 2/n from zero.

    Raises:
        ValueError: the dtype is too coarse for so many numbers.

    Example:
        >>> import jax
        >>> sorted(distinct(jax.random.key(0), (2, 2), "float32").ravel().tolist())
        [-1.5, -0.5, 0.5, 1.5]
    """
    count = prod(shape)
    if count * float(jnp.finfo(dtype).eps) > 2:
        raise ValueError(
            f"distinct: {jnp.dtype(dtype).name} cannot hold {count} numbers of (-2, 2) apart; "
            f"give a smaller shape than {tuple(shape)} or a finer dtype"
        )
    evenly = (jnp.arange(count) - count // 2 + 0.5) * (4 / max(1, count))
    return jax.random.permutation(key, evenly).reshape(shape).astype(dtype)


def integers(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = float, *, greatest: int = 2) -> jax.Array:
    """Whole numbers in [-greatest, greatest]: ties and zeros everywhere, and sums of products of them are exact.

    Args:
        key: the random key.
        shape: how many, and how arranged.
        dtype: a floating dtype.
        greatest: the greatest magnitude.

    Example:
        >>> import jax
        >>> set(integers(jax.random.key(0), (100,), "float32").tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
        True
    """
    return jax.random.randint(key, shape, -greatest, greatest + 1).astype(dtype)


def normals_like(key: jax.Array, tree: PyTree) -> PyTree:
    """Standard normals of the shapes and dtypes of the floating leaves; the others as they are."""
    return _drawn_like(key, tree, jax.random.normal)


def whole_like(key: jax.Array, tree: PyTree) -> PyTree:
    """Whole numbers of magnitude 1 to 3, never zero, of the shapes and dtypes of the floating leaves."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
        size_key, sign_key = jax.random.split(key)
        return (jax.random.randint(size_key, shape, 1, 4) * jax.random.rademacher(sign_key, shape)).astype(dtype)

    return _drawn_like(key, tree, draw)


def _drawn_like(key: jax.Array, tree: PyTree, draw: Any) -> PyTree:
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(1, len(leaves)))
    drawn = [
        draw(k, jnp.shape(leaf), jnp.result_type(leaf)) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)
