"""Transposed convolution: the input gradient of a convolution, read forwards.

Legend (any number of spatial axes; i, a, u stand for one index per axis)
    x       (N, *spatial, C_in)             k   (*k, C_out/groups, C_in)        b   (C_out,)
    y, dy   (N, *out, C_out)                s, d  stride and dilation           r = d (k - 1) + 1
    lo, hi  the padding of the convolution from y to x: so many places are left out before y and after it
    channel c' of x belongs to group c' // (C_in/groups) and reaches that group's C_out/groups channels of y

Forward     y[n, a, c] = b[c] + sum_(i, u, c' : a = i s + u d - lo) k[u, c, c'] x[n, i, c']                    [R 6, 8]

            Each place i of x puts the kernel, times x[n, i], on y, s places after that of i - 1. The I places of an
            axis of x reach (I - 1) s + r places; without lo and hi, and with output_padding more at the end, an axis of
            y has  out = (I - 1) s + r - lo - hi + output_padding.

Backward    The product of the three, sum_(n, a, c) g[n, a, c] (y - b)[n, a, c], is one number,

                T(g, k, x) = sum_(n, i, c') x[n, i, c'] sum_(u, c) k[u, c, c'] g_pad[n, i s + u d, c],              (B1)

            the one of convolution (`_rule`), with g for its x, and x for its g. So the three maps change places:

                in g   input_gradient(x, k)    the forward
                in x   correlate(dy, k)        dx[n, i, c'] = sum_(u, c) k[u, c, c'] dy_pad[n, i s + u d, c]      [R 1]
                in k   kernel_gradient(dy, x)  dk[u, c, c'] = sum_(n, i) x[n, i, c'] dy_pad[n, i s + u d, c]      [R 5]

            and each has the other two as its derivatives.  The bias: `_add_bias` [R 4].

Residuals   x and k, once.
Conventions the kernel is the one of that convolution, as in PyTorch and Keras; lax's and Flax's is this one flipped;
            places of y that nothing reaches have the bias; padding below 0 adds such places; y, dx and dk come back in
            the dtypes of x, x and k, and are summed in float32 or wider. dy_pad's zeros are where padding cuts off what
            a place of x puts on y: what is not finite in x meets none of them (`_plan.run_of_transposed`).
Sources     [R] 1.4, equations 6 and 8; V. Dumoulin and F. Visin, A guide to convolution arithmetic (2016), 4.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxcnn.ops._conv import _rule
from jaxcnn.ops._conv._core import Core, around, inside
from jaxcnn.ops._conv._plan import Algorithms, Planned, asked_for
from jaxcnn.ops._conv._transposed import backwards
from jaxcnn.ops._lib import _add_bias, _plain
from jaxcnn.ops._lib._arguments import float_array, image_array
from jaxcnn.ops._lib._dtypes import Dtypes, accumulator, widest
from jaxcnn.ops._lib._meshes import varying_alike
from jaxcnn.ops._lib._record import Example, Op, bytes_of, shape, terms
from jaxcnn.ops._lib._theorems import trilinear
from jaxcnn.ops._lib._types import TransposedKernel, X, Y
from jaxcnn.ops._lib._window import Count, Padding, PerAxis


def reference(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """The plain `conv_transpose`: one lax convolution of x, zeros between its places, with the kernel flipped."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    axes, wide = x.ndim - 2, accumulator(x.dtype)
    strides, steps = _plain.per_axis(stride, axes), _plain.per_axis(dilation, axes)
    span = tuple(d * (k - 1) + 1 for k, d in zip(kernel.shape[:-2], steps, strict=True))
    left_out = _plain.pairs(padding, strides, span, strides)
    edges = []
    for r, s, (lo, hi), more in zip(span, strides, left_out, _plain.per_axis(output_padding, axes), strict=True):
        after = max(s - r, 0) if isinstance(padding, str) else 0
        edges.append((r - 1 - lo, r - 1 - hi + after + more))
    flipped = jnp.flip(kernel.astype(x.dtype).astype(wide), range(axes))
    groups_of_kernel = [part.swapaxes(-1, -2) for part in jnp.split(flipped, int(groups), axis=-1)]
    spatial = "012345678"[:axes]
    y = lax.conv_general_dilated(
        x.astype(wide),
        jnp.concatenate(groups_of_kernel, axis=-1),
        window_strides=(1,) * axes,
        padding=edges,
        lhs_dilation=strides,
        rhs_dilation=steps,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=int(groups),
        precision=precision,
    )
    y = y if bias is None else _add_bias.reference(y, jnp.asarray(bias))
    return y.astype(preferred_element_type or x.dtype)


