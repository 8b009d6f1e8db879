"""`toeplitz`: the last spatial axis as one banded matrix, for few channels.

Along one axis a convolution is a product with a matrix that has the kernel on its diagonals, a Toeplitz matrix. With w
a place of the padded last axis, j a window along it, v a tap of the kernel along it, s and r its stride and dilation,
and with x_u what tap u of the axes before it sees of x (`Window.take`), put_u its adjoint (`Window.put`):

    banded matrix    B[u, w, c, j, d]  = sum_v [w = j s + v r] k[u, v, c, d]

    correlate        y[n, i, j, d]     = sum_(u, w, c) x_u[n, i, w, c] B[u, w, c, j, d]                          [R 1]
    input_gradient   dx[.., w, c]      = sum_u put_u(sum_(j, d) dy[n, i, j, d] B[u, w, c, j, d])                 [R 6]
    kernel_gradient  dB[u, w, c, j, d] = sum_(n, i) x_u[n, i, w, c] dy[n, i, j, d]
                     dk[u, v, c, d]    = sum_(w, j) [w = j s + v r] dB[u, w, c, j, d]                            [R 5]

so that each is `im2col` over the axes before, with the last axis among the channels. That is W / k times as many
multiplications as needed, most of them by zeros, in products of W C by out D where C by D is too little for a product,
and k times fewer values to copy. As many images are taken at a time as have their x_u side by side in 8 MiB; if not
even one has, or a program may not spell out all u (`_bounds`), a loop takes one u after another.

Zeros add no rounding, but make NaN of what is not finite: such a pixel reaches all windows of its rows (`spreads`).
"""

from __future__ import annotations

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm
from jaxcnn.ops._conv._chunks import in_chunks
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._bounds import UNROLLED
from jaxcnn.ops._lib._types import Kernel, X, Y
from jaxcnn.ops._lib._window import Window
from jaxcnn.ops._unfold import fold_window, unfold_window

GREATEST_MATRIX = 2**22  # elements, of one u: 16 MiB in float32
SIDE_BY_SIDE = 2**23  # bytes of x_u and B_u: 2**21 made [V]'s step in a scan a quarter slower


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    if problem.groups > 1:
        return f"groups must be 1, not {problem.groups}"
    if problem.window.is_symbolic:
        return "the spatial sizes must be known"
    elements = _width(problem) * problem.c_in * problem.window.out[-1] * problem.c_out
    if elements > GREATEST_MATRIX:
        return f"its banded matrix would have {elements:,} elements, more than {GREATEST_MATRIX:,}"
    return None


def correlate(problem: Problem, x: X, kernel: Kernel) -> Y:
    """y = sum_u x_u B_u [R 1]."""
    before, flat = _before_last(problem.window), _padded_last(problem, x)
    kernel = kernel.astype(problem.dtypes.x)
    if (images := _images_side_by_side(problem)) is not None:
        banded = _banded(problem, kernel)
        (y,), _ = in_chunks(lambda x: ([_product(problem, unfold_window(before, x), banded, 0)], []), images, flat)
    else:
        padded = before.pad(flat)

        def of_tap(number: jax.Array) -> jax.Array:
            return _product(problem, before.take_numbered(padded, number), _banded_of(problem, kernel, number), 0)

        y = lax.fori_loop(1, before.tap_count, lambda number, y: y + of_tap(number), of_tap(jnp.zeros((), jnp.int32)))
    return y.reshape(x.shape[0], *problem.window.out, problem.c_out).astype(problem.dtypes.y)


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """dx = sum_u put_u(dy B_u^T) [R 6]."""
    dtype, before = problem.dtypes.of_gradients, _before_last(problem.window)
    kernel, flat = kernel.astype(problem.dtypes.x).astype(dtype), _flat(dy.astype(dtype))
    if (images := _images_side_by_side(problem)) is not None:
        banded = _banded(problem, kernel)
        (dx,), _ = in_chunks(lambda dy: ([fold_window(before, _product(problem, dy, banded, 1))], []), images, flat)
    else:

        def of_tap(number: jax.Array) -> jax.Array:
            return _product(problem, flat, _banded_of(problem, kernel, number), 1)

        def with_tap(number: jax.Array, padded: jax.Array) -> jax.Array:
            return before.add_numbered(padded, of_tap(number), number)

        first = before.over_padding.put(of_tap(jnp.zeros((), jnp.int32)), (0,) * len(before.size))
        dx = before.unpad(lax.fori_loop(1, before.tap_count, with_tap, first))
    dx = dx.reshape(dy.shape[0], *problem.window.shape[:-1], _width(problem), problem.c_in)
    lo, _ = problem.window.padding[-1]
    return lax.slice_in_dim(dx, lo, lo + problem.window.shape[-1], axis=dx.ndim - 2).astype(problem.dtypes.x)


