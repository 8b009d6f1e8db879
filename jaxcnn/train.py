"""Training: one jit-compiled step, and the loop around it.

    state = init_state(net.init(key), optimizer, key)
    step = make_train_step(net.apply, optimizer)
    state, metrics = step(state, {"image": images, "label": labels})            one batch
    for report in fit(state, step, train_split, epochs=5, batch_size=128): ...  whole epochs, on the device

A step computes the loss of each example [V 4; R 1.6], averages or sums it, takes the gradient by the rules of `ops`,
and updates every parameter by an optax optimizer: p <- p - gamma dL/dp for gradient descent [V 27, 28, 39], Adam and
AdamW [R 1.9]. [V]'s own algorithm is gradient descent with batch size 1.

The step is a pure function and carries its randomness in the state. It runs unchanged on CPU, GPU and TPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import jaxcnn.ops
import jaxcnn.reference

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Apply = Callable[..., jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]

OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam, "adamw": optax.adamw}
SEGMENT_SECONDS = 0.5


class TrainState(NamedTuple):
    """What a step takes and gives back, a pytree.

    `params` and `opt_state` as the net and the optimizer have them; `step` the number of steps taken, int32; `key` the
    random key that the order of each epoch is drawn from.
    """

    params: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array


# step(state, batch) -> (state, {"loss", "accuracy"})
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class Report(NamedTuple):
    """Where `fit` stands after a segment of steps: `loss` and `accuracy` are means over the epoch so far.

    `state` is donated to the next segment: take what is wanted of it before asking for the next report.
    """

    state: TrainState
    epoch: int
    step: int
    steps_per_epoch: int
    loss: float
    accuracy: float
    images_per_second: float

    @property
    def ends_epoch(self) -> bool:
        """Whether this is the epoch's last segment."""
        return self.step % self.steps_per_epoch == 0


class NotFiniteError(ArithmeticError):
    """The loss became infinite or NaN, so that training cannot go on."""


def init_state(params: Any, optimizer: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """The state before the first step, with copies of params and key: a step takes its state's buffers."""
    params, key = jax.tree.map(jnp.copy, (params, key))
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key)


def make_train_step(
    apply: Apply,
    optimizer: optax.GradientTransformation,
    *,
    ops: ModuleType = jaxcnn.ops,
    loss: Loss | None = None,
    reduction: str = "mean",
) -> Step:
    """The jit-compiled step of one batch.

    Args:
        apply: `apply(params, x, *, ops) -> logits`, as the nets have it; `functools.partial` fixes further options.
        optimizer: an optax optimizer.
        ops: the namespace to compute with: `jaxcnn.ops` for hand-derived gradients, `jaxcnn.reference` for autodiff's.
        loss: `loss(logits, labels) -> (N,)`; `ops.softmax_cross_entropy` where None.
        reduction: "mean" over the batch, or "sum" as in [R 1.6].

    Returns:
        `step(state, batch)` with batch {"image": (N, *spatial, C), "label": (N,)}: uint8 images are scaled by 1/255,
        floats taken as they are. The given state's buffers are donated to the new state: use the new one.

    Raises:
        ValueError: an unknown reduction, or an argument of another kind, as a net where its `apply` is meant; from
            the step: a batch without image or label.

    Source:
        [V 27, 28, 39], [R 1.9].

    Example:
        >>> import jax, optax, numpy as np
        >>> from jaxcnn.nets import single_filter
        >>> optimizer = optax.sgd(0.1)
        >>> step = make_train_step(single_filter.apply, optimizer)
        >>> state = init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
        >>> state, metrics = step(state, {"image": np.zeros((4, 28, 28, 1), "uint8"), "label": np.arange(4)})
        >>> int(state.step), sorted(metrics)
        (1, ['accuracy', 'loss'])
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"make_train_step: reduction must be 'mean' or 'sum', got {reduction!r}")
    for name, given, expected, is_right in (
        ("apply", apply, "a function, as nets.lenet.apply", callable(apply)),
        ("optimizer", optimizer, "an optax optimizer, as optax.adam(1e-3)", hasattr(optimizer, "update")),
        ("ops", ops, "jaxcnn.ops or jaxcnn.reference", hasattr(ops, "softmax_cross_entropy")),
    ):
        if not is_right:
            raise ValueError(f"make_train_step: {name} must be {expected}, got {given!r}")
    reduce = jnp.mean if reduction == "mean" else jnp.sum
    loss_of = ops.softmax_cross_entropy if loss is None else loss

    def objective(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        logits = apply(params, as_floats(batch["image"]), ops=ops)
        return reduce(loss_of(logits, batch["label"])), logits

    @partial(jax.jit, donate_argnames="state")
    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if not {"image", "label"} <= set(batch):
            raise ValueError(f"step: batch must have 'image' and 'label', got {', '.join(map(repr, batch))}")
        (value, logits), gradients = jax.value_and_grad(objective, has_aux=True)(state.params, batch)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)  # [V 27, 28, 39]
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"], dtype=jnp.float32)
        return TrainState(params, opt_state, state.step + 1, state.key), {"loss": value, "accuracy": accuracy}

    return step


def fit(
    state: TrainState,
    step: Step,
    images: np.ndarray | jax.Array,
    labels: np.ndarray | jax.Array,
    *,
    epochs: int,
    batch_size: int,
    in_one_program: bool = True,
) -> Iterator[Report]:
    """Train for some epochs, reporting about twice a second.

    The examples stay on the device, as uint8, and are shuffled there, anew each epoch, by the state's key and the
    number of epochs that it has behind it.
    Steps run in one compiled loop whose length is an argument: segments of about half a second each, so that a person
    sees progress and can interrupt, give the same bits as one long loop, and nothing is compiled twice. Examples beyond
    the last whole batch sit out their epoch.

    Args:
        state: where to start; copied, it stays as it is.
        step: as from `make_train_step`.
        images: (N, *spatial, C), uint8 or floating.
        labels: (N,), integers.
        epochs, batch_size: positive; the batch is at most N.
        in_one_program: False calls the compiled step once a batch instead, for rules that are slow inside a loop, as
            autodiff's convolutions are on a CPU (their kernel gradient falls to a naive path there).

    Yields:
        a `Report` after each segment; the last of an epoch has `ends_epoch`.

    Raises:
        ValueError: sizes that do not fit, labels that are no classes.
        NotFiniteError: the loss is not finite; says at which step.
    """
    count = len(images)
    if images.ndim < 3 or labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"fit: images must be (N, *spatial, C) and labels (N,) integers, got {images.shape} and "
            f"{labels.dtype} {labels.shape}"
        )
    if not 1 <= batch_size <= count:
        raise ValueError(f"fit: batch_size must be between 1 and the {count} images, got {batch_size}")
    if epochs < 1:
        raise ValueError(f"fit: epochs must be at least 1, got {epochs}")
    state, images, labels = jax.tree.map(jnp.copy, state), jnp.asarray(images), jnp.asarray(labels)
    steps_per_epoch = count // batch_size
    run = (_run_segment if in_one_program else _run_step_by_step)(step, batch_size)
    steps_a_segment = 1
    taken, epochs_before = 0, int(state.step) // steps_per_epoch
    for epoch in range(1, epochs + 1):
        order = _epoch_order(jax.random.fold_in(state.key, epochs_before + epoch), count)
        totals, at = _Totals.zero(), 0
        while at < steps_per_epoch:
            started = time.perf_counter()
            length = min(steps_a_segment, steps_per_epoch - at)
            state, totals = run(state, totals, images, labels, order, at, at + length)
            loss, accuracy, bad_step = jax.device_get((totals.loss, totals.accuracy, totals.bad_step))
            seconds = time.perf_counter() - started
            at, taken = at + length, taken + length
            if bad_step >= 0:
                raise NotFiniteError(f"the loss is not finite at step {taken - at + int(bad_step) + 1}")
            if taken > length:  # the first segment's time is its compilation's
                steps_a_segment = max(1, min(2 * steps_a_segment + 8, int(length * SEGMENT_SECONDS / seconds)))
            yield Report(
                state=state,
                epoch=epoch,
                step=taken,
                steps_per_epoch=steps_per_epoch,
                loss=float(loss) / at,
                accuracy=float(accuracy) / at,
                images_per_second=length * batch_size / seconds,
            )


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


def as_floats(images: jax.Array) -> jax.Array:
    """uint8 images scaled to [0, 1] in float32; floating ones as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


