"""Convolution, as deep learning means it: cross-correlation, and its gradients to any order.

Legend (any number of spatial axes; i, a, u stand for one index per axis)
    x       (N, *spatial, C_in)             k   (*k, C_in/groups, C_out)        b   (C_out,)
    y, dy   (N, *out, C_out)                s, d  stride and dilation           lo, hi  padding
    channel c of y belongs to group c // (C_out/groups) and sees that group's C_in/groups channels of x

Forward     y[n, i, c] = b[c] + sum_(u, c') k[u, c', c] x_pad[n, i s + u d, c']                              [R 1; V 1]

Backward    The product of the three is one number,

                T(x, k, g) = sum_(n, i, c) g[n, i, c] sum_(u, c') k[u, c', c] x_pad[n, i s + u d, c'],           (B1)

            linear in x, in k and in g. The gradient of sum(y g) in one argument is what multiplies it in (B1):

                in g   correlate(x, k)         the forward                                                    [R 1]
                in k   kernel_gradient(x, g)   dk[u, c', c] = sum_(n, i) g[n, i, c] x_pad[n, i s + u d, c']
                                               a cross-correlation of x and g                 [R 5, 7; V 33, 35, 37]
                in x   input_gradient(g, k)    dx[n, a, c'] = sum_(u, c) k[u, c', c] g[n, (a + lo - u d)/s, c],
                                               0 for terms where that is no index of g        [R 6, 8; V 34, 36, 38]
                                               for s = 1 a full convolution: g, padded by r - 1, correlated
                                               with k *flipped*. [V 38] writes the flip into its "full
                                               cross-correlation"; with k as it stands it is wrong.

            So each of the three maps has the other two as its derivatives, and the rule of each is two lines.
            Gradients of gradients need nothing more.  The bias: `_add_bias` [R 4].

Residuals   x and k, once.
Conventions a window that sees only padding gives the bias; padding below 0 crops; rows that no window reaches have
            gradient 0 (`_core`); y, dx and dk come back in the dtypes of x, x and k, and are summed in float32 or wider
            (`_dtypes`).
Sources     [R] 1.2-1.4 and 1.7, [V] 2.1 and 3.4.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxcnn._names import did_you_mean
from jaxcnn.ops._conv import _border
from jaxcnn.ops._conv._core import Core, around, inside
from jaxcnn.ops._conv._plan import Algorithms, Planned, asked_for, run, run_of_transposed
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib import _add_bias, _plain
from jaxcnn.ops._lib._arguments import float_array, image_array, refuse
from jaxcnn.ops._lib._dtypes import Dtypes, accumulator
from jaxcnn.ops._lib._meshes import laid_out, varying_alike
from jaxcnn.ops._lib._record import IMAGES, KERNELS, WINDOW, Example, Op, bytes_of, shape, terms
from jaxcnn.ops._lib._theorems import trilinear
from jaxcnn.ops._lib._types import Kernel, X, Y
from jaxcnn.ops._lib._window import Count, Padding, PerAxis, Window, is_symbolic


def reference(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
    padding_mode: str = "zeros",
) -> jax.Array:
    """The plain forward of `conv`: one lax convolution, in float32 or wider, whatever the algorithm."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    axes, wide = x.ndim - 2, accumulator(x.dtype)
    if padding_mode != "zeros":
        size, steps = kernel.shape[:-2], _plain.per_axis(dilation, axes)
        span = tuple(d * (k - 1) + 1 for k, d in zip(size, steps, strict=True))
        pairs = _plain.pairs(padding, x.shape[1:-1], span, _plain.per_axis(stride, axes))
        x, padding = _border.reference(x, tuple(pairs), padding_mode), 0
    spatial = "012345678"[:axes]
    y = lax.conv_general_dilated(
        x.astype(wide),
        kernel.astype(x.dtype).astype(wide),
        window_strides=_plain.per_axis(stride, axes),
        padding=_plain.lax_padding(padding, axes),
        rhs_dilation=_plain.per_axis(dilation, axes),
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=int(groups),
        precision=precision,
    )
    y = y if bias is None else _add_bias.reference(y, jnp.asarray(bias))
    return y.astype(preferred_element_type or x.dtype)


def conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
    padding_mode: str = "zeros",
) -> jax.Array:
    """Cross-correlate images with a bank of kernels and add a bias.

    Args:
        x: images (N, *spatial, C_in), floating.
        kernel: (*k, C_in/groups, C_out), floating; rounded to the dtype of x.
        bias: (C_out,), floating, or None.
        stride: step of the window, an int or one per spatial axis.
        padding: zeros around x: an int, one per spatial axis, nested (lo, hi) pairs, "SAME", "SAME_LOWER" or "VALID";
            below 0 it crops.
        dilation: distance between the kernel's taps, an int or one per spatial axis.
        groups: number of independent groups of channels; C_in for a depthwise convolution.
        precision: as in `jax.lax.conv_general_dilated`, for the gradients too.
        preferred_element_type: dtype of the result; that of x where None.
        algorithm: of it and its gradients: "auto"; a name, for those of its three maps that the algorithm has
            ("direct", "im2col", "taps", "toeplitz", "winograd2", "winograd4", "fft", "split", "phases", "canonical",
            "space_to_batch", "onednn"); a mapping from "correlate", "input_gradient" and "kernel_gradient" to names;
            or a `Plan`, as `conv_plan` gives. With "auto", NaN, infinity and far greater numbers reach only the windows
            that see them. "fft", "winograd2" and "winograd4" round by the greatest number of an image or tile; with
            these, "toeplitz", "split" and "phases", NaN and infinity spread to tiles, images, rows or other groups.
        padding_mode: what the padding holds: "zeros"; "reflect", x mirrored at its ends; "circular", x repeated;
            or "edge", its first and last place repeated.

    Returns:
        y (N, *out, C_out), out = floor((H + lo + hi - d (k - 1) - 1) / s) + 1 per axis.

    Raises:
        ValueError: wrong rank or dtype, channels that do not fit, groups that do not divide, a window larger than the
            padded input, an option that is not as above, an algorithm that cannot compute it.

    Source:
        [R 1]; its gradients [R 4, 5, 6], [V 33-38]. [V 1] is the case of one channel and no bias.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> kernel = jnp.array([[1.0, 0.0], [0.0, -1.0]]).reshape(2, 2, 1, 1)
        >>> conv(x, kernel)[0, :, :, 0].tolist()
        [[-4.0, -4.0], [-4.0, -4.0]]
        >>> jax.grad(lambda kernel: conv(x, kernel).sum())(kernel)[:, :, 0, 0].tolist()
        [[8.0, 12.0], [20.0, 24.0]]
    """
    x, kernel, its = planned(
        "conv",
        x,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
        algorithm=algorithm,
        padding_mode=padding_mode,
    )
    if bias is None:
        return correlate(its, *varying_alike(x, kernel))
    dtypes = its.problem.dtypes
    unrounded = its.but(dtypes=dtypes.unrounded)
    return _add_bias.add_bias("conv", correlate(unrounded, *varying_alike(x, kernel)), bias, dtypes.y)


def planned(
    op: str,
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    padding: Padding,
    preferred_element_type: DTypeLike | None,
    algorithm: Algorithms,
    padding_mode: str,
    **options: Any,
) -> tuple[jax.Array, jax.Array, Planned]:
    """x (padded, unless by zeros), the kernel, and their problem with its plan."""
    x, kernel = image_array(op, "x", x), float_array(op, "kernel", kernel)
    dtypes = Dtypes.of(op, x, kernel, preferred_element_type)
    problem_of = partial(Problem.of, op, kernel_shape=kernel.shape, dtypes=dtypes, **options)
    problem = problem_of(x_shape=x.shape, padding=padding)
    if not (isinstance(padding_mode, str) and padding_mode == "zeros"):
        x = _extended(op, x, problem.window, padding_mode)
        problem = problem_of(x_shape=x.shape, padding=0)
    return x, kernel, asked_for(op, problem, algorithm)


def _extended(op: str, x: jax.Array, window: Window, mode: str) -> jax.Array:
    """x with its padding, or a `ValueError` where that cannot hold what it should."""
    modes = ("zeros", *_border.MODES)
    if not isinstance(mode, str) or mode not in modes:
        expected = f"padding_mode must be one of {', '.join(map(repr, modes))}"
        refuse(op, f"{expected}, got {mode!r}{did_you_mean(mode, modes)}")
    sizes = zip(window.shape, window.padding, strict=True)
    is_known = not any(map(is_symbolic, itertools.chain.from_iterable(window.padding)))
    if not is_known or any(not is_symbolic(h) and h + min(0, lo) + min(0, hi) < 1 for h, (lo, hi) in sizes):
        known = "padding that does not depend on symbolic sizes, and that leaves places"
        refuse(op, f"padding_mode {mode!r} needs {known}, got x {x.shape} and padding {window.padding}")
    return _border.extend(_border.Border(window.shape, window.padding, mode), x)


