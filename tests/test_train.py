"""The training step and the loop around it: against steps by hand, autodiff's, and themselves in other segments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxcnn.ops
import jaxcnn.reference
from jaxcnn import data, predict, runs, train
from jaxcnn.nets import gap_cnn, lenet, single_filter
from jaxcnn.train import _fit

BLOCKS = (gap_cnn.Block(3, pool=2, norm=True), gap_cnn.Block(4, stride=2, dilation=2))
NETS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "single_filter": (single_filter.init, single_filter.apply),
    "lenet": (partial(lenet.init, filters=(2, 3), hidden=8), lenet.apply),
    "gap_cnn": (partial(gap_cnn.init, blocks=BLOCKS), partial(gap_cnn.apply, blocks=BLOCKS)),
}


@pytest.fixture(scope="module")
def digits() -> data.Split:
    return data.load("mnist-10k").train


@pytest.fixture
def compiled_in_full() -> None:
    """Asked for by tests whose subject is bits, which depend on how XLA compiles."""


@pytest.fixture(autouse=True)
def quick_compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """XLA's cheap passes alone, for programs that run a few times."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", "compiled_in_full" not in request.fixturenames)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def batch_of(split: data.Split, start: int, size: int) -> train.Batch:
    part = slice(start, start + size)
    return {"image": jnp.asarray(split.images[part]), "label": jnp.asarray(split.labels[part])}


def linear(params: Any, x: jax.Array, *, ops: Any, state: Any, **_: Any) -> tuple[jax.Array, Any]:
    """The least net: one matrix, for tests of the machinery."""
    return ops.dense(ops.flatten(x), params), state


def linear_state(optimizer: optax.GradientTransformation, dtype: str = "float32") -> train.TrainState:
    params = jnp.asarray(np.random.default_rng(1).standard_normal((4, 3)), dtype)
    return train.init_state(params, optimizer, jax.random.key(5))


