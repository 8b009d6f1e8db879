"""Batches that are read as they are needed: the same ones as from memory, each process's part, from any batch on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import data, train
from jaxcnn.nets import single_filter
from jaxcnn.train import _fit


@pytest.fixture(scope="module")
def digits() -> data.Split:
    split = data.load("mnist-10k").train
    return data.Split(split.images[:90], split.labels[:90])


def numbered(count: int) -> data.ArraySource:
    """Each image and label is its example's number."""
    numbers = np.arange(count)
    return data.ArraySource(data.Split(numbers.astype("uint8").reshape(-1, 1, 1, 1), numbers.astype("int32")))


def labels_of(batches: Any) -> list[list[int]]:
    return [batch["label"].tolist() for batch in batches]


def test_an_epoch_is_whole_batches_in_the_order_given() -> None:
    order = np.random.default_rng(0).permutation(23)
    batches = list(data.Stream(numbered(23), 5).in_order(order))
    assert labels_of(batches) == order[:20].reshape(4, 5).tolist()
    assert all((batch["image"][:, 0, 0, 0] == batch["label"]).all() for batch in batches)


def test_reading_begins_at_any_batch() -> None:
    order = np.random.default_rng(0).permutation(23)
    stream = data.Stream(numbered(23), 5)
    assert labels_of(stream.in_order(order, 2)) == labels_of(stream.in_order(order))[2:]


def test_processes_share_each_batch() -> None:
    order = np.random.default_rng(0).permutation(40)
    parts = [labels_of(data.Stream(numbered(40), 8, None, process, 4).in_order(order)) for process in range(4)]
    for number, whole in enumerate(order.reshape(5, 8).tolist()):
        shares = [part[number] for part in parts]
        assert [len(share) for share in shares] == [2, 2, 2, 2]
        assert sorted(sum(shares, [])) == sorted(whole)


def test_only_what_is_chosen_is_read() -> None:
    chosen = np.array([3, 5, 7, 11, 13, 17])
    stream = data.Stream(numbered(20), 2, chosen)
    assert stream.count == 6
    assert labels_of(stream.in_order(np.array([5, 4, 3, 2, 1, 0]))) == [[17, 13], [11, 7], [5, 3]]


def test_a_process_reads_its_part_alone() -> None:
    asked = []

    class Watched(data.ArraySource):
        def read(self, numbers: np.ndarray) -> data.Split:
            asked.extend(numbers.tolist())
            return super().read(numbers)

    split = data.Split(np.zeros((40, 1, 1, 1), "uint8"), np.arange(40, dtype="int32"))
    list(data.Stream(Watched(split), 8, None, 1, 4).in_order(np.arange(40)))
    assert sorted(asked) == [number for number in range(40) if number % 4 == 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "stream: batch_size must be between 1 and the 10 images, got 0"),
        ({"batch_size": 11}, "stream: batch_size must be between 1 and the 10 images, got 11"),
        ({"batch_size": 9, "processes": 2}, "stream: 2 processes cannot share a batch of 9 equally"),
    ],
)
def test_what_cannot_be_shared_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.Stream(numbered(10), **options)


