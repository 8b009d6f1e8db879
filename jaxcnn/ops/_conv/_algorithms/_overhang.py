"""What keeps `direct` on all cores of a CPU: a result a row longer than needed, the row then cut off.

    correlate        y,  and after it what windows see that hang over x's end                                   [R 1]
    input_gradient   dx, and after it what an x with more rows would get                                        [R 6, 8]

XLA:CPU leaves 2-D convolutions of or to over 16 channels to YNNPACK, which on jax 0.10 computes many of them on one
core, whatever the machine has. Where the result is longer along some axis than what it is made of, XLA computes it
itself, on all. So many rows are added as that takes: one, where padding keeps the size, along the axis where they cost
least.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import NamedTuple

import jax
import numpy as np

from jaxcnn.ops._conv._problem import Problem

ONE_CORE = jax.__version_info__ < (0, 11)


class Longer(NamedTuple):
    """A problem whose result goes on along a spatial axis, and how long the wanted part is there."""

    problem: Problem
    axis: int
    length: int


def longer(which: str, problem: Problem) -> Longer | None:
    """The problem to compute in place of this one, where that helps."""
    window = problem.window
    if problem.groups > 1 or {*window.stride} != {1} or window.is_symbolic:
        return None
    if which == "correlate":  # of x with more zeros after it [R 1]
        source, result, channels, dtype = window.shape, window.out, (problem.c_in, problem.c_out), problem.dtypes.x
        if not _helps(problem.images, source, result, channels, dtype):
            return None
        axis, more = _overhang(source, result)
        wider = replace(window, padding=_end_later(window.padding, axis, more))
    elif which == "input_gradient":  # of an x with more rows, and as many zeros fewer after it [R 6, 8]
        source, result, channels = window.out, window.shape, (problem.c_out, problem.c_in)
        if not _helps(problem.images, source, result, channels, problem.dtypes.of_gradients):
            return None
        axis, more = _overhang(source, result)
        shape = tuple(h + more * (i == axis) for i, h in enumerate(result))
        wider = replace(window, shape=shape, padding=_end_later(window.padding, axis, -more))
    else:
        return None
    return Longer(replace(problem, window=wider), axis, result[axis])


def _helps(
    images: int | None, source: tuple[int, ...], result: tuple[int, ...], channels: tuple[int, int], dtype: np.dtype
) -> bool:
    """Whether YNNPACK convolves images of size `source` to `result`, of c to d channels, no faster than one core could.

    As measured: where padding keeps the size, if d <= 64 or c d <= 2^13; where it does not, of any channels. Not of
    small arrays, nor where the rows to add are over a quarter of the result; nor in float64, which XLA itself convolves
    by plain loops: the longer result took nine times as long.
    """
    c, d = channels
    if not ONE_CORE or images is None or len(source) != 2 or dtype != np.float32 or c < 8 or d <= 16:
        return False
    axis, more = _overhang(source, result)
    is_left_to_one = more > 1 or (more == 1 and (d <= 64 or c * d <= 2**13))
    return is_left_to_one and 4 * more <= result[axis] and images * prod(source) * c >= 2**17


def _overhang(source: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, int]:
    """The axis along which to make a result longer than its source, and by how much: the least share of its length."""
    more = [max(0, h + 1 - out) for h, out in zip(source, result, strict=True)]
    axis = min(range(len(more)), key=lambda i: more[i] / max(1, result[i]))
    return axis, more[axis]


def _end_later(padding: tuple[tuple[int, int], ...], axis: int, more: int) -> tuple[tuple[int, int], ...]:
    """The padding with so many rows more after an axis."""
    return tuple((lo, hi + more * (i == axis)) for i, (lo, hi) in enumerate(padding))