def points(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images 2x2 with three classes, far from separable."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 2, 2, 1), "uint8"), generator.integers(0, 3, count).astype("int32")


def assert_same_bits(left: Any, right: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, left, right)


# One step


def test_a_step_of_virdee_by_hand(digits: data.Split) -> None:
    """[V 27, 28, 39]: p - gamma dL/dp, the gradients [V 17, 21, 24, 25, 32, 37] in NumPy, index by index."""
    gamma = 0.1
    optimizer = optax.sgd(gamma)
    params = {name: value.astype(jnp.float64) for name, value in single_filter.init(jax.random.key(0)).items()}
    f, w, b = (np.asarray(params[name]) for name in ("f", "w", "b"))
    x_conv, label = digits.images[0, :, :, 0] / 255, int(digits.labels[0])

    x_pool = np.zeros((23, 23))
    for i, j in np.ndindex(23, 23):
        x_pool[i, j] = np.sum(f[:, :, 0, 0] * x_conv[i : i + 6, j : j + 6])
    windows = x_pool[:22, :22].reshape(11, 2, 11, 2).swapaxes(1, 2).reshape(121, 4)
    x_full = windows.max(axis=1)
    z = x_full @ w + b
    y_hat = np.exp(z) / np.exp(z).sum()
    dz = y_hat - np.eye(10)[label]
    dw, db, dx_full = np.outer(x_full, dz), dz, w @ dz
    dx_pool = np.zeros((23, 23))
    for number, (window, share) in enumerate(zip(windows, dx_full, strict=True)):
        row, column = divmod(int(window.argmax()), 2)
        dx_pool[2 * (number // 11) + row, 2 * (number % 11) + column] = share
    df = np.zeros((6, 6))
    for u, v in np.ndindex(6, 6):
        df[u, v] = np.sum(dx_pool * x_conv[u : u + 23, v : v + 23])

    step = train.make_train_step(single_filter.apply, optimizer)
    state = train.init_state(params, optimizer, jax.random.key(1))
    batch = {"image": jnp.asarray(digits.images[:1] / 255), "label": jnp.asarray(digits.labels[:1])}
    state, metrics = step(state, batch)
    np.testing.assert_allclose(state.params["f"][:, :, 0, 0], f[:, :, 0, 0] - gamma * df, rtol=0, atol=1e-14)
    np.testing.assert_allclose(state.params["w"], w - gamma * dw, rtol=0, atol=1e-14)
    np.testing.assert_allclose(state.params["b"], b - gamma * db, rtol=0, atol=1e-14)
    assert float(metrics["loss"]) == pytest.approx(-np.log(y_hat[label]), rel=1e-12)
    assert float(metrics["accuracy"]) == (z.argmax() == label)
    assert int(state.step) == 1


def test_a_step_in_numbers_that_float32_holds_exactly() -> None:
    """L = z_1, so dL/dw = (x, 0)^T in rows: w - gamma dL/dw to the last bit."""
    optimizer = optax.sgd(0.25)
    step = train.make_train_step(linear, optimizer, loss=lambda logits, labels: logits[:, 0])
    w = np.arange(12, dtype="float32").reshape(4, 3)
    x = np.array([1.0, 2.0, -4.0, 8.0], "float32").reshape(1, 2, 2, 1)
    state = train.init_state(jnp.asarray(w), optimizer, jax.random.key(0))
    state, metrics = step(state, {"image": jnp.asarray(x), "label": jnp.array([2])})
    expected = w.copy()
    expected[:, 0] -= [0.25, 0.5, -1.0, 2.0]
    np.testing.assert_array_equal(state.params, expected)
    assert float(metrics["loss"]) == 2 * 3 - 4 * 6 + 8 * 9


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_ten_steps_by_hand_derived_rules_and_by_autodiff(
    name: str, dtype: str, tolerance: float, digits: data.Split
) -> None:
    """Float32 sums in another order, and ten steps carry that on: 5e-7 was seen, 1e-5 is allowed."""
    init, apply = NETS[name]
    optimizer = optax.sgd(0.05, momentum=0.9)
    start = jax.tree.map(lambda leaf: leaf.astype(dtype), jax.jit(init)(jax.random.key(0)))
    ends = []
    for ops in (jaxcnn.ops, jaxcnn.reference):
        step = train.make_train_step(apply, optimizer, ops=ops)
        state = train.init_state(jax.tree.map(jnp.copy, start), optimizer, jax.random.key(1))
        for number in range(10):
            batch = batch_of(digits, 8 * number, 8)
            state, _ = step(state, batch | {"image": batch["image"].astype(dtype) / 255})
        ends.append(state.params)
    for ours, autodiffs, before in zip(*map(jax.tree.leaves, (*ends, start)), strict=True):
        assert ours.dtype == autodiffs.dtype == dtype
        assert np.any(ours != before)
        np.testing.assert_allclose(ours, autodiffs, rtol=0, atol=tolerance)


def test_the_state_given_is_donated() -> None:
    optimizer = optax.adam(0.1)
    step = train.make_train_step(linear, optimizer)
    state, (images, labels) = linear_state(optimizer), points(4)
    after, _ = step(state, {"image": jnp.asarray(images), "label": jnp.asarray(labels)})
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))


def test_uint8_is_scaled_once_and_floats_are_taken_as_they_are() -> None:
    """The loss is the mean pixel, read from what `apply` was given."""
    optimizer = optax.sgd(0.0)

    def apply(params: jax.Array, x: jax.Array, *, state: Any, **_: Any) -> tuple[jax.Array, Any]:
        return x.reshape(x.shape[0], -1) + 0 * params, state

    def mean_pixel(images: jax.Array) -> float:
        step = train.make_train_step(apply, optimizer, loss=lambda logits, labels: logits.mean(axis=1))
        state = train.init_state(jnp.zeros(4, jnp.float32), optimizer, jax.random.key(0))
        return float(step(state, {"image": images, "label": jnp.array([0])})[1]["loss"])

    assert mean_pixel(jnp.full((1, 2, 2, 1), 255, jnp.uint8)) == 1
    assert mean_pixel(jnp.full((1, 2, 2, 1), 51, jnp.uint8)) == pytest.approx(0.2)
    assert mean_pixel(jnp.full((1, 2, 2, 1), 51.0, jnp.float32)) == 51
    assert train.as_floats(jnp.zeros(1, jnp.uint8)).dtype == jnp.float32
    assert train.as_floats(jnp.zeros(1, jnp.bfloat16)).dtype == jnp.bfloat16


def test_a_sum_steps_n_times_as_far_as_a_mean() -> None:
    optimizer = optax.sgd(0.1)
    images, labels = points(8)
    batch = {"image": jnp.asarray(images / 255), "label": jnp.asarray(labels)}
    before = np.asarray(linear_state(optimizer, "float64").params)
    moved, losses = [], []
    for reduction in ("mean", "sum"):
        step = train.make_train_step(linear, optimizer, reduction=reduction)
        state, metrics = step(linear_state(optimizer, "float64"), batch)
        moved.append(np.asarray(state.params) - before)
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(moved[1], 8 * moved[0], rtol=1e-9)
    assert losses[1] == pytest.approx(8 * losses[0])


def test_accuracy_is_the_share_of_right_answers() -> None:
    optimizer = optax.sgd(0.1)
    step = train.make_train_step(linear, optimizer)
    state = train.init_state(jnp.eye(4, 3, dtype=jnp.float32), optimizer, jax.random.key(0))
    images = jnp.eye(4, dtype=jnp.float32)[:3].reshape(3, 2, 2, 1)
    assert float(step(state, {"image": images, "label": jnp.array([0, 1, 0])})[1]["accuracy"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"apply": lenet}, "apply must be a function, as nets.lenet.apply, got <module"),
        ({"optimizer": "adam"}, r"optimizer must be an optax optimizer, as optax.adam\(1e-3\), got 'adam'"),
        ({"ops": "reference"}, "ops must be jaxcnn.ops or jaxcnn.reference, got 'reference'"),
    ],
)
def test_what_makes_no_step_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^make_train_step: {message}"):
        # its own words: unwrapped, the type checker of conftest does not answer first
        inspect.unwrap(train.make_train_step)(**({"apply": linear, "optimizer": optax.sgd(0.1)} | change))