@pytest.mark.parametrize("in_one_program", [True, False])
def test_a_streamed_training_is_that_from_memory(in_one_program: bool, digits: data.Split) -> None:
    """The same batches in the same order; the step in a loop or alone may round otherwise: 1e-7 was seen."""
    optimizer = optax.sgd(0.1)
    step = train.make_train_step(single_filter.apply, optimizer)
    state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    *_, resident = train.fit(state, step, *digits, epochs=2, batch_size=8)
    batches = data.Stream(data.ArraySource(digits), 8)
    *_, streamed = train.fit_stream(state, step, batches, epochs=2, in_one_program=in_one_program)
    assert (streamed.step, streamed.epoch) == (22, 2)
    assert streamed.loss == pytest.approx(resident.loss, rel=1e-5)
    for left, right in zip(*map(jax.tree.leaves, (resident.state.params, streamed.state.params)), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("in_one_program", [True, False])
def test_a_loss_that_is_not_finite_names_its_step_of_the_epoch(
    in_one_program: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 1, 2, and 3 to 12 are segments, the last in groups of eight and two: step 11 begins the latter."""
    monkeypatch.setattr(_fit, "SEGMENT_SECONDS", 1e9)
    key, source = jax.random.key(1), numbered(12)
    bad = int(train.epoch_order(key, 1, 12)[10])
    step = train.make_train_step(
        lambda params, x, *, state, **_: (params * jnp.ones((x.shape[0], 1)), state),
        optax.sgd(0.1),
        loss=lambda logits, labels: logits[:, 0] + jnp.where(labels == bad, jnp.inf, 0.0),
    )
    state = train.init_state(jnp.ones(()), optax.sgd(0.1), key)
    run = train.fit_stream(state, step, data.Stream(source, 1), epochs=1, in_one_program=in_one_program)
    assert [next(run).step, next(run).step] == [1, 2]
    with pytest.raises(train.NotFiniteError, match="the loss is not finite at step 11$"):
        next(run)


@dataclass
class Given:
    """Batches that are what they are, whatever order is asked for."""

    batches: list[dict[str, np.ndarray]]
    batch_size: int = 2
    count: int = 8

    def in_order(self, order: np.ndarray, start: int = 0) -> Iterator[dict[str, np.ndarray]]:
        yield from self.batches[start:]


def batch(images: Any = "uint8", labels: Any = "int32", size: int = 2, side: int = 28) -> dict[str, np.ndarray]:
    return {"image": np.zeros((size, side, side, 1), images), "label": np.zeros(size, labels)}


IS_RIGHT = r"fit_stream: a batch must be image uint8 \(2, 28, 28, 1\), label int32 \(2,\), got "


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([batch(), batch("float32")], IS_RIGHT + r"image float32 \(2,"),
        ([batch(), batch(labels="int64")], IS_RIGHT + ".*label int64"),
        ([batch(), batch(size=1)], IS_RIGHT + r"image uint8 \(1,"),
        ([batch(size=1)], IS_RIGHT + r"image uint8 \(1,"),
        ([batch(), batch(side=14)], IS_RIGHT + r"image uint8 \(2, 14,"),
        ([batch(), batch() | {"weight": np.zeros(2)}], IS_RIGHT + ".*weight float64"),
        ([batch()] * 3, "fit_stream: 8 examples are 4 batches, and epoch 1 had 3"),
        ([], "fit_stream: 8 examples are 4 batches, and epoch 1 had 0"),
    ],
)
def test_batches_that_are_not_what_they_must_be(batches: list[dict[str, np.ndarray]], message: str) -> None:
    step = train.make_train_step(single_filter.apply, optax.sgd(0.1))
    state = train.init_state(single_filter.init(jax.random.key(0)), optax.sgd(0.1), jax.random.key(1))
    with pytest.raises(ValueError, match=message):
        list(train.fit_stream(state, step, Given(batches), epochs=2))


def test_what_comes_after_an_epochs_batches_is_left() -> None:
    step = train.make_train_step(single_filter.apply, optax.sgd(0.1))
    state = train.init_state(single_filter.init(jax.random.key(0)), optax.sgd(0.1), jax.random.key(1))
    *_, last = train.fit_stream(state, step, Given([batch()] * 7), epochs=2)
    assert (last.step, last.epoch) == (8, 2)


def test_the_embedded_set_streams() -> None:
    train_source, test, classes = data.stream("mnist-10k")
    whole = data.load("mnist-10k")
    numbers = np.array([7, 3, 7])
    np.testing.assert_array_equal(train_source.read(numbers).images, whole.train.images[numbers])
    np.testing.assert_array_equal(test.labels, whole.test.labels)
    assert classes == whole.classes
    with pytest.raises(ValueError, match="unknown data set 'mnst'.*did you mean 'mnist'"):
        data.stream("mnst")
