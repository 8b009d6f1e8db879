"""The bias of a convolution or of a dense layer, and its gradient.

Legend
    y   (N, *places, C)     the product that the bias is added to
    b   (C,)

Forward     z[..., c] = y[..., c] + b[c], y in the dtype of its sums, and z rounded once             [R 1, 2; V 2]
Backward    dz[..., c] / db[c'] = [c = c'], so  db[c] = sum over images and places of dz[..., c]     [R 4, 9; V 6, 24]
            and dy = dz
Residuals   none; the types of both, their dtypes and shardings, are static
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._lib._arguments import float_array, refuse
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import laid_out_as, varying_alike
from jaxcnn.ops._lib._types import Bias, Products


def reference(y: jax.Array, bias: jax.Array) -> jax.Array:
    """The plain forward."""
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + bias.shape)


def add_bias(op: str, y: jax.Array, bias: jax.typing.ArrayLike, dtype: np.dtype) -> jax.Array:
    """y + bias, rounded to `dtype`, or a `ValueError` of `op` where bias is not (C,)."""
    bias = float_array(op, "bias", bias)
    if bias.shape != y.shape[-1:]:
        refuse(
            op,
            f"bias must be (C_out,) = {y.shape[-1:]} for the kernel's output channels, got shape {bias.shape}",
        )
    y, bias = varying_alike(y, bias)
    return _add_bias(dtype, (jax.typeof(y), jax.typeof(bias)), y, bias)


@partial(jax.custom_vjp, nondiff_argnames=("dtype", "types"))
def _add_bias(dtype: np.dtype, types: tuple[Any, Any], y: Products, bias: Bias) -> Products:
    return (y + lax.expand_dims(bias.astype(y.dtype), range(y.ndim - 1))).astype(dtype)


def _add_bias_fwd(dtype: np.dtype, types: tuple[Any, Any], y: Products, bias: Bias) -> tuple[jax.Array, None]:
    return _add_bias(dtype, types, y, bias), None


def _add_bias_bwd(dtype: np.dtype, types: tuple[Any, Any], _: None, dz: Products) -> tuple[Products, Bias]:
    db = jnp.sum(dz, axis=tuple(range(dz.ndim - 1)), dtype=accumulator(dz.dtype))  # [R 4]
    of_y, of_bias = types
    return laid_out_as(dz.astype(of_y.dtype), of_y), laid_out_as(db.astype(of_bias.dtype), of_bias)


_add_bias.defvjp(_add_bias_fwd, _add_bias_bwd)