def test_a_batch_has_image_and_label() -> None:
    optimizer = optax.sgd(0.1)
    with pytest.raises(ValueError, match="step: batch must have 'image' and 'label', got 'images', 'label'"):
        train.make_train_step(linear, optimizer)(
            linear_state(optimizer), {"images": jnp.zeros(()), "label": jnp.zeros(())}
        )


def test_what_one_trains_with_stays_ones_own(digits: data.Split) -> None:
    """Two trainings from one start, and one key for all."""
    optimizer, key = optax.sgd(0.1), jax.random.key(0)
    step = train.make_train_step(single_filter.apply, optimizer)
    params = single_filter.init(key)
    state = train.init_state(params, optimizer, key)
    one, other = (
        [*train.fit(state, step, digits.images[:8], digits.labels[:8], epochs=1, batch_size=4)][-1] for _ in range(2)
    )
    assert one.loss == other.loss
    step(state, batch_of(digits, 0, 4))
    assert all(not leaf.is_deleted() for leaf in jax.tree.leaves((params, key)))


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="make_train_step: reduction must be 'mean' or 'sum', got 'max'"):
        train.make_train_step(linear, optax.sgd(0.1), reduction="max")


def test_the_state_is_a_pytree_that_counts_its_steps() -> None:
    state = linear_state(optax.adam(0.1))
    leaves, structure = jax.tree.flatten(state)
    assert jax.tree.unflatten(structure, leaves) == state
    assert isinstance(jax.tree.map(lambda leaf: leaf, state), train.TrainState)
    assert (state.step.dtype, int(state.step)) == (jnp.int32, 0)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_step_lowers_for(platform: str, digits: data.Split) -> None:
    init, apply = NETS["gap_cnn"]
    optimizer = optax.adamw(0.01)
    step = train.make_train_step(apply, optimizer)
    state = jax.eval_shape(lambda key: train.init_state(init(key), optimizer, key), jax.random.key(0))
    lowered = jax.jit(step).trace(state, batch_of(digits, 0, 8)).lower(lowering_platforms=(platform,))
    convolutions = lowered.as_text().count("stablehlo.convolution")
    # two forward, one input gradient or two, and two kernel gradients; on a CPU the second forward and its kernel's
    # gradient: the first, of one channel, is a product with a banded matrix, with a convolution beside it for what is
    # not finite, and its gradient, as the second's to so few channels, is a matrix product
    assert convolutions in ((2, 3) if platform == "cpu" else (5, 6))


# The loop


@pytest.mark.usefixtures("compiled_in_full")
def test_same_seed_same_bits() -> None:
    images, labels = points(50)
    assert_same_bits(_fit_linear(images, labels), _fit_linear(images, labels))


def test_an_epoch_at_a_time_is_the_same_training() -> None:
    images, labels = points(50)
    optimizer = optax.adam(0.1)
    step = train.make_train_step(linear, optimizer)
    *_, at_once = train.fit(linear_state(optimizer), step, images, labels, epochs=2, batch_size=8)
    *_, first = train.fit(linear_state(optimizer), step, images, labels, epochs=1, batch_size=8)
    *_, second = train.fit(first.state, step, images, labels, epochs=2, batch_size=8)
    assert_same_bits(at_once.state.params, second.state.params)


