"""Average pooling.

Legend (any number of spatial axes; i, a, u stand for one index per axis)
    x       (N, *spatial, C)        y, dy   (N, *out, C)
    m[i]    what window i divides by: its number of taps, or of taps in x where padding does not count

Forward     y[n, i, c] = (1 / m[i]) sum_u x_pad[n, i s + u - lo, c]                                         [R 1.5]

Backward    linear, so dx is the adjoint applied to dy: a pixel collects the share of every window that it lies in,

                dx[n, a, c] = sum_(i, u : a = i s + u - lo) dy[n, i, c] / m[i]                              [R 1.5]

            and the adjoint's own gradient is the forward again. A window's sum is a sum of sums, one axis after
            another: k_1 + k_2 terms instead of k_1 k_2. Its adjoint is summed in blocks of a stride (`_blocks`),
            ceil(k / s) terms per axis. Sums of more than `UNROLLED` terms are made of sums of 1, 2, 4, .. terms, each
            of two of the one before: two additions per power of two, and no term from beyond the window.

Residuals   none
Conventions padding counts as zeros (`count_include_pad=True`, the k of [R 1.5]) or not at all; what `ceil` lets hang
            over the padding never counts; sums are kept in float32 or wider.
Sources     [R] 1.5.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops._lib import _blocks, _plain
from jaxcnn.ops._lib._arguments import hint_at_one_image, image_array
from jaxcnn.ops._lib._bounds import UNROLLED
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import dividing, over_places
from jaxcnn.ops._lib._record import IMAGES, POOL, Example, Op
from jaxcnn.ops._lib._theorems import adjoint_pair
from jaxcnn.ops._lib._types import Image, Pooled
from jaxcnn.ops._lib._window import Padding, PerAxis, Size, Window, at_least, constant, cropped, is_symbolic

Counted = tuple[tuple[Size, Size], ...]  # how many places of padding count before and after x, per axis


def reference(
    x: jax.Array,
    window: PerAxis,
    stride: PerAxis | None = None,
    *,
    padding: Padding = 0,
    count_include_pad: bool = True,
    ceil: bool = False,
) -> jax.Array:
    """The plain forward: lax's windowed sum, of x and, for the count, of ones."""
    x = jnp.asarray(x)
    axes, wide = x.ndim - 2, accumulator(x.dtype)
    size = _plain.per_axis(window, axes)
    stride = size if stride is None else _plain.per_axis(stride, axes)
    x, edges = _plain.cropped(x, _plain.pairs(padding, x.shape[1:-1], size, stride))
    over = _plain.pairs(edges, x.shape[1:-1], size, stride, ceil)
    hangs = [(0, more - hi) for (_, hi), (_, more) in zip(edges, over, strict=True)]

    def window_sum(array: jax.Array) -> jax.Array:
        array, zero = _plain.pad(array.astype(wide), hangs), np.zeros((), wide)
        return lax.reduce_window(array, zero, lax.add, (1, *size, 1), (1, *stride, 1), "VALID")

    counted = jnp.ones(x.shape, wide)
    counted = _plain.pad(counted, edges, float(count_include_pad))
    return (window_sum(_plain.pad(x, edges)) / window_sum(counted)).astype(x.dtype)


def avg_pool(
    x: ArrayLike,
    window: PerAxis,
    stride: PerAxis | None = None,
    *,
    padding: Padding = 0,
    count_include_pad: bool = True,
    ceil: bool = False,
) -> jax.Array:
    """The mean of every window of every channel.

    Args:
        x: (N, *spatial, C), floating.
        window: its size, an int or one per spatial axis.
        stride: step of the window, an int or one per spatial axis; the window's size where None.
        padding: an int, one per spatial axis, nested (lo, hi) pairs, "SAME", "SAME_LOWER" or "VALID"; below 0 it crops.
        count_include_pad: whether padding counts, as zeros, in the mean.
        ceil: whether to add a last window that hangs over the end, if it begins in x or the padding before it; what
            hangs over the padding never counts in the mean. As PyTorch's ceil_mode.

    Returns:
        y (N, *out, C), out = floor((H + lo + hi - k) / s) + 1 per axis, in the dtype of x.

    Raises:
        ValueError: wrong rank or dtype, a window larger than the padded input, or wholly in padding that does not
            count, an option that is not as above.

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
    hint_at_one_image("avg_pool", x.shape, window)
    plain = Window.of("avg_pool", x.shape, window, stride, padding, may_see_nothing=True)
    if ceil and not plain.is_symbolic:
        x, padding = cropped(x, plain)
        plain = Window.of("avg_pool", x.shape, window, stride, padding, may_see_nothing=True)
    geometry = Window.of("avg_pool", x.shape, window, stride, padding, ceil=ceil, may_see_nothing=count_include_pad)
    counted = plain.padding if count_include_pad else ((0, 0),) * len(plain.shape)
    x = dividing(x, (x.shape[0], *geometry.out, x.shape[-1]))
    return _avg_pool(Averages(geometry, _positive(counted)), x)


class Averages(NamedTuple):
    """The windows, and the padding that counts in their means."""

    window: Window
    counted: Counted


def _averaged(averages: Averages, x: Image) -> Pooled:
    window = averages.window

    def averaged(x: jax.Array) -> jax.Array:
        return (window_sums(x, window) / _count(averages, accumulator(x.dtype))).astype(x.dtype)

    return over_places(averaged, x, shape=(x.shape[0], *window.out, x.shape[-1]))


def _spread(averages: Averages, dy: Pooled) -> Image:
    """dx [R 1.5]."""
    window, wide = averages.window, accumulator(dy.dtype)

    def spread(dy: jax.Array) -> jax.Array:
        return window_sums_adjoint(dy.astype(wide) / _count(averages, wide), window).astype(dy.dtype)

    return over_places(spread, dy, shape=(dy.shape[0], *window.shape, dy.shape[-1]))


_avg_pool, _avg_pool_adjoint = adjoint_pair(_averaged, _spread)


def _count(averages: Averages, dtype: np.dtype) -> jax.Array:
    """m: what each window divides by, (1, *out, 1), or one number for all.

    Along each axis the places from the window's first to its last, of x and of the padding that counts.
    """
    window, counted = averages
    if counted == _positive(window.padding):
        return jnp.asarray(float(window.tap_count), dtype)
    count = jnp.ones((1, *window.out, 1), dtype)
    axes = zip(window.shape, window.out, window.size, window.stride, window.padding, counted, strict=True)
    for axis, (h, out, k, s, (lo, _), (before, after)) in enumerate(axes):
        integer = jnp.int32 if is_symbolic(out) or (out - 1) * s + k < 2**31 else jnp.uint32
        first = lax.broadcasted_iota(integer, count.shape, axis + 1) * constant(s, integer)  # lo places before x's
        end = jnp.minimum(first + constant(k, integer), constant(h + lo + after, integer))
        count = count * (end - jnp.maximum(first, constant(at_least(lo - before, 0), integer))).astype(dtype)
    return count


def _positive(padding: Counted) -> Counted:
    return tuple((lo, hi) if is_symbolic(lo) else (max(0, lo), max(0, hi)) for lo, hi in padding)


def window_sums(x: Image, window: Window) -> Pooled:
    """(N, *spatial, C) -> (N, *out, C), in the accumulator's dtype."""
    wide = x.astype(accumulator(x.dtype))
    by_axis = partial(_sum_by_axis, window)
    on_tpu = partial(_sum_by_lax, window) if window.padding == _positive(window.padding) else by_axis
    return lax.platform_dependent(wide, tpu=on_tpu, default=by_axis)


