"""The core of a convolution: the windows that see something, and the pixels that they may see.

With wide padding the first windows may end before x begins, and the last begin after it ends. Negative padding crops x.
Along one axis, in the coordinates of the cropped x, of size h,

    window i sees nothing      if  i s - lo + (k - 1) d < 0,  as the first ones do, or  i s - lo >= h,  as the last ones

Such windows have y = 0, and give nothing to any gradient. So each map is that of the core, between a crop and its
adjoint, which puts zeros around:

    correlate        y  = around(correlate(inside(x), k))                                                        [R 1]
    input_gradient   dx = around(input_gradient(inside(dy), k))                                                  [R 6]
    kernel_gradient  dk = kernel_gradient(inside(x), inside(dy))                                                 [R 5]

So algorithms never meet a window that sees nothing, except where dilation exceeds x's size and x lies between two of
its taps, which needs no care. If no pixels, windows, channels or images are left at all, y and the gradients are
zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._meshes import laid_out
from jaxcnn.ops._lib._window import Size, at_least, is_symbolic

Edges = tuple[tuple[Size, Size], ...]  # how many before and after, per spatial axis


@dataclass(frozen=True)
class Core:
    """The core of a problem, what is cut from x for it, and the windows that see nothing."""

    problem: Problem
    cut: Edges
    blind: Edges

    @classmethod
    def of(cls, problem: Problem) -> Core:
        """The core of a problem."""
        window = problem.window
        axes = zip(window.shape, window.size, window.stride, window.padding, window.dilation, strict=True)
        cut, blind, padding = zip(*(_axis(*axis) for axis in axes), strict=True)
        shape = tuple(h - lo - hi for h, (lo, hi) in zip(window.shape, cut, strict=True))
        kept = replace(window, shape=shape, padding=padding)
        return cls(replace(problem, window=kept), cut, blind)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left, so that all is zeros."""
        problem = self.problem
        sizes = (problem.images, problem.c_in, problem.c_out, *problem.window.shape, *problem.window.out)
        return any(not is_symbolic(size) and size <= 0 for size in sizes if size is not None)


def _axis(h: Size, k: int, s: int, padding: tuple[Size, Size], d: int) -> Edges:
    """Of one axis: what is cut from x, how many windows see nothing, and the padding that is left."""
    if any(map(is_symbolic, padding)):  # "SAME", whose windows all see something
        return (0, 0), (0, 0), padding
    cut_lo, cut_hi = (max(0, -edge) for edge in padding)
    lo, hi = (max(0, edge) for edge in padding)
    left, r = h - cut_lo - cut_hi, d * (k - 1) + 1
    out = (left + lo + hi - r) // s + 1
    first = max(0, -(-(lo - (r - 1)) // s))
    last = 0 if hi < r else out - 1 - (left + lo - 1) // s
    depends = is_symbolic(last) or (is_symbolic(out) and (first > 0 or at_least(out, last + 1) != out))
    if depends or first == last == 0:  # where that depends on the size, `direct` computes the zeros too
        return (cut_lo, cut_hi), (0, 0), (lo, hi)
    if first + last >= out:
        return (h, 0), (0, 0), (0, 0)
    lo -= first * s
    hi = hi if last == 0 else (out - first - last - 1) * s + r - left - lo
    cut = cut_lo + max(0, -lo), cut_hi + max(0, -hi)
    return cut, (first, last), (max(0, lo), max(0, hi))


def inside(array: jax.Array, edges: Edges) -> jax.Array:
    """(N, *spatial, C) without its edges; the adjoint of `around`."""
    return _with_edges(array, tuple((-lo, -hi) for lo, hi in edges), array)


def around(array: jax.Array, edges: Edges, like: jax.Array) -> jax.Array:
    """(N, *spatial, C) with zeros for edges; on an explicit mesh it is sharded as `like`."""
    return _with_edges(array, edges, like)


def _with_edges(array: jax.Array, edges: Edges, like: jax.Array) -> jax.Array:
    """(N, *spatial, C) with so many zeros around it, or so many places fewer."""
    if not any(map(any, edges)):
        return array
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in edges), (0, 0, 0)]
    shape = [size + lo + hi for size, (lo, hi, _) in zip(array.shape, config, strict=True)]

    def padded(array: jax.Array) -> jax.Array:
        return lax.pad(array, jnp.zeros((), array.dtype), config)

    places = [(like, axis) for axis in range(like.ndim - 1)]
    return laid_out(padded, array, shape=shape, of_axes=[*places, (array, array.ndim - 1)])
