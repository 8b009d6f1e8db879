"""Points to check at: away from every tie and kink, or at them.

NumPy draws them: for `jax.random` XLA compiles a program per shape, which took most of a check's time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxcnn.check._pull import is_float

PyTree = Any


def distinct(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = float) -> jax.Array:
    """Numbers in (-2, 2) in random order, evenly spaced about zero: no two tie, none is at zero's kink.

    Args:
        key: the random key of their order.
        shape: how many, and how arranged.
        dtype: a floating dtype that can hold so many apart.

    Returns:
        n numbers, each at least 4/n from every other and 1/n from zero.

    Raises:
        ValueError: the dtype is no floating one, is float64 without `jax_enable_x64`, or is too coarse for so many.

    Example:
        >>> import jax
        >>> sorted(distinct(jax.random.key(0), (2, 2), "float32").ravel().tolist())
        [-1.5, -0.5, 0.5, 1.5]
    """
    _refuse_bad("distinct", dtype)
    count = prod(shape)
    if count * float(jnp.finfo(dtype).eps) > 2:
        raise ValueError(
            f"distinct: {jnp.dtype(dtype).name} cannot hold {count} numbers of (-2, 2) apart; "
            f"give a smaller shape than {tuple(shape)} or a finer dtype"
        )
    evenly = (np.arange(count) - (count - 1) / 2 + (count % 2) / 4) * (4 / max(1, count))
    return on_device(generator(key).permutation(evenly).reshape(shape), dtype)


def integers(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = float, *, greatest: int = 2) -> jax.Array:
    """Whole numbers in [-greatest, greatest]: ties and zeros everywhere, and sums of products of them are exact.

    Args:
        key: the random key.
        shape: how many, and how arranged.
        dtype: a floating dtype.
        greatest: the greatest magnitude.

    Raises:
        ValueError: the dtype is no floating one, or is float64 without `jax_enable_x64`.

    Example:
        >>> import jax
        >>> set(integers(jax.random.key(0), (100,), "float32").tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
        True
    """
    _refuse_bad("integers", dtype)
    return on_device(generator(key).integers(-greatest, greatest, shape, endpoint=True), dtype)


def _refuse_bad(name: str, dtype: DTypeLike) -> None:
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{name}: dtype must be a floating one, got {jnp.dtype(dtype).name}")
    if dtype is not float and jnp.dtype(dtype) == np.float64 and not jax.config.read("jax_enable_x64"):
        raise ValueError(f"{name}: float64 needs jax.config.update('jax_enable_x64', True) first")


def on_device(numbers: Any, dtype: DTypeLike) -> jax.Array:
    """As an array of jax's, without a program: for `jnp.asarray` XLA compiles one per shape."""
    return jax.device_put(np.asarray(numbers, dtype))


def generator(key: jax.Array) -> np.random.Generator:
    """NumPy's, seeded by jax's key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def normals_like(random: np.random.Generator, tree: PyTree) -> PyTree:
    """Standard normals of the shapes and dtypes of the floating leaves; None for the others."""
    return _drawn_like(tree, random.normal)


def whole_like(random: np.random.Generator, tree: PyTree) -> PyTree:
    """Whole numbers of magnitude 1 to 3 of the shapes and dtypes of the floating leaves; None for the others."""
    return _drawn_like(tree, lambda size: random.integers(1, 4, size) * random.choice([-1.0, 1.0], size))


def _drawn_like(tree: PyTree, draw: Callable[..., Any]) -> PyTree:
    def drawn(leaf: Any) -> Any:
        return on_device(draw(size=jnp.shape(leaf)), jnp.result_type(leaf)) if is_float(leaf) else None

    return jax.tree.map(drawn, tree)
