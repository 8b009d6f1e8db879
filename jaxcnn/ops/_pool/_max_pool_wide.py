"""Max pooling of windows of more taps than a program may spell out (`_bounds`), in logarithmically many steps.

Along one axis, with taps d apart, let w_m[i] be the greatest of m taps from place i on, with the row-major number of
its tap in the window:

    first_maximum   w_2m[i] = the first of equals, or the greater, of w_m[i] and w_m[i + m d]; for k taps the last step
                    joins w_p[i] and w_p[i + (k - p) d], p the greatest power of two up to k: taps that both see tie.
                    The last axis comes first, so that the row that wins keeps its own first maximum. NaN is the
                    greatest of all, padding, whose number is `nobody`, the least.
    route           dx[a] = sum_i [a is the place of i's winner] dy[i], one sum over windows at places that they name
    gather          y[i] = x[a], a the place of i's winner
    give, take      for "all" and "split" the two sums over taps, each the adjoint of the other, in a loop:
                    dx = sum_u put_u([x_u = y] share),  share = sum_u [x_u = y] dx_u                           [R 1.5]

The loop has one turn per tap and needs x and y; windows of few taps keep a mask per tap instead.
"""

from __future__ import annotations

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import varying_alike
from jaxcnn.ops._lib._theorems import adjoint_pair
from jaxcnn.ops._lib._types import Image, Pooled, Winner
from jaxcnn.ops._lib._window import Size, Window, constant

Found = tuple[jax.Array, jax.Array]  # values, and the numbers of their taps


def first_maximum(window: Window, x: Image) -> Found:
    """y and the number of the tap that was selected."""
    dtype = np.min_scalar_type(window.tap_count)
    nobody = jnp.asarray(window.tap_count, dtype)
    around = ((0, 0, 0), *((lo, hi, 0) for lo, hi in window.edges), (0, 0, 0))
    values, numbers = window.pad(x), lax.pad(jnp.zeros(x.shape, dtype), nobody, around)
    per_tap = 1  # how many taps of the window one step along the axis is
    for axis in reversed(range(len(window.size))):
        values, numbers = _along(axis, window, (values, numbers), nobody, per_tap)
        per_tap *= window.size[axis]
    return values, numbers


def route(window: Window, dy: Pooled, winner: Winner) -> Image:
    """dx: each dy at the place of its winner, nowhere where `winner` is no tap's number."""
    wide = dy.astype(accumulator(dy.dtype))
    images, places, channels = _indices(winner, window)
    shape = (dy.shape[0], prod(window.shape), dy.shape[-1])
    _, zeros = varying_alike(wide, jnp.zeros(shape, wide.dtype))
    dx = zeros.at[images, places, channels].add(wide, mode="drop")
    return dx.reshape(dy.shape[0], *window.shape, dy.shape[-1]).astype(dy.dtype)


def gather(window: Window, x: Image, winner: Winner) -> Pooled:
    """y: what stands at the place of each winner, 0 where none is named."""
    images, places, channels = _indices(winner, window)
    rows = x.reshape(x.shape[0], prod(window.shape), x.shape[-1])
    return rows.at[images, places, channels].get(mode="fill", fill_value=0)


def count(window: Window, x: Image, y: Pooled) -> jax.Array:
    """How many taps hold their window's maximum: in the dtype of sums."""
    return _collected(window, jnp.ones(x.shape, accumulator(x.dtype)), x, y)


def _given(window: Window, share: Pooled, x: Image, y: Pooled) -> Image:
    """dx: each share at all places that hold its window's maximum."""
    padded, inside = window.pad(x), window.pad(jnp.ones((1, *window.shape, 1), bool))
    wide = share.astype(accumulator(share.dtype))

    def with_tap(number: jax.Array, dx: jax.Array) -> jax.Array:
        is_max = _is_max(window.take_numbered(padded, number), y) & window.take_numbered(inside, number)
        return window.add_numbered(dx, jnp.where(is_max, wide, 0), number)

    zeros = window.over_padding.put(jnp.zeros_like(wide), (0,) * len(window.size))
    dx = lax.fori_loop(0, window.tap_count, with_tap, zeros)
    return window.unpad(dx).astype(share.dtype)


