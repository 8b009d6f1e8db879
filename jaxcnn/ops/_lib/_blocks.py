"""What every window gives to its pixels, summed pixel by pixel: the adjoint of all taps' `take` in one loop.

    x[n, a, c] = sum_(i, u : a = i s + u - lo) share of tap u in window i

Tap by tap (`Window.put`) that is a sum of arrays stuffed with s - 1 zeros between any two rows. In blocks of a stride
nothing is stuffed: with a + lo = s j + p, the phase p in 0 .. s-1, pixel a lies in window j - m as its tap p + s m, for
every m >= 0 where that is below k. So

    x[n, s j + p - lo, c] = sum_m share of tap p + s m in window j - m

The s phases of a block are an axis of their own, along which j - m is the same: ceil(k / s) terms per axis, not k.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._lib._bounds import UNROLLED
from jaxcnn.ops._lib._window import Window

# share(number, is_tap, *arrays): of tap `number` where it is one; all broadcast to (N, blocks, phases, .., C)
Share = Callable[..., jax.Array]


def supports(window: Window) -> bool:
    """Whether `collect` can, within the bounds: with phases 2 axes make 6, and XLA:CPU sometimes crashes at more."""
    if len(window.shape) > 2 or set(window.dilation) != {1} or window.is_symbolic:
        return False
    terms = prod(-(-k // s) for k, s in zip(window.size, window.stride, strict=True))
    return terms <= UNROLLED and all(lo >= 0 for lo, _ in window.padding)


def collect(window: Window, share: Share, *arrays: jax.Array) -> jax.Array:
    """(N, *shape, C), each pixel the sum of its shares in arrays (N, *out, C), which are 0 beyond the windows."""
    axes = list(zip(window.size, window.stride, strict=True))
    blocks = [-(-(h + lo) // s) for h, (lo, _), s in zip(window.shape, window.padding, window.stride, strict=True)]
    x = reduce(
        jnp.add,
        [
            share(*_taps(window, before), *[_windows(window, array, before, blocks) for array in arrays])
            for before in itertools.product(*[range(-(-k // s)) for k, s in axes])
        ],
    )
    for axis in range(1, len(axes) + 1):
        x = lax.collapse(x, axis, axis + 2)  # one at a time: under an explicit mesh a reshape may merge no more
    starts = [lo for lo, _ in window.padding]
    stops = [lo + h for lo, h in zip(starts, window.shape, strict=True)]
    return lax.slice(x, (0, *starts, 0), (x.shape[0], *stops, x.shape[-1]))


def _taps(window: Window, before: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For each phase, the number of the tap p + s m of the window m before its block's, and whether there is one."""
    taps = np.meshgrid(*[np.arange(s) + s * m for s, m in zip(window.stride, before, strict=True)], indexing="ij")
    is_tap = reduce(np.logical_and, [tap < k for tap, k in zip(taps, window.size, strict=True)])
    number = np.ravel_multi_index([np.where(is_tap, tap, 0) for tap in taps], window.size)
    apart = (0, *range(1, 2 * len(taps), 2), 2 * len(taps) + 1)
    return np.expand_dims(number, apart), np.expand_dims(is_tap, apart)


def _windows(window: Window, array: jax.Array, before: tuple[int, ...], blocks: list[int]) -> jax.Array:
    """Window j - m for every block j, 0 where there is none: (N, blocks, 1, ..., C)."""
    around = [(m, n - m - out, 0) for m, n, out in zip(before, blocks, window.out, strict=True)]
    shifted = lax.pad(array, jnp.zeros((), array.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    return jnp.expand_dims(shifted, range(2, 2 * len(blocks) + 1, 2))
