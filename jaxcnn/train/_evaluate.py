"""How good a network is on a split: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

import jaxcnn.ops
from jaxcnn._contract import Apply, logits_and_state, refuse_no_network
from jaxcnn.train._inputs import checked_count, checked_examples, hinted, refuse_bad_labels
from jaxcnn.train._step import as_floats


class Evaluation(NamedTuple):
    """What `evaluate` found.

    Attributes:
        metrics: "loss" and "accuracy", as metrics.jsonl has them.
        logits: (N, K), float32.
    """

    metrics: dict[str, float]
    logits: np.ndarray

    @property
    def loss(self) -> float:
        """Mean over the split, in nats."""
        return self.metrics["loss"]

    @property
    def accuracy(self) -> float:
        """The share of images whose greatest logit is their label's."""
        return self.metrics["accuracy"]

    def __repr__(self) -> str:
        return f"Evaluation(loss {self.loss:.4f}, accuracy {self.accuracy:.2%}, logits {self.logits.shape})"


def evaluate(
    apply: Apply,
    params: Any,
    images: ArrayLike | Sequence[Any],
    labels: ArrayLike | Sequence[Any],
    *,
    ops: ModuleType = jaxcnn.ops,
    batch_size: int = 500,
    net_state: Any = (),
) -> Evaluation:
    """Mean loss and accuracy over a split, and the logits (N, K), float32.

    Args:
        apply, ops: as for `make_train_step`; called with train=False and no key.
        params: as the state of training has them.
        images, labels: as for `fit`.
        batch_size: how many images are computed with at once.
        net_state: of a net that has state: as the state of training has it.

    Raises:
        ValueError: an argument of another kind; batch_size is not positive, there are no images, or they or the labels
            are not as `fit` has them; or `apply` does not return logits and a state.

    Example:
        >>> import jax, numpy as np
        >>> from jaxcnn.nets import single_filter
        >>> images, labels = np.zeros((5, 28, 28, 1), "uint8"), np.zeros(5, "int32")
        >>> found = evaluate(single_filter.apply, single_filter.init(jax.random.key(0)), images, labels)
        >>> found
        Evaluation(loss 2.3026, accuracy 100.00%, logits (5, 10))
        >>> found.accuracy, found.logits.shape
        (1.0, (5, 10))
    """
    refuse_no_network("evaluate", apply, ops)
    if params is None:
        raise ValueError("evaluate: params must be as the net's init makes them, got None")
    batch_size = checked_count("evaluate", "batch_size", batch_size)
    images, labels = checked_examples("evaluate", images, labels)
    with hinted("evaluate", images.shape):
        scores = jax.eval_shape(partial(_forward, apply, ops), params, net_state, jnp.asarray(images[:1]))
    refuse_bad_labels("evaluate", labels, scores.shape[-1])
    starts = range(0, len(images), batch_size)
    batches = [
        _forward(apply, ops, params, net_state, jnp.asarray(images[start : start + batch_size])) for start in starts
    ]
    logits = jnp.concatenate(batches)
    loss = jnp.mean(ops.softmax_cross_entropy(logits, jnp.asarray(labels)))
    accuracy = np.mean(np.argmax(np.asarray(logits), axis=-1) == labels)
    return Evaluation({"loss": float(loss), "accuracy": float(accuracy)}, np.asarray(logits))


@partial(jax.jit, static_argnames=("apply", "ops"))
def _forward(apply: Apply, ops: ModuleType, params: Any, net_state: Any, images: jax.Array) -> jax.Array:
    return logits_and_state(apply, params, as_floats(images), ops=ops, state=net_state)[0].astype(jnp.float32)