def kernel_gradient(problem: Problem, x: X, dy: Y) -> Kernel:
    """dk_u, the sums along the diagonals of dB_u = x_u^T dy [R 5]."""
    dtype, before = problem.dtypes.of_gradients, _before_last(problem.window)
    flat, dy = _padded_last(problem, x.astype(dtype)), _flat(dy.astype(dtype))
    if (images := _images_side_by_side(problem)) is not None:

        def of_images(x: jax.Array, dy: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
            return [], [_transposed_product(problem, unfold_window(before, x), dy)]

        _, (matrix,) = in_chunks(of_images, images, flat, dy)
        dk = _diagonal_sums(problem, matrix)
    else:
        padded = before.pad(flat)
        numbers = jnp.arange(before.tap_count, dtype=jnp.int32)
        dk = lax.map(
            lambda number: _diagonal_sums(
                problem, _transposed_product(problem, before.take_numbered(padded, number), dy)
            )[0],
            numbers,
        )
    return (
        jnp.moveaxis(dk, -1, 1).reshape(*problem.window.size, problem.c_in, problem.c_out).astype(problem.dtypes.kernel)
    )


def _images_side_by_side(problem: Problem) -> int | None:
    """Of how many images the x_u may lie side by side, with all B_u; None where not even of one."""
    before, itemsize = _before_last(problem.window), problem.dtypes.of_gradients.itemsize
    matrix = before.tap_count * _width(problem) * problem.c_in * problem.window.out[-1] * problem.c_out * itemsize
    seen = before.tap_count * prod(before.out) * _width(problem) * problem.c_in * itemsize
    images = (SIDE_BY_SIDE - matrix) // max(1, seen)
    return images if before.tap_count <= UNROLLED // 4 and images > 0 else None


def _padded_last(problem: Problem, x: jax.Array) -> jax.Array:
    """x, its last spatial axis padded and among the channels: (N, *spatial before, W C_in)."""
    lo, hi = problem.window.padding[-1]
    return _flat(lax.pad(x, jnp.zeros((), x.dtype), (*[(0, 0, 0)] * (x.ndim - 2), (lo, hi, 0), (0, 0, 0))))


def _banded(problem: Problem, kernel: jax.Array) -> jax.Array:
    """B: (taps before * W * C_in, out * C_out), the inverse of what `_diagonal_sums` does, without its sum."""
    stride, dilation = _last_steps(problem)
    w, j = (lax.broadcasted_iota(jnp.int32, (_width(problem), problem.window.out[-1]), axis) for axis in (0, 1))
    place = w - j * np.int32(stride)  # in window j
    is_tap = (place >= 0) & (place < problem.window.span[-1])
    if dilation > 1:
        is_tap, place = is_tap & (place % dilation == 0), place // dilation
    place = jnp.clip(place, 0, problem.window.size[-1] - 1)
    taps = jnp.take(kernel.reshape(-1, *kernel.shape[-3:]), place, axis=1, mode="clip")  # (u, w, j, c, d)
    matrix = jnp.where(is_tap[None, :, :, None, None], taps, 0)
    return jnp.swapaxes(matrix, 2, 3).reshape(-1, problem.window.out[-1] * problem.c_out)


def _banded_of(problem: Problem, kernel: jax.Array, number: jax.Array) -> jax.Array:
    """B of one tap before the last axis: (W * C_in, out * C_out)."""
    taps = kernel.reshape(-1, *kernel.shape[-3:])
    return _banded(problem, lax.dynamic_index_in_dim(taps, number, keepdims=False))


def _transposed_product(problem: Problem, rows: jax.Array, dy: jax.Array) -> jax.Array:
    """dB as (u, c, d, j, w), of rows (N, *out before, taps before * W * C_in)."""
    matrix = lax.dot_general(
        lax.collapse(dy, 0, -1),
        lax.collapse(rows, 0, -1),
        (((0,), (0,)), ((), ())),
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )
    matrix = matrix.reshape(problem.window.out[-1], problem.c_out, -1, _width(problem), problem.c_in)
    return jnp.transpose(matrix, (2, 4, 1, 0, 3))


def _diagonal_sums(problem: Problem, matrix: jax.Array) -> jax.Array:
    """(..., j, w) -> (..., v), summed over w = j s + v r: in rows of W + s, row j begins j s places later."""
    (*others, out, width), (stride, dilation) = matrix.shape, _last_steps(problem)
    flat = lax.collapse(matrix, matrix.ndim - 2)
    flat = jnp.pad(flat, (*[(0, 0)] * len(others), (0, out * stride)))
    aligned = flat.reshape(*others, out, width + stride)
    return jnp.sum(aligned[..., : problem.window.span[-1] : dilation], axis=-2)


def _last_steps(problem: Problem) -> tuple[int, int]:
    """Stride and dilation of the last axis."""
    return problem.window.stride[-1], problem.window.dilation[-1]


def _width(problem: Problem) -> int:
    """W: the padded length of the last axis."""
    lo, hi = problem.window.padding[-1]
    return lo + problem.window.shape[-1] + hi


def _before_last(window: Window) -> Window:
    """The part of the window over the axes before the last."""
    return Window(window.shape[:-1], window.size[:-1], window.stride[:-1], window.padding[:-1], window.dilation[:-1])


def _flat(array: jax.Array) -> jax.Array:
    """The last spatial axis among the channels."""
    return lax.collapse(array, array.ndim - 2)


def _product(problem: Problem, rows: jax.Array, matrix: jax.Array, axis: int) -> jax.Array:
    """rows times matrix, summed over that axis of the matrix."""
    product = lax.dot_general(
        lax.collapse(rows, 0, -1),
        matrix,
        (((1,), (axis,)), ((), ())),
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )
    return product.reshape(*rows.shape[:-1], product.shape[-1])


TOEPLITZ = Algorithm(
    "toeplitz",
    {"correlate": correlate, "input_gradient": input_gradient, "kernel_gradient": kernel_gradient},
    unsupported=unsupported,
    spreads={"correlate": (0,), "input_gradient": (0,)},
)
