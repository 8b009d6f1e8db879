"""`phases`: the input gradient of a strided convolution without the zeros that `direct` puts between dy's rows.

Along one axis, tap u of window i stands at a = i s + u d - lo. Let a + lo = s j + p, its phase p in 0 .. s-1. Only taps
with u d = p (mod s) reach it: with g = gcd(s, d) none unless g divides p, else u = u_0 + (s/g) m, and then

    dx[s j + p - lo] = sum_m k[u_0 + (s/g) m] dy[j - t - (d/g) m],    s t = u_0 d - p                      [R 6; V 34]

Each phase is a dense convolution of dy with a part of the kernel, flipped, dilated by d/g and shifted by t >= 0; the
phases interleave to dx. Over all axes that is a convolution for each combination of phases, prod(s) in all. At the
borders a kernel meets the zeros around dy: what is not finite in it reaches pixels there that its tap does not
(`spreads`).
"""

from __future__ import annotations

import itertools
from math import gcd, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm, Cost
from jaxcnn.ops._conv._algorithms._direct import DIRECT, flip_and_transpose
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._dtypes import Dtypes
from jaxcnn.ops._lib._types import Kernel, X, Y
from jaxcnn.ops._lib._window import Window


class Phase(NamedTuple):
    """One phase of one axis: its taps, their distance in dy, and the padding that gives it its length."""

    taps: slice
    size: int
    dilation: int
    padding: tuple[int, int]


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    return "stride must be over 1 on some axis" if set(problem.window.stride) == {1} else None


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """dx, a dense convolution per phase [R 6; V 34]."""
    window, dtype = problem.window, problem.dtypes.of_gradients
    dy, kernel = dy.astype(dtype), kernel.astype(problem.dtypes.x).astype(dtype)
    axes = zip(window.shape, window.padding, window.stride, strict=True)
    lengths = tuple(-(-(h + lo) // s) for h, (lo, _), s in axes)
    phases = [[_phase(problem, axis, p, lengths[axis]) for p in range(s)] for axis, s in enumerate(window.stride)]
    parts = [_part(problem, dy, kernel, lengths, along) for along in itertools.product(*phases)]
    dx = _interleave(parts, window.stride)
    starts, stops = zip(*((lo, lo + h) for (lo, _), h in zip(window.padding, window.shape, strict=True)), strict=True)
    dx = lax.slice(dx, (0, *starts, 0), (dx.shape[0], *stops, dx.shape[-1]))
    return dx.astype(problem.dtypes.x)


def _phase(problem: Problem, axis: int, p: int, length: int) -> Phase:
    window = problem.window
    s, d, k, out = window.stride[axis], window.dilation[axis], window.size[axis], window.out[axis]
    g = gcd(s, d)
    first = next((u for u in range(s // g) if u * d % s == p), k)  # u_0; past the kernel where no tap reaches p
    taps = slice(first, None, s // g)
    size, shift, apart = len(range(k)[taps]), (first * d - p) // s, d // g
    lo = apart * (size - 1) + shift
    return Phase(taps, size, apart, (lo, length - out - shift))


def _part(
    problem: Problem, dy: jax.Array, kernel: jax.Array, lengths: tuple[int, ...], phases: tuple[Phase, ...]
) -> jax.Array:
    """One combination of phases: (N, *lengths, C_in)."""
    if not all(phase.size for phase in phases):
        return jnp.zeros((dy.shape[0], *lengths, kernel.shape[-2] * problem.groups), problem.dtypes.of_sums)
    taps = flip_and_transpose(kernel[tuple(phase.taps for phase in phases)], problem.groups)
    # rows of dy that only reach pixels beyond x: cropped here, since negative padding keeps XLA off cuDNN
    kept = tuple(n + min(0, phase.padding[1]) for n, phase in zip(dy.shape[1:-1], phases, strict=True))
    padding = tuple((lo, max(0, hi)) for lo, hi in (phase.padding for phase in phases))
    ones = (1,) * len(phases)
    sizes, dilation = tuple(phase.size for phase in phases), tuple(phase.dilation for phase in phases)
    part = Problem(
        Window(kept, sizes, ones, padding, dilation),
        problem.c_out,
        problem.c_in,
        problem.groups,
        Dtypes(dy.dtype, taps.dtype, problem.dtypes.of_sums),
        problem.precision,
        problem.images,
    )
    rows = lax.slice(dy, (0,) * dy.ndim, (dy.shape[0], *kept, dy.shape[-1]))
    return DIRECT.on("cpu", "correlate", part)(part, rows, taps)


def _interleave(parts: list[jax.Array], stride: tuple[int, ...]) -> jax.Array:
    """The parts in row-major order of their phases, an axis at a time from the last: (N, *(s lengths), C_in)."""
    for axis in range(len(stride), 0, -1):
        s = stride[axis - 1]
        groups = [parts[start : start + s] for start in range(0, len(parts), s)]
        parts = [lax.collapse(jnp.stack(group, axis + 1), axis, axis + 2) for group in groups]
    return parts[0]


PHASES = Algorithm(
    "phases",
    {"input_gradient": input_gradient},
    unsupported=unsupported,
    cost=lambda which, problem: Cost(unrolls=prod(problem.window.stride)),
    spreads={"input_gradient": (1,)},
)
