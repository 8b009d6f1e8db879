"""Average pooling.

Legend (any number of spatial axes; i, a, u stand for one index per axis)
    x       (N, *spatial, C)        y, dy   (N, *out, C)
    m[i]    what window i divides by: its number of taps, or of those in x where padding is not to be counted

Forward     y[n, i, c] = (1 / m[i]) sum_u x_pad[n, i s + u - lo, c]                                         [R 1.5]

Backward    linear, so dx is the adjoint applied to dy: a pixel collects the share of every window that it lies in,

                dx[n, a, c] = sum_(i, u : a = i s + u - lo) dy[n, i, c] / m[i]                              [R 1.5]

            and the adjoint's own gradient is the forward again. A window's sum is a sum of sums, one axis after
            another: k_1 + k_2 terms instead of k_1 k_2. Its adjoint is summed in blocks of a stride (`_blocks`),
            ceil(k / s) terms an axis.

Residuals   none
Conventions padding counts as zeros (`count_include_pad=True`, the k of [R 1.5]) or not at all; sums are kept in float32
            or wider.
Sources     [R] 1.5.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops import _blocks, _plain
from jaxcnn.ops._arguments import image_array
from jaxcnn.ops._dtypes import accumulator
from jaxcnn.ops._types import Image, Pooled
from jaxcnn.ops._window import Padding, PerAxis, Window


def reference(
    x: jax.Array,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> jax.Array:
    """The plain forward: lax's windowed sum, of x and, for the count, of ones."""
    x = jnp.asarray(x)
    axes, wide = x.ndim - 2, accumulator(x.dtype)
    size = _plain.per_axis(window, axes)
    stride = size if stride is None else _plain.per_axis(stride, axes)
    edges = ((0, 0), *_plain.pairs(padding, x.shape[1:-1], size, stride), (0, 0))

    def window_sum(array: jax.Array) -> jax.Array:
        zero = np.zeros((), wide)
        return lax.reduce_window(array.astype(wide), zero, lax.add, (1, *size, 1), (1, *stride, 1), edges)

    count = np.prod(size) if count_include_pad else window_sum(jnp.ones(x.shape))
    return (window_sum(x) / count).astype(x.dtype)