def correlate(planned: Planned, x: X, kernel: Kernel) -> Y:
    """dT/dg: y, by its core [R 1]."""
    problem, plan = planned
    core = Core.of(problem)
    if core.is_empty:
        return jnp.zeros((x.shape[0], *problem.window.out, problem.c_out), problem.dtypes.y)
    return around(_correlate(Planned(core.problem, plan), inside(x, core.cut), kernel), core.blind, like=x)


def input_gradient(planned: Planned, dy: Y, kernel: Kernel) -> X:
    """dT/dx: dx, by its core [R 6, 8; V 34, 38]."""
    problem, plan = planned
    core = Core.of(problem)
    if core.is_empty:
        return jnp.zeros((dy.shape[0], *problem.window.shape, problem.c_in), problem.dtypes.x)
    return around(_input_gradient(Planned(core.problem, plan), inside(dy, core.blind), kernel), core.cut, like=dy)


def kernel_gradient(planned: Planned, x: X, dy: Y) -> Kernel:
    """dT/dk: dk, by its core [R 5, 7, 9; V 33, 37]."""
    problem, plan = planned
    core = Core.of(problem)
    if core.is_empty:
        return jnp.zeros((*problem.window.size, problem.c_in // problem.groups, problem.c_out), problem.dtypes.kernel)
    return _kernel_gradient(Planned(core.problem, plan), inside(x, core.cut), inside(dy, core.blind))


def y_of(planned: Planned, x: X, kernel: Kernel) -> Y:
    """dT/dg [R 1]."""
    problem, places = planned.problem, [(x, axis) for axis in range(x.ndim - 1)]
    return laid_out(
        partial(run, "correlate", planned),
        x,
        kernel,
        shape=(x.shape[0], *problem.window.out, problem.c_out),
        of_axes=(*places, (kernel, kernel.ndim - 1)),
    )


def dx_of(planned: Planned, dy: Y, kernel: Kernel) -> X:
    """dT/dx [R 6, 8; V 34, 38]."""
    problem, places = planned.problem, [(dy, axis) for axis in range(dy.ndim - 1)]
    return laid_out(
        partial(run, "input_gradient", planned),
        dy,
        kernel,
        shape=(dy.shape[0], *problem.window.shape, problem.c_in),
        of_axes=(*places, (kernel, kernel.ndim - 2) if problem.groups == 1 else None),
    )


def dk_of(planned: Planned, x: X, dy: Y) -> Kernel:
    """dT/dk [R 5, 7, 9; V 33, 37]."""
    return _laid_out_dk(partial(run, "kernel_gradient", planned), planned.problem, x, dy)


def dk_of_transposed(planned: Planned, x: X, dy: Y) -> Kernel:
    """dT/dk, as the gradient of dT/dx, a transposed convolution of dy."""
    return _laid_out_dk(partial(run_of_transposed, planned), planned.problem, x, dy)


def _laid_out_dk(map_: Callable[..., jax.Array], problem: Problem, x: X, dy: Y) -> Kernel:
    channels = ((x, x.ndim - 1) if problem.groups == 1 else None, (dy, dy.ndim - 1))
    return laid_out(
        map_,
        x,
        dy,
        shape=(*problem.window.size, problem.c_in // problem.groups, problem.c_out),
        of_axes=(*[None] * len(problem.window.size), *channels),
    )


_correlate, _input_gradient, _kernel_gradient = trilinear(y_of, dx_of, dk_of, dk_of_transposed)  # (B1)


OP = Op(
    conv,
    reference,
    equations="[R 1, 4-8], [V 1, 33-38]",
    kept="x and the kernel, once",
    at_kinks="smooth; rows that no window reaches get 0; NaN stays in the windows that see it",
    elsewhere="`flax.linen.Conv`, `equinox.nn.Conv`, `torch.nn.functional.conv2d`",
    examples={
        "": Example(lambda m, x, k, b: m.conv(x, k, b, groups=2, **WINDOW), (IMAGES, KERNELS, shape(2)), is_exact=True),
        "dilated": Example(
            lambda m, x, k: m.conv(x, k, dilation=(2, 1), padding="SAME"),
            (shape(2, 5, 4, 2), shape(2, 3, 2, 3)),
            is_exact=True,
        ),
        "in three axes": Example(
            lambda m, x, k: m.conv(x, k, stride=2), (shape(2, 4, 3, 5, 2), shape(2, 1, 2, 2, 2)), is_exact=True
        ),
    },
    multiply_adds=terms("y"),
    residual_bytes=bytes_of("x", "kernel"),
)
