"""What every op asks of its arguments, and one way to say no: op, argument, expectation, what was given, what to do."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from functools import partial
from numbers import Real
from typing import Any, NoReturn, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

FLOATS = {jnp.dtype(dtype) for dtype in (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64)}


def refuse(op: str, message: str) -> NoReturn:
    """Raise the `ValueError` of `op`, in one line."""
    raise ValueError(f"{op}: {message}")


def float_array(op: str, name: str, value: ArrayLike) -> jax.Array:
    """`value` as a jax array of a floating dtype."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        refuse(op, f"{name} must be an array of floats, got {type(value).__name__} ({error})")
    if array.dtype not in FLOATS:
        refuse(op, f"{name} must have a floating dtype, got {array.dtype}; {_way_out(name, array.dtype)}")
    return array


def _way_out(name: str, dtype: np.dtype) -> str:
    """What to do with an array of a dtype that no op computes in, losing nothing."""
    if dtype == jnp.uint8:
        return f"convert it, as by {name}.astype('float32') / 255 for an image"
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return f"give {name}.real and {name}.imag apart, and add up what is linear in them"
    if jnp.issubdtype(dtype, jnp.floating):
        return f"convert it, as by {name}.astype('bfloat16'), which holds each of its values"
    if jnp.dtype(dtype).itemsize >= 4:
        return f"convert it, as by {name}.astype('float32'), which is exact to 2**24, or 'float64' to 2**53"
    return f"convert it, as by {name}.astype('float32')"


def image_array(op: str, name: str, value: ArrayLike, spatial_axes: int | None = None) -> jax.Array:
    """`value` as a floating array (N, *spatial, C) with at least one spatial axis, or exactly `spatial_axes`."""
    array = float_array(op, name, value)
    if array.ndim < 3:
        refuse(
            op,
            f"{name} must be (N, *spatial, C) with at least one spatial axis, got shape {array.shape}; "
            f"add the missing axes, as by {name}[None] for the batch or {name}[..., None] for the channel",
        )
    if spatial_axes is not None and array.ndim != spatial_axes + 2:
        refuse(op, f"{name} must be (N, *spatial, C) with {spatial_axes} spatial axes, got shape {array.shape}")
    return array


def hint_at_one_image(op: str, shape: tuple[Any, ...], window: object) -> None:
    """Warn where what is pooled as signals (N, L, C) looks like one image (H, W, C): square, and grey or in colours."""
    if len(shape) != 3 or np.ndim(cast(Any, window)) or shape[2] not in (1, 3, 4):
        return
    if shape[0] == shape[1] and shape[0] > 4:
        warnings.warn(
            f"{op}: x {shape} is pooled as {shape[0]} signals of {shape[1]} places; if it is one image, give x[None], "
            f"and if not, window=({window},) says so",
            stacklevel=3,
        )


def shape_tuple(op: str, name: str, value: object) -> tuple[Any, ...]:
    """`value` as a tuple of sizes, each of which may be symbolic."""
    is_known = isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer)
    value = np.asarray(value) if is_known else value
    sizes = tuple(value) if isinstance(value, (Sequence, np.ndarray)) and np.ndim(cast(Any, value)) == 1 else ()
    if not sizes or not all(_is_size(size) for size in sizes):
        refuse(op, f"{name} must be a tuple of sizes, got {value!r}")
    return tuple(int(size) if isinstance(size, np.integer) else size for size in sizes)


def _is_size(size: Any) -> bool:
    """An int, or symbolic."""
    return isinstance(size, int | np.integer) and not isinstance(size, bool) or jax.export.is_symbolic_dim(size)


def real_number(op: str, name: str, value: object, expected: str) -> float:
    """`value`, of Python, NumPy or jax, as a Python number, or a `ValueError` naming `op`: "must be <expected>"."""
    is_known = isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer)
    number: Any = np.asarray(value).reshape(-1)[0] if is_known and np.size(cast(Any, value)) == 1 else value
    number = float(number) if jnp.issubdtype(getattr(number, "dtype", bool), jnp.floating) else number  # bfloat16 too
    if not isinstance(number, Real | np.floating):
        refuse(op, f"{name} must be {expected}, and known when the program is traced, got {value!r}")
    return float(number)


def checked_precision(op: str, precision: Any) -> lax.PrecisionLike:
    """`precision` as lax takes it, or a `ValueError` naming `op`."""
    if precision is None or isinstance(precision, lax.Precision):
        return precision
    try:
        jax.eval_shape(partial(lax.dot, precision=precision), *[jax.ShapeDtypeStruct((1, 1), jnp.float32)] * 2)
    except (TypeError, ValueError):
        names = ", ".join(repr(each.name.lower()) for each in lax.Precision)
        refuse(op, f"precision must be None, {names}, or as jax.lax takes it, got {precision!r}")
    return precision


def several_axes(op: str, name: str, array: jax.Array, axis: Any) -> tuple[int, ...]:
    """`axis`, one or several, as non-negative axes of `array` in order, or a `ValueError` naming `op`."""
    try:
        named = (axis,) if np.ndim(axis) == 0 else tuple(axis)
    except (TypeError, ValueError):
        named = ()
    axes = tuple(sorted(one_axis(op, name, array, each) for each in named))
    if not axes or len({*axes}) != len(axes):
        refuse(op, f"axis must name at least one axis, none twice, got {axis!r} for {name} {array.shape}")
    return axes


def one_axis(op: str, name: str, array: jax.Array, axis: object) -> int:
    """`axis` as a non-negative axis of `array` that is not empty, or a `ValueError` naming `op`."""
    try:
        index = operator.index(cast(Any, axis))
    except TypeError:
        refuse(op, f"axis must be an int, got {axis!r}")
    if not -array.ndim <= index < array.ndim:
        refuse(op, f"axis must be one of the {array.ndim} of {name} {array.shape}, got {axis}")
    if array.shape[index] == 0:
        refuse(op, f"{name} must not be empty along axis {axis}, got shape {array.shape}")
    return index % array.ndim
