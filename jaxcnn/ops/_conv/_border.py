"""What stands around x where a convolution's padding is not of zeros.

Along one axis, with x of length H, place a of the padded axis holds x[m[a]], m[a] a place in x:

    "reflect"    x mirrored at its first and last place, which are not repeated       c b | a b c | b a
    "circular"   x again, as on a ring                                                b c | a b c | a b
    "edge"       the first and the last place                                         a a | a b c | c c

Forward     p[n, a, c] = x[n, m[a], c], one axis after another; padding below 0 crops
Backward    linear, so dx is the adjoint applied to dp: each place collects what its copies get

                dx[n, h, c] = sum_(a : m[a] = h) dp[n, a, c]                                                       (B10)

            and the adjoint's own gradient is the forward again. m consists of runs that go up, go down or stay:
            the forward joins one slice per run, the adjoint adds them up, in float32 or wider. Where padding is so long
            that there may be over `UNROLLED` runs, m is computed place by place, and the forward is a gather.
Residuals   none
Conventions NumPy's for padding longer than x: what is mirrored is mirrored again
Sources     [R] 1.2 pads by zeros; the others are as in `numpy.pad` and PyTorch's padding_mode
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._lib._bounds import UNROLLED
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import varying_alike
from jaxcnn.ops._lib._theorems import adjoint_pair
from jaxcnn.ops._lib._types import Image, Pooled
from jaxcnn.ops._lib._window import Shape, Size, constant, is_symbolic

MODES = ("reflect", "circular", "edge")
Padding = tuple[tuple[int, int], ...]
FOREVER = 2**63


class Run(NamedTuple):
    """Places of the padded axis whose places in x go up by 1, down by 1, or stay."""

    first: int
    length: int
    step: int


def reference(x: jax.Array, padding: Padding, mode: str) -> jax.Array:
    """The plain forward: `jnp.pad`, after a crop."""
    for axis, (lo, hi) in enumerate(padding, start=1):
        x = lax.slice_in_dim(x, max(0, -lo), x.shape[axis] - max(0, -hi), axis=axis)
    around = [(0, 0), *((max(0, lo), max(0, hi)) for lo, hi in padding), (0, 0)]
    return jnp.pad(x, around, {"reflect": "reflect", "circular": "wrap", "edge": "edge"}[mode])


class Border(NamedTuple):
    """The spatial shape of x, and what stands around it."""

    shape: Shape
    padding: Padding
    mode: str


def _extended(border: Border, x: Image) -> Pooled:
    """p: x (N, *shape, C) with its border."""
    for axis, (size, lo, hi) in _axes(border):
        if _has_many_runs(size, lo, hi):
            x = jnp.take(x, _places(size, lo, hi, border.mode), axis, mode="clip")
        else:
            x = jnp.concatenate([_of_run(x, run, axis) for run in _runs(size, lo, hi, border.mode)], axis)
    return x


def _collected(border: Border, dp: Pooled) -> Image:
    """dx (N, *shape, C) (B10)."""
    dx = dp.astype(accumulator(dp.dtype))
    for axis, (size, lo, hi) in reversed(_axes(border)):
        if _has_many_runs(size, lo, hi):
            dx = _at_places(dx, _places(size, lo, hi, border.mode), axis, size)
            continue
        start, parts = 0, []
        for run in _runs(size, lo, hi, border.mode):
            part = lax.slice_in_dim(dx, start, start + run.length, axis=axis)
            parts.append(_into(part, run, axis, size))
            start += run.length
        dx = sum(parts[1:], parts[0])
    return dx.astype(dp.dtype)


extend, collect = adjoint_pair(_extended, _collected)


def _axes(border: Border) -> list[tuple[int, tuple[Size, int, int]]]:
    """Of each spatial axis: its number in x, its size, and how much stands before and after it."""
    sizes = zip(border.shape, border.padding, strict=True)
    return list(enumerate([(size, lo, hi) for size, (lo, hi) in sizes], start=1))


def _has_many_runs(size: Size, lo: int, hi: int) -> bool:
    """Whether padding may be so long that it has over `UNROLLED` runs."""
    return is_symbolic(size) or 2 * (max(0, lo) + max(0, hi)) > UNROLLED * _kept(size, lo, hi)


def _kept(size: Size, lo: int, hi: int) -> Size:
    """How many places of an axis are left where padding below 0 crops."""
    return size + min(0, lo) + min(0, hi)


def _runs(size: int, lo: int, hi: int, mode: str) -> list[Run]:
    """m along an axis, in runs."""
    kept, first_kept = _kept(size, lo, hi), max(0, -lo)
    at, end = -max(0, lo), kept + max(0, hi)  # from the first kept place
    runs: list[Run] = []
    while at < end:
        first, length, step = _run_from(at, kept, mode)
        runs.append(Run(first_kept + first, min(length, end - at), step))
        at += length
    return runs


def _run_from(at: int, kept: int, mode: str) -> tuple[int, int, int]:
    """The run of an endless border that place `at` lies in, from that place on."""
    if 0 <= at < kept:
        return at, kept - at, 1
    if mode == "edge" or kept == 1:
        return (0, -at, 0) if at < 0 else (kept - 1, FOREVER, 0)
    if mode == "circular":
        return at % kept, kept - at % kept, 1
    turn = at % (2 * (kept - 1))  # there and back
    return (turn, kept - turn, 1) if turn < kept else (2 * (kept - 1) - turn, 2 * (kept - 1) - turn, -1)


def _places(size: Size, lo: int, hi: int, mode: str) -> jax.Array:
    """m along an axis, place by place."""
    kept = _kept(size, lo, hi)
    length = kept + max(0, lo) + max(0, hi)
    at = lax.broadcasted_iota(jnp.int32, (length,), 0) - max(0, lo)
    last = constant(kept - 1, jnp.int32)
    if mode == "edge":
        at = jnp.clip(at, 0, last)
    elif mode == "circular":
        at = at % (last + 1)
    else:
        at = at % jnp.maximum(2 * last, 1)
        at = jnp.minimum(at, 2 * last - at)
    return at + max(0, -lo)


def _at_places(dp: jax.Array, places: jax.Array, axis: int, size: Size) -> jax.Array:
    """The sum of what stands at each place's copies: the adjoint of a gather."""
    shape = (size, *dp.shape[:axis], *dp.shape[axis + 1 :])
    _, zeros = varying_alike(dp, jnp.zeros(shape, dp.dtype))
    return jnp.moveaxis(zeros.at[places].add(jnp.moveaxis(dp, axis, 0)), 0, axis)


def _of_run(x: jax.Array, run: Run, axis: int) -> jax.Array:
    """What stands at a run's places."""
    least = min(run.first, run.first + run.step * (run.length - 1))
    part = lax.slice_in_dim(x, least, least + (run.length if run.step else 1), axis=axis)
    if run.step == 0:
        return jnp.broadcast_to(part, (*x.shape[:axis], run.length, *x.shape[axis + 1 :]))
    return part if run.step == 1 else lax.rev(part, (axis,))


def _into(part: jax.Array, run: Run, axis: int, size: int) -> jax.Array:
    """A run's share of x, zeros elsewhere: the adjoint of `_of_run`."""
    least = min(run.first, run.first + run.step * (run.length - 1))
    if run.step == 0:
        part = jnp.sum(part, axis=axis, keepdims=True)
    elif run.step == -1:
        part = lax.rev(part, (axis,))
    around = [(0, 0, 0)] * part.ndim
    around[axis] = (least, size - least - part.shape[axis], 0)
    return lax.pad(part, jnp.zeros((), part.dtype), around)
