"""`canonical`: `direct`'s kernel gradient, its axes transposed before, for loops on a CPU.

    dk = x * dy as the kernel, stride d, dilation s: the two swap places                                      [R 5, 7]

A convolution's axes may come in any order, which its dimension numbers describe; `direct` has x's channels for its
batch, and the batch for its channels. XLA:CPU's fast convolution knows one, (N, *spatial, C) by (*k, C_in, C_out). XLA
transposes what has another, but in a program's entry alone: in the body of a loop it is computed naively, tens of times
slower, as autodiff's kernel gradients are there. Transposed before, it is fast wherever it stands.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm
from jaxcnn.ops._conv._algorithms import _im2col
from jaxcnn.ops._conv._algorithms._direct import kernel_gradient_padding
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._types import Kernel, X, Y


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    return f"groups must be 1, not {problem.groups}" if problem.groups > 1 else None


def kernel_gradient(problem: Problem, x: X, dy: Y) -> Kernel:
    """dk[u, c', c] = sum_(n, i) dy[n, i, c] x_pad[n, i s + u d, c'] [R 5]."""
    dk = lax.conv_general_dilated(
        jnp.moveaxis(x, (0, -1), (-1, 0)).astype(problem.dtypes.of_gradients),
        jnp.moveaxis(dy, 0, -2).astype(problem.dtypes.of_gradients),
        window_strides=problem.window.dilation,
        padding=kernel_gradient_padding(problem.window),
        rhs_dilation=problem.window.stride,
        dimension_numbers=problem.layout("N*C", "*IO", "N*C"),
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )
    return jnp.moveaxis(dk, 0, -2).astype(problem.dtypes.kernel)


CANONICAL = Algorithm(
    "canonical",
    {"kernel_gradient": kernel_gradient},
    unsupported=unsupported,
    of_examples={"kernel_gradient": _im2col.kernel_gradient},  # many examples become a grouped convolution
)
