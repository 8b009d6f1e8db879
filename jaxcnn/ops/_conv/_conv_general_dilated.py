"""`lax.conv_general_dilated`'s signature over `conv`'s rules, for code that was written for it.

Legend
    lhs     x, rhs the kernel, in the layouts that `dimension_numbers` names: two axes of each and any spatial ones

Forward     y = correlate(x, k), the axes moved to (N, *spatial, C) and (*k, C_in/groups, C_out) and back         [R 1]
Backward    a permutation's gradient is its inverse; the rest is `_conv/_rule.py`'s
Residuals   x and k, once, in conv's layout
Conventions conv's, which are lax's; no lhs_dilation, no groups of the batch, no out_sharding. What it cannot do raises;
            `jaxcnn.reference` has lax's own.
Sources     [R] 1.2-1.4; lax.conv_general_dilated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from jaxcnn.ops._conv import conv
from jaxcnn.ops._lib._arguments import float_array, refuse
from jaxcnn.ops._lib._record import Arguments, Example, Op, Shape, bytes_of, shape
from jaxcnn.ops._lib._window import Count

reference = lax.conv_general_dilated


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: Count = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
) -> jax.Array:
    """`conv` under the name and signature of `jax.lax.conv_general_dilated`, as for `flax.linen.Conv`.

    Args:
        lhs: images, of rank 3 or more, floating.
        rhs: the kernel, of the same rank, floating; rounded to the dtype of lhs.
        window_strides: one per spatial axis.
        padding: "SAME", "SAME_LOWER", "VALID", or a (low, high) pair per spatial axis; below 0 it crops.
        lhs_dilation: None or ones.
        rhs_dilation: None or one per spatial axis.
        dimension_numbers: as in lax: None for NCHW, strings such as ("NHWC", "HWIO", "NHWC"), or lax's own.
        feature_group_count: groups of channels.
        batch_group_count: 1.
        precision, preferred_element_type: as in `conv`.
        out_sharding: None.

    Returns:
        the convolution, in the layout and dtype that lax gives it.

    Raises:
        ValueError: as `conv`; an argument that is not as above.

    Source:
        [R 1], [V 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, kernel = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
        >>> conv_general_dilated(x, kernel, (1, 1), "SAME").shape
        (1, 4, 8, 8)
    """
    op = "conv_general_dilated"
    lhs, rhs = float_array(op, "lhs", lhs), float_array(op, "rhs", rhs)
    if lhs.ndim < 3 or lhs.ndim != rhs.ndim:
        hint = "; without a spatial axis it is a product: use dense" if lhs.ndim == rhs.ndim == 2 else ""
        refuse(op, f"lhs and rhs must have the same rank, 3 or more, got shapes {lhs.shape} and {rhs.shape}{hint}")
    axes = lhs.ndim - 2
    stride = _one_per_axis(op, "window_strides", window_strides, axes)
    dilation = _one_per_axis(op, "rhs_dilation", (1,) * axes if rhs_dilation is None else rhs_dilation, axes)
    if lhs_dilation is not None and {*_one_per_axis(op, "lhs_dilation", lhs_dilation, axes)} != {1}:
        refuse(op, f"lhs_dilation must be None or ones, got {lhs_dilation!r}; use input_gradient for a transposed conv")
    if batch_group_count != 1:
        refuse(op, f"batch_group_count must be 1, got {batch_group_count!r}; use jax.lax.conv_general_dilated")
    if out_sharding is not None:
        refuse(op, f"out_sharding must be None, got {out_sharding!r}; use jax.lax.conv_general_dilated")
    numbers = _numbers(op, lhs, rhs, dimension_numbers)
    batch, feature, *spatial = numbers.lhs_spec
    outward, inward, *taps = numbers.rhs_spec
    y = conv(
        jnp.transpose(lhs, (batch, *spatial, feature)),
        jnp.transpose(rhs, (*taps, inward, outward)),
        stride=stride,
        padding=padding if isinstance(padding, str) else _pairs(op, padding, axes),
        dilation=dilation,
        groups=feature_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    batch, feature, *spatial = numbers.out_spec
    return jnp.moveaxis(y, range(y.ndim), (batch, *spatial, feature))


def _one_per_axis(op: str, name: str, value: Any, axes: int) -> tuple[Any, ...]:
    entries = tuple(value) if np.ndim(value) == 1 else ()
    if len(entries) != axes:
        refuse(op, f"{name} must have one entry per spatial axis ({axes}), got {value!r}")
    return entries


def _pairs(op: str, padding: Any, axes: int) -> tuple[tuple[Any, Any], ...]:
    try:
        pairs = tuple((lo, hi) for lo, hi in padding)
    except (TypeError, ValueError):
        pairs = ()
    if len(pairs) != axes:
        refuse(op, f"padding must be a name, or a (low, high) pair per spatial axis ({axes}), got {padding!r}")
    return pairs


def _numbers(op: str, lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any) -> lax.ConvDimensionNumbers:
    """lax's own reading of the layouts."""
    try:
        return lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    except (TypeError, ValueError) as error:
        refuse(op, f"dimension_numbers must be as in lax, got {dimension_numbers!r} ({' '.join(str(error).split())})")


def _multiply_adds(args: Arguments, y: Shape) -> int:
    numbers = lax.conv_dimension_numbers(args["lhs"].shape, args["rhs"].shape, args["dimension_numbers"])
    return y.size * args["rhs"].size // args["rhs"].shape[numbers.rhs_spec[0]]


OP = Op(
    conv_general_dilated,
    reference,
    equations="[R 1]",
    kept="as `conv`",
    at_kinks="as `conv`",
    elsewhere="`jax.lax.conv_general_dilated`; give it to `flax.linen.Conv(conv_general_dilated=...)`",
    examples={
        "": Example(
            lambda m, x, k: m.conv_general_dilated(x, k, (1, 2), ((1, 0), (0, 1)), rhs_dilation=(2, 1)),
            (shape(3, 2, 3, 4), shape(3, 2, 2, 2)),
            is_exact=True,
        )
    },
    multiply_adds=_multiply_adds,
    residual_bytes=bytes_of("lhs", "rhs"),
)
