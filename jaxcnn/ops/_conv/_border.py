"""What stands around x where a convolution's padding is not of zeros.

Along one axis, of an x of length H, place a of the padded axis holds x[m[a]], m a map from places to places:

    "reflect"    x mirrored at its first and last place, which are not repeated       c b | a b c | b a
    "circular"   x again, as on a ring                                                b c | a b c | a b
    "edge"       the first and the last place                                         a a | a b c | c c

Forward     p[n, a, c] = x[n, m[a], c], one axis after another; padding below 0 crops
Backward    linear, so dx is the adjoint applied to dp: each place collects what its copies get

                dx[n, h, c] = sum_(a : m[a] = h) dp[n, a, c]                                                       (B10)

            and the adjoint's own gradient is the forward again. m runs up, down, or stays: in runs of such places the
            forward joins slices, and the adjoint adds them up, in float32 or wider.
Residuals   none
Conventions NumPy's for padding longer than x: what is mirrored is mirrored again
Sources     [R] 1.2 pads by zeros; the others are as in `numpy.pad` and PyTorch's padding_mode
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._dtypes import accumulator
from jaxcnn.ops._types import Image, Pooled

MODES = {"reflect": "reflect", "circular": "wrap", "edge": "edge"}  # NumPy's name of each
Padding = tuple[tuple[int, int], ...]


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


@partial(jax.custom_vjp, nondiff_argnames=("padding", "mode"))
def extend(x: Image, padding: Padding, mode: str) -> Pooled:
    """p: x (N, *spatial, C) with that padding around it."""
    for axis, (lo, hi) in enumerate(padding, start=1):
        x = jnp.concatenate([_of_run(x, run, axis) for run in _runs(x.shape[axis], lo, hi, mode)], axis)
    return x


def _extend_fwd(x: Image, padding: Padding, mode: str) -> tuple[jax.Array, tuple[int, ...]]:
    return extend(x, padding, mode), x.shape[1:-1]


def _extend_bwd(padding: Padding, mode: str, shape: tuple[int, ...], dp: Pooled) -> tuple[jax.Array]:
    return (collect(dp, shape, padding, mode),)  # (B10)


extend.defvjp(_extend_fwd, _extend_bwd)


@partial(jax.custom_vjp, nondiff_argnames=("shape", "padding", "mode"))
def collect(dp: Pooled, shape: tuple[int, ...], padding: Padding, mode: str) -> Image:
    """dx (N, *shape, C): the adjoint of `extend`."""
    dx = dp.astype(accumulator(dp.dtype))
    for axis, (size, (lo, hi)) in reversed(list(enumerate(zip(shape, padding, strict=True), start=1))):
        start, parts = 0, []
        for run in _runs(size, lo, hi, mode):
            part = lax.slice_in_dim(dx, start, start + run.length, axis=axis)
            parts.append(_into(part, run, axis, size))
            start += run.length
        dx = sum(parts[1:], parts[0])
    return dx.astype(dp.dtype)


def _collect_fwd(dp: Pooled, shape: tuple[int, ...], padding: Padding, mode: str) -> tuple[jax.Array, None]:
    return collect(dp, shape, padding, mode), None


def _collect_bwd(shape: tuple[int, ...], padding: Padding, mode: str, _: None, x: Image) -> tuple[jax.Array]:
    return (extend(x, padding, mode),)


collect.defvjp(_collect_fwd, _collect_bwd)


def _runs(size: int, lo: int, hi: int, mode: str) -> list[Run]:
    """m along an axis, in runs."""
    cropped = np.arange(size)[max(0, -lo) : size - max(0, -hi)]
    places = np.pad(cropped, (max(0, lo), max(0, hi)), MODES[mode])  # type: ignore[call-overload] # one of its names
    runs: list[Run] = []
    at = 0
    while at < len(places):
        steps = np.diff(places[at:])
        step = int(steps[0]) if len(steps) and abs(steps[0]) <= 1 else 1
        same = steps == step
        length = 1 + (len(same) if same.all() else int(same.argmin()))
        runs.append(Run(int(places[at]), length, step))
        at += length
    return runs


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
