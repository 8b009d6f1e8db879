"""The loop around the step: epochs in compiled segments, or batch by batch as they are read."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jaxcnn import JaxcnnError
from jaxcnn.train._inputs import (
    checked_count,
    checked_examples,
    checked_labels,
    hinted,
    refuse_bad_labels,
    refuse_other_kinds,
)
from jaxcnn.train._mesh import local_key, replicated
from jaxcnn.train._read import TOGETHER, Batches, batches_from, epoch_order, on_devices, stacked
from jaxcnn.train._step import Batch, Metrics, Step, TrainState, classes_of

SEGMENT_SECONDS = 0.5
SEGMENT_STEPS_TOGETHER = 16  # of several processes, whose clocks differ: all report after the same steps


class NotFiniteError(JaxcnnError, ArithmeticError):
    """The loss became infinite or NaN, so that training cannot go on."""


class Totals(NamedTuple):
    """Sums over an epoch's steps so far, and the first step of it whose loss was not finite, or -1."""

    loss: jax.Array
    accuracy: jax.Array
    bad_step: jax.Array

    @classmethod
    def zero(cls) -> Totals:
        """Before an epoch's first step."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32), jnp.full((), -1, jnp.int32))

    def plus(self, metrics: Metrics, at: jax.Array) -> Totals:
        """With one more step, number `at` of its epoch."""
        is_first_bad = (self.bad_step < 0) & ~jnp.isfinite(metrics["loss"])
        return Totals(
            self.loss + metrics["loss"].astype(jnp.float32),
            self.accuracy + metrics["accuracy"].astype(jnp.float32),
            jnp.where(is_first_bad, at, self.bad_step).astype(jnp.int32),
        )


class Report(NamedTuple):
    """Where training stands after a segment of steps: `loss` and `accuracy` are means over the epoch so far.

    `epoch` counts from 1 and `step` is the state's own. `state` and `totals` are all that is needed to go on from here;
    both are donated to the next segment: take what is wanted of them before asking for the next report.
    """

    state: TrainState
    totals: Totals
    epoch: int
    step: int
    steps_per_epoch: int
    loss: float
    accuracy: float
    images_per_second: float

    def __repr__(self) -> str:
        figures = f"loss={self.loss:.4f}, accuracy={self.accuracy:.4f}, images_per_second={self.images_per_second:,.0f}"
        return f"Report(epoch={self.epoch}, step={self.step}, {figures})"

    @property
    def ends_epoch(self) -> bool:
        """Whether this is the epoch's last segment."""
        return self.step % self.steps_per_epoch == 0


# run(state, totals, epoch, start, stop) -> (state, totals): steps [start, stop) of an epoch
Run = Callable[[TrainState, Totals, int, int, int], tuple[TrainState, Totals]]


class _Shuffled(NamedTuple):
    """All examples, and the order in which an epoch goes through them."""

    images: jax.Array
    labels: jax.Array
    order: jax.Array

    def batch(self, at: jax.Array, size: int) -> Batch:
        """Batch `at` of the epoch."""
        chosen = lax.dynamic_slice_in_dim(self.order, at * size, size)
        return {"image": self.images[chosen], "label": self.labels[chosen]}


class _Streamed(NamedTuple):
    """Some successive batches of an epoch, each array (TOGETHER, size, ...), from batch `first` on."""

    batches: Batch
    first: int | jax.Array

    def batch(self, at: jax.Array, size: int) -> Batch:
        """Batch `at` of the epoch."""
        return jax.tree.map(lambda stacked: stacked[at - self.first], self.batches)


# segment(state, totals, examples, start, stop) -> (state, totals): as Run, of examples that the device has
Segment = Callable[..., tuple[TrainState, Totals]]


