"""Max pooling, and three ways to share a gradient among tied maxima.

Legend (any number of spatial axes; i, a, u stand for one index per axis)
    x       (N, *spatial, C)        y, dy   (N, *out, C)
    u       a tap of the window; x_u[n, i, c] = x[n, i s + u d - lo, c], what tap u of window i sees
    winner  (N, *out, C), the row-major number of the tap that was selected

Forward     y[n, i, c] = max_u x_u[n, i, c]                                                          [R 1.5; V 2.2]

Backward    y depends on x through the selected tap alone, so its dy goes there, and a pixel collects from every
            window that selected it:

                dx[n, a, c] = sum_(i, u : a = i s + u d - lo) [u is selected in window i] dy[n, i, c]

            "first"   u = winner, the first maximum in row-major order: "the neuron that was selected"       [V 3.3]
            "all"     every u with x_u = y gets the whole of dy; [R 1.5]'s indicator, with the condition that it
                      leaves out, that a lies in window i
            "split"   every u with x_u = y gets an equal share, as under `jnp.max`

            The selection is a constant of the backward pass, so the pass is linear in dy, and its own gradient is its
            adjoint: for "first" `route` (a scatter by winner) and `gather` are each other's rule; for the others a
            sum over masked taps.

Residuals   "first": winner, one byte per output up to 255 taps (two up to 65,535); x is not kept
            "all", "split": one boolean per tap and output, to `UNROLLED` taps; beyond, x and y
Conventions NaN propagates forward, and counts as the maximum: the gradient goes to the window's first NaN, or is shared
            by its NaNs. Padding never wins, not even over -inf. The same on every platform. Gradients of windows that
            overlap, and tied taps, are summed in float32 or wider. Windows of many taps: `_max_pool_wide`.
            "all" is not a derivative where maxima tie: there it sums to more than one.
Sources     [V] 2.2 and 3.3, [R] 1.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn._names import did_you_mean
from jaxcnn.ops._lib import _blocks, _plain
from jaxcnn.ops._lib._arguments import hint_at_one_image, image_array, refuse
from jaxcnn.ops._lib._bounds import UNROLLED
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import dividing, over_places
from jaxcnn.ops._lib._record import IMAGES, POOL, Arguments, Example, Op, Shape
from jaxcnn.ops._lib._theorems import adjoint_pair
from jaxcnn.ops._lib._types import Image, Pooled, Winner
from jaxcnn.ops._lib._window import Padding, PerAxis, Window, cropped
from jaxcnn.ops._pool import _max_pool_on_tpu, _max_pool_wide

TIES = ("first", "all", "split")


def reference(
    x: jax.Array,
    window: PerAxis,
    stride: PerAxis | None = None,
    *,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ties: str = "first",
    ceil: bool = False,
) -> jax.Array:
    """The plain forward: every window's taps stacked on a last axis, then a selection that autodiff differentiates.

    For "all" the tied taps are added with value 0 and derivative 1, which needs finite maxima.
    """
    x = jnp.asarray(x)
    axes = x.ndim - 2
    size, dilation = _plain.per_axis(window, axes), _plain.per_axis(dilation, axes)
    stride = size if stride is None else _plain.per_axis(stride, axes)
    span = tuple(d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True))
    x, edges = _plain.cropped(x, _plain.pairs(padding, x.shape[1:-1], span, stride))
    edges = _plain.pairs(edges, x.shape[1:-1], span, stride, ceil)
    padded, real = _plain.pad(x, edges), _plain.pad(jnp.ones(x.shape, bool), edges)

    def stack(array: jax.Array) -> jax.Array:
        ends = [h - r + 1 for h, r in zip(array.shape[1:-1], span, strict=True)]
        taps = []
        for u in np.ndindex(*size):
            places = [slice(t * d, end + t * d, s) for t, d, end, s in zip(u, dilation, ends, stride, strict=True)]
            taps.append(array[(slice(None), *places)])
        return jnp.stack(taps, axis=-1)

    taps, real = stack(padded), stack(real)
    nan = jnp.isnan(taps) & real
    greatest = jnp.max(jnp.where(real & ~nan, taps, -jnp.inf), axis=-1, keepdims=True)
    is_max = jnp.where(jnp.any(nan, axis=-1, keepdims=True), nan, (taps == greatest) & real)
    first = jnp.argmax(is_max, axis=-1, keepdims=True)
    y = jnp.take_along_axis(taps, first, axis=-1)[..., 0]
    if ties == "first":
        return y
    if ties == "all":
        y = lax.stop_gradient(y)
        return y + jnp.sum(jnp.where(is_max, taps - lax.stop_gradient(taps), 0), axis=-1)
    wide = accumulator(x.dtype)
    shared = jnp.sum(jnp.where(is_max, taps.astype(wide), 0), axis=-1) / jnp.sum(is_max, axis=-1, dtype=wide)
    return shared.astype(x.dtype)


def max_pool(
    x: ArrayLike,
    window: PerAxis,
    stride: PerAxis | None = None,
    *,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ties: str = "first",
    ceil: bool = False,
) -> jax.Array:
    """The maximum of every window of every channel.

    Args:
        x: (N, *spatial, C), floating.
        window: its size, an int or one per spatial axis.
        stride: step of the window, an int or one per spatial axis; the window's size where None.
        padding: places around x that never win: an int, one per spatial axis, nested (lo, hi) pairs, "SAME",
            "SAME_LOWER" or "VALID"; below 0 it crops.
        dilation: distance between the window's taps, an int or one per spatial axis.
        ties: who gets the gradient where maxima tie: the "first" in row-major order, "all" of them in full, or all an
            equal share ("split").
        ceil: whether to add a last window that hangs over x's end, if it begins in x or the padding before it, as
            PyTorch's ceil_mode.

    Returns:
        y (N, *out, C), out = floor((H + lo + hi - d (k - 1) - 1) / s) + 1 per axis, in the dtype of x.

    Raises:
        ValueError: wrong rank or dtype, a window larger than the padded input or wholly in padding, an unknown tie
            rule, an option that is not as above.

    Source:
        [V] 2.2, 3.3; [R] 1.5.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.array([[1.0, 5.0], [2.0, 3.0]]).reshape(1, 2, 2, 1)
        >>> y, route = jax.vjp(lambda x: max_pool(x, 2), x)
        >>> y.ravel().tolist(), route(jnp.full((1, 1, 1, 1), 8.0))[0][0, :, :, 0].tolist()  # [V 3.3.1], ten times
        ([5.0], [[0.0, 8.0], [0.0, 0.0]])
    """
    x = image_array("max_pool", "x", x)
    hint_at_one_image("max_pool", x.shape, window)
    geometry = Window.of("max_pool", x.shape, window, stride, padding, dilation)
    if ceil:
        x, padding = (x, padding) if geometry.is_symbolic else cropped(x, geometry)
        geometry = Window.of("max_pool", x.shape, window, stride, padding, dilation, ceil=True)
    if ties not in TIES:
        refuse("max_pool", f"ties must be one of {', '.join(map(repr, TIES))}, got {ties!r}{did_you_mean(ties, TIES)}")
    x = dividing(x, (x.shape[0], *geometry.out, x.shape[-1]))
    return select(geometry, x)[0] if ties == "first" else _max_pool_of_ties(geometry, ties, x)


@partial(jax.custom_vjp, nondiff_argnames=("window",))
def select(window: Window, x: Image) -> tuple[Pooled, Winner]:
    """y and winner: the first maximum of each window and the number of its tap."""
    return over_places(partial(_select, window), x, shape=(x.shape[0], *window.out, x.shape[-1]))


def _select_fwd(window: Window, x: Image) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    y, winner = select(window, x)
    return (y, winner), winner


def _select_bwd(window: Window, winner: Winner, dy: tuple[jax.Array, object]) -> tuple[jax.Array]:
    return (route(window, dy[0], winner),)  # [V 3.3], [R 1.5]


select.defvjp(_select_fwd, _select_bwd)


def _routed(window: Window, dy: Pooled, winner: Winner) -> Image:
    """dx: each dy at the place of its winner, nowhere where `winner` is no tap's number."""
    on_tpu = _max_pool_on_tpu.route if _max_pool_on_tpu.routes_less(window) else _route

    def routed(dy: jax.Array, winner: jax.Array) -> jax.Array:
        return lax.platform_dependent(dy, winner, tpu=partial(on_tpu, window), default=partial(_route, window))

    return over_places(routed, dy, winner, shape=(dy.shape[0], *window.shape, dy.shape[-1]))


