"""The prediction as a one-hot vector [V 2.3]: 1 at the greatest probability, 0 elsewhere.

Piecewise constant, so its gradient is 0 wherever it has one; it is for reading, not for training. Where probabilities
tie, the first is predicted; where one is NaN, so is the whole prediction.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import float_array, refuse
from jaxcnn.ops._lib._record import ROWS, Example, Op


def reference(probabilities: jax.Array) -> jax.Array:
    """The plain forward: the first place that holds the maximum, found by counting; NaN where that is the maximum."""
    p = jnp.asarray(probabilities)
    greatest = jnp.max(p, axis=-1, keepdims=True)
    is_first = (p == greatest) & (jnp.cumsum(p == greatest, axis=-1) == 1)
    return jnp.where(jnp.isnan(greatest), jnp.nan, jnp.where(is_first, 1, 0)).astype(p.dtype)


def one_hot_prediction(probabilities: ArrayLike) -> jax.Array:
    """1 at each example's greatest probability, 0 elsewhere.

    Args:
        probabilities: (N, K), floating.

    Returns:
        (N, K), in the dtype of the probabilities.

    Raises:
        ValueError: wrong rank or dtype, no classes.

    Source:
        [V] 2.3.

    Example:
        >>> import jax.numpy as jnp
        >>> one_hot_prediction(jnp.array([[0.1, 0.7, 0.2]])).tolist()
        [[0.0, 1.0, 0.0]]
    """
    p = float_array("one_hot_prediction", "probabilities", probabilities)
    if p.ndim != 2 or p.shape[1] == 0:
        refuse("one_hot_prediction", f"probabilities must be (N, K) with at least one class, got shape {p.shape}")
    hot = jax.nn.one_hot(jnp.argmax(p, axis=-1), p.shape[-1], dtype=p.dtype)
    return jnp.where(jnp.any(jnp.isnan(p), axis=-1, keepdims=True), jnp.nan, hot)


OP = Op(
    one_hot_prediction,
    reference,
    equations="[V 2.3]",
    kept="nothing",
    at_kinks="the first of tied maxima; gradient 0",
    elsewhere="`jax.nn.one_hot` of `jax.numpy.argmax`",
    examples={"": Example(lambda m, p: m.one_hot_prediction(p), (ROWS,), is_exact=True, has_kinks=True)},
    has_rule=False,
    has_gradient=False,
)
