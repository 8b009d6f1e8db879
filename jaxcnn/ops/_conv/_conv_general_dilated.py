"""`lax.conv_general_dilated`, by the rules wherever it is one of their maps, for code that was written for it.

Legend
    lhs     x, rhs the kernel, in the layouts that `dimension_numbers` names: two axes of each and any spatial ones

Forward     y = correlate(x, k), or of a dilated lhs y = input_gradient(x, k flipped), the axes moved to
            (N, *spatial, C) and (*k, C_in/groups, C_out) and back: `_by_rules` has the algebra        [R 1, 6], (B11)
Backward    a permutation's gradient is its inverse; the rest is `_rule.py`'s
Residuals   x and k, once, in conv's layout
Conventions lax's, whatever it accepts, down to its errors; what is none of the three maps is lax's own, with autodiff's
            gradients. The two dtypes must be equal, as lax asks and unlike `conv`.
Sources     [R] 1.2-1.4; lax.conv_general_dilated
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxcnn.ops._conv._by_rules import NotOurs, by_rules
from jaxcnn.ops._conv._plan import Algorithms
from jaxcnn.ops._lib._arguments import refuse
from jaxcnn.ops._lib._record import Arguments, Example, Op, Shape, bytes_of, shape
from jaxcnn.ops._lib._window import Count

Steps = Sequence[int] | np.ndarray | jax.Array  # one per spatial axis


def reference(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Steps,
    padding: str | Sequence[Sequence[int]] | np.ndarray,
    lhs_dilation: Steps | None = None,
    rhs_dilation: Steps | None = None,
    dimension_numbers: Any = None,
    feature_group_count: Count = 1,
    batch_group_count: Count = 1,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
    *,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """The plain forward: lax's own, whatever the algorithm."""
    return lax.conv_general_dilated(
        jnp.asarray(lhs),
        jnp.asarray(rhs),
        tuple(map(int, window_strides)),
        padding if isinstance(padding, str) else [(int(lo), int(hi)) for lo, hi in padding],
        None if lhs_dilation is None else tuple(map(int, lhs_dilation)),
        None if rhs_dilation is None else tuple(map(int, rhs_dilation)),
        dimension_numbers,
        int(feature_group_count),
        int(batch_group_count),
        precision,
        preferred_element_type,
        out_sharding,
    )


def conv_general_dilated(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Steps,
    padding: str | Sequence[Sequence[int]] | np.ndarray,
    lhs_dilation: Steps | None = None,
    rhs_dilation: Steps | None = None,
    dimension_numbers: Any = None,
    feature_group_count: Count = 1,
    batch_group_count: Count = 1,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
    *,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """`jax.lax.conv_general_dilated` by the rules of `conv`: all that lax accepts, as for `flax.linen.Conv`.

    Floating convolutions of one spatial axis or more are by the rules unless window_strides and lhs_dilation are both
    over 1. All others are lax's own, with autodiff's gradients.

    Args:
        lhs: images, of rank 2 or more, of any dtype.
        rhs: the kernel, of the same rank and dtype.
        window_strides: one per spatial axis.
        padding: "SAME", "SAME_LOWER", "VALID", or a (low, high) pair per spatial axis; below 0 it crops.
        lhs_dilation: None or one per spatial axis; over 1 for a transposed convolution, as `jax.lax.conv_transpose` has
            it.
        rhs_dilation: None or one per spatial axis.
        dimension_numbers: None for NCHW, strings such as ("NHWC", "HWIO", "NHWC"), or lax's own.
        feature_group_count: groups of channels.
        batch_group_count: groups of images, each with its own channels of the result.
        precision, preferred_element_type, out_sharding: as in lax.
        algorithm: as in `conv`; where lhs is dilated, of the problem whose `input_gradient` this is.

    Returns:
        the convolution, in the layout and dtype that lax gives it.

    Raises:
        ValueError: options that are not one per spatial axis, an algorithm that cannot compute it, or an algorithm by
            name for what is left to lax; else as lax, and what lax raises.

    Source:
        [R 1, 6], [V 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, kernel = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
        >>> conv_general_dilated(x, kernel, (1, 1), "SAME").shape
        (1, 4, 8, 8)
        >>> conv_general_dilated(x, kernel, (1, 1), ((1, 2), (1, 2)), lhs_dilation=(2, 2)).shape
        (1, 4, 16, 16)
    """
    op = "conv_general_dilated"
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
    if lhs.ndim < 2 or lhs.ndim != rhs.ndim:
        refuse(op, f"lhs and rhs must have the same rank, 2 or more, got shapes {lhs.shape} and {rhs.shape}")
    options: dict[str, Any] = {
        "window_strides": _one_per_axis(op, "window_strides", window_strides, lhs.ndim - 2),
        "padding": padding if isinstance(padding, str) else _pairs(op, padding, lhs.ndim - 2),
        "lhs_dilation": None if lhs_dilation is None else _one_per_axis(op, "lhs_dilation", lhs_dilation, lhs.ndim - 2),
        "rhs_dilation": None if rhs_dilation is None else _one_per_axis(op, "rhs_dilation", rhs_dilation, lhs.ndim - 2),
        "dimension_numbers": dimension_numbers,
        "feature_group_count": _as_int(feature_group_count),
        "batch_group_count": _as_int(batch_group_count),
        "precision": precision,
        "preferred_element_type": preferred_element_type,
        "out_sharding": out_sharding,
    }
    try:
        return by_rules(lhs, rhs, op=op, algorithm=algorithm, **_as_lax_reads(lhs, rhs, options))
    except NotOurs as why:
        if algorithm != "auto":
            refuse(op, f"algorithm must be 'auto' for what is left to lax, got {algorithm!r}: {why}")
    return lax.conv_general_dilated(lhs, rhs, **options)


def _as_lax_reads(lhs: jax.Array, rhs: jax.Array, options: dict[str, Any]) -> dict[str, Any]:
    """The parameters of lax's equation, or lax's error; wherever the arrays lie, which the rules know of themselves."""
    types = (jax.ShapeDtypeStruct(array.shape, array.dtype) for array in (lhs, rhs))
    program = jax.make_jaxpr(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, **options))(*types)
    return program.eqns[-1].params


