"""Max pooling's `select` and `route` as a TPU does them natively, in the least memory traffic.

A TPU's compiler makes one kernel of a `reduce_window`, of several arrays at once too, and of what reads its windows'
pixels without a stride; of strided slices it makes copies. So

    first_maximum   one reduce_window over pairs (x, place), place a pixel's number in its image. It takes the greater
                    x (NaN is the greatest), of equals the lower place. Padding has the place after the last.
    route           dy_e and winner_e, dy and winner with s - 1 empty rows between any two, summed with stride 1:

                        dx[a] = sum_u [winner_e[a - u d + lo] = u] dy_e[a - u d + lo]

`jaxcnn bench compiled` has the bytes that both access. On a CPU both give the same, more slowly.
"""

from __future__ import annotations

from functools import reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._lib._types import Image, Pooled, Winner
from jaxcnn.ops._lib._window import Size, Window

Pair = tuple[jax.Array, jax.Array]


def first_maximum(window: Window, x: Image) -> tuple[Pooled, Winner]:
    """y and the number of the tap that was selected."""
    beyond = np.asarray(prod(window.shape), np.min_scalar_type(prod(window.shape)))
    place = jnp.broadcast_to(jnp.arange(beyond, dtype=beyond.dtype).reshape(1, *window.shape, 1), x.shape)
    y, selected = lax.reduce_window(
        (x, place),
        (np.asarray(-np.inf, x.dtype), beyond),
        _first_of_two,
        (1, *window.size, 1),
        (1, *window.stride, 1),
        ((0, 0), *window.padding, (0, 0)),
        window_dilation=(1, *window.dilation, 1),
    )
    return y, _tap_at(selected, window).astype(np.min_scalar_type(window.tap_count))


def counts(window: Window) -> bool:
    """Whether an image's places are known, fit an int32, and none is cropped by padding."""
    is_known = not window.is_symbolic and all(lo >= 0 and hi >= 0 for lo, hi in window.padding)
    return is_known and prod(window.shape) < 2**31


def routes_less(window: Window) -> bool:
    """Whether `route` moves less than by blocks of a stride: where windows overlap, and one kernel takes all taps.

    Of 3x3/2, 128x28x28x32: 42 MB, by blocks 186. Of 25 taps the compiler makes copies: 198 MB, by blocks 173.
    """
    return window.tap_count <= 9 and any(r > s for r, s in zip(window.span, window.stride, strict=True))


def route(window: Window, dy: Pooled, winner: Winner) -> Image:
    """dx: each dy at the place of its winner."""
    apart = [(0, 0, 0), *[(0, 0, s - 1) for s in window.stride], (0, 0, 0)]
    nobody, nothing = jnp.asarray(window.tap_count, winner.dtype), jnp.zeros((), dy.dtype)
    winner, dy = lax.pad(winner, nobody, apart), lax.pad(dy, nothing, apart)
    shares = []
    for number, tap in enumerate(window.taps):
        around = [(0, 0, 0), *_around(window, tap, dy.shape[1:-1]), (0, 0, 0)]
        # each padded apart: of one padded array's slices the compiler would make copies
        shares.append(jnp.where(lax.pad(winner, nobody, around) == number, lax.pad(dy, nothing, around), 0))
    return reduce(jnp.add, shares)


def _first_of_two(left: Pair, right: Pair) -> Pair:
    (a, at_a), (b, at_b) = left, right
    a_is_nan, b_is_nan = a != a, b != b
    greater = (a > b) | (a_is_nan & ~b_is_nan)
    is_left = greater | (((a == b) | (a_is_nan & b_is_nan)) & (at_a < at_b))
    return jnp.where(is_left, a, b), jnp.where(is_left, at_a, at_b)


def _tap_at(place: jax.Array, window: Window) -> jax.Array:
    """The row-major number of the tap that stands at that place of the image, for every window."""
    place = place.astype(jnp.int32)
    number = jnp.zeros((), jnp.int32)
    axes = zip(window.shape, window.size, window.stride, window.padding, window.dilation, strict=True)
    for axis, (_, k, s, (lo, _), d) in enumerate(axes):
        row = place // prod(window.shape[axis + 1 :]) % window.shape[axis]
        start = lax.broadcasted_iota(jnp.int32, (1, *window.out, 1), axis + 1) * s - lo
        number = number * k + (row - start) // d
    return number


def _around(window: Window, tap: tuple[int, ...], lengths: tuple[Size, ...]) -> list[tuple[Size, Size, int]]:
    """The padding that brings rows without a stride to where the tap saw them, cropped where that is in padding."""
    axes = zip(tap, window.dilation, window.shape, lengths, window.padding, strict=True)
    return [(u * d - lo, h - (u * d - lo) - length, 0) for u, d, h, length, (lo, _) in axes]