class _Totals(NamedTuple):
    """Sums over an epoch's steps so far, and the first step of it whose loss was not finite, or -1."""

    loss: jax.Array
    accuracy: jax.Array
    bad_step: jax.Array

    @classmethod
    def zero(cls) -> _Totals:
        return cls(jnp.zeros(()), jnp.zeros(()), jnp.full((), -1, jnp.int32))

    def plus(self, metrics: Metrics, at: jax.Array) -> _Totals:
        is_first_bad = (self.bad_step < 0) & ~jnp.isfinite(metrics["loss"])
        return _Totals(
            self.loss + metrics["loss"],
            self.accuracy + metrics["accuracy"],
            jnp.where(is_first_bad, at, self.bad_step).astype(jnp.int32),
        )


@partial(jax.jit, static_argnames="count")
def _epoch_order(key: jax.Array, count: int) -> jax.Array:
    return jax.random.permutation(key, count)


def _take_batch(images: jax.Array, labels: jax.Array, order: jax.Array, at: jax.Array, size: int) -> Batch:
    chosen = lax.dynamic_slice_in_dim(order, at * size, size)
    return {"image": images[chosen], "label": labels[chosen]}


def _run_segment(step: Step, batch_size: int) -> Callable[..., tuple[TrainState, _Totals]]:
    """Steps [start, stop) of an epoch in one program; the ends are arguments, so one compilation serves all lengths."""

    @partial(jax.jit, donate_argnames=("state", "totals"))
    def run(
        state: TrainState,
        totals: _Totals,
        images: jax.Array,
        labels: jax.Array,
        order: jax.Array,
        start: jax.Array,
        stop: jax.Array,
    ) -> tuple[TrainState, _Totals]:
        def one(at: jax.Array, carry: tuple[TrainState, _Totals]) -> tuple[TrainState, _Totals]:
            state, metrics = step(carry[0], _take_batch(images, labels, order, at, batch_size))
            return state, carry[1].plus(metrics, at)

        return lax.fori_loop(start, stop, one, (state, totals))

    return run


def _run_step_by_step(step: Step, batch_size: int) -> Callable[..., tuple[TrainState, _Totals]]:
    """As `_run_segment`, one call of the compiled step a batch."""
    take = jax.jit(partial(_take_batch, size=batch_size))
    add = jax.jit(_Totals.plus)

    def run(
        state: TrainState,
        totals: _Totals,
        images: jax.Array,
        labels: jax.Array,
        order: jax.Array,
        start: int,
        stop: int,
    ) -> tuple[TrainState, _Totals]:
        for at in range(start, stop):
            state, metrics = step(state, take(images, labels, order, at))
            totals = add(totals, metrics, at)
        return state, totals

    return run


@partial(jax.jit, static_argnames=("apply", "ops"))
def _forward(apply: Apply, ops: ModuleType, params: Any, images: jax.Array) -> jax.Array:
    return apply(params, as_floats(images), ops=ops).astype(jnp.float32)