@pytest.mark.usefixtures("compiled_in_full")
def test_segments_change_no_bit(optimized: None, digits: data.Split, monkeypatch: pytest.MonkeyPatch) -> None:
    ends, segments = [], []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(_fit, "SEGMENT_SECONDS", seconds)
        optimizer = optax.sgd(0.1)
        state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
        step = train.make_train_step(single_filter.apply, optimizer)
        images, labels = digits.images[:60], digits.labels[:60]
        reports = list(train.fit(state, step, images, labels, epochs=2, batch_size=8))
        segments.append([report.step for report in reports])
        ends.append((reports[-1].state.params, reports[-1].loss, reports[-1].accuracy))
    assert segments == [list(range(1, 15)), [1, 2, 7, 14]]
    assert_same_bits(ends[0], ends[1])


def test_step_by_step_is_close_to_one_program(digits: data.Split) -> None:
    ends = []
    for in_one_program in (True, False):
        optimizer = optax.sgd(0.1)
        state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
        step = train.make_train_step(single_filter.apply, optimizer)
        images, labels = digits.images[:60], digits.labels[:60]
        run = train.fit(state, step, images, labels, epochs=2, batch_size=8, in_one_program=in_one_program)
        ends.append(list(run)[-1])
    assert ends[0].loss == pytest.approx(ends[1].loss, rel=1e-4)
    for left, right in zip(*(jax.tree.leaves(end.state.params) for end in ends), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("in_one_program", [True, False])
def test_every_epoch_takes_whole_batches_of_its_own_permutation(in_one_program: bool) -> None:
    """A step that trains nothing and writes down the labels it is given; each label is its example's number."""
    count, batch_size, epochs = 23, 5, 3
    images = np.arange(count, dtype="float32").reshape(count, 1, 1) * 2

    @jax.jit
    def write_down(state: train.TrainState, batch: train.Batch) -> tuple[train.TrainState, train.Metrics]:
        seen = state.params.at[state.step].set(batch["label"])
        mismatch = jnp.sum(batch["image"][:, 0, 0] != 2 * batch["label"])
        return state._replace(params=seen, step=state.step + 1), {"loss": 1.0 * mismatch, "accuracy": jnp.zeros(())}

    state = train.TrainState(jnp.zeros((12, batch_size), jnp.int32), (), jnp.zeros((), jnp.int32), jax.random.key(3))
    labels = np.arange(count, dtype="int32")
    reports = list(
        train.fit(
            state, write_down, images, labels, epochs=epochs, batch_size=batch_size, in_one_program=in_one_program
        )
    )
    orders = np.asarray(reports[-1].state.params).reshape(epochs, 4 * batch_size)
    assert all(len(set(order)) == 20 and set(order) < set(range(count)) for order in orders.tolist())
    assert len({tuple(order) for order in orders.tolist()}) == epochs
    assert not any(np.all(np.diff(order) > 0) for order in orders)
    assert all(report.loss == 0 for report in reports)  # each image came with its own label


def test_reports_are_means_over_the_epoch_so_far() -> None:
    images, labels = points(40)
    optimizer = optax.sgd(0.0)
    state = linear_state(optimizer, "float64")
    metrics, _ = train.evaluate(linear, state.params, images, labels)
    reports = list(train.fit(state, train.make_train_step(linear, optimizer), images, labels, epochs=2, batch_size=10))
    ends = [report for report in reports if report.ends_epoch]
    assert [(end.epoch, end.step, end.steps_per_epoch) for end in ends] == [(1, 4, 4), (2, 8, 4)]
    for end in ends:
        assert end.loss == pytest.approx(metrics["loss"])
        assert end.accuracy == pytest.approx(metrics["accuracy"])
    assert all(report.images_per_second > 0 for report in reports)


def test_a_report_within_an_epoch_counts_the_steps_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fit, "SEGMENT_SECONDS", 0.0)
    images, labels = points(40)
    optimizer = optax.sgd(0.0)
    step = train.make_train_step(linear, optimizer, loss=lambda logits, labels: 3 + 0 * logits[:, 0])
    reports = list(train.fit(linear_state(optimizer), step, images, labels, epochs=2, batch_size=10))
    assert [report.loss for report in reports] == [3] * 8
    assert [report.ends_epoch for report in reports] == [False, False, False, True] * 2


