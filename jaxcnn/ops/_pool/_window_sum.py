"""The sum of every window, as an average pool divides it: `_avg_pool` without its division.

Legend (any number of spatial axes; i, a, u stand for one index per axis)
    x       (N, *spatial, C)        y, dy   (N, *out, C)

Forward     y[n, i, c] = sum_u x_pad[n, i s + u - lo, c]                                        [R 1.5, times m]
Backward    linear, so dx is the adjoint applied to dy, a pixel collects from every window that it lies in,

                dx[n, a, c] = sum_(i, u : a = i s + u - lo) dy[n, i, c]

            and the adjoint's own gradient is the forward again.
Residuals   none
Conventions sums are kept in float32 or wider.
Sources     [R] 1.5.
"""

from __future__ import annotations

import jax

from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import dividing, over_places
from jaxcnn.ops._lib._theorems import adjoint_pair
from jaxcnn.ops._lib._types import Image, Pooled
from jaxcnn.ops._lib._window import Window
from jaxcnn.ops._pool import _avg_pool


def window_sum(window: Window, x: Image) -> Pooled:
    """y of x, in its dtype."""
    return _summed_up(window, dividing(x, (x.shape[0], *window.out, x.shape[-1])))


def _sums(window: Window, x: Image) -> Pooled:
    def sums(x: jax.Array) -> jax.Array:
        return _avg_pool.window_sums(x, window).astype(x.dtype)

    return over_places(sums, x, shape=(x.shape[0], *window.out, x.shape[-1]))


def _spread(window: Window, dy: Pooled) -> Image:
    """dx [R 1.5]."""

    def spread(dy: jax.Array) -> jax.Array:
        return _avg_pool.window_sums_adjoint(dy.astype(accumulator(dy.dtype)), window).astype(dy.dtype)

    return over_places(spread, dy, shape=(dy.shape[0], *window.shape, dy.shape[-1]))


_summed_up, _summed_up_adjoint = adjoint_pair(_sums, _spread)