def _gathered(window: Window, x: Image, winner: Winner) -> Pooled:
    """y: what stands at the place of each winner, 0 where none is named."""
    return over_places(partial(_gather, window), x, winner, shape=winner.shape)


route, gather = adjoint_pair(_routed, _gathered)


@partial(jax.custom_vjp, nondiff_argnames=("window", "ties"))
def _max_pool_of_ties(window: Window, ties: str, x: Image) -> Pooled:
    return select(window, x)[0]


def _max_pool_of_ties_fwd(window: Window, ties: str, x: Image) -> tuple[jax.Array, Any]:
    y = _max_pool_of_ties(window, ties, x)
    if window.tap_count > UNROLLED:
        return y, (x, y)
    return y, over_places(partial(_is_max, window), x, y, shape=y.shape)


def _max_pool_of_ties_bwd(window: Window, ties: str, saved: Any, dy: Pooled) -> tuple[jax.Array]:
    given = partial(_given, window, ties)
    return (over_places(given, dy, *saved, shape=(dy.shape[0], *window.shape, dy.shape[-1])),)  # [R 1.5]


_max_pool_of_ties.defvjp(_max_pool_of_ties_fwd, _max_pool_of_ties_bwd)


def _select(window: Window, x: Image) -> tuple[Pooled, Winner]:
    on_tpu = _max_pool_on_tpu.first_maximum if _max_pool_on_tpu.counts(window) else first_maximum
    y, winner = lax.platform_dependent(x, tpu=partial(on_tpu, window), default=partial(first_maximum, window))
    return y, computed_once(winner, greatest=window.tap_count)


