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

            In numbers of any size: all is computed of x c and e c^2, c the power of two that brings the greatest |x|,
            or the root of e, to 1 or little more, which neither overflows nor rounds; and with the first mean's own
            rounding error, the mean of what it leaves, subtracted too.

            Of numbers that are all equal h is 0 exactly, without the mean's rounding errors, and r = e^(-1/2); both
            keep the derivatives above, r that of second order too.

Residuals   x and scale, and for each normalized group c, the two parts of mu c, r / c (0 for equal numbers) and r
Conventions v is the mean square of x - mu (no Bessel correction); means and sums in float32 or wider; y, dx, dscale and
            dbias come back in the dtypes of x, x, scale and bias
Sources     [R] 1.9 names it; the formulas are ours, after Ba, Kiros and Hinton, "Layer Normalization" (2016).
"""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import float_array, real_number, refuse, several_axes
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import laid_out_as, varying_alike
from jaxcnn.ops._lib._record import ROWS, Arguments, Example, Op, Shape, bytes_of, shape, total
from jaxcnn.ops._lib._types import Same, Scalar
from jaxcnn.ops._lib._window import PerAxis

Axes = tuple[int, ...]


class Norm(NamedTuple):
    """What is normalized and how; the types of x, scale and bias."""

    axes: Axes
    epsilon: float
    types: tuple[Any, Any, Any]


class Moments(NamedTuple):
    """c, the mean of x c and that of what it leaves, and r of x c and of x."""

    c: jax.Array
    mean: jax.Array
    of_rest: jax.Array
    r_of_xc: jax.Array
    r: jax.Array


def reference(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, axis: PerAxis = -1, epsilon: Scalar = 1e-5
) -> jax.Array:
    """The plain forward."""
    x = jnp.asarray(x)
    wide = x.astype(accumulator(x.dtype))
    axes = tuple(int(a) % x.ndim for a in np.atleast_1d(np.asarray(axis)))
    shape = [size if a in axes else 1 for a, size in enumerate(x.shape)]
    h = (wide - wide.mean(axes, keepdims=True)) / jnp.sqrt(wide.var(axes, keepdims=True) + epsilon)
    scale, bias = (jnp.reshape(jnp.asarray(array).astype(wide.dtype), shape) for array in (scale, bias))
    return (h * scale + bias).astype(x.dtype)


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike,
    bias: ArrayLike,
    *,
    axis: PerAxis = -1,
    epsilon: Scalar = 1e-5,
) -> jax.Array:
    """Bring each example's values along some axes to mean 0 and variance 1, then scale and shift them.

    Args:
        x: any shape with at least one axis, floating; (N, *spatial, C) in the networks here.
        scale, bias: floating, of the sizes of the normalized axes, in the order those have in x.
        axis: the normalized axis or axes.
        epsilon: added to the variance; positive, in float32 too.

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
    axes = several_axes("layer_norm", "x", x, axis)
    expected = tuple(x.shape[a] for a in axes)
    for name, array in (("scale", scale), ("bias", bias)):
        if array.shape != expected:
            refuse(
                "layer_norm",
                f"{name} must be {expected}, axis {axis!r} of x {x.shape}, got shape {array.shape}",
            )
    wide = accumulator(x.dtype)
    added = real_number("layer_norm", "epsilon", epsilon, f"positive in {wide}")
    if not np.asarray(added, wide) > 0:
        refuse("layer_norm", f"epsilon must be positive in {wide}, got {epsilon!r}")
    x, scale, bias = varying_alike(x, scale, bias)
    return _layer_norm(Norm(axes, added, (jax.typeof(x), jax.typeof(scale), jax.typeof(bias))), x, scale, bias)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _layer_norm(norm: Norm, x: Same, scale: jax.Array, bias: jax.Array) -> Same:
    h = _normalized(x, _moments(norm, x))
    return (h * _stretch(norm.axes, scale, x, h.dtype) + _stretch(norm.axes, bias, x, h.dtype)).astype(x.dtype)


def _layer_norm_fwd(
    norm: Norm, x: Same, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Moments]]:
    return _layer_norm(norm, x, scale, bias), (x, scale, _moments(norm, x))


