"""Labels of a classification: classes, or distributions over K classes, as both losses take them.

With z or p of shape (*lead, K), labels are
    classes         (*lead,) integers in [0, K), of any integer dtype
    distributions   (*lead, K) floats; the rows need not sum to one
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import refuse
from jaxcnn.ops._lib._window import Size, constant


def labels_array(op: str, name: str, scores: jax.Array, labels: ArrayLike, used: object = True) -> jax.Array:
    """`labels` as an array that fits `scores` (*lead, K), or a `ValueError` naming `op`.

    A class out of range is refused where its value is known, and `used`, a mask, does not leave it out.
    """
    if scores.ndim < 1 or scores.shape[-1] == 0:
        refuse(op, f"{name} must be (*lead, K) with at least one class, got shape {scores.shape}")
    *lead, classes = scores.shape
    try:
        array = jnp.asarray(labels)
    except (TypeError, ValueError) as error:
        refuse(op, f"labels must be an array, got {type(labels).__name__} ({error})")
    if array.shape == (0,) and lead == [0]:  # labels of no example: NumPy takes [] for floats
        array = array.astype(jnp.int32)
    if array.shape == tuple(lead) and jnp.issubdtype(array.dtype, jnp.integer):
        if not isinstance(labels, jax.core.Tracer):  # under jit, `array` of a constant is one
            _refuse_out_of_range(op, np.asarray(labels), classes, used)
        return array
    if array.shape == scores.shape and jnp.issubdtype(array.dtype, jnp.floating):
        return array
    refuse(
        op,
        f"labels must be {tuple(lead)} integer classes or {scores.shape} floating distributions "
        f"for {name} {scores.shape}, got {array.dtype} {array.shape}",
    )


def are_classes(labels: jax.Array) -> bool:
    """Whether these are classes rather than distributions."""
    return bool(jnp.issubdtype(labels.dtype, jnp.integer))


def distributions(labels: jax.Array, classes: Size, dtype: np.dtype) -> jax.Array:
    """Labels as (*lead, K) distributions; NaN for what is no class."""
    if are_classes(labels):
        wide = labels if labels.dtype.itemsize >= 4 else labels.astype(jnp.int32)  # a narrow dtype may not hold K
        is_class = (wide >= 0) & (wide < constant(classes, wide.dtype))
        own = jnp.where(is_class, wide, constant(0, wide.dtype)).astype(jnp.int32)
        place = lax.broadcasted_iota(jnp.int32, (*labels.shape, classes), labels.ndim)
        hot = (place == own[..., None]).astype(dtype)
        return jnp.where(is_class[..., None], hot, np.asarray(np.nan, dtype))
    return labels.astype(dtype)


def expected_surprise(y: jax.Array, log_p: jax.Array) -> jax.Array:
    """- sum_i y_i log p_i over the last axis, with 0 log 0 = 0."""
    return -jnp.sum(jnp.where(y == 0, 0, y * log_p), axis=-1)


def plain_distributions(labels: jax.Array, classes: Size, dtype: np.dtype) -> jax.Array:
    """For the references: one-hot rows of classes, of whatever dtype, or distributions as they are."""
    if are_classes(labels):
        return jax.nn.one_hot(labels.astype(jnp.int32), classes, dtype=dtype)
    return labels.astype(dtype)


def _refuse_out_of_range(op: str, labels: np.ndarray, classes: int, used: object) -> None:
    if isinstance(used, jax.core.Tracer):
        return
    labels = labels if labels.dtype.itemsize >= 4 else labels.astype(np.int32)  # a narrow dtype may not hold K
    bad = np.argwhere(((labels < 0) | (labels >= classes)) & np.asarray(used))
    if bad.size:
        place = tuple(map(int, bad[0]))
        index = place[0] if len(place) == 1 else place
        refuse(
            op,
            f"labels must be in [0, {classes}) for {classes} classes, got {labels[place]} at index {index}"
            + (f" and {len(bad) - 1} more" if len(bad) > 1 else "")
            + "; to leave examples out, give softmax_cross_entropy a mask, where=",
        )
