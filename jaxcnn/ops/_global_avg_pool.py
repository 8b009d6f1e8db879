"""Global average pooling.

Legend
    x   (N, *spatial, C)    y, dy   (N, C)      M   the number of places, the product of *spatial

Forward     y[n, c] = (1/M) sum_i x[n, i, c]                                                                [R 1.6]
Backward    every place has the same weight:  dx[n, i, c] = dy[n, c] / M                                    [R 1.6]
            linear; the adjoint's own gradient is the forward again, for sum_i t[n, i, c] / M is the mean of t.
Residuals   none; the spatial shape is static
Conventions sums are kept in float32 or wider
Sources     [R] 1.6, where y is g.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.ops._arguments import image_array, refuse
from jaxcnn.ops._dtypes import accumulator
from jaxcnn.ops._meshes import laid_out_as
from jaxcnn.ops._types import Image, Means
from jaxcnn.ops._window import Size, is_symbolic


def reference(x: jax.Array) -> jax.Array:
    """The plain forward: jax's own mean, in float32 or wider."""
    x = jnp.asarray(x)
    return jnp.mean(x.astype(accumulator(x.dtype)), axis=tuple(range(1, x.ndim - 1))).astype(x.dtype)


def global_avg_pool(x: ArrayLike) -> jax.Array:
    """The mean of every channel over all places.

    Args:
        x: (N, *spatial, C), floating.

    Returns:
        y (N, C), in the dtype of x.

    Raises:
        ValueError: wrong rank or dtype, no places at all.

    Source:
        [R] 1.6.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
        >>> global_avg_pool(x).tolist(), jax.grad(lambda x: global_avg_pool(x).sum())(x).ravel().tolist()
        ([[1.5]], [0.25, 0.25, 0.25, 0.25])
    """
    x = image_array("global_avg_pool", "x", x)
    if 0 in x.shape[1:-1]:
        refuse("global_avg_pool", f"x must have at least one place to average over, got shape {x.shape}")
    return _global_avg_pool(x, x.shape[1:-1], jax.typeof(x))


@partial(jax.custom_vjp, nondiff_argnames=("spatial", "type_"))
def _global_avg_pool(x: Image, spatial: tuple[Size, ...], type_: Any) -> Means:
    places = tuple(range(1, x.ndim - 1))
    return (jnp.sum(x.astype(accumulator(x.dtype)), axis=places) / _places(spatial)).astype(x.dtype)  # [R 1.6]


def _global_avg_pool_fwd(x: Image, spatial: tuple[Size, ...], type_: Any) -> tuple[jax.Array, None]:
    return _global_avg_pool(x, spatial, type_), None


def _global_avg_pool_bwd(spatial: tuple[Size, ...], type_: Any, _: None, dy: Means) -> tuple[jax.Array]:
    return (laid_out_as(_spread(dy, spatial), type_),)  # [R 1.6]


_global_avg_pool.defvjp(_global_avg_pool_fwd, _global_avg_pool_bwd)


@partial(jax.custom_vjp, nondiff_argnames=("spatial",))
def _spread(dy: Means, spatial: tuple[Size, ...]) -> Image:
    """dx: the adjoint of `_global_avg_pool`."""
    share = (dy.astype(accumulator(dy.dtype)) / _places(spatial)).astype(dy.dtype)
    return jnp.broadcast_to(jnp.expand_dims(share, range(1, len(spatial) + 1)), (dy.shape[0], *spatial, dy.shape[1]))


def _spread_fwd(dy: Means, spatial: tuple[Size, ...]) -> tuple[jax.Array, None]:
    return _spread(dy, spatial), None


def _spread_bwd(spatial: tuple[Size, ...], _: None, x: Image) -> tuple[jax.Array]:
    return (_global_avg_pool(x, spatial, jax.typeof(x)),)


_spread.defvjp(_spread_fwd, _spread_bwd)


def _places(spatial: tuple[Size, ...]) -> Any:
    """Their number, as a float: it may be more than an int32 holds."""
    places = prod(spatial)
    return places if is_symbolic(places) else float(places)
