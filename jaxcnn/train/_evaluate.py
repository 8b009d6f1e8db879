"""How good a network is on a split: nothing is trained."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn.ops
from jaxcnn.train._step import Apply, as_floats


def evaluate(
    apply: Apply,
    params: Any,
    images: np.ndarray | jax.Array,
    labels: np.ndarray | jax.Array,
    *,
    ops: ModuleType = jaxcnn.ops,
    batch_size: int = 500,
) -> tuple[dict[str, float], np.ndarray]:
    """Mean loss and accuracy over a split, and the logits (N, K), float32.

    Raises:
        ValueError: there are no images, or batch_size is not positive.

    Example:
        >>> import jax, numpy as np
        >>> from jaxcnn.nets import single_filter
        >>> images, labels = np.zeros((5, 28, 28, 1), "uint8"), np.zeros(5, "int32")
        >>> metrics, logits = evaluate(single_filter.apply, single_filter.init(jax.random.key(0)), images, labels)
        >>> sorted(metrics), logits.shape
        (['accuracy', 'loss'], (5, 10))
    """
    if not len(images) or batch_size < 1:
        raise ValueError(
            f"evaluate: needs at least one image and a positive batch_size, got {len(images)} and {batch_size}"
        )
    starts = range(0, len(images), batch_size)
    batches = [_forward(apply, ops, params, jnp.asarray(images[start : start + batch_size])) for start in starts]
    logits = jnp.concatenate(batches)
    loss = jnp.mean(ops.softmax_cross_entropy(logits, jnp.asarray(labels)))
    accuracy = np.mean(np.argmax(np.asarray(logits), axis=-1) == np.asarray(labels))
    return {"loss": float(loss), "accuracy": float(accuracy)}, np.asarray(logits)


@partial(jax.jit, static_argnames=("apply", "ops"))
def _forward(apply: Apply, ops: ModuleType, params: Any, images: jax.Array) -> jax.Array:
    return apply(params, as_floats(images), ops=ops).astype(jnp.float32)