def fit(
    state: TrainState,
    step: Step,
    images: ArrayLike | Sequence[Any],
    labels: ArrayLike | Sequence[Any],
    *,
    epochs: int,
    batch_size: int,
    in_one_program: bool = True,
    pause_every: int | None = None,
    totals: Totals | None = None,
    mesh: Mesh | None = None,
) -> Iterator[Report]:
    """Train until some epochs are done, reporting about twice a second.

    The examples stay on the device, as uint8, and are shuffled there, anew each epoch, by the state's key and the
    epoch's number.
    Steps run in one compiled loop whose length is an argument: segments of about half a second each, so that a person
    sees progress and can interrupt, give the same bits as one long loop, and nothing is compiled twice. Examples beyond
    the last whole batch sit out their epoch.

    A state that has steps behind it goes on from there, in the midst of an epoch too: training that is stopped at a
    report and goes on from its `state` and `totals` has the same bits as one that was never stopped.

    Args:
        state: where to start; copied, it stays as it is.
        step: as from `make_train_step`.
        images: (N, *spatial, C), uint8 or floating; all finite.
        labels: (N,), integers from 0 of any type, below the network's number of classes.
        epochs, batch_size: positive; epochs are counted from the state's step 0; the batch is at most N.
        in_one_program: False calls the compiled step once a batch instead, for rules that are slow inside a loop, as
            autodiff's convolutions are on a CPU (their kernel gradient falls to a naive path there).
        pause_every: a report comes after each step whose number it divides, and at the end of each epoch as always.
        totals: the sums of the epoch that the state is in the midst of, from the report where it was stopped.
        mesh: the mesh that the step was made with: every device gets all examples, and takes its part of each batch.

    Yields:
        a `Report` after each segment; the last of an epoch has `ends_epoch`.

    Raises:
        ValueError: sizes and dtypes that do not fit, a label that is no class of the network, a pixel that is NaN or
            infinite; before anything is compiled.
        NotFiniteError: the loss is not finite; says at which step.
    """
    refuse_other_kinds("fit", state, step, mesh, totals)
    images, labels = checked_examples("fit", images, labels)
    count, batch_size = len(images), checked_count("fit", "batch_size", batch_size)
    if batch_size > count:
        raise ValueError(f"fit: batch_size must be between 1 and the {count} images, got {batch_size}")
    with hinted("fit", images.shape):
        classes = classes_of(step, state.params, state.net_state, jnp.asarray(images[:1]))
    if classes is not None:
        refuse_bad_labels("fit", labels, classes)
    state = replicated(jax.tree.map(jnp.copy, state), mesh)
    examples = replicated((jnp.asarray(images), jnp.asarray(labels)), mesh)
    segment = (_in_one_program if in_one_program else _step_by_step)(step, batch_size)
    order_of = lru_cache(maxsize=1)(partial(epoch_order, jnp.copy(state.key), count=count))

    def run(state: TrainState, totals: Totals, epoch: int, start: int, stop: int) -> tuple[TrainState, Totals]:
        return segment(state, totals, _Shuffled(*examples, order_of(epoch)), start, stop)

    yield from _loop("fit", run, state, totals, epochs, count // batch_size, batch_size, pause_every, mesh)


def fit_stream(
    state: TrainState,
    step: Step,
    batches: Batches,
    *,
    epochs: int,
    in_one_program: bool = True,
    pause_every: int | None = None,
    totals: Totals | None = None,
    mesh: Mesh | None = None,
) -> Iterator[Report]:
    """As `fit`, for examples that no device holds: batches are read while those before them are computed with.

    With the same key it sees the same batches as `fit` does. Of several processes each reads its part of every batch.
    Up to eight batches go to the device in one piece, whose steps are one call of the compiled loop: a call per step
    would cost a step's temporary memory anew each time.

    Args:
        state, step, epochs, in_one_program, pause_every, totals, mesh: as for `fit`.
        batches: what to read, as from `jaxcnn.data.stream`.

    Yields:
        a `Report` about twice a second, and at the end of each epoch.

    Raises:
        ValueError: sizes that do not fit, a batch of another size or dtype than it must have, a label that is
            no class, too few batches.
        NotFiniteError: the loss is not finite; says at which step.
    """

    refuse_other_kinds("fit_stream", state, step, mesh, totals)
    if not hasattr(batches, "in_order"):
        raise ValueError(f"fit_stream: batches must be as from jaxcnn.data.stream, got: {type(batches).__name__}")

    @lru_cache
    def classes(shape: tuple[int, ...], dtype: np.dtype) -> int | None:
        with hinted("fit_stream", shape):
            return classes_of(step, params, net_state, jax.ShapeDtypeStruct(shape, dtype))

    def check(batch: dict[str, np.ndarray]) -> None:
        known = classes(batch["image"].shape, batch["image"].dtype)
        if known is not None:  # a loss of one's own may take other labels
            checked_labels("fit_stream", batch["label"], known)

    params, net_state = jax.eval_shape(lambda: (state.params, state.net_state))
    reader = batches_from(batches, local_key(state.key), int(state.step), check)
    state = replicated(jax.tree.map(jnp.copy, state), mesh)
    segment = (_in_one_program if in_one_program else _step_by_step)(step, batches.batch_size)

    def run(state: TrainState, totals: Totals, epoch: int, start: int, stop: int) -> tuple[TrainState, Totals]:
        for first in range(start, stop, TOGETHER):
            end = min(first + TOGETHER, stop)
            examples = _Streamed(on_devices(stacked(itertools.islice(reader, end - first)), mesh), first)
            jax.block_until_ready(totals)  # of the group before: a fast reader must not fill the memory
            state, totals = segment(state, totals, examples, first, end)
        return state, totals

    yield from _loop(
        "fit_stream",
        run,
        state,
        totals,
        epochs,
        batches.count // batches.batch_size,
        batches.batch_size,
        pause_every,
        mesh,
    )


def _loop(
    name: str,
    run: Run,
    state: TrainState,
    totals: Totals | None,
    epochs: int,
    steps_per_epoch: int,
    batch_size: int,
    pause_every: int | None,
    mesh: Mesh | None,
) -> Iterator[Report]:
    epochs = checked_count(name, "epochs", epochs)
    pause_every = None if pause_every is None else checked_count(name, "pause_every", pause_every)
    totals = replicated(Totals.zero() if totals is None else jax.tree.map(jnp.copy, totals), mesh)
    steps_per_segment = 1
    taken = int(state.step)
    is_first = True  # its time is its compilation's
    while taken < epochs * steps_per_epoch:
        epochs_done, at = divmod(taken, steps_per_epoch)
        if not at and not is_first:
            totals = replicated(Totals.zero(), mesh)
        started = time.perf_counter()
        length = min(steps_per_segment, steps_per_epoch - at)
        if pause_every is not None:
            length = min(length, pause_every - taken % pause_every)
        state, totals = run(state, totals, epochs_done + 1, at, at + length)
        loss, accuracy, bad_step = jax.device_get((totals.loss, totals.accuracy, totals.bad_step))
        seconds = time.perf_counter() - started
        at, taken = at + length, taken + length
        if bad_step >= 0:
            raise NotFiniteError(f"the loss is not finite at step {taken - at + int(bad_step) + 1}")
        if jax.process_count() > 1:
            steps_per_segment = SEGMENT_STEPS_TOGETHER
        elif not is_first:
            steps_per_segment = max(1, min(2 * steps_per_segment + 8, int(length * SEGMENT_SECONDS / seconds)))
        is_first = False
        yield Report(
            state=state,
            totals=totals,
            epoch=epochs_done + 1,
            step=taken,
            steps_per_epoch=steps_per_epoch,
            loss=float(loss) / at,
            accuracy=float(accuracy) / at,
            images_per_second=length * batch_size / seconds,
        )


def _in_one_program(step: Step, batch_size: int) -> Segment:
    """Steps [start, stop) of an epoch in one program; the ends are arguments, so one compilation serves all lengths."""

    @partial(jax.jit, donate_argnames=("state", "totals"))
    def run(
        state: TrainState, totals: Totals, examples: _Shuffled | _Streamed, start: jax.Array, stop: jax.Array
    ) -> tuple[TrainState, Totals]:
        def one(at: jax.Array, carry: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
            state, metrics = step(carry[0], examples.batch(at, batch_size))
            return state, carry[1].plus(metrics, at)

        return lax.fori_loop(start, stop, one, (state, totals))

    return run


def _step_by_step(step: Step, batch_size: int) -> Segment:
    """As `_in_one_program`, one call of the compiled step per batch."""

    @jax.jit
    def take(examples: _Shuffled | _Streamed, at: jax.Array) -> Batch:
        return examples.batch(at, batch_size)

    add = jax.jit(Totals.plus)

    def run(
        state: TrainState, totals: Totals, examples: _Shuffled | _Streamed, start: int, stop: int
    ) -> tuple[TrainState, Totals]:
        for at in range(start, stop):
            state, metrics = step(state, take(examples, at))
            totals = add(totals, metrics, at)
        return state, totals

    return run
