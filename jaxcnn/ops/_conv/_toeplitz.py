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
and k times fewer values to copy. Zeros add no rounding, but make NaN of what is not finite: such a pixel reaches all
windows of its rows.
"""

from __future__ import annotations

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._conv._form import Form
from jaxcnn.ops._types import Kernel, X, Y
from jaxcnn.ops._unfold import fold_window, unfold_window
from jaxcnn.ops._window import Window

GREATEST_MATRIX = 2**24  # elements: 64 MiB in float32


def unsupported(form: Form) -> str | None:
    """Why it cannot compute a form, if so."""
    if form.groups > 1:
        return f"groups must be 1, not {form.groups}"
    elements = prod(form.window.size[:-1]) * _width(form) * form.c_in * form.window.out[-1] * form.c_out
    if elements > GREATEST_MATRIX:
        return f"its banded matrix would have {elements:,} elements, more than {GREATEST_MATRIX:,}"
    return None


def correlate(form: Form, x: X, kernel: Kernel) -> Y:
    """y = sum_u x_u B_u [R 1]."""
    y = _product(form, _rows(form, x), _banded(form, kernel.astype(form.dtypes.x)), 0)
    return y.reshape(x.shape[0], *form.window.out, form.c_out).astype(form.dtypes.y)


def input_gradient(form: Form, kernel: Kernel, dy: Y) -> X:
    """dx = sum_u put_u(dy B_u^T) [R 6]."""
    dtype, window = form.dtypes.of_gradients, form.window
    matrix = _banded(form, kernel.astype(form.dtypes.x).astype(dtype))
    patches = _product(form, _flat(dy.astype(dtype)), matrix, 1)
    dx = fold_window(patches, _before_last(window)).reshape(dy.shape[0], *window.shape[:-1], _width(form), form.c_in)
    lo, _ = window.padding[-1]
    return lax.slice_in_dim(dx, lo, lo + window.shape[-1], axis=dx.ndim - 2).astype(form.dtypes.x)


def kernel_gradient(form: Form, x: X, dy: Y) -> Kernel:
    """dk_u, the sums along the diagonals of dB_u = x_u^T dy [R 5]."""
    dtype = form.dtypes.of_gradients
    rows, dy = _rows(form, x.astype(dtype)), _flat(dy.astype(dtype))
    matrix = lax.dot_general(
        lax.collapse(dy, 0, -1),
        lax.collapse(rows, 0, -1),
        (((0,), (0,)), ((), ())),
        precision=form.precision,
        preferred_element_type=form.dtypes.of_sums,
    )
    matrix = matrix.reshape(form.window.out[-1], form.c_out, -1, _width(form), form.c_in)
    dk = _diagonal_sums(form, jnp.transpose(matrix, (2, 4, 1, 0, 3)))  # (u, c, d, v)
    return jnp.moveaxis(dk, -1, 1).reshape(*form.window.size, form.c_in, form.c_out).astype(form.dtypes.kernel)


def _rows(form: Form, x: jax.Array) -> jax.Array:
    """x_u for every u, the last axis padded and among the channels: (N, *out before, taps before * W * C_in)."""
    nothing = [(0, 0)] * (x.ndim - 2)
    return unfold_window(_flat(jnp.pad(x, (*nothing, form.window.padding[-1], (0, 0)))), _before_last(form.window))


def _banded(form: Form, kernel: jax.Array) -> jax.Array:
    """B: (taps before * W * C_in, out * C_out)."""
    diagonals = _diagonals(form).astype(kernel.dtype)
    taps = kernel.reshape(-1, form.window.size[-1], form.c_in, form.c_out)
    taps = jnp.moveaxis(taps, 1, -1).reshape(-1, form.window.size[-1])  # (u c d, v)
    matrix = jnp.matmul(taps, diagonals.reshape(form.window.size[-1], -1), precision="highest")
    matrix = matrix.reshape(-1, form.c_in, form.c_out, *diagonals.shape[1:])
    return jnp.transpose(matrix, (0, 3, 1, 4, 2)).reshape(-1, form.window.out[-1] * form.c_out)


def _diagonal_sums(form: Form, matrix: jax.Array) -> jax.Array:
    """(..., j, w) -> (..., v), summed over w = j s + v r: in rows of W + s, row j begins j s places later."""
    (*others, out, width), stride = matrix.shape, form.window.stride[-1]
    flat = lax.collapse(matrix, matrix.ndim - 2)
    flat = jnp.pad(flat, (*[(0, 0)] * len(others), (0, out * stride)))
    aligned = flat.reshape(*others, out, width + stride)
    return jnp.sum(aligned[..., : form.window.span[-1] : form.window.dilation[-1]], axis=-2)


def _diagonals(form: Form) -> np.ndarray:
    """[w = j s + v r]: bool (k, W, out)."""
    stride, dilation = form.window.stride[-1], form.window.dilation[-1]
    v, w, j = np.ogrid[: form.window.size[-1], : _width(form), : form.window.out[-1]]
    return w == j * stride + v * dilation


def _width(form: Form) -> int:
    """W: the padded length of the last axis."""
    lo, hi = form.window.padding[-1]
    return lo + form.window.shape[-1] + hi


def _before_last(window: Window) -> Window:
    """The part of the window over the axes before the last."""
    return Window(window.shape[:-1], window.size[:-1], window.stride[:-1], window.padding[:-1], window.dilation[:-1])


def _flat(array: jax.Array) -> jax.Array:
    """The last spatial axis among the channels."""
    return lax.collapse(array, array.ndim - 2)


def _product(form: Form, rows: jax.Array, matrix: jax.Array, axis: int) -> jax.Array:
    """rows times matrix, summed over that axis of the matrix."""
    product = lax.dot_general(
        lax.collapse(rows, 0, -1),
        matrix,
        (((1,), (axis,)), ((), ())),
        precision=form.precision,
        preferred_element_type=form.dtypes.of_sums,
    )
    return product.reshape(*rows.shape[:-1], product.shape[-1])
