"""Softmax and cross-entropy as one: the loss that the networks train with.

Legend
    z, dz   (N, K) logits       y   labels: (N,) classes or (N, K) distributions        L, dL   (N,)
    p       (N, K) softmax of z

Forward     log p_i = z_i - m - log sum_k exp(z_k - m),  m = max_k z_k;      L[n] = - sum_i y_i log p_i   [V 4; R 1.6]
            [V 4]'s clip is not needed: no logarithm of a rounded probability is ever taken

Backward    dL / dz_k = sum_i - (y_i / p_i) p_i ([i = k] - p_k) = - y_k + p_k sum_i y_i                     [V 12-16]
                      = p_k - y_k   where y sums to one                                                 [V 17-19; R 1.6]
            dL / dy_i = - log p_i   for distributions                                                            (B6)
            and of the map z -> log p itself, with cotangent t:   dz_k = t_k - p_k sum_i t_i                     (B7)

Residuals   p, or for distributions log p, and the labels; z is not kept
Conventions one loss an example: [R 1.6] sums over them. 0 log 0 = 0, so a logit of -inf is a class ruled out; a
            class out of range, which only jit can hide from the check, gives NaN. The loss is in float32 or wider.
Sources     [V] 3.1.2, [R] 1.6 (whose p - y needs sum_i y_i = 1; the general case is here).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcnn.ops._arguments import float_array
from jaxcnn.ops._dtypes import accumulator
from jaxcnn.ops._labels import are_classes, distributions, expected_surprise, labels_array
from jaxcnn.ops._meshes import varying_alike
from jaxcnn.ops._types import Losses, Scores


def reference(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The plain forward."""
    z, labels = jnp.asarray(logits), jnp.asarray(labels)
    log_p = jax.nn.log_softmax(z.astype(accumulator(z.dtype)), axis=-1)
    y = jax.nn.one_hot(labels, z.shape[-1], dtype=log_p.dtype) if are_classes(labels) else labels
    is_ruled_out = (y == 0) & jnp.isneginf(log_p)
    return -jnp.sum(y * jnp.where(is_ruled_out, 0, log_p), axis=-1)


def softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> jax.Array:
    """The cross-entropy of each example's softmax with its label.

    Args:
        logits: (N, K), floating.
        labels: (N,) integer classes in [0, K), or (N, K) floating distributions.

    Returns:
        L (N,), in nats, in float32 or wider; NaN for a class out of range that only shows under jit.

    Raises:
        ValueError: wrong rank or dtype, labels that do not fit or are out of range.

    Source:
        [V 4, 17], [R] 1.6: the gradient in the logits is p - y.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> z, label = jnp.log(jnp.array([[1.0, 3.0]])), jnp.array([0])
        >>> jax.grad(lambda z: softmax_cross_entropy(z, label).sum())(z).round(4).tolist()
        [[-0.75, 0.75]]
    """
    z = float_array("softmax_cross_entropy", "logits", logits)
    labels = labels_array("softmax_cross_entropy", "logits", z, labels)
    return _loss(*varying_alike(z, labels), z.dtype)


@partial(jax.custom_vjp, nondiff_argnames=("z_dtype",))
def _loss(z: Scores, labels: jax.Array, z_dtype: np.dtype) -> Losses:
    log_p = _log_softmax(z, z_dtype)
    return expected_surprise(distributions(labels, z.shape[1], log_p.dtype), log_p)


def _loss_fwd(z: Scores, labels: jax.Array, z_dtype: np.dtype) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    log_p = _log_softmax(z, z_dtype)
    loss = _loss(z, labels, z_dtype)
    return loss, (jnp.exp(log_p) if are_classes(labels) else log_p, labels)


def _loss_bwd(z_dtype: np.dtype, saved: tuple[jax.Array, jax.Array], dl: Losses) -> tuple[jax.Array, jax.Array | None]:
    kept, labels = saved
    y = distributions(labels, kept.shape[1], kept.dtype)
    if are_classes(labels):
        return (dl[:, None] * (kept - y)).astype(z_dtype), None  # [V 17]
    p = jnp.exp(kept)
    dz = dl[:, None] * (p * jnp.sum(y, axis=-1, keepdims=True) - y)  # [V 16]
    dy = -dl[:, None] * kept  # (B6)
    return dz.astype(z_dtype), dy.astype(labels.dtype)


_loss.defvjp(_loss_fwd, _loss_bwd)


@partial(jax.custom_vjp, nondiff_argnames=("z_dtype",))
def _log_softmax(z: Scores, z_dtype: np.dtype) -> Scores:
    """log p, in float32 or wider."""
    z = z.astype(accumulator(z.dtype))
    shifted = z - jnp.max(z, axis=-1, keepdims=True)
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True))


def _log_softmax_fwd(z: Scores, z_dtype: np.dtype) -> tuple[Scores, Scores]:
    log_p = _log_softmax(z, z_dtype)
    return log_p, log_p


def _log_softmax_bwd(z_dtype: np.dtype, log_p: Scores, t: Scores) -> tuple[Scores]:
    return ((t - jnp.exp(log_p) * jnp.sum(t, axis=-1, keepdims=True)).astype(z_dtype),)  # (B7)


_log_softmax.defvjp(_log_softmax_fwd, _log_softmax_bwd)
