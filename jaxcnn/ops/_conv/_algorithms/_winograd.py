"""`winograd2`, `winograd4`: kernels of 3 taps per axis by fewer products, F(2x2, 3x3) and F(4x4, 3x3)          [R 1.8]

Along one axis, m outputs of 3 taps from a tile of a = m + 2 inputs take a products instead of 3 m:

    y = A^T [(G k) . (B^T x)]           . elementwise; constant matrices A (a, m), G (a, 3), B (a, a)

Along several axes each transform is applied to every axis. With U = G k, and for every tile V = B^T x and W = A g, the
trilinear form is a sum over tiles and places of V U W, so that each of its maps is one transform's transpose:

    correlate        y  = A^T (V U)         summed over C_in
    input_gradient   dx = B (W U^T)         summed over C_out; tiles of x overlap, and what they share adds up
    kernel_gradient  dk = G^T (V^T W)       summed over images and tiles

The matrices are those of A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks (2016), equations
(6)-(15): interpolation at 0, 1, -1 (and 2, -2) and infinity. Transforms are computed in float32 or wider; for m = 4
they hold numbers up to 8, and lose about three bits.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._types import Kernel, X, Y
from jaxcnn.ops._lib._window import Window
from jaxcnn.ops._unfold import fold_window, unfold_window

TAPS = 3


class Transforms(NamedTuple):
    """A^T, G and B^T of m outputs a tile."""

    of_y: np.ndarray
    of_kernel: np.ndarray
    of_x: np.ndarray


TRANSFORMS = {
    2: Transforms(
        of_y=np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
        of_kernel=np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
        of_x=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    ),
    4: Transforms(
        of_y=np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
        of_kernel=np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        of_x=np.array(
            [
                [4, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
    ),
}


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    window = problem.window
    if set(window.size) != {TAPS}:
        return f"the kernel must have {TAPS} taps per axis, not {window.size}"
    if {*window.stride, *window.dilation, problem.groups} != {1}:
        return f"stride, dilation and groups must be 1, not {window.stride}, {window.dilation} and {problem.groups}"
    return None


class Winograd:
    """The maps with m outputs a tile and axis."""

    def __init__(self, m: int) -> None:
        self.m = m
        self.transforms = TRANSFORMS[m]

    def correlate(self, problem: Problem, x: X, kernel: Kernel) -> Y:
        """y = A^T (V U)."""
        v, u = self._of_x(problem, x), self._of_kernel(problem, kernel)
        places = self._contract(problem, v, u, (v.ndim - 1,), (u.ndim - 2,))
        tiles = _apply(self.transforms.of_y, places, problem)
        return fold_window(self._tiles_of_y(problem), _columns(tiles, problem)).astype(problem.dtypes.y)

    def input_gradient(self, problem: Problem, dy: Y, kernel: Kernel) -> X:
        """dx = B (W U^T)."""
        w, u = self._of_dy(problem, dy), self._of_kernel(problem, kernel)
        places = self._contract(problem, w, u, (w.ndim - 1,), (u.ndim - 1,))
        tiles = _apply(self.transforms.of_x.T, places, problem)
        return fold_window(self._tiles_of_x(problem), _columns(tiles, problem)).astype(problem.dtypes.x)

    def kernel_gradient(self, problem: Problem, x: X, dy: Y) -> Kernel:
        """dk = G^T (V^T W)."""
        v, w = self._of_x(problem, x), self._of_dy(problem, dy)
        images_and_tiles = tuple(range(len(problem.window.size), v.ndim - 1))
        places = self._contract(problem, v, w, images_and_tiles, images_and_tiles)
        return _apply(self.transforms.of_kernel.T, places, problem).astype(problem.dtypes.kernel)

    def _of_x(self, problem: Problem, x: jax.Array) -> jax.Array:
        """V = B^T x: (*a, N, *tiles, C_in)."""
        return _apply(
            self.transforms.of_x, _places(x.astype(problem.dtypes.of_sums), self._tiles_of_x(problem)), problem
        )

    def _of_kernel(self, problem: Problem, kernel: jax.Array) -> jax.Array:
        """U = G k: (*a, C_in, C_out)."""
        return _apply(
            self.transforms.of_kernel, kernel.astype(problem.dtypes.x).astype(problem.dtypes.of_sums), problem
        )

    def _of_dy(self, problem: Problem, dy: jax.Array) -> jax.Array:
        """W = A dy: (*a, N, *tiles, C_out)."""
        return _apply(
            self.transforms.of_y.T, _places(dy.astype(problem.dtypes.of_sums), self._tiles_of_y(problem)), problem
        )

    def _contract(
        self,
        problem: Problem,
        left: jax.Array,
        right: jax.Array,
        left_axes: tuple[int, ...],
        right_axes: tuple[int, ...],
    ) -> jax.Array:
        """The sum of products over the named axes, apart for each place of the tile."""
        places = tuple(range(len(problem.window.size)))
        return lax.dot_general(left, right, ((left_axes, right_axes), (places, places)), precision=problem.precision)

    def _tiles_of_x(self, problem: Problem) -> Window:
        window, m = problem.window, self.m
        padding = tuple(
            (lo, -(-out // m) * m + TAPS - 1 - h - lo)
            for h, out, (lo, _) in zip(window.shape, window.out, window.padding, strict=True)
        )
        axes = len(window.shape)
        return Window(window.shape, (m + TAPS - 1,) * axes, (m,) * axes, padding, (1,) * axes)

    def _tiles_of_y(self, problem: Problem) -> Window:
        out, m = problem.window.out, self.m
        padding = tuple((0, -(-n // m) * m - n) for n in out)
        return Window(out, (m,) * len(out), (m,) * len(out), padding, (1,) * len(out))


def _apply(matrix: np.ndarray, array: jax.Array, problem: Problem) -> jax.Array:
    """The matrix along each of the first axes, one per spatial axis."""
    constant = jnp.asarray(matrix, array.dtype)
    for axis in range(len(problem.window.size)):
        array = jnp.moveaxis(jnp.tensordot(constant, array, ((1,), (axis,)), precision="highest"), 0, axis)
    return array


def _places(array: jax.Array, tiles: Window) -> jax.Array:
    """Every tile of an array (N, *spatial, C), by place in the tile: (*size, N, *tiles, C)."""
    rows = unfold_window(tiles, array)
    rows = rows.reshape(*rows.shape[:-1], *tiles.size, array.shape[-1])
    axes = len(tiles.size)
    return jnp.moveaxis(rows, range(1 + axes, 1 + 2 * axes), range(axes))


def _columns(places: jax.Array, problem: Problem) -> jax.Array:
    """(*size, N, *tiles, C) as the rows that `fold_window` takes: (N, *tiles, prod(size) C)."""
    axes = len(problem.window.size)
    rows = jnp.moveaxis(places, range(axes), range(1 + axes, 1 + 2 * axes))
    return lax.collapse(rows, 1 + axes)


def _algorithm(m: int) -> Algorithm:
    by = Winograd(m)
    maps = {"correlate": by.correlate, "input_gradient": by.input_gradient, "kernel_gradient": by.kernel_gradient}
    return Algorithm(f"winograd{m}", maps, unsupported=unsupported)


WINOGRAD2, WINOGRAD4 = map(_algorithm, TRANSFORMS)
