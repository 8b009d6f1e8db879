"""Each float dtype against float64: results rounded once from float32, gradients in the dtypes of their arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_equal_trees, mostly_long, normals
from catalogue import OPS, Op

# In eps of the dtype, of the greatest magnitude in the array. In the narrow floats one final rounding is 1/2, and a
# residual that was rounded before (p of softmax) enters gradients twice more; the wide ones add sums of ~30 terms.
ROUNDINGS = {jnp.float64: 16, jnp.float32: 16, jnp.bfloat16: 2, jnp.float16: 2}

LOSSES = [name for name in OPS if "entropy" in name]


def in_dtype(op: Op, dtype: Any) -> tuple[jax.Array, ...]:
    """Generic numbers, whose sums are not exact; probabilities stay probabilities."""
    return tuple(
        (arg if jnp.all((arg > 0) & (arg < 1)) else normals(arg.shape, seed=number)).astype(dtype)
        for number, arg in enumerate(op.args)
    )


@functools.cache
def value_and_gradients(f: Callable[..., jax.Array]) -> Callable[..., Any]:
    """(dy, *args) -> f's value and gradients, compiled once a dtype."""

    def pulled(dy: jax.Array, *args: jax.Array) -> Any:
        y, pull = jax.vjp(f, *args)
        return y, pull(dy)

    return jax.jit(pulled)


@pytest.mark.parametrize("name", mostly_long(OPS, ("conv", "max_pool", "dense", "softmax_cross_entropy", "layer_norm")))
@pytest.mark.parametrize("dtype", ROUNDINGS, ids=lambda dtype: np.dtype(dtype).name)
def test_against_float64(name: str, dtype: Any) -> None:
    op = OPS[name]
    args = in_dtype(op, dtype)
    like = jax.eval_shape(op.ours, *args)
    dy = normals(like.shape, like.dtype, seed=9)
    y, gradients = value_and_gradients(op.ours)(dy, *args)
    wide_dy, *wide_args = (array.astype(np.float64) for array in (dy, *args))
    wide_y, wide_gradients = value_and_gradients(op.plain)(wide_dy, *wide_args)
    assert y.dtype == (np.float32 if name in LOSSES and np.dtype(dtype).itemsize < 4 else dtype)
    assert [gradient.dtype for gradient in gradients] == [arg.dtype for arg in args]
    assert_equal_trees((y, gradients), (wide_y, wide_gradients), roundings=ROUNDINGS[dtype], dtype=dtype)
