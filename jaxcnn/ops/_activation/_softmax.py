"""Softmax.

Legend (along one axis; i, k are positions on it)
    z   the logits, any shape       p, dp, dz   of the shape of z       m = max_k z_k

Forward     p_i = exp(z_i - m) / sum_k exp(z_k - m)                                                       [V 3; R 1.6]
            the shift by m cancels, and keeps every exponent at or below 0

Backward    dp_i / dz_k = p_i ([i = k] - p_k)                                      [V 3.1.1, the matrix after [V 8]]
            dz_k = sum_i dp_i p_i ([i = k] - p_k) = p_k (dp_k - sum_i dp_i p_i)                                  (B3)
            the matrix is symmetric, and applying it needs no matrix; and dp - c in place of dp changes nothing, for
            the p_i sum to one: with c that of the likeliest i, what is subtracted is no greater than what is left
            where p_i is so near to 1 that 1 - p_i has been rounded away

Residuals   p in float32 or wider, 4 bytes per element or 8: of p rounded to a narrow dtype, 1 - p is off by much
Conventions exponents and sums in float32 or wider; a slice that is all -inf gives NaN, as `jax.nn.softmax` does
Sources     [V] 2.3 and 3.1.1, [R] 1.6.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import float_array, one_axis
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._record import ROWS, Example, Op
from jaxcnn.ops._lib._types import Same


def reference(z: jax.Array, *, axis: int = -1) -> jax.Array:
    """The plain forward: jax's own, in float32 or wider."""
    z = jnp.asarray(z)
    return jax.nn.softmax(z.astype(accumulator(z.dtype)), axis=axis).astype(z.dtype)


def softmax(z: ArrayLike, *, axis: int = -1) -> jax.Array:
    """The probabilities exp(z) / sum(exp(z)) along one axis.

    Args:
        z: logits of any shape with at least one axis, floating.
        axis: the axis that sums to one.

    Returns:
        p of the shape and dtype of z.

    Raises:
        ValueError: z is a scalar, not floating or empty along the axis; the axis is none of z's.

    Source:
        [V 3], [R] 1.6.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax(jnp.array([1000.0, 1000.0, -1000.0])).tolist()
        [0.5, 0.5, 0.0]
    """
    z = float_array("softmax", "z", z)
    return _probabilities(Along(one_axis("softmax", "z", z, axis), z.dtype), z).astype(z.dtype)


class Along(NamedTuple):
    """The axis that sums to one, and the dtype of z."""

    axis: int
    z_dtype: np.dtype


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _probabilities(along: Along, z: Same) -> Same:
    """p, in float32 or wider."""
    z = z.astype(accumulator(along.z_dtype))
    e = jnp.exp(z - jnp.max(z, axis=along.axis, keepdims=True))
    return e / jnp.sum(e, axis=along.axis, keepdims=True)  # [V 3]


def _probabilities_fwd(along: Along, z: Same) -> tuple[Same, Same]:
    p = _probabilities(along, z)
    return p, p


def _probabilities_bwd(along: Along, p: Same, dp: Same) -> tuple[Same]:
    axis = along.axis
    is_likeliest = p == jnp.max(p, axis=axis, keepdims=True)
    count = jnp.sum(is_likeliest, axis=axis, keepdims=True, dtype=p.dtype)
    c = jnp.sum(jnp.where(is_likeliest, dp, 0) / count, axis=axis, keepdims=True)
    quarter = dp / 4 - c / 4  # the difference of three numbers of dp's size must not overflow before p makes it small
    dz = 4 * (p * (quarter - jnp.sum(quarter * p, axis=axis, keepdims=True)))  # (B3)
    return (dz.astype(along.z_dtype),)


_probabilities.defvjp(_probabilities_fwd, _probabilities_bwd)


OP = Op(
    softmax,
    reference,
    equations="[V 3], [R 1.6]",
    kept="the probabilities, in float32 or wider",
    at_kinks="shifted by the maximum",
    elsewhere="`jax.nn.softmax`, `torch.softmax`",
    examples={"": Example(lambda m, z: m.softmax(z), (ROWS,))},
    residual_bytes=lambda args, y: y.size * accumulator(y.dtype).itemsize,
)
