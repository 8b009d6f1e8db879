"""Softmax.

Legend (along one axis; i, k are positions on it)
    z   the logits, any shape       p, dp, dz   of the shape of z       m = max_k z_k

Forward     p_i = exp(z_i - m) / sum_k exp(z_k - m)                                                       [V 3; R 1.6]
            the shift by m cancels, and keeps every exponent at or below 0

Backward    dp_i / dz_k = p_i ([i = k] - p_k)                                      [V 3.1.1, the matrix after [V 8]]
            dz_k = sum_i dp_i p_i ([i = k] - p_k) = p_k (dp_k - sum_i dp_i p_i)                                  (B3)
            the matrix is symmetric, and applying it needs no matrix

Residuals   p
Conventions exponents and sums in float32 or wider; a slice that is all -inf gives NaN, as `jax.nn.softmax` does
Sources     [V] 2.3 and 3.1.1, [R] 1.6.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.ops._arguments import float_array, one_axis
from jaxcnn.ops._dtypes import accumulator
from jaxcnn.ops._types import Same


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
    return _softmax(z, one_axis("softmax", "z", z, axis))


@partial(jax.custom_vjp, nondiff_argnames=("axis",))
def _softmax(z: Same, axis: int) -> Same:
    wide = z.astype(accumulator(z.dtype))
    e = jnp.exp(wide - jnp.max(wide, axis=axis, keepdims=True))
    return (e / jnp.sum(e, axis=axis, keepdims=True)).astype(z.dtype)  # [V 3]


def _softmax_fwd(z: Same, axis: int) -> tuple[Same, Same]:
    p = _softmax(z, axis)
    return p, p


def _softmax_bwd(axis: int, p: Same, dp: Same) -> tuple[Same]:
    wide = accumulator(p.dtype)
    p_wide, dp_wide = p.astype(wide), dp.astype(wide)
    dz = p_wide * (dp_wide - jnp.sum(dp_wide * p_wide, axis=axis, keepdims=True))  # (B3)
    return (dz.astype(p.dtype),)


_softmax.defvjp(_softmax_fwd, _softmax_bwd)
