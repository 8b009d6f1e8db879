"""im2col and col2im: convolution's windows as rows, and back.

Legend (any number of spatial axes; i, a, u stand for one index per axis)
    x           (N, *spatial, C)        patches     (N, *out, prod(k) C)

Forward     unfold is T(x):  patches[n, i, (u, c)] = x_pad[n, i s + u d, c], columns in the order in which a kernel
            (*k, C, C_out) flattens, so that  correlate(x, k) = unfold(x) @ k.reshape(-1, C_out)                 [R 2]
Adjoint     fold is T*(patches):  x[n, a, c] = sum_(i, u : a = i s + u d - lo) patches[n, i, (u, c)]            [R 10]

Backward    both are linear, and each is the other's gradient; with them
                dk = T(x)^T mat(dy)     dx = T*(mat(dy) mat(k)^T)                                         [R 9, 10; 1.7]
            ([R 10] prints the factors of the second in an order that does not conform; 1.7 has them right)
Residuals   none
Conventions padding unfolds to zeros, and what is folded onto it is dropped; padding below 0 crops; sums in float32 or
            wider; more than `UNROLLED` taps are counted by a loop
Sources     [R] 1.3, 1.4, 1.7.
"""

from __future__ import annotations

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops._lib import _plain
from jaxcnn.ops._lib._arguments import image_array, refuse, shape_tuple
from jaxcnn.ops._lib._bounds import UNROLLED
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import dividing, over_places
from jaxcnn.ops._lib._record import IMAGES, POOL, Example, Op, shape
from jaxcnn.ops._lib._theorems import adjoint_pair
from jaxcnn.ops._lib._types import Image, Patches
from jaxcnn.ops._lib._window import Padding, PerAxis, Shape, Window


