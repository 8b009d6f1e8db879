"""`conv_general_dilated` by `ops.conv`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn import ops
from jaxcnn._accelerate._replacement import Replacement, compiled
from jaxcnn.ops._conv._algorithm import MAPS
from jaxcnn.ops._conv._plan import Algorithms


def decide(eqn: Any, plan: Algorithms) -> Replacement | str:
    """The op with its options, or why the equation is left to jax.lax."""
    params = eqn.params
    x, kernel = (variable.aval for variable in eqn.invars)
    if x.ndim < 3:
        return "no spatial axis: a matrix product"
    if any(step != 1 for step in params["lhs_dilation"]):
        return f"lhs_dilation {tuple(params['lhs_dilation'])}: a transposed convolution"
    if params["batch_group_count"] != 1:
        return f"batch_group_count {params['batch_group_count']}"
    numbers = params["dimension_numbers"]
    options = {
        "stride": tuple(params["window_strides"]),
        "padding": tuple(params["padding"]),
        "dilation": tuple(params["rhs_dilation"]),
        "groups": params["feature_group_count"],
        "precision": params["precision"],
        "preferred_element_type": params["preferred_element_type"],
    }
    types = [_laid_out(x, _x_axes(numbers)), _laid_out(kernel, _kernel_axes(numbers))]
    reason = ""
    for algorithm in (plan, "auto"):  # what cannot compute this one does not stand in its way
        try:
            found = ops.conv_plan(*types, **options, algorithm=algorithm)
        except ValueError as error:
            reason = str(error).removeprefix("conv_plan: ")
        else:
            run = compiled("conv", _convolved, numbers, *(options | {"algorithm": algorithm}).items())
            return Replacement(run, {which: getattr(found, which) for which in MAPS})
    return reason


def _x_axes(numbers: lax.ConvDimensionNumbers) -> tuple[int, ...]:
    batch, feature, *spatial = numbers.lhs_spec
    return batch, *spatial, feature


def _kernel_axes(numbers: lax.ConvDimensionNumbers) -> tuple[int, ...]:
    outward, inward, *taps = numbers.rhs_spec
    return *taps, inward, outward


def _laid_out(type_: Any, axes: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(type_.shape[axis] for axis in axes), type_.dtype)


def _convolved(numbers: lax.ConvDimensionNumbers, *options_and_arrays: Any) -> jax.Array:
    *options, x, kernel = options_and_arrays
    x, kernel = jnp.transpose(x, _x_axes(numbers)), jnp.transpose(kernel, _kernel_axes(numbers))
    batch, feature, *spatial = numbers.out_spec
    return jnp.moveaxis(ops.conv(x, kernel, **dict(options)), range(x.ndim), (batch, *spatial, feature))