def conv_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """Upsample images by a bank of kernels and add a bias: a convolution's input gradient, read forwards.

    Where a convolution takes images of y's size to x's, this takes x back to y's size, with the same kernel and options
    but for the channels, which go the other way. docs/conv_transpose.md has the kernels and paddings of Flax, lax,
    Keras, PyTorch and Equinox.

    Args:
        x: images (N, *spatial, C_in), floating.
        kernel: (*k, C_out/groups, C_in), that of the convolution from y to x, floating; rounded to the dtype of x.
        bias: (C_out,), floating, or None.
        stride: how far apart in y neighbours of x lie, an int or one per spatial axis.
        padding: that of the convolution from y to x, so that y is smaller by it: an int, one per spatial axis, or
            nested (lo, hi) pairs, as in PyTorch; below 0 it adds places. "SAME" gives y stride times the size of x,
            "VALID" all that is reached, and at least that; both as in `jax.lax.conv_transpose`. "SAME_LOWER" is "SAME"
            with the odd row left out above.
        output_padding: so many places more at the end of y, an int or one per spatial axis, as in PyTorch. A strided
            convolution takes y of several sizes to one size of x; this says which of them is meant.
        dilation: distance between the kernel's taps, an int or one per spatial axis.
        groups: number of independent groups of channels.
        precision: as in `jax.lax.conv_general_dilated`, for the gradients too.
        preferred_element_type: dtype of the result; that of x where None.
        algorithm: as in `conv`. The forward is the map "input_gradient", the gradients in x and in the kernel are
            "correlate" and "kernel_gradient".

    Returns:
        y (N, *out, C_out), out = (H - 1) s + d (k - 1) + 1 - lo - hi + output_padding per axis.

    Raises:
        ValueError: wrong rank or dtype, channels that do not fit, groups that do not divide, padding that leaves
            nothing, an option that is not as above, an algorithm that cannot compute it.

    Source:
        [R 6, 8]; its gradients [R 1, 4, 5].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, kernel = jnp.array([1.0, 2.0]).reshape(1, 2, 1), jnp.array([1.0, 10.0, 100.0]).reshape(3, 1, 1)
        >>> conv_transpose(x, kernel, stride=2).ravel().tolist()
        [1.0, 10.0, 102.0, 20.0, 200.0]
        >>> conv_transpose(x, kernel, stride=2, padding=1, output_padding=1).ravel().tolist()
        [10.0, 102.0, 20.0, 200.0]
        >>> jax.grad(lambda kernel: conv_transpose(x, kernel, stride=2, padding="SAME").sum())(kernel).ravel().tolist()
        [3.0, 3.0, 1.0]
    """
    op = "conv_transpose"
    x, kernel = image_array(op, "x", x), float_array(op, "kernel", kernel)
    dtypes = Dtypes.of(op, x, kernel, preferred_element_type)
    problem = backwards(
        op,
        x,
        kernel,
        dtypes,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
        precision=precision,
    )
    its = Transposed(asked_for(op, problem, algorithm), dtypes)
    if bias is None:
        return _by_core(its, *varying_alike(x, kernel))
    unrounded = its._replace(dtypes=dtypes.unrounded)
    return _add_bias.add_bias(op, _by_core(unrounded, *varying_alike(x, kernel)), bias, dtypes.y)


class Transposed(NamedTuple):
    """What is static: the convolution from y to x, with its plan, and the dtypes of x, kernel and y here."""

    backwards: Planned
    dtypes: Dtypes

    def of_gradients_along(self, dy: jax.Array) -> tuple[Transposed, jax.Array]:
        """The same for the gradients' maps, and dy as they take it."""
        dtypes, dy = self.dtypes.of_gradients_along(dy)
        return self._replace(dtypes=dtypes), dy


def _by_core(its: Transposed, x: X, kernel: TransposedKernel) -> Y:
    """y, by the core of the convolution from y to x (`_core`)."""
    problem, plan = its.backwards
    core = Core.of(problem)
    if core.is_empty:
        return jnp.zeros((x.shape[0], *problem.window.shape, problem.c_in), its.dtypes.y)
    within = its._replace(backwards=Planned(core.problem, plan))
    return around(_conv_transpose(within, inside(x, core.blind), kernel), core.cut, like=x)


def _y(its: Transposed, x: X, kernel: TransposedKernel) -> Y:
    """dT/dg [R 6, 8]: products in the dtype of x, whatever that of y."""
    of = its.dtypes
    dtypes = Dtypes(widest(of.x, of.y), of.x, of.x, products=of.x)
    return _rule.dx_of(its.backwards.but(dtypes=dtypes), x, kernel.astype(of.x)).astype(of.y)


def _dx(its: Transposed, dy: Y, kernel: TransposedKernel) -> X:
    """dT/dx [R 1]."""
    of = its.dtypes
    dtypes = Dtypes(of.of_gradients, of.x, of.x)
    return _rule.y_of(its.backwards.but(dtypes=dtypes), dy.astype(of.of_gradients), kernel.astype(of.x))


def _dk(its: Transposed, x: X, dy: Y) -> TransposedKernel:
    """dT/dk [R 5]."""
    of = its.dtypes
    return _rule.dk_of_transposed(its.backwards.but(dtypes=Dtypes(of.y, of.kernel, of.x)), dy, x)


_conv_transpose, _input_gradient, _kernel_gradient = trilinear(_y, _dx, _dk)  # (B1)


OP = Op(
    conv_transpose,
    reference,
    equations="[R 6, 8]",
    kept="x and the kernel, once",
    at_kinks="smooth; places that nothing reaches have the bias; NaN stays in the windows that see it",
    elsewhere="`flax.linen.ConvTranspose`, `jax.lax.conv_transpose`, `keras.layers.Conv2DTranspose`, "
    "`torch.nn.functional.conv_transpose2d`: [conv_transpose.md](conv_transpose.md)",
    examples={
        "": Example(
            lambda m, x, k, b: m.conv_transpose(
                x, k, b, stride=(1, 2), padding=((1, 0), (0, 1)), output_padding=(0, 1), groups=2
            ),
            (shape(3, 3, 2, 2), shape(2, 2, 1, 2), shape(2)),
            is_exact=True,
        ),
        "dilated": Example(
            lambda m, x, k: m.conv_transpose(x, k, stride=2, dilation=(2, 1), padding="VALID"),
            (shape(2, 2, 3, 2), shape(2, 3, 3, 2)),
            is_exact=True,
        ),
    },
    multiply_adds=terms("x"),
    residual_bytes=bytes_of("x", "kernel"),
)
