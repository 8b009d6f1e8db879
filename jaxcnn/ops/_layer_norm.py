"""Layer normalization: the normalization that [R 1.9] leaves open.

Legend (over M positions of the normalized axes; every mean below is over them)
    x, y, dy    any shape       scale, bias   (*normalized,), the sizes of those axes
    mu, v       mean and variance of x      r = (v + e)^(-1/2)      h = (x - mu) r

Forward     y = h scale + bias

Backward    With t = dy scale, the cotangent of h: r and mu depend on x,
                dmu/dx_j = 1/M      dv/dx_j = 2 (x_j - mu) / M      dr/dx_j = - r^3 (x_j - mu) / M = - r^2 h_j / M
            so dh_i/dx_j = r ([i = j] - 1/M) + (x_i - mu) dr/dx_j = r ([i = j] - 1/M - h_i h_j / M), and
                dx     = r (t - mean(t) - h mean(t h))                                                           (B8)
                dscale = sum of dy h,   dbias = sum of dy,   over the axes that are not normalized               (B9)

Residuals   x and scale, and for each normalized group mu and r
Conventions v is the mean square of x - mu (no Bessel correction); means and sums in float32 or wider; y, dx, dscale and
            dbias come back in the dtypes of x, x, scale and bias
Sources     [R] 1.9 names it; the formulas are ours, after Ba, Kiros and Hinton, "Layer Normalization" (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops._arguments import float_array, one_axis, refuse
from jaxcnn.ops._dtypes import accumulator
from jaxcnn.ops._meshes import varying_alike
from jaxcnn.ops._types import Same

Axes = tuple[int, ...]
Saved = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def reference(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, axis: int | Sequence[int] = -1, epsilon: float = 1e-5
) -> jax.Array:
    """The plain forward."""
    x = jnp.asarray(x)
    wide = x.astype(accumulator(x.dtype))
    axes = tuple(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    shape = [size if a in axes else 1 for a, size in enumerate(x.shape)]
    h = (wide - wide.mean(axes, keepdims=True)) / jnp.sqrt(wide.var(axes, keepdims=True) + epsilon)
    return (h * jnp.reshape(scale, shape) + jnp.reshape(bias, shape)).astype(x.dtype)


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike,
    bias: ArrayLike,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float = 1e-5,
) -> jax.Array:
    """Bring each example's values along some axes to mean 0 and variance 1, then scale and shift them.

    Args:
        x: any shape with at least one axis, floating; (N, *spatial, C) in the networks here.
        scale, bias: floating, of the sizes of the normalized axes, in the order those have in x.
        axis: the normalized axis or axes.
        epsilon: added to the variance; positive.

    Returns:
        y of the shape and dtype of x.

    Raises:
        ValueError: wrong rank or dtype, an axis that x does not have or that is named twice, a scale or bias that
            does not fit, an epsilon that is not positive.

    Source:
        the normalization of [R] 1.9.

    Example:
        >>> import jax.numpy as jnp
        >>> layer_norm(jnp.array([[0.0, 2.0]]), jnp.ones(2), jnp.zeros(2), epsilon=1e-12).round(6).tolist()
        [[-1.0, 1.0]]
    """
    x = float_array("layer_norm", "x", x)
    scale, bias = float_array("layer_norm", "scale", scale), float_array("layer_norm", "bias", bias)
    named = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    axes = tuple(sorted(one_axis("layer_norm", "x", x, a) for a in named))
    if not axes or len(set(axes)) != len(axes):
        refuse("layer_norm", f"axis must name at least one axis, none twice, got {axis!r} for x {x.shape}")
    expected = tuple(x.shape[a] for a in axes)
    for name, array in (("scale", scale), ("bias", bias)):
        if array.shape != expected:
            refuse(
                "layer_norm",
                f"{name} must be {expected}, axis {axis!r} of x {x.shape}, got shape {array.shape}",
            )
    if not isinstance(epsilon, Real) or not epsilon > 0:
        refuse("layer_norm", f"epsilon must be positive, got {epsilon!r}")
    return _layer_norm(*varying_alike(x, scale, bias), axes, float(epsilon), bias.dtype)


@partial(jax.custom_vjp, nondiff_argnames=("axes", "epsilon", "bias_dtype"))
def _layer_norm(x: Same, scale: jax.Array, bias: jax.Array, axes: Axes, epsilon: float, bias_dtype: np.dtype) -> Same:
    mu, r = _moments(x, axes, epsilon)
    h = (x.astype(r.dtype) - mu) * r
    return (h * _stretch(scale, x, axes) + _stretch(bias, x, axes)).astype(x.dtype)


def _layer_norm_fwd(
    x: Same, scale: jax.Array, bias: jax.Array, axes: Axes, epsilon: float, bias_dtype: np.dtype
) -> tuple[jax.Array, Saved]:
    y = _layer_norm(x, scale, bias, axes, epsilon, bias_dtype)
    return y, (x, scale, *_moments(x, axes, epsilon))


def _layer_norm_bwd(
    axes: Axes, epsilon: float, bias_dtype: np.dtype, saved: Saved, dy: Same
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, scale, mu, r = saved
    dy = dy.astype(r.dtype)
    h = (x.astype(r.dtype) - mu) * r
    t = dy * _stretch(scale, x, axes)
    dx = r * (t - jnp.mean(t, axes, keepdims=True) - h * jnp.mean(t * h, axes, keepdims=True))  # (B8)
    others = tuple(a for a in range(x.ndim) if a not in axes)
    dscale, dbias = jnp.sum(dy * h, others), jnp.sum(dy, others)  # (B9)
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(bias_dtype)


_layer_norm.defvjp(_layer_norm_fwd, _layer_norm_bwd)


def _moments(x: Same, axes: Axes, epsilon: float) -> tuple[jax.Array, jax.Array]:
    """mu and r, with the normalized axes kept as ones."""
    x = x.astype(accumulator(x.dtype))
    mu = jnp.mean(x, axes, keepdims=True)
    return mu, lax.rsqrt(jnp.mean(jnp.square(x - mu), axes, keepdims=True) + epsilon)


def _stretch(weights: jax.Array, x: Same, axes: Axes) -> jax.Array:
    """scale or bias with x's rank, to be broadcast over the axes that are not normalized."""
    return weights.reshape([size if a in axes else 1 for a, size in enumerate(x.shape)])