def avg_pool(
    x: ArrayLike,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> jax.Array:
    """The mean of every window of every channel.

    Args:
        x: (N, *spatial, C), floating.
        window: its size, an int or one per spatial axis.
        stride: step of the window, an int or one per spatial axis; the window's size where None.
        padding: an int, one per spatial axis, nested (lo, hi) pairs, "SAME" or "VALID".
        count_include_pad: whether padding counts, as zeros, in the mean.

    Returns:
        y (N, *out, C), out = floor((H + lo + hi - k) / s) + 1 per axis, in the dtype of x.

    Raises:
        ValueError: wrong rank or dtype, a window larger than the padded input or wholly in padding, an option that is
            not as above.

    Source:
        [R] 1.5.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.arange(1.0, 6.0).reshape(1, 5, 1)
        >>> avg_pool(x, 3, stride=1, padding=1).ravel().tolist()
        [1.0, 2.0, 3.0, 4.0, 3.0]
        >>> avg_pool(x, 3, stride=1, padding=1, count_include_pad=False).ravel().tolist()
        [1.5, 2.0, 3.0, 4.0, 4.5]
        >>> jax.grad(lambda x: avg_pool(x, 2).sum())(x).ravel().tolist()
        [0.5, 0.5, 0.5, 0.5, 0.0]
    """
    x = image_array("avg_pool", "x", x)
    geometry = Window.of("avg_pool", x.shape, window, stride, padding)
    return _avg_pool(x, geometry, bool(count_include_pad))


@partial(jax.custom_vjp, nondiff_argnames=("window", "count_include_pad"))
def _avg_pool(x: Image, window: Window, count_include_pad: bool) -> Pooled:
    return (_window_sum(x, window) / _count(window, count_include_pad)).astype(x.dtype)


def _avg_pool_fwd(x: Image, window: Window, count_include_pad: bool) -> tuple[jax.Array, None]:
    return _avg_pool(x, window, count_include_pad), None


def _avg_pool_bwd(window: Window, count_include_pad: bool, _: None, dy: Pooled) -> tuple[jax.Array]:
    return (_spread(dy, window, count_include_pad),)  # [R 1.5]


_avg_pool.defvjp(_avg_pool_fwd, _avg_pool_bwd)


@partial(jax.custom_vjp, nondiff_argnames=("window", "count_include_pad"))
def _spread(dy: Pooled, window: Window, count_include_pad: bool) -> Image:
    """dx: the adjoint of `_avg_pool`."""
    shares = dy.astype(accumulator(dy.dtype)) / _count(window, count_include_pad)
    return _window_sum_adjoint(shares, window).astype(dy.dtype)


def _spread_fwd(dy: Pooled, window: Window, count_include_pad: bool) -> tuple[jax.Array, None]:
    return _spread(dy, window, count_include_pad), None


def _spread_bwd(window: Window, count_include_pad: bool, _: None, x: Image) -> tuple[jax.Array]:
    return (_avg_pool(x, window, count_include_pad),)


_spread.defvjp(_spread_fwd, _spread_bwd)


def _count(window: Window, count_include_pad: bool) -> jax.Array | int:
    """m: what each window divides by, (1, *out, 1) or one number."""
    if count_include_pad or not window.is_padded:
        return window.tap_count
    return reduce(jnp.add, [window.in_input(tap).astype(jnp.int32) for tap in window.taps])


def _window_sum(x: Image, window: Window) -> Pooled:
    """(N, *spatial, C) -> (N, *out, C), in the accumulator's dtype."""
    wide = x.astype(accumulator(x.dtype))
    return lax.platform_dependent(wide, tpu=partial(_sum_by_lax, window), default=partial(_sum_by_axis, window))


def _window_sum_adjoint(dy: Pooled, window: Window) -> Image:
    """(N, *out, C) -> (N, *spatial, C)."""
    by_slices = _spread_in_blocks if _blocks.supports(window) else _spread_by_axis
    return lax.platform_dependent(dy, tpu=partial(_spread_by_lax, window), default=partial(by_slices, window))


def _sum_by_axis(window: Window, y: jax.Array) -> jax.Array:
    for axis in range(len(window.shape)):
        line = _along(axis, window)
        padded = line.pad(y)
        y = reduce(jnp.add, [line.take(padded, tap) for tap in line.taps])
    return y


def _spread_by_axis(window: Window, dy: jax.Array) -> jax.Array:
    for axis in reversed(range(len(window.shape))):
        line = _along(axis, window)
        dy = reduce(jnp.add, [line.put(dy, tap) for tap in line.taps])
    return dy


def _spread_in_blocks(window: Window, dy: jax.Array) -> jax.Array:
    return _blocks.collect(window, lambda _, is_tap, dy: jnp.where(is_tap, dy, 0), dy)


def _sum_by_lax(window: Window, x: jax.Array) -> jax.Array:
    """As a TPU does it natively, in half the memory traffic of slices."""
    sizes, strides, padding = (1, *window.size, 1), (1, *window.stride, 1), ((0, 0), *window.padding, (0, 0))
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, sizes, strides, padding)


def _spread_by_lax(window: Window, dy: jax.Array) -> jax.Array:
    """A sum over windows of stride 1 over dy, its rows s apart, padded so that it is as long as x."""
    axes = zip(window.shape, window.out, window.size, window.stride, window.padding, strict=True)
    padding = [(k - 1 - lo, h - ((out - 1) * s + 1) + lo) for h, out, k, s, (lo, _) in axes]
    return lax.reduce_window(
        dy,
        np.zeros((), dy.dtype),
        lax.add,
        (1, *window.size, 1),
        (1,) * dy.ndim,
        ((0, 0), *padding, (0, 0)),
        base_dilation=(1, *window.stride, 1),
    )


def _along(axis: int, window: Window) -> Window:
    """The part of `window` that slides along `axis`, over axes before it already summed and those after it not yet."""

    def only(values: tuple, others: object) -> tuple:
        return tuple(value if other == axis else others for other, value in enumerate(values))

    return replace(
        window,
        shape=(*window.out[:axis], *window.shape[axis:]),
        size=only(window.size, 1),
        stride=only(window.stride, 1),
        padding=only(window.padding, (0, 0)),
    )
