"""The convolution from y to x whose input gradient a transposed convolution is: read from the arguments of that."""

from __future__ import annotations

from math import prod
from typing import Any

import jax
from jax import lax

from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._arguments import refuse
from jaxcnn.ops._lib._dtypes import Dtypes
from jaxcnn.ops._lib._window import (
    GREATEST_RESULT,
    Count,
    Padding,
    PerAxis,
    Shape,
    Size,
    as_int,
    is_symbolic,
    padding_pairs,
    per_axis,
)


def backwards(
    op: str,
    x: jax.Array,
    kernel: jax.Array,
    dtypes: Dtypes,
    *,
    stride: PerAxis,
    padding: Padding,
    output_padding: PerAxis,
    dilation: PerAxis,
    groups: Count,
    precision: lax.PrecisionLike,
) -> Problem:
    """The problem of y and kernel that gives an array of the shape of x, or a `ValueError` naming `op`."""
    axes, spatial = x.ndim - 2, x.shape[1:-1]
    groups = _groups(op, x, kernel, groups)
    size = per_axis(op, "window", kernel.shape[:-2], axes)
    strides, steps = per_axis(op, "stride", stride, axes), per_axis(op, "dilation", dilation, axes)
    more = per_axis(op, "output_padding", output_padding, axes, least=0)
    # what a name leaves out depends on kernel and stride alone, so it is read off a y of one stride
    left_out = padding_pairs(op, padding, strides, size, strides, steps)
    out, edges = [], []
    for h, k, s, d, (lo, hi), beyond in zip(spatial, size, strides, steps, left_out, more, strict=True):
        r = d * (k - 1) + 1
        after = beyond + (max(s - r, 0) if isinstance(padding, str) else 0)  # places after the last that is reached
        out.append((h - 1) * s + r - lo - hi + after)
        edges.append((lo, hi - max(0, after - (s - 1))))  # windows may end s - 1 before y does
    if fault := _fault(spatial, out):
        refuse(
            op,
            f"x {x.shape} with kernel {kernel.shape}, stride {strides}, padding {left_out}, output_padding {more} and "
            f"dilation {steps} gives y of spatial size {tuple(out)}{fault}",
        )
    return Problem.of(
        op,
        (x.shape[0], *out, kernel.shape[-2] * groups),
        kernel.shape,
        Dtypes(dtypes.y, dtypes.kernel, dtypes.x),
        stride=strides,
        padding=edges,
        dilation=steps,
        groups=groups,
        precision=precision,
    )


def _fault(spatial: Shape, out: Shape) -> str:
    """What is wrong with the sizes of x and y, if anything."""
    if any(not is_symbolic(size) and size < 1 for size in (*spatial, *out)):
        return "; there must be a place on each axis of x and of y"
    if any(map(_may_be_negative, out)):
        return ", which may be below 0; say what is known of x, as by symbolic_shape('h + 2') or by constraints"
    is_known = not any(map(is_symbolic, out))
    return ", which no memory holds" if is_known and prod(out) >= GREATEST_RESULT else ""


def _may_be_negative(size: Size) -> bool:
    try:
        return bool(size < 0)
    except jax.errors.InconclusiveDimensionOperation:
        return True


def _groups(op: str, x: jax.Array, kernel: jax.Array, groups: Any) -> int:
    """The number of groups, or a `ValueError` naming `op` where kernel or groups do not fit x."""
    if kernel.ndim != x.ndim:
        refuse(
            op,
            "x must be (N, *spatial, C_in) and kernel (*k, C_out/groups, C_in), of as many spatial axes, "
            f"got x {x.shape} and kernel {kernel.shape}"
            + ("; for one image without its batch axis, give x[None]" * (kernel.ndim == x.ndim + 1)),
        )
    c_in = x.shape[-1]
    try:
        count = as_int(groups)
    except TypeError:
        count = 0
    if count < 1 or c_in % count:
        refuse(op, f"groups must be a positive int that divides C_in = {c_in}, got {groups!r} (x {x.shape})")
    if kernel.shape[-1] != c_in:
        is_flax = kernel.shape[-2] == c_in
        hint = "; of one as in Flax, give jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)" * is_flax
        refuse(
            op, f"kernel must be (*k, C_out/groups, C_in) with C_in = {c_in} for x {x.shape}, got {kernel.shape}{hint}"
        )
    return count
