"""Softmax and cross-entropy as one: the loss that the networks train with.

Legend
    z, dz   (*lead, K) logits   y   labels: (*lead,) classes or (*lead, K) distributions        L, dL   (*lead,)
    p       (*lead, K) softmax of z;        w   (K,) weights of classes;        a   label smoothing

Forward     log p_i = z_i - m - log sum_k exp(z_k - m),  m = max_k z_k;      L[n] = - sum_i y_i log p_i   [V 4; R 1.6]
            [V 4]'s clip is not needed: no logarithm of a rounded probability is ever taken
            With weights and smoothing y is  t_i = w_i ((1 - a) y_i + a / K);  a mask leaves losses out, as 0

Backward    dL / dz_k = sum_i - (y_i / p_i) p_i ([i = k] - p_k) = - y_k + p_k sum_i y_i                     [V 12-16]
                      = p_k - y_k   where y sums to one                                                 [V 17-19; R 1.6]
            dL / dy_i = - log p_i   for distributions                                                            (B6)
            dL / dw_i = sum over examples of (dL / dt_i) ((1 - a) y_i + a / K)
            and of the map z -> log p itself, with cotangent t:   dz_k = t_k - p_k sum_i t_i                     (B7)

Residuals   p, or for distributions log p, and the labels; z is not kept
Conventions one loss per example: [R 1.6] sums over them. 0 log 0 = 0, so a logit of -inf is a class ruled out; a
            class out of range, which only jit can hide from the check, gives NaN, and gradient 0 where dL is 0. The
            loss is in float32 or wider.
Sources     [V] 3.1.2, [R] 1.6 (whose p - y needs sum_i y_i = 1; the general case is here).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import float_array, real_number, refuse
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import laid_out_as, varying_alike
from jaxcnn.ops._lib._record import CLASSES, ROWS, Example, Op, bytes_of, total
from jaxcnn.ops._lib._theorems import Slopes, of_used, per_example, pointwise
from jaxcnn.ops._lib._types import Losses, Scalar, Scores
from jaxcnn.ops._loss._labels import are_classes, distributions, expected_surprise, labels_array, plain_distributions


def reference(
    logits: jax.Array,
    labels: jax.Array,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    label_smoothing: Scalar = 0.0,
) -> jax.Array:
    """The plain forward."""
    z, labels = jnp.asarray(logits), jnp.asarray(labels)
    if where is not None:
        z = jnp.where(jnp.expand_dims(where, -1), z, 0)
    log_p = jax.nn.log_softmax(z.astype(accumulator(z.dtype)), axis=-1)
    y = plain_distributions(labels, z.shape[-1], log_p.dtype)
    y = (1 - float(label_smoothing)) * y + float(label_smoothing) / z.shape[-1]
    if weights is not None:
        y = y * jnp.asarray(weights).astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
    is_ruled_out = (y == 0) & jnp.isneginf(log_p)
    loss = -jnp.sum(y * jnp.where(is_ruled_out, 0, log_p), axis=-1)
    return loss if where is None else jnp.where(where, loss, 0)


def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    label_smoothing: Scalar = 0.0,
) -> jax.Array:
    """The cross-entropy of each example's softmax with its label.

    Args:
        logits: (*lead, K), floating: (N, K), one example (K,), or (N, H, W, K) for a label per pixel.
        labels: (*lead,) integer classes in [0, K), of any integer dtype, or (*lead, K) floating distributions.
        where: (*lead,) bool, which examples count; the others have loss and gradients 0, whatever their label. All
            where None. A mean over those that count is `loss.sum() / where.sum()`.
        weights: (K,) floating, what the loss of each class counts; 1 where None.
        label_smoothing: a in [0, 1): the label becomes (1 - a) y + a / K.

    Returns:
        L (*lead,), in nats, in float32 or wider; NaN for a class out of range that only shows under jit. It has no
        gradient where its own is 0, as behind a `jnp.where`.

    Raises:
        ValueError: wrong rank or dtype, labels that do not fit or are out of range, an option that is not as above.

    Source:
        [V 4, 17], [R] 1.6: the gradient in the logits is p - y.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> z, label = jnp.log(jnp.array([[1.0, 3.0]])), jnp.array([0])
        >>> jax.grad(lambda z: softmax_cross_entropy(z, label).sum())(z).round(4).tolist()
        [[-0.75, 0.75]]
        >>> softmax_cross_entropy(z, jnp.array([-1]), where=jnp.array([False])).tolist()
        [0.0]
    """
    op = "softmax_cross_entropy"
    z = float_array(op, "logits", logits)
    used = True if where is None else _mask(op, z, where)
    labels = labels_array(op, "logits", z, labels, used)
    smoothing = real_number(op, "label_smoothing", label_smoothing, "at least 0 and below 1")
    if not 0 <= smoothing < 1:
        refuse(op, f"label_smoothing must be at least 0 and below 1, got {label_smoothing!r}")
    if where is not None:
        z = jnp.where(jnp.expand_dims(used, -1), z, 0)
    if weights is not None or smoothing:
        labels = _weighted(op, z, labels, weights, smoothing)
    z, labels = varying_alike(z, labels)
    loss = _loss(Logits(jax.typeof(z)), z, labels)
    return loss if where is None else jnp.where(used, loss, 0)


def _mask(op: str, z: jax.Array, where: ArrayLike) -> jax.Array | np.ndarray:
    """`where` as it is, an array of the losses' shape."""
    try:
        mask = where if isinstance(where, jax.Array) else np.asarray(where)
    except ValueError:
        given = f"a {type(where).__name__} of several lengths"
        refuse(op, f"where must be {z.shape[:-1]} bool for logits {z.shape}, got {given}")
    if mask.dtype != bool or mask.shape != z.shape[:-1]:
        refuse(op, f"where must be {z.shape[:-1]} bool for logits {z.shape}, got {mask.dtype} {mask.shape}")
    return mask