def test_one_sample_a_step_lowers_the_loss(digits: data.Split) -> None:
    """[V]'s own algorithm."""
    images, labels = digits.images[:300], digits.labels[:300]
    assert _train_one_filter("sgd", 0.02, images, labels, batch_size=1) < 0.8


@pytest.mark.parametrize(("optimizer", "learning_rate"), [("sgd", 0.3), ("adam", 0.01), ("adamw", 0.01)])
def test_every_optimizer_lowers_the_loss(optimizer: str, learning_rate: float, digits: data.Split) -> None:
    assert _train_one_filter(optimizer, learning_rate, digits.images[:640], digits.labels[:640], batch_size=32) < 0.8


def test_the_optimizers_by_name() -> None:
    assert sorted(train.OPTIMIZERS) == ["adam", "adamw", "sgd"]


@pytest.mark.parametrize("in_one_program", [True, False])
def test_a_loss_that_is_not_finite_names_its_step(in_one_program: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """L = p^2 / 2, gamma = 1 + 1e10: p is 1, -1e10, 1e20, and 1e40 / 2 overflows in step 3, which begins epoch 2."""
    monkeypatch.setattr(_fit, "SEGMENT_SECONDS", 1e9)

    def apply(params: jax.Array, x: jax.Array, *, state: Any, **_: Any) -> tuple[jax.Array, Any]:
        return jnp.broadcast_to(params, (x.shape[0], 1)), state

    optimizer = optax.sgd(1 + 1e10)
    step = train.make_train_step(apply, optimizer, loss=lambda logits, labels: logits[:, 0] ** 2 / 2)
    state = train.init_state(jnp.ones((), jnp.float32), optimizer, jax.random.key(0))
    images, labels = points(6)
    run = train.fit(state, step, images, labels, epochs=4, batch_size=3, in_one_program=in_one_program)
    assert [next(run).step, next(run).step] == [1, 2]
    with pytest.raises(train.NotFiniteError, match="the loss is not finite at step 3$"):
        next(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "fit: batch_size must be a whole number, at least 1, got 0"),
        ({"batch_size": 13}, "fit: batch_size must be between 1 and the 12 images, got 13"),
        ({"epochs": 0}, "fit: epochs must be a whole number, at least 1, got 0"),
        ({"labels": np.zeros(11, "int32")}, r"fit: labels must be .* got labels \(11,\) for images \(12, 2, 2, 1\)"),
        (
            {"labels": np.zeros((12, 3), "float32")},
            r"fit: labels must be \(N,\) classes, got .* \(12, 3\): if one-hot",
        ),
        ({"labels": np.zeros(12, "float32")}, r"fit: labels must be integers, got float32"),
        ({"images": np.zeros((12, 4), "uint8")}, r"fit: images must be \(N, \*spatial, C\), got \(12, 4\)"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    images, labels = points(12)
    optimizer = optax.sgd(0.1)
    arguments: dict[str, Any] = {"images": images, "labels": labels, "epochs": 1, "batch_size": 4} | change
    with pytest.raises(ValueError, match=message):
        next(train.fit(linear_state(optimizer), train.make_train_step(linear, optimizer), **arguments))


# Evaluation


def test_no_images_to_evaluate_are_refused() -> None:
    params = single_filter.init(jax.random.key(0))
    with pytest.raises(ValueError, match="evaluate: needs at least one image"):
        train.evaluate(single_filter.apply, params, np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.int32))


@pytest.mark.parametrize("ops", [jaxcnn.ops, jaxcnn.reference], ids=["ops", "reference"])
@pytest.mark.parametrize("batch_size", [4, 5, 50])
def test_evaluation_is_the_direct_computation(batch_size: int, ops: Any) -> None:
    images, labels = points(10)
    params = linear_state(optax.sgd(0.1)).params
    metrics, logits = train.evaluate(linear, params, images, labels, ops=ops, batch_size=batch_size)
    z = (images.reshape(10, 4) / 255) @ np.asarray(params, np.float64)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    assert logits.shape == (10, 3)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, z, rtol=0, atol=1e-5)
    assert metrics["loss"] == pytest.approx(-log_p[np.arange(10), labels].mean(), rel=1e-5)
    assert metrics["accuracy"] == np.mean(z.argmax(axis=1) == labels)