def _route(window: Window, dy: Pooled, winner: Winner) -> Image:
    if window.tap_count > UNROLLED:
        return _max_pool_wide.route(window, dy, winner)
    wide = dy.astype(accumulator(dy.dtype))
    if max(window.stride) > 1 and _blocks.supports(window):
        return _blocks.collect(window, _share_of_winner, winner, wide).astype(dy.dtype)
    shares = [jnp.where(winner == number, wide, 0) for number in range(window.tap_count)]
    return _put_all(window, shares).astype(dy.dtype)


def _gather(window: Window, x: Image, winner: Winner) -> Pooled:
    if window.tap_count > UNROLLED:
        return _max_pool_wide.gather(window, x, winner)
    padded = window.pad(x)
    seen = [window.take(padded, tap) for tap in window.taps]
    return reduce(lambda y, tap: jnp.where(winner == tap[0], tap[1], y), enumerate(seen), jnp.zeros_like(seen[0]))


def _given(window: Window, ties: str, dy: Pooled, *saved: jax.Array) -> Image:
    """dx, every tied tap's share at its place."""
    share = dy.astype(accumulator(dy.dtype))
    if window.tap_count > UNROLLED:
        x, y = saved
        share = share / _max_pool_wide.count(window, x, y) if ties == "split" else share
        return _max_pool_wide.give(window, share, x, y).astype(dy.dtype)
    share = share / sum(tied.astype(share.dtype) for tied in saved) if ties == "split" else share
    return _put_all(window, [jnp.where(tied, share, 0) for tied in saved]).astype(dy.dtype)