def _one_per_axis(op: str, name: str, value: Any, axes: int) -> tuple[Any, ...]:
    try:
        entries = tuple(map(_as_int, value))
    except TypeError:
        entries = (None,) * (axes + 1)
    if len(entries) != axes:
        refuse(op, f"{name} must have one entry per spatial axis ({axes}), got {value!r}")
    return entries


def _as_int(value: Any) -> Any:
    """An int of NumPy's or jax's as Python's; anything else as it is, for lax to judge."""
    try:
        return operator.index(value)
    except TypeError:
        return value


def _pairs(op: str, padding: Any, axes: int) -> tuple[tuple[Any, Any], ...]:
    try:
        pairs = tuple((_as_int(lo), _as_int(hi)) for lo, hi in padding)
    except (TypeError, ValueError):
        pairs = ((0, 0),) * (axes + 1)
    if len(pairs) != axes:
        refuse(op, f"padding must be a name, or a (low, high) pair per spatial axis ({axes}), got {padding!r}")
    return pairs


def _multiply_adds(args: Arguments, y: Shape) -> int:
    """A term for each element of y, or, of a dilated lhs, which holds zeros, of lhs."""
    lhs, rhs = args["lhs"], args["rhs"]
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, args["dimension_numbers"])
    if any(step != 1 for step in args["lhs_dilation"] or ()):
        return lhs.size * rhs.size // max(1, lhs.shape[numbers.lhs_spec[1]] * args["batch_group_count"])
    return y.size * rhs.size // max(1, rhs.shape[numbers.rhs_spec[0]])


OP = Op(
    conv_general_dilated,
    reference,
    equations="[R 1, 6]",
    kept="as `conv`",
    at_kinks="as `conv`",
    elsewhere="`jax.lax.conv_general_dilated`; give it to `flax.linen.Conv(conv_general_dilated=...)`",
    examples={
        "": Example(
            lambda m, x, k: m.conv_general_dilated(x, k, (1, 2), ((1, 0), (0, 1)), rhs_dilation=(2, 1)),
            (shape(3, 2, 3, 4), shape(3, 2, 2, 2)),
            is_exact=True,
        ),
        "transposed": Example(
            lambda m, x, k: m.conv_general_dilated(
                x, k, (1, 1), ((1, 0), (0, 2)), (2, 1), (1, 2), feature_group_count=2
            ),
            (shape(3, 4, 2, 3), shape(2, 2, 2, 2)),
            is_exact=True,
        ),
    },
    multiply_adds=_multiply_adds,
    residual_bytes=bytes_of("lhs", "rhs"),
)
