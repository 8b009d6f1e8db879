"""What `fit_stream` reads: an epoch's order, its batches as they must be, and some in one piece on the devices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jaxcnn.train._mesh import EACH_IN_PARTS
from jaxcnn.train._step import Batch

TOGETHER = 8  # batches of a stream that one call computes with, while as many are read


@runtime_checkable
class Batches(Protocol):
    """Where `fit_stream` reads from, as `jaxcnn.data.Stream`."""

    @property
    def batch_size(self) -> int:
        """How many of them a step takes, over all processes."""
        ...

    @property
    def count(self) -> int:
        """How many examples there are."""
        ...

    def in_order(self, order: np.ndarray, start: int) -> Iterator[dict[str, np.ndarray]]:
        """The whole batches of an epoch in this order of the examples, from batch `start` on.

        This process's part of each, as NumPy arrays {"image": ..., "label": ...}.
        """
        ...


def epoch_order(key: jax.Array, epoch: int, count: int) -> jax.Array:
    """The order in which epoch `epoch`, counted from 1, goes through `count` examples: a permutation, integers.

    Example:
        >>> import jax
        >>> sorted(epoch_order(jax.random.key(0), 1, 4).tolist())
        [0, 1, 2, 3]
    """
    return _permutation(jax.random.fold_in(key, epoch), count)


def batches_from(
    batches: Batches, key: jax.Array, taken: int, check: Callable[[dict[str, np.ndarray]], None]
) -> Iterator[dict[str, np.ndarray]]:
    """All batches from the one after `taken` steps on, epoch after epoch, each of the size and dtypes it must have.

    Raises:
        ValueError: one is not, `check` refuses it, or an epoch ends before its time.
    """
    steps = batches.count // batches.batch_size
    size = batches.batch_size // jax.process_count()
    epochs_done, at = divmod(taken, steps)
    expected: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    for epoch in itertools.count(epochs_done + 1):
        order = np.asarray(epoch_order(key, epoch, batches.count))
        for batch in itertools.islice(batches.in_order(order, at), steps - at):
            forms = {name: (part.shape, part.dtype) for name, part in batch.items()}
            expected = expected or {name: ((size, *shape[1:]), dtype) for name, (shape, dtype) in forms.items()}
            if forms != expected:
                raise ValueError(f"fit_stream: a batch must be {_in_words(expected)}, got {_in_words(forms)}")
            check(batch)
            at += 1
            yield batch
        if at < steps:
            raise ValueError(f"fit_stream: {batches.count} examples are {steps} batches, and epoch {epoch} had {at}")
        at = 0


def _in_words(forms: dict[str, tuple[tuple[int, ...], np.dtype]]) -> str:
    return ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in forms.items())


def stacked(batches: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """At most TOGETHER batches one upon another, and zeros up to that number: one shape, one compilation."""
    pile: dict[str, np.ndarray] = {}
    for at, batch in enumerate(batches):
        for name, part in batch.items():
            if name not in pile:
                pile[name] = np.zeros((TOGETHER, *part.shape), part.dtype)
            pile[name][at] = part
    return pile


def on_devices(pile: dict[str, np.ndarray], mesh: Mesh | None) -> Batch:
    """This process's part of some batches, on its devices."""
    if mesh is None:
        return jax.device_put(pile)
    sharding = NamedSharding(mesh, EACH_IN_PARTS)
    return {name: jax.make_array_from_process_local_data(sharding, part) for name, part in pile.items()}


@partial(jax.jit, static_argnames="count")
def _permutation(key: jax.Array, count: int) -> jax.Array:
    return jax.random.permutation(key, count)