def _weighted(op: str, z: jax.Array, labels: jax.Array, weights: ArrayLike | None, smoothing: float) -> jax.Array:
    """w_i ((1 - a) y_i + a / K), in the dtype of the loss."""
    classes = z.shape[-1]
    y = distributions(labels, classes, accumulator(z.dtype))
    y = (1 - smoothing) * y + smoothing / classes
    if weights is None:
        return y
    w = float_array(op, "weights", weights)
    if w.shape != (classes,):
        refuse(op, f"weights must be (K,) = ({classes},) for logits {z.shape}, got shape {w.shape}")
    return _times_weights(*varying_alike(y, w))


@jax.custom_vjp
def _times_weights(y: Scores, w: jax.Array) -> Scores:
    return y * lax.expand_dims(w.astype(y.dtype), range(y.ndim - 1))


def _times_weights_fwd(y: Scores, w: jax.Array) -> tuple[Scores, tuple[jax.Array, jax.Array]]:
    return _times_weights(y, w), (y, w)


def _times_weights_bwd(saved: tuple[jax.Array, jax.Array], dt: Scores) -> tuple[jax.Array, jax.Array]:
    """dw_i = sum_n dt_i y_i, where 0 log 0 = 0: dt may be infinite where y or w is 0, and y NaN where dt is 0."""
    y, w = saved
    is_used = (y != 0) & ((dt != 0) | jnp.isfinite(y))
    dw = jnp.sum(jnp.where(is_used, dt, 0) * jnp.where(is_used, y, 0), axis=range(y.ndim - 1))
    wide = lax.expand_dims(w.astype(y.dtype), range(y.ndim - 1))
    dy = jnp.where((wide == 0) & jnp.isinf(dt), 0, dt) * wide
    return dy, laid_out_as(dw.astype(w.dtype), jax.typeof(w))


_times_weights.defvjp(_times_weights_fwd, _times_weights_bwd)


class Logits(NamedTuple):
    """The type of z."""

    scores: Any


def _of_each(logits: Logits, z: Scores, labels: jax.Array) -> Losses:
    log_p = _log_softmax(logits.scores, z)
    return expected_surprise(distributions(labels, z.shape[-1], log_p.dtype), log_p)


def _probabilities(logits: Logits, z: Scores, labels: jax.Array) -> Scores:
    """p, or for distributions log p."""
    log_p = _log_softmax(logits.scores, z)
    return _exp(log_p) if are_classes(labels) else log_p


def _slopes(logits: Logits, kept: Scores, labels: jax.Array, dl: Losses) -> Slopes:
    y = of_used(distributions(labels, kept.shape[-1], kept.dtype), dl)
    if are_classes(labels):
        return Slopes(kept - y, None)  # [V 17]
    in_z = of_used(_exp(kept), dl) * jnp.sum(y, axis=-1, keepdims=True) - y  # [V 16]
    return Slopes(in_z, -kept)  # (B6)


_loss = per_example(_of_each, keeps=_probabilities, slopes=_slopes)


# a row that nobody uses brings derivatives of 0 here, whatever its logits: also where exp is NaN
_exp = pointwise(jnp.exp, keeps=jnp.exp, gradient=lambda p, dp: jnp.where(dp == 0, 0, p * dp))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_softmax(z_type: Any, z: Scores) -> Scores:
    """log p, in float32 or wider."""
    z = z.astype(accumulator(z.dtype))
    shifted = z - jnp.max(z, axis=-1, keepdims=True)
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True))


def _log_softmax_fwd(z_type: Any, z: Scores) -> tuple[Scores, Scores]:
    log_p = _log_softmax(z_type, z)
    return log_p, log_p


def _log_softmax_bwd(z_type: Any, log_p: Scores, t: Scores) -> tuple[Scores]:
    p = of_used(_exp(log_p), jnp.max(jnp.abs(t), axis=-1))
    dz = t - p * jnp.sum(t, axis=-1, keepdims=True)  # (B7)
    return (laid_out_as(dz.astype(z_type.dtype), z_type),)


_log_softmax.defvjp(_log_softmax_fwd, _log_softmax_bwd)


OP = Op(
    softmax_cross_entropy,
    reference,
    equations="[V 12-19], [R 1.6]",
    kept="probabilities and labels",
    at_kinks="p - y everywhere; a logit of -inf rules a class out; an unused row gets 0",
    elsewhere="`optax.softmax_cross_entropy_with_integer_labels`, `torch.nn.functional.cross_entropy`",
    examples={
        "": Example(lambda m, z, y: m.softmax_cross_entropy(z, y), (ROWS,), held=(CLASSES,)),
        "of distributions": Example(lambda m, z, y: m.softmax_cross_entropy(z, y), (ROWS, ROWS), batched=2),
    },
    residual_bytes=total(
        bytes_of("labels"), lambda args, y: args["logits"].size * accumulator(args["logits"].dtype).itemsize
    ),
)
