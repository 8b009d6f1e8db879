"""`overhang`: `direct` made a row longer than needed, the row then cut off, to be computed on all cores of a CPU.

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

import jax
import numpy as np
from jax import lax

from jaxcnn.ops._conv._algorithms import _direct
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._types import Kernel, X, Y

ONE_CORE = jax.__version_info__ < (0, 11)


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    return None if set(problem.window.stride) == {1} else f"stride must be 1, not {problem.window.stride}"


def correlate(problem: Problem, x: X, kernel: Kernel) -> Y:
    """y, cut from a longer one: of x with more zeros after it [R 1]."""
    window = problem.window
    axis, more = overhang(window.shape, window.out)
    longer = replace(window, padding=end_later(window.padding, axis, more))
    return cut(_direct.correlate(replace(problem, window=longer), x, kernel), axis, window.out)


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """dx, cut from a longer one: of an x with more rows, and as many zeros fewer after it [R 6, 8]."""
    window = problem.window
    axis, more = overhang(window.out, window.shape)
    shape = tuple(h + more * (i == axis) for i, h in enumerate(window.shape))
    longer = replace(window, shape=shape, padding=end_later(window.padding, axis, -more))
    return cut(_direct.input_gradient(replace(problem, window=longer), dy, kernel), axis, window.shape)


def helps_correlate(problem: Problem) -> bool:
    """Whether `direct` would correlate on one core."""
    window, channels = problem.window, (problem.c_in, problem.c_out)
    return _is_dense(problem) and helps(problem.images, window.shape, window.out, channels, problem.dtypes.x)


def helps_input_gradient(problem: Problem) -> bool:
    """Whether `direct` would compute dx on one core."""
    window, channels = problem.window, (problem.c_out, problem.c_in)
    return _is_dense(problem) and helps(problem.images, window.out, window.shape, channels, problem.dtypes.of_gradients)


def helps(
    images: int | None, source: tuple[int, ...], result: tuple[int, ...], channels: tuple[int, int], dtype: np.dtype
) -> bool:
    """Whether YNNPACK convolves images of size `source` to `result`, of c to d channels, no faster than one core could.

    As measured: where padding keeps the size, if d <= 64 or c d <= 2^13; where it does not, of any channels. Not of
    small arrays, nor where the rows to add are over a quarter of the result.
    """
    c, d = channels
    if not ONE_CORE or images is None or len(source) != 2 or dtype.itemsize < 4 or c < 8 or d <= 16:
        return False
    axis, more = overhang(source, result)
    is_left_to_one = more > 1 or (more == 1 and (d <= 64 or c * d <= 2**13))
    return is_left_to_one and 4 * more <= result[axis] and images * prod(source) * c >= 2**17


def overhang(source: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, int]:
    """The axis along which to make a result longer than its source, and by how much: the least share of its length."""
    more = [max(0, h + 1 - out) for h, out in zip(source, result, strict=True)]
    axis = min(range(len(more)), key=lambda i: more[i] / max(1, result[i]))
    return axis, more[axis]


def end_later(padding: tuple[tuple[int, int], ...], axis: int, more: int) -> tuple[tuple[int, int], ...]:
    """The padding with so many rows more after an axis."""
    return tuple((lo, hi + more * (i == axis)) for i, (lo, hi) in enumerate(padding))


def cut(longer: jax.Array, axis: int, length: tuple[int, ...]) -> jax.Array:
    """The first rows along a spatial axis, as many as `length` has there."""
    return lax.slice_in_dim(longer, 0, length[axis], axis=axis + 1)


def _is_dense(problem: Problem) -> bool:
    return problem.groups == 1 and unsupported(problem) is None
