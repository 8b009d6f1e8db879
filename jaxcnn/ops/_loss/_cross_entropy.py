"""Cross-entropy of probabilities, clipped as [V 4] clips them.

Legend
    p, dp   (*lead, K) probabilities    y   labels: (*lead,) classes or (*lead, K) distributions        L, dL   (*lead,)
    q       min(max(p, e), 1 - e), the clipped probabilities

Forward     L[n] = - sum_i y[n, i] log q[n, i]                                                                 [V 4]
Backward    dL / dq_i = - y_i / q_i                                                       [V 8], a term for each i
            dq_i / dp_i = [e < p_i < 1 - e]     so  dp_i = - dL y_i / p_i inside the limits, 0 at and beyond them  (B4)
            dL / dy_i = - log q_i               for distributions                                              (B5)
Residuals   p and y
Conventions the clip is computed in float32 or wider, for 1 - 1e-7 rounds to 1 in the narrow floats; the loss comes back
            in that dtype. Where the label's own probability is clipped the gradient is 0, though the prediction
            may be utterly wrong: [V 17], `softmax_cross_entropy`, is the rule to train with.
Sources     [V] 2.3, 3.1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import float_array, real_number, refuse
from jaxcnn.ops._lib._dtypes import accumulator
from jaxcnn.ops._lib._meshes import varying_alike
from jaxcnn.ops._lib._record import CLASSES, ROWS, Example, Op, bytes_of
from jaxcnn.ops._lib._theorems import Slopes, of_used, per_example
from jaxcnn.ops._lib._types import Losses, Scalar, Scores
from jaxcnn.ops._loss._labels import are_classes, distributions, expected_surprise, labels_array, plain_distributions


def reference(probabilities: jax.Array, labels: jax.Array, *, epsilon: Scalar = 1e-7) -> jax.Array:
    """The plain forward."""
    p, labels = jnp.asarray(probabilities), jnp.asarray(labels)
    p = p.astype(accumulator(p.dtype))
    y = plain_distributions(labels, p.shape[-1], p.dtype)
    q = lax.clamp(jnp.asarray(epsilon, p.dtype), p, jnp.asarray(1 - epsilon, p.dtype))
    return -jnp.sum(jax.scipy.special.xlogy(y, q), axis=-1)


def cross_entropy(probabilities: ArrayLike, labels: ArrayLike, *, epsilon: Scalar = 1e-7) -> jax.Array:
    """The cross-entropy of each example's probabilities with its label.

    Args:
        probabilities: (*lead, K), floating, as from `softmax`: (N, K), one example (K,), or (N, H, W, K).
        labels: (*lead,) integer classes in [0, K), of any integer dtype, or (*lead, K) floating distributions.
        epsilon: probabilities are clipped to [epsilon, 1 - epsilon]; between 0 and 1/2.

    Returns:
        L (*lead,), in nats, in float32 or wider; NaN for a class out of range that only shows under jit.

    Raises:
        ValueError: wrong rank or dtype, labels that do not fit or are out of range, an epsilon that is not as above.

    Source:
        [V 4], its gradient [V 8]; `softmax_cross_entropy` for the fused [V 17].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> p = jnp.array([[0.25, 0.75]])
        >>> jax.grad(lambda p: cross_entropy(p, jnp.array([0])).sum())(p).tolist()
        [[-4.0, 0.0]]
    """
    p = float_array("cross_entropy", "probabilities", probabilities)
    labels = labels_array("cross_entropy", "probabilities", p, labels)
    least = real_number("cross_entropy", "epsilon", epsilon, "at least 0 and below 1/2")
    if not 0 <= least < 0.5:
        refuse("cross_entropy", f"epsilon must be at least 0 and below 1/2, got {epsilon!r}")
    p, labels = varying_alike(p, labels)
    return _cross_entropy(Clip(least, jax.typeof(p)), p, labels)


class Clip(NamedTuple):
    """The limit, and the type of p."""

    epsilon: float
    scores: Any


def _loss(clip: Clip, p: Scores, labels: jax.Array) -> Losses:
    log_q = _log_clipped(p, clip.epsilon)
    return expected_surprise(distributions(labels, p.shape[-1], log_q.dtype), log_q)  # [V 4]


def _probabilities(clip: Clip, p: Scores, labels: jax.Array) -> Scores:
    return p


def _slopes(clip: Clip, p: Scores, labels: jax.Array, dl: Losses) -> Slopes:
    wide, epsilon = p.astype(accumulator(p.dtype)), clip.epsilon
    y = of_used(distributions(labels, p.shape[-1], wide.dtype), dl)
    inside = (wide > epsilon) & (wide < 1 - epsilon)
    is_used = inside & (y != 0) if are_classes(labels) else inside  # but a distribution's zeros have derivatives
    in_p = -y / jnp.where(inside, wide, 1)  # [V 8], (B4)
    in_y = None if are_classes(labels) else -_log_clipped(p, epsilon)  # (B5)
    return Slopes(in_p, in_y, is_used)


_cross_entropy = per_example(_loss, keeps=_probabilities, slopes=_slopes)


def _log_clipped(p: Scores, epsilon: float) -> Scores:
    """log q, in float32 or wider."""
    p = p.astype(accumulator(p.dtype))
    return jnp.log(jnp.minimum(jnp.maximum(p, epsilon), 1 - epsilon))


OP = Op(
    cross_entropy,
    reference,
    equations="[V 4, 8]",
    kept="probabilities and labels",
    at_kinks="gradient 0 at and beyond the clip",
    elsewhere="`keras.losses.CategoricalCrossentropy`",
    examples={
        "": Example(lambda m, p, y: m.cross_entropy(p, y), (ROWS,), into_domain=jax.nn.softmax, held=(CLASSES,)),
        "of distributions": Example(
            lambda m, p, y: m.cross_entropy(p, y), (ROWS, ROWS), into_domain=jax.nn.softmax, batched=2
        ),
    },
    residual_bytes=bytes_of("probabilities", "labels"),
)
