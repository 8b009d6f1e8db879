"""A data set that is read as it is needed: batches through Grain, while those before are computed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxcnn.data._dataset import Split

READERS = 2  # threads; decoding holds the interpreter, and more of them wait for each other
AHEAD = 8  # batches that are read before they are asked for


@runtime_checkable
class Source(Protocol):
    """Examples by their numbers: `len(source)` of them, `read(numbers)` those asked for, in that order."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def read(self, numbers: np.ndarray) -> Split:
        """These, images uint8 (len(numbers), H, W, C) and labels int32."""
        ...


class ArraySource:
    """A split that is in memory, or mapped into it, as a `Source`."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split.labels)

    def read(self, numbers: np.ndarray) -> Split:
        """A copy of these examples."""
        return Split(self._split.images[numbers], self._split.labels[numbers])


class Streamed(NamedTuple):
    """As a `Dataset`, with a training part that is not in memory."""

    train: Source
    test: Split
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Stream:
    """The batches of a training, for `jaxcnn.train.fit_stream`: an order of its own each epoch, whole batches.

    What it holds at a time is the numbers of the examples, 8 bytes each, and some ten batches.

    Args:
        source: where the examples are.
        batch_size: examples per step, over all processes.
        chosen: the numbers of the examples to train on; all where None.
        process, processes: which part of each batch this process reads: every `processes`-th example.

    Raises:
        ValueError: a batch that is larger than what there is, or that the processes cannot share equally.

    Example:
        >>> import numpy as np
        >>> from jaxcnn.data import ArraySource, Split
        >>> split = Split(np.zeros((10, 28, 28, 1), "uint8"), np.arange(10, dtype="int32"))
        >>> batches = Stream(ArraySource(split), batch_size=4)
        >>> [batch["label"].shape for batch in batches.in_order(np.arange(10))]
        [(4,), (4,)]
    """

    source: Source
    batch_size: int
    chosen: np.ndarray | None = None
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.count:
            raise ValueError(f"stream: batch_size must be between 1 and the {self.count} images, got {self.batch_size}")
        if self.batch_size % self.processes:
            raise ValueError(f"stream: {self.processes} processes cannot share a batch of {self.batch_size} equally")

    @property
    def count(self) -> int:
        """The examples that an epoch goes through."""
        return len(self.source) if self.chosen is None else len(self.chosen)

    def in_order(self, order: np.ndarray, start: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """The whole batches of an epoch in this order, a permutation of `count` numbers, from batch `start` on."""
        import grain

        numbers = order if self.chosen is None else self.chosen[order]

        def read(at: int) -> dict[str, np.ndarray]:
            batch = numbers[at * self.batch_size : (at + 1) * self.batch_size]
            images, labels = self.source.read(batch[self.process :: self.processes])
            return {"image": images, "label": labels}

        options = grain.ReadOptions(num_threads=READERS, prefetch_buffer_size=AHEAD)
        steps = self.count // self.batch_size
        yield from grain.MapDataset.range(start, steps).map(read).to_iter_dataset(options)