def _fit_linear(images: np.ndarray, labels: np.ndarray) -> Any:
    optimizer = optax.adam(0.1)
    run = train.fit(
        linear_state(optimizer), train.make_train_step(linear, optimizer), images, labels, epochs=2, batch_size=8
    )
    *_, last = run
    return last.state.params, last.loss, last.accuracy


def _train_one_filter(
    name: str, learning_rate: float, images: np.ndarray, labels: np.ndarray, *, batch_size: int
) -> float:
    """The loss after two epochs, as a share of that before."""
    optimizer = train.OPTIMIZERS[name](learning_rate)
    state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    evaluate = partial(train.evaluate, single_filter.apply, images=images, labels=labels)
    before = evaluate(params=state.params)[0]["loss"]
    step = train.make_train_step(single_filter.apply, optimizer)
    *_, last = train.fit(state, step, images, labels, epochs=2, batch_size=batch_size)
    return evaluate(params=last.state.params)[0]["loss"] / before


def test_what_training_gives_prints_in_a_line() -> None:
    """A notebook shows the last value of a cell: never whole arrays."""
    digits = data.load()
    assert repr(digits) == (
        "Dataset(train=Split(8,000 images of 28x28x1), test=Split(2,000 images of 28x28x1), 10 classes)"
    )
    optimizer = optax.sgd(0.1)
    state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    assert repr(state) == f"TrainState({count_of(state.params):,} parameters, step=0)"
    step = train.make_train_step(single_filter.apply, optimizer)
    report = next(iter(train.fit(state, step, *(part[:64] for part in digits.train), epochs=1, batch_size=32)))
    assert re.fullmatch(
        r"Report\(epoch=1, step=1, loss=\d\.\d{4}, accuracy=0\.\d{4}, images_per_second=[\d,]+\)", repr(report)
    )


def count_of(params: Any) -> int:
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))


# Images that are laid out as others do


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 1, 28, 28), r"images \(6, 1, 28, 28\) are \(N, C, H, W\), it seems, .* images.transpose\(0, 2, 3, 1\)"),
        ((6, 28, 28), r"images \(6, 28, 28\) have no axis for the channels, it seems, .* take images\[..., None\]"),
    ],
)
@pytest.mark.parametrize("net", [single_filter, lenet])
def test_other_layouts_are_named(net: Any, shape: tuple[int, ...], message: str) -> None:
    params, optimizer = net.init(jax.random.key(0)), optax.sgd(0.1)
    images, labels = np.zeros(shape, np.uint8), np.arange(6)
    state, step = train.init_state(params, optimizer, jax.random.key(1)), train.make_train_step(net.apply, optimizer)
    with pytest.raises(ValueError, match="^fit: " + message):
        next(train.fit(state, step, images, labels, epochs=1, batch_size=2))
    with pytest.raises(ValueError, match="^evaluate: " + message):
        train.evaluate(net.apply, params, images, labels)
    batches = data.Stream(data.ArraySource(data.Split(images, labels.astype(np.int32))), 2)
    with pytest.raises(ValueError, match="^fit_stream: " + message.replace("6", "2", 1)):
        next(train.fit_stream(state, step, batches, epochs=1))
    run = runs.Run(Path(), {}, runs.network(net.__name__.rpartition(".")[2]), params)
    with pytest.raises(ValueError, match="^predict: " + message):
        predict.probabilities(run, images)
    with pytest.raises(ValueError, match=r"predict: images must be \(N, H, W, C\), got one image \(28, 28, 1\)"):
        predict.probabilities(run, images.reshape(6, 28, 28, 1)[0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 9, 10, 3]), r"fit_stream: labels must be in \[0, 10\), counted from 0, got 10 at labels\[\d\]"),
        (np.array([0, -1, 2, 3]), r"fit_stream: labels must be in \[0, 10\), counted from 0, got -1 at labels\[\d\]"),
        (np.zeros(4), "fit_stream: labels must be integers, got float64"),
    ],
)
def test_labels_of_a_stream_are_looked_at(labels: np.ndarray, message: str) -> None:
    optimizer = optax.sgd(0.1)
    state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    step = train.make_train_step(single_filter.apply, optimizer)
    batches = data.Stream(data.ArraySource(data.Split(np.zeros((4, 28, 28, 1), np.uint8), labels)), 4)
    with pytest.raises(ValueError, match=message):
        next(train.fit_stream(state, step, batches, epochs=1))
