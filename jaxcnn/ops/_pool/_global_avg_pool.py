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

from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import image_array, refuse
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import laid_out_as
from jaxcnn.ops._lib._record import IMAGES, Example, Op
from jaxcnn.ops._lib._theorems import adjoint_pair
from jaxcnn.ops._lib._types import Image, Means
from jaxcnn.ops._lib._window import Size, is_symbolic


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
    return _global_avg_pool(Places(x.shape[1:-1], jax.typeof(x)), x)


class Places(NamedTuple):
    """The spatial shape, and x's type, which dx is sharded as."""

    spatial: tuple[Size, ...]
    x: Any


def _mean(places: Places, x: Image) -> Means:
    wide = x.astype(accumulator(x.dtype))
    return (jnp.sum(wide, axis=range(1, x.ndim - 1)) / _number(places)).astype(x.dtype)  # [R 1.6]


def _spread(places: Places, dy: Means) -> Image:
    """dx [R 1.6]."""
    share = (dy.astype(accumulator(dy.dtype)) / _number(places)).astype(dy.dtype)
    per_place = jnp.expand_dims(share, range(1, len(places.spatial) + 1))
    return laid_out_as(jnp.broadcast_to(per_place, (dy.shape[0], *places.spatial, dy.shape[1])), places.x)


_global_avg_pool, _global_avg_pool_adjoint = adjoint_pair(_mean, _spread)


def _number(places: Places) -> Any:
    """M, as a float: it may be more than an int32 holds."""
    number = prod(places.spatial)
    return number if is_symbolic(number) else float(number)


OP = Op(
    global_avg_pool,
    reference,
    equations="[R 1.6]",
    kept="nothing",
    at_kinks="linear",
    elsewhere="`jax.numpy.mean` over the spatial axes, `torch.nn.AdaptiveAvgPool2d(1)`",
    examples={"": Example(lambda m, x: m.global_avg_pool(x), (IMAGES,))},
)