def _taken(window: Window, dx: Image, x: Image, y: Pooled) -> Pooled:
    """For each window the sum of dx at all places that hold its maximum."""
    return _collected(window, dx.astype(accumulator(dx.dtype)), x, y).astype(dx.dtype)


give, take = adjoint_pair(_given, _taken)


def _collected(window: Window, dx: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    padded, places = window.pad(x), window.pad(dx)
    inside = window.pad(jnp.ones((1, *window.shape, 1), bool))

    def with_tap(number: jax.Array, share: jax.Array) -> jax.Array:
        is_max = _is_max(window.take_numbered(padded, number), y) & window.take_numbered(inside, number)
        return share + jnp.where(is_max, window.take_numbered(places, number), 0)

    zeros = jnp.zeros_like(window.take(places, (0,) * len(window.size)))
    return lax.fori_loop(0, window.tap_count, with_tap, zeros)


def _is_max(seen: jax.Array, y: jax.Array) -> jax.Array:
    return (seen == y) | ((seen != seen) & (y != y))


def _along(axis: int, window: Window, found: Found, nobody: jax.Array, per_tap: int) -> Found:
    """The first maximum of k taps along an axis, for the windows that the stride keeps."""
    k, d, s, reach = window.size[axis], window.dilation[axis], window.stride[axis], window.reach[axis]
    at = axis + 1

    def joined(found: Found, taps: int, length: Size) -> Found:
        """w at each of `length` places joined with w `taps` taps later."""
        here, later = (_part(found, at, start, start + length) for start in (0, taps * d))
        return _first_of_two(here, _later(later, taps * per_tap, nobody), nobody)

    seen, length = 1, reach + (k - 1) * d  # taps so far, and places that w then has
    found = _part(found, at, 0, length)
    while 2 * seen <= k:
        length -= seen * d
        found = joined(found, seen, length)
        seen *= 2
    if seen < k:
        found = joined(found, k - seen, length - (k - seen) * d)
    return _part(found, at, 0, reach, s)


def _part(found: Found, axis: int, start: int, stop: Size, stride: int = 1) -> Found:
    values, numbers = (lax.slice_in_dim(array, start, stop, stride, axis) for array in found)
    return values, numbers


def _later(found: Found, taps: int, nobody: jax.Array) -> Found:
    values, numbers = found
    more = jnp.asarray(taps, numbers.dtype)
    return values, jnp.where(numbers == nobody, nobody, numbers + more)


def _first_of_two(here: Found, later: Found, nobody: jax.Array) -> Found:
    """The greater, and of equals the first."""
    (a, at_a), (b, at_b) = here, later
    greater = (b > a) | ((b != b) & (a == a))
    is_later = (at_b != nobody) & (greater | (at_a == nobody))
    return jnp.where(is_later, b, a), jnp.where(is_later, at_b, at_a)


def _indices(winner: Winner, window: Window) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Image, place in it and channel of each winner, the place past the end where it is nobody."""
    dtype = jnp.int32 if window.is_symbolic or prod(window.shape) < 2**31 else jnp.uint32
    number, place = winner.astype(dtype), jnp.zeros(winner.shape, dtype)
    rest, stride_of = number, 1
    axes = zip(window.shape, window.size, window.stride, window.padding, window.dilation, strict=True)
    for axis, (h, k, s, (lo, _), d) in reversed(list(enumerate(axes))):
        tap, rest = rest % constant(k, dtype), rest // constant(k, dtype)
        start = lax.broadcasted_iota(dtype, winner.shape, axis + 1) * constant(s, dtype)
        place = place + (start + tap * constant(d, dtype) - constant(lo, dtype)) * constant(stride_of, dtype)
        stride_of *= h
    beyond = constant(stride_of, dtype)
    places = jnp.where(number >= constant(window.tap_count, dtype), beyond, place)
    images, channels = (lax.broadcasted_iota(jnp.int32, winner.shape, axis) for axis in (0, winner.ndim - 1))
    return images, places, channels