def first_maximum(window: Window, x: Image) -> tuple[Pooled, Winner]:
    """`select` without a rule of its own, by slices, which fuse with what makes x."""
    if window.tap_count > UNROLLED:
        return _max_pool_wide.first_maximum(window, x)
    padded = window.pad(x)
    first, *others = window.taps
    y, chosen = window.take(padded, first), window.in_input(first)
    winner = jnp.zeros(y.shape, np.min_scalar_type(window.tap_count))
    for number, tap in enumerate(others, start=1):
        seen, inside = window.take(padded, tap), window.in_input(tap)
        better = (seen > y) | ((seen != seen) & (y == y))  # greater, or the first NaN
        if window.is_padded:
            better, chosen = inside & (better | ~chosen), chosen | inside
        y, winner = jnp.where(better, seen, y), jnp.where(better, winner.dtype.type(number), winner)
    return y, winner


def computed_once(winner: Winner, *, greatest: int) -> Winner:
    """`winner`, at most `greatest`, by an operation that XLA counts as expensive.

    XLA:CPU computes what is cheap again for each reader, here from all of x, which must then stay until the backward
    pass; and it drops an `optimization_barrier` before it fuses.
    """
    modulus = greatest + 1
    return lax.rem(winner, winner.dtype.type(modulus)) if modulus <= np.iinfo(winner.dtype).max else winner


def _is_max(window: Window, x: Image, y: Pooled) -> list[jax.Array]:
    """For each tap, whether it holds its window's maximum, or NaN where that is NaN."""
    padded = window.pad(x)
    is_max = []
    for tap in window.taps:
        seen = window.take(padded, tap)
        is_max.append(((seen == y) | ((seen != seen) & (y != y))) & window.in_input(tap))
    return is_max


def _put_all(window: Window, shares: list[jax.Array]) -> jax.Array:
    """The sum of each tap's share at its places: (N, *spatial, C)."""
    return reduce(jnp.add, [window.put(share, tap) for share, tap in zip(shares, window.taps, strict=True)])


def _share_of_winner(number: np.ndarray, is_tap: np.ndarray, winner: jax.Array, dy: jax.Array) -> jax.Array:
    return jnp.where((winner == number.astype(winner.dtype)) & is_tap, dy, 0)


def winner_bytes(args: Arguments, y: Shape) -> int:
    """The winners' bytes; with other ties, a mask's per tap, or x's and y's where there are too many taps."""
    x, window = args["x"], args["window"]
    taps = prod(window) if isinstance(window, Sequence) else int(window) ** (len(y.shape) - 2)
    if args.get("ties", "first") == "first":
        return y.size * np.min_scalar_type(taps).itemsize
    return y.size * taps if taps <= UNROLLED else (x.size + y.size) * x.dtype.itemsize


OP = Op(
    max_pool,
    reference,
    equations="[R 1.5], [V 3.3]",
    kept='1 byte per output (`ties="first"`, to 255 taps), else 1 per tap, or beyond 64 taps x and y',
    at_kinks="first maximum, all, or an equal split; NaN wins, padding never",
    elsewhere="`flax.linen.max_pool`, `jax.lax.reduce_window`, `torch.nn.functional.max_pool2d`",
    examples={
        "first": Example(lambda m, x: m.max_pool(x, **POOL), (IMAGES,), is_exact=True, has_kinks=True),
        "side by side": Example(lambda m, x: m.max_pool(x, (1, 3)), (IMAGES,), is_exact=True, has_kinks=True),
        "all": Example(lambda m, x: m.max_pool(x, ties="all", **POOL), (IMAGES,), is_exact=True, has_kinks=True),
        "split": Example(lambda m, x: m.max_pool(x, ties="split", **POOL), (IMAGES,), has_kinks=True),
    },
    residual_bytes=winner_bytes,
)