def _layer_norm_bwd(norm: Norm, saved: tuple[jax.Array, jax.Array, Moments], dy: Same) -> tuple[jax.Array, ...]:
    axes = norm.axes
    x, scale, moments = saved
    h = _normalized(x, moments)
    dy = dy.astype(h.dtype)
    t = dy * _stretch(axes, scale, x, h.dtype)
    of_h = t - jnp.mean(t, axes, keepdims=True) - h * jnp.mean(t * h, axes, keepdims=True)
    dx = of_h * moments.r  # (B8)
    others = tuple(a for a in range(x.ndim) if a not in axes)
    gradients = dx, jnp.sum(dy * h, others), jnp.sum(dy, others)  # (B9)
    return tuple(laid_out_as(each.astype(its.dtype), its) for each, its in zip(gradients, norm.types, strict=True))


_layer_norm.defvjp(_layer_norm_fwd, _layer_norm_bwd)


def _moments(norm: Norm, x: Same) -> Moments:
    """Of each normalized group, its axes kept as ones."""
    axes, epsilon, _ = norm
    x = x.astype(accumulator(x.dtype))
    limits = jnp.finfo(x.dtype)
    root = np.asarray(max(sqrt(epsilon), float(limits.tiny)), x.dtype)
    greatest = jnp.max(jnp.abs(x), axes, keepdims=True)
    _, exponent = jnp.frexp(jnp.maximum(greatest, root))
    c = jnp.ldexp(jnp.ones_like(greatest), jnp.clip(1 - exponent, limits.minexp, limits.maxexp - 1))
    mean = jnp.mean(x * c, axes, keepdims=True)
    rest = x * c - mean
    of_rest = jnp.mean(rest, axes, keepdims=True)
    variance = jnp.mean(jnp.square(rest - of_rest), axes, keepdims=True)
    # numbers that are not all equal vary by more than their rounding errors do
    is_constant = variance <= 256 * float(limits.eps) ** 4 * jnp.square(greatest * c)
    root_of_xc = lax.optimization_barrier(root * c)  # or XLA squares both factors, which may be 0 and infinity
    r_of_xc = lax.rsqrt(jnp.where(is_constant, 1, variance + jnp.square(root_of_xc)))
    r = jnp.where(is_constant, _of_constant(axes, float(1 / root), _zero(rest - of_rest) / c), r_of_xc * c)
    return Moments(c, mean, of_rest, jnp.where(is_constant, 0, r_of_xc), r)


def _normalized(x: Same, moments: Moments) -> jax.Array:
    """h = (x - mu) r, in float32 or wider; r of x c is 0 for numbers that are all equal, whose h is 0."""
    apart = x.astype(moments.c.dtype) * moments.c - moments.mean - moments.of_rest
    return jnp.where(moments.r_of_xc == 0, _zero(apart) / moments.c * moments.r, apart * moments.r_of_xc)


def _zero(apart: Same) -> Same:
    """x - mu of numbers that are all equal, without its rounding errors: 0, with the derivatives that it has."""
    return apart - lax.stop_gradient(apart)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _of_constant(axes: Axes, r: float, zero: Same) -> jax.Array:
    """r = e^(-1/2) of numbers that are all equal: a number that needs no pass over them, with r's own derivative."""
    return jnp.full_like(jnp.max(zero, axes, keepdims=True), r)


def _of_constant_fwd(axes: Axes, r: float, zero: Same) -> tuple[jax.Array, tuple[Same, jax.Array]]:
    found = _of_constant(axes, r, zero)
    return found, (zero, found)


def _of_constant_bwd(axes: Axes, _: float, saved: tuple[Same, jax.Array], g: jax.Array) -> tuple[Same]:
    zero, r = saved
    return (-(r * zero) * (r * (r * g)) * (g.size / zero.size),)  # - r^3 (x_j - mu) / M


_of_constant.defvjp(_of_constant_fwd, _of_constant_bwd)


def _stretch(axes: Axes, weights: jax.Array, x: Same, dtype: np.dtype) -> jax.Array:
    """scale or bias with x's rank, to be broadcast over the axes that are not normalized."""
    return weights.astype(dtype).reshape([size if a in axes else 1 for a, size in enumerate(x.shape)])


def _moments_bytes(args: Arguments, y: Shape) -> int:
    groups = y.size // max(1, args["scale"].size)
    return 5 * groups * accumulator(y.dtype).itemsize


OP = Op(
    layer_norm,
    reference,
    equations="[R 1.9]'s normalization",
    kept="x, scale, five numbers per group",
    at_kinks="smooth, for epsilon > 0",
    elsewhere="`flax.linen.LayerNorm`, `equinox.nn.LayerNorm`, `torch.nn.functional.layer_norm`",
    examples={"": Example(lambda m, x, s, b: m.layer_norm(x, s, b), (ROWS, shape(4), shape(4)))},
    residual_bytes=total(bytes_of("x", "scale"), _moments_bytes),
)