def reference_unfold(
    x: jax.Array, window: PerAxis, *, stride: PerAxis = 1, padding: Padding = 0, dilation: PerAxis = 1
) -> jax.Array:
    """The plain `unfold`: one gather from the padded input."""
    x = jnp.asarray(x)
    axes = x.ndim - 2
    size, stride = _plain.per_axis(window, axes), _plain.per_axis(stride, axes)
    dilation = _plain.per_axis(dilation, axes)
    span = tuple(d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True))
    padded = _plain.pad(x, _plain.pairs(padding, x.shape[1:-1], span, stride))
    out = [(h - r) // s + 1 for h, r, s in zip(padded.shape[1:-1], span, stride, strict=True)]
    places = []
    for axis, (o, s, k, d) in enumerate(zip(out, stride, size, dilation, strict=True)):
        place = np.arange(o)[:, None] * s + np.arange(k) * d  # of window i (rows) and tap u (columns)
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = o, k
        places.append(place.reshape(shape))
    gathered = padded[(slice(None), *places)]  # (N, *out, *k, C)
    return gathered.reshape(x.shape[0], *out, int(np.prod(size)) * x.shape[-1])


def reference_fold(
    patches: jax.Array,
    shape: Shape,
    window: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
) -> jax.Array:
    """The plain `fold`: autodiff's transpose of the plain `unfold`."""
    patches = jnp.asarray(patches)
    wide = accumulator(patches.dtype)

    def forward(x: jax.Array) -> jax.Array:
        return reference_unfold(x, window, stride=stride, padding=padding, dilation=dilation)

    (x,) = jax.vjp(forward, jnp.zeros(shape, wide))[1](patches.astype(wide))
    return x.astype(patches.dtype)


def unfold(
    x: ArrayLike, window: PerAxis, *, stride: PerAxis = 1, padding: Padding = 0, dilation: PerAxis = 1
) -> jax.Array:
    """Every window of x as a row of its values: im2col.

    Args:
        x: (N, *spatial, C), floating.
        window: its size k, an int or one per spatial axis.
        stride: step of the window, an int or one per spatial axis.
        padding: zeros around x: an int, one per spatial axis, nested (lo, hi) pairs, "SAME", "SAME_LOWER" or "VALID";
            below 0 it crops.
        dilation: distance between the window's taps, an int or one per spatial axis.

    Returns:
        patches (N, *out, prod(k) C), columns in the order in which a kernel (*k, C, C_out) flattens.

    Raises:
        ValueError: wrong rank or dtype, a window larger than the padded input, an option that is not as above.

    Source:
        T(X) of [R 2].

    Example:
        >>> import jax.numpy as jnp
        >>> unfold(jnp.arange(4.0).reshape(1, 4, 1), 2)[0].tolist()
        [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    """
    x = image_array("unfold", "x", x)
    geometry = Window.of("unfold", x.shape, window, stride, padding, dilation, may_see_nothing=True)
    x = dividing(x, (x.shape[0], *geometry.out, x.shape[-1]))
    return unfold_window(geometry, x)


def fold(
    patches: ArrayLike,
    shape: Shape,
    window: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
) -> jax.Array:
    """Every row of patches added back at its window's places: col2im, the adjoint of `unfold`.

    Args:
        patches: (N, *out, prod(k) C), floating, as from `unfold`.
        shape: (N, *spatial, C), that of the result.
        window, stride, padding, dilation: as in `unfold`.

    Returns:
        x (N, *spatial, C), in the dtype of the patches.

    Raises:
        ValueError: as `unfold`; patches that are not of the shape that `unfold` gives for `shape`.

    Source:
        T* of [R 10] and [R] 1.7.

    Example:
        >>> import jax.numpy as jnp
        >>> fold(jnp.ones((1, 3, 2)), (1, 4, 1), 2).ravel().tolist()
        [1.0, 2.0, 2.0, 1.0]
    """
    patches, shape = image_array("fold", "patches", patches), shape_tuple("fold", "shape", shape)
    if len(shape) != patches.ndim:
        refuse("fold", f"shape must be (N, *spatial, C) with the rank of patches {patches.shape}, got {shape}")
    geometry = Window.of("fold", shape, window, stride, padding, dilation, may_see_nothing=True)
    expected = (shape[0], *geometry.out, geometry.tap_count * shape[-1])
    if patches.shape != expected:
        refuse(
            "fold",
            f"patches must be {expected} for shape {shape}, window {geometry.size}, got {patches.shape}",
        )
    return fold_window(geometry, dividing(patches, (*shape[:-1], 1)))


def _unfold(window: Window, x: Image) -> Patches:
    shape = (x.shape[0], *window.out, window.tap_count * x.shape[-1])
    return over_places(partial(_columns, window), x, shape=shape)


def _fold(window: Window, patches: Patches) -> Image:
    """[R 10]."""
    shape = (patches.shape[0], *window.shape, patches.shape[-1] // window.tap_count)
    return over_places(partial(_sum_of_columns, window), patches, shape=shape)


unfold_window, fold_window = adjoint_pair(_unfold, _fold)


def _columns(window: Window, x: Image) -> Patches:
    padded = window.pad(x)
    if window.tap_count <= UNROLLED:
        return jnp.concatenate([window.take(padded, tap) for tap in window.taps], axis=-1)
    numbers = jnp.arange(window.tap_count, dtype=jnp.int32)
    by_tap = lax.map(partial(window.take_numbered, padded), numbers)  # (taps, N, *out, C)
    return lax.collapse(jnp.moveaxis(by_tap, 0, -2), x.ndim - 1)


def _sum_of_columns(window: Window, patches: Patches) -> Image:
    wide = patches.astype(accumulator(patches.dtype))
    if window.tap_count <= UNROLLED:
        columns = jnp.split(wide, window.tap_count, axis=-1)
        x = reduce(jnp.add, [window.put(column, tap) for column, tap in zip(columns, window.taps, strict=True)])
        return x.astype(patches.dtype)
    by_tap = wide.reshape(*wide.shape[:-1], window.tap_count, wide.shape[-1] // window.tap_count)

    def with_tap(number: jax.Array, padded: jax.Array) -> jax.Array:
        column = lax.dynamic_index_in_dim(by_tap, number, by_tap.ndim - 2, keepdims=False)
        return window.add_numbered(padded, column, number)

    first = window.over_padding.put(by_tap[..., 0, :], (0,) * len(window.size))
    return window.unpad(lax.fori_loop(1, window.tap_count, with_tap, first)).astype(patches.dtype)


UNFOLD = Op(
    unfold,
    reference_unfold,
    equations="[R 2, 9, 10]",
    kept="nothing",
    at_kinks="linear; `fold` is its gradient",
    elsewhere="`jax.lax.conv_general_dilated_patches`, `torch.nn.functional.unfold`",
    examples={"": Example(lambda m, x: m.unfold(x, **POOL), (IMAGES,), is_exact=True)},
)
FOLD = Op(
    fold,
    reference_fold,
    equations="[R 10], [R 1.7]",
    kept="nothing",
    at_kinks="linear; `unfold` is its gradient",
    elsewhere="`torch.nn.functional.fold`",
    examples={"": Example(lambda m, p: m.fold(p, (p.shape[0], 3, 4, 1), **POOL), (shape(3, 3, 3, 4),), is_exact=True)},
)
