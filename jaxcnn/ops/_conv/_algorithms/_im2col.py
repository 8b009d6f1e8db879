"""`im2col`: each map as one matrix product, of the unfolded x.

    correlate        mat(y)  = T(x) mat(k)                  T(x) (N out, k C_in), mat(k) (k C_in, C_out)         [R 2]
    input_gradient   dx      = T*(mat(dy) mat(k)^T)         T* the adjoint of T, `fold`                         [R 10]
    kernel_gradient  mat(dk) = T(x)^T mat(dy)               mat(dy) (N out, C_out)                               [R 9]

For one group of channels. The kernel gradient sums over images in chunks (`_chunks`), and inside of a loop, where lax's
own falls to a naive path, it stays a matrix product. Without a stride its T(x)^T is laid out as such, a row per tap and
channel: rows of pixels are then copied whole, and the product meets its sum's terms side by side.
"""

from __future__ import annotations

from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm, Cost
from jaxcnn.ops._conv._chunks import summed
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._types import Kernel, X, Y
from jaxcnn.ops._unfold import fold_window, unfold_window


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    return f"groups must be 1, not {problem.groups}" if problem.groups > 1 else None


def cost(which: str, problem: Problem) -> Cost:
    """T(x), or the patches that dx is folded from; a kernel gradient lays out a chunk at a time."""
    taps, images = problem.window.tap_count, 1 if problem.images is None else problem.images
    patches = images * prod(problem.window.out) * taps * problem.c_in * problem.dtypes.of_sums.itemsize
    return Cost(unrolls=taps, lays_out=0 if which == "kernel_gradient" else patches)


def correlate(problem: Problem, x: X, kernel: Kernel) -> Y:
    """mat(y) = T(x) mat(k) [R 2]."""
    matrix = kernel.astype(problem.dtypes.x).reshape(-1, kernel.shape[-1])
    return _product(problem, unfold_window(problem.window, x), matrix, (x.ndim - 1,), (0,)).astype(problem.dtypes.y)


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """dx = T*(mat(dy) mat(k)^T) [R 10]."""
    dtype = problem.dtypes.of_gradients
    matrix = kernel.astype(problem.dtypes.x).astype(dtype).reshape(-1, kernel.shape[-1])
    patches = _product(problem, dy.astype(dtype), matrix, (dy.ndim - 1,), (1,))
    return fold_window(problem.window, patches).astype(problem.dtypes.x)


def kernel_gradient(problem: Problem, x: X, dy: Y) -> Kernel:
    """mat(dk) = T(x)^T mat(dy) [R 9]."""
    return summed(_kernel_gradient, problem, x, dy)


def _kernel_gradient(problem: Problem, x: jax.Array, dy: jax.Array) -> jax.Array:
    window, places = problem.window, dy.shape[0] * prod(problem.window.out)
    if max(window.stride) > 1:  # nothing is copied in whole rows: patches as they are
        patches = unfold_window(window, x)
        dk = _product(problem, patches.reshape(places, patches.shape[-1]), dy.reshape(places, dy.shape[-1]), (0,), (0,))
    else:
        dk = _product(problem, _transposed_patches(problem, x), dy.reshape(places, dy.shape[-1]), (1,), (0,))
    return dk.reshape(*window.size, x.shape[-1], dy.shape[-1])


def _transposed_patches(problem: Problem, x: jax.Array) -> jax.Array:
    """T(x)^T: (taps C_in, N out)."""
    window, (batch, *_, c_in) = problem.window, x.shape
    images = jnp.moveaxis(x, -1, 0).reshape(c_in * batch, *window.shape, 1)  # a channel of an image each
    padded = window.pad(images)
    # to reshape each tap before they are joined would halve the speed of their copies
    rows = jnp.concatenate([window.take(padded, tap) for tap in window.taps])
    return rows.reshape(window.tap_count * c_in, batch * prod(window.out))


def _product(
    problem: Problem, left: jax.Array, right: jax.Array, left_axes: tuple[int, ...], right_axes: tuple[int, ...]
) -> jax.Array:
    """The sum of products over the named axes."""
    return lax.dot_general(
        left,
        right,
        ((left_axes, right_axes), ((), ())),
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )


IM2COL = Algorithm(
    "im2col",
    {"correlate": correlate, "input_gradient": input_gradient, "kernel_gradient": kernel_gradient},
    unsupported=unsupported,
    cost=cost,
)
