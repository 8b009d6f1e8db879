"""`direct`: the three maps as lax convolutions, which XLA gives to cuDNN, to the TPU's MXU or to its CPU kernels.

    correlate        y  = x * k                                   stride s, dilation d                      [R 1]
    input_gradient   dx = dy, dilated by s, * k flipped           the full convolution                      [R 6, 8]
    kernel_gradient  dk = x * dy as the kernel, stride d, dilation s: the two swap places                   [R 5, 7]

For dx, with L = (out - 1) s + 1 the length of the dilated dy, the padding that makes the output as long as x is
(r - 1 - lo, H - L + lo). Both are >= 0 because no window lies wholly in padding, so nothing is ever cropped and no
negative padding reaches XLA, which would keep it off cuDNN. The kernel is flipped last of all, with nothing between
that and the convolution: so XLA knows a strided dx for cuDNN's own, and stuffs no zeros.

On a CPU some of them are computed a row longer, and cut: see `_overhang`.

lax's padding must be known. Where a size is not, nor how many rows a stride leaves at the end, x is padded, or dx is
cropped, by itself, to the L + r - 1 places that windows see.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm, Map
from jaxcnn.ops._conv._algorithms import _overhang
from jaxcnn.ops._conv._algorithms._overhang import Longer
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._types import Kernel, X, Y
from jaxcnn.ops._lib._window import Size, Window


def correlate(problem: Problem, x: X, kernel: Kernel) -> Y:
    """y[n, i, c] = sum_(u, c') k[u, c', c] x_pad[n, i s + u d, c'] [R 1]."""
    x, window = _as_padded(problem, x)
    y = lax.conv_general_dilated(
        x,
        kernel.astype(problem.dtypes.x),
        window_strides=window.stride,
        padding=window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=problem.layout("N*C", "*IO", "N*C"),
        feature_group_count=problem.groups,
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )
    return y.astype(problem.dtypes.y)


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """dx[n, a, c'] = sum_(c, u) k[u, c', c] dy[n, (a + lo - u d) / s, c] where that is an index, else 0 [R 6]."""
    window = problem.window
    axes = zip(window.shape, window.out, window.span, window.stride, window.padding, strict=True)
    padding = [(r - 1 - lo, h - ((out - 1) * s + 1) + lo) for h, out, r, s, (lo, _) in axes]
    is_known = not window.is_symbolic
    dx = lax.conv_general_dilated(
        (dy if is_known else window.apart(dy)).astype(problem.dtypes.of_gradients),
        flip_and_transpose(kernel.astype(problem.dtypes.x), problem.groups).astype(problem.dtypes.of_gradients),
        window_strides=(1,) * len(window.shape),
        padding=padding if is_known else [(r - 1, r - 1) for r in window.span],
        lhs_dilation=window.stride if is_known else None,
        rhs_dilation=window.dilation,
        dimension_numbers=problem.layout("N*C", "*IO", "N*C"),
        feature_group_count=problem.groups,
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )
    return (dx if is_known else window.unpad(dx)).astype(problem.dtypes.x)


def kernel_gradient(problem: Problem, x: X, dy: Y) -> Kernel:
    """dk[u, c', c] = sum_(n, i) dy[n, i, c] x_pad[n, i s + u d, c'] [R 5]: batch and channels swap places."""
    x, window = _as_padded(problem, x)
    if window.is_symbolic:
        dy, window = window.apart(dy), replace(window, stride=(1,) * len(window.stride))
    dk = lax.conv_general_dilated(
        x.astype(problem.dtypes.of_gradients),
        dy.astype(problem.dtypes.of_gradients),
        window_strides=window.dilation,
        padding=kernel_gradient_padding(window),
        rhs_dilation=window.stride,
        dimension_numbers=problem.layout("C*N", "I*O", "*NC"),
        batch_group_count=problem.groups,
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )
    return dk.astype(problem.dtypes.kernel)


def kernel_gradient_padding(window: Window) -> list[tuple[Size, Size]]:
    """(lo, hi) per axis: the high side is cut or grown so that the output has exactly k taps."""
    axes = zip(window.shape, window.out, window.size, window.stride, window.padding, window.dilation, strict=True)
    return [(lo, (out - 1) * s + 1 + (k - 1) * d - h - lo) for h, out, k, s, (lo, _), d in axes]


def _as_padded(problem: Problem, x: X) -> tuple[jax.Array, Window]:
    """x and its window; both as padded, where lax would need what is not known."""
    window = problem.window
    return (window.pad(x), window.over_padding) if window.is_symbolic else (x, window)


def flip_and_transpose(kernel: jax.Array, groups: int) -> jax.Array:
    """(*k, C_in/groups, C_out) -> (*k, C_out/groups, C_in), every spatial axis reversed."""
    *size, c_in, c_out = kernel.shape
    grouped = kernel.reshape(*size, c_in, groups, c_out // groups)
    return lax.rev(jnp.swapaxes(grouped, -1, -3).reshape(*size, c_out // groups, groups * c_in), range(len(size)))


MAPS = {"correlate": correlate, "input_gradient": input_gradient, "kernel_gradient": kernel_gradient}


def on_a_cpu(which: str, problem: Problem) -> Map | None:
    """The map cut from a longer one, where that is computed on more cores."""
    longer = _overhang.longer(which, problem)
    return longer and partial(_cut, MAPS[which], longer)


def _cut(map_: Map, longer: Longer, problem: Problem, *args: jax.Array) -> jax.Array:
    return lax.slice_in_dim(map_(longer.problem, *args), 0, longer.length, axis=longer.axis + 1)


DIRECT = Algorithm("direct", MAPS, on_a_cpu=on_a_cpu)
