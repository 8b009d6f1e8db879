"""Labels of a classification: N classes, or N distributions over K classes, as both losses take them.

With z or p of shape (N, K), labels are
    classes         (N,) integers in [0, K)
    distributions   (N, K) floats; the rows need not sum to one
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcnn.ops._arguments import refuse


def labels_array(op: str, name: str, scores: jax.Array, labels: ArrayLike) -> jax.Array:
    """`labels` as an array that fits `scores` (N, K), or a `ValueError` naming `op`."""
    if scores.ndim != 2 or scores.shape[1] == 0:
        refuse(op, f"{name} must be (N, K) with at least one class, got shape {scores.shape}")
    examples, classes = scores.shape
    try:
        array = jnp.asarray(labels)
    except (TypeError, ValueError) as error:
        refuse(op, f"labels must be an array, got {type(labels).__name__} ({error})")
    if array.shape == (examples,) and jnp.issubdtype(array.dtype, jnp.integer):
        if not isinstance(labels, jax.core.Tracer):  # under jit, `array` of a constant is one
            _refuse_out_of_range(op, np.asarray(labels), classes)
        return array
    if array.shape == (examples, classes) and jnp.issubdtype(array.dtype, jnp.floating):
        return array
    refuse(
        op,
        f"labels must be ({examples},) integer classes or ({examples}, {classes}) floating distributions "
        f"for {name} {scores.shape}, got {array.dtype} {array.shape}",
    )


def are_classes(labels: jax.Array) -> bool:
    """Whether these are classes rather than distributions."""
    return labels.ndim == 1


def distributions(labels: jax.Array, classes: int, dtype: np.dtype) -> jax.Array:
    """Labels as (N, K) distributions; NaN where a class, known only under jit, is out of range."""
    if not are_classes(labels):
        return labels.astype(dtype)
    hot = (labels[:, None] == jnp.arange(classes, dtype=labels.dtype)).astype(dtype)
    is_class = (labels >= 0) & (labels < classes)
    return jnp.where(is_class[:, None], hot, jnp.nan)


def expected_surprise(y: jax.Array, log_p: jax.Array) -> jax.Array:
    """- sum_i y_i log p_i over the last axis, with 0 log 0 = 0."""
    return -jnp.sum(jnp.where(y == 0, 0, y * log_p), axis=-1)


def _refuse_out_of_range(op: str, labels: np.ndarray, classes: int) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        refuse(
            op,
            f"labels must be in [0, {classes}) for {classes} classes, got {labels[bad[0]]} at index {bad[0]}"
            + (f" and {bad.size - 1} more" if bad.size > 1 else ""),
        )