def window_sums_adjoint(dy: Pooled, window: Window) -> Image:
    """(N, *out, C) -> (N, *spatial, C)."""
    by_slices = partial(_spread_in_blocks if _blocks.supports(window) else _spread_by_axis, window)
    on_tpu = by_slices if _hides_windows(window) else partial(_spread_by_lax, window)
    return lax.platform_dependent(dy, tpu=on_tpu, default=by_slices)


def _hides_windows(window: Window) -> bool:
    """Whether windows may see padding alone, or padding crops x: then lax would have to crop."""
    wide = zip(window.padding, window.size, strict=True)
    return window.is_symbolic or any(lo < 0 or hi < 0 or lo >= k or hi >= k for (lo, hi), k in wide)


def _sum_by_axis(window: Window, y: jax.Array) -> jax.Array:
    for axis in range(len(window.shape)):
        line = _along(axis, window)
        padded = line.pad(y)
        if line.tap_count > UNROLLED:
            y = _doubled(padded, axis + 1, line.tap_count, line.reach[axis])
            y = lax.slice_in_dim(y, 0, None, line.stride[axis], axis + 1)
        else:
            y = reduce(jnp.add, [line.take(padded, tap) for tap in line.taps])
    return y


def _spread_by_axis(window: Window, dy: jax.Array) -> jax.Array:
    for axis in reversed(range(len(window.shape))):
        line = _along(axis, window)
        if line.tap_count > UNROLLED:
            h, reach, (lo, _) = line.shape[axis], line.reach[axis], line.padding[axis]
            around = [(0, 0, 0)] * dy.ndim
            around[axis + 1] = (line.tap_count - 1 - lo, h - reach + lo, 0)
            dy = _doubled(lax.pad(line.apart(dy), jnp.zeros((), dy.dtype), around), axis + 1, line.tap_count, h)
        else:
            dy = reduce(jnp.add, [line.put(dy, tap) for tap in line.taps])
    return dy


def _doubled(x: jax.Array, axis: int, terms: int, length: Size) -> jax.Array:
    """`length` sums of `terms` neighbours along an axis, each of consecutive sums of 1, 2, 4, .. neighbours."""
    parts, start, power = [], 0, 1
    while power <= terms:
        if terms & power:
            parts.append(lax.slice_in_dim(x, start, start + length, axis=axis))
            start += power
        if 2 * power <= terms:
            size = x.shape[axis]
            x = lax.slice_in_dim(x, 0, size - power, axis=axis) + lax.slice_in_dim(x, power, size, axis=axis)
        power *= 2
    return reduce(jnp.add, parts)


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
    """`window` along `axis` only: the axes before it are already summed, those after it are not."""

    def only(values: tuple, others: object) -> tuple:
        return tuple(value if other == axis else others for other, value in enumerate(values))

    return replace(
        window,
        shape=(*window.out[:axis], *window.shape[axis:]),
        size=only(window.size, 1),
        stride=only(window.stride, 1),
        padding=only(window.padding, (0, 0)),
    )


OP = Op(
    avg_pool,
    reference,
    equations="[R 1.5]",
    kept="nothing",
    at_kinks="linear; padding counts or not",
    elsewhere="`flax.linen.avg_pool`, `jax.lax.reduce_window`, `torch.nn.functional.avg_pool2d`",
    examples={
        "": Example(lambda m, x: m.avg_pool(x, 2, stride=1, padding=1), (IMAGES,), is_exact=True),
        "without padding": Example(lambda m, x: m.avg_pool(x, count_include_pad=False, **POOL), (IMAGES,)),
    },
)
