"""A network with state and dropout: what it is called with, what is carried and kept, and what is refused."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import cli, cost, data, export, nets, predict, runs, train
from jaxcnn.checkpoints import Checkpoints
from jaxcnn.report._held_out import predict as predict_held_out
from jaxcnn.session import _settings
from jaxcnn.train import _fit
from jaxcnn.train._step import NO_EPOCH

TRAINING = Path(__file__).parents[1] / "docs" / "training.md"
RATE, KEEP, SEED = 0.5, 0.75, 5


def init(key: jax.Array, *, features: int = 4, classes: int = 3) -> dict[str, jax.Array]:
    return {"w": jax.random.normal(key, (features, classes), jnp.float32)}


def init_state(*, features: int = 4) -> dict[str, jax.Array]:
    """The mean of seven copies of the constant has other bits than it."""
    return {
        "mean": jnp.zeros(features, jnp.float32),
        "steps": jnp.zeros((), jnp.int32),
        "constant": jnp.asarray(np.random.default_rng(0).random(100), jnp.float32),
    }


def apply(
    params: Any, x: jax.Array, *, ops: Any, state: Any = (), key: jax.Array | None = None, train: bool = False
) -> tuple[jax.Array, Any]:
    """A matrix, on features less their mean: of the batch in training, with dropout; else of the state."""
    x = ops.flatten(x)
    if not train:
        assert key is None
        return ops.dense(x - state["mean"].astype(x.dtype), params["w"]), state
    assert key is not None
    mean = jnp.mean(x, axis=0)
    kept = jax.random.bernoulli(key, KEEP, x.shape)
    new = {
        "mean": state["mean"] + RATE * (mean.astype(jnp.float32) - state["mean"]),
        "steps": state["steps"] + 1,
        "constant": state["constant"],
    }
    return ops.dense(jnp.where(kept, (x - mean) / KEEP, 0).astype(x.dtype), params["w"]), new


TOY = SimpleNamespace(init=init, apply=apply, init_state=init_state)


def points(count: int) -> data.Split:
    """Images 2x2 in three classes."""
    generator = np.random.default_rng(0)
    return data.Split(
        generator.integers(0, 256, (count, 2, 2, 1), "uint8"), generator.integers(0, 3, count).astype("int32")
    )


def start(optimizer: Any, seed: int = SEED) -> train.TrainState:
    return train.init_state(init(jax.random.key(0)), optimizer, jax.random.key(seed), init_state())


def steps_in_numpy(
    batches: list[tuple[np.ndarray, np.ndarray]], *, gamma: float, devices: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The parameters and the running mean after those steps of gradient descent, in float64 but for the masks."""
    w, running = np.asarray(init(jax.random.key(0))["w"], np.float64), np.zeros(4)
    for number, (images, labels) in enumerate(batches):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(SEED), NO_EPOCH), number)
        gradients, means = [], []
        for device, (x, y) in enumerate(zip(np.split(images, devices), np.split(labels, devices), strict=True)):
            own = key if devices == 1 else jax.random.fold_in(key, device)
            x = x.reshape(len(x), 4) / 255
            means.append(x.mean(axis=0))
            kept = np.asarray(jax.random.bernoulli(own, KEEP, x.shape))
            dropped = np.where(kept, (x - means[-1]) / KEEP, 0)
            p = np.exp(dropped @ w)
            gradients.append(dropped.T @ (p / p.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(x))
        w = w - gamma * np.mean(gradients, axis=0)
        running = running + RATE * (np.mean(means, axis=0) - running)
    return w, running


def assert_as_in_numpy(state: train.TrainState, expected: tuple[np.ndarray, np.ndarray], steps: int) -> None:
    np.testing.assert_allclose(state.params["w"], expected[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(state.net_state["mean"], expected[1], rtol=0, atol=1e-6)
    assert int(state.net_state["steps"]) == int(state.step) == steps
    np.testing.assert_array_equal(state.net_state["constant"], init_state()["constant"])
    assert jax.random.key_data(state.key).tolist() == jax.random.key_data(jax.random.key(SEED)).tolist()


def assert_same_bits(left: Any, right: Any) -> None:
    """Of all but the random keys, which are compared as data."""
    for one, other in zip(*map(jax.tree.leaves, (left, right)), strict=True):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert one.dtype == other.dtype and np.asarray(one).tobytes() == np.asarray(other).tobytes()


# Training


@pytest.mark.parametrize("devices", [1, 2, 7])
def test_steps_are_those_of_numpy(devices: int) -> None:
    """Each step has its own mask, each device its own too; the running mean is that over all parts of the batch."""
    mesh = None if devices == 1 else train.mesh_of(jax.devices()[:devices])
    images, labels = points(42)
    batches = [(images[at : at + 14], labels[at : at + 14]) for at in (0, 14, 28)]
    optimizer = optax.sgd(0.5)
    step = train.make_train_step(apply, optimizer, mesh=mesh)
    state = train.replicated(start(optimizer), mesh)
    for image, label in batches:
        state, _ = step(state, {"image": jnp.asarray(image), "label": jnp.asarray(label)})
    assert_as_in_numpy(state, steps_in_numpy(batches, gamma=0.5, devices=devices), 3)
    for leaf in jax.tree.leaves(state):
        assert leaf.sharding.num_devices == devices and leaf.is_fully_replicated


@pytest.mark.parametrize("in_one_program", [True, False])
def test_fit_carries_the_state(in_one_program: bool) -> None:
    """Over two epochs in the orders that the same key gives to a network without state."""
    images, labels = points(20)
    optimizer = optax.sgd(0.1)
    step = train.make_train_step(apply, optimizer)
    options: Any = {"epochs": 2, "batch_size": 8, "in_one_program": in_one_program}
    *_, last = train.fit(start(optimizer), step, images, labels, **options)
    orders = [np.asarray(train.epoch_order(jax.random.key(SEED), epoch, 20)) for epoch in (1, 2)]
    chosen = [order[at : at + 8] for order in orders for at in (0, 8)]
    expected = steps_in_numpy([(images[numbers], labels[numbers]) for numbers in chosen], gamma=0.1)
    assert_as_in_numpy(last.state, expected, 4)


def test_in_bfloat16_the_state_keeps_its_dtype() -> None:
    images, labels = points(16)
    optimizer = optax.sgd(0.1)
    step = train.make_train_step(apply, optimizer, precision="bfloat16")
    *_, last = train.fit(start(optimizer), step, images, labels, epochs=1, batch_size=8)
    assert last.state.net_state["mean"].dtype == jnp.float32 and float(last.state.net_state["mean"].min()) > 0.2


def test_the_seed_is_the_training() -> None:
    images, labels = points(40)
    optimizer = optax.adam(0.1)
    ends = []
    for seed in (1, 1, 2):
        step = train.make_train_step(apply, optimizer)
        *_, last = train.fit(start(optimizer, seed), step, images, labels, epochs=2, batch_size=8)
        ends.append((last.state, last.totals))
    assert_same_bits(ends[0], ends[1])
    assert np.all(np.asarray(ends[0][0].params["w"]) != ends[2][0].params["w"])


def test_no_step_draws_what_an_epochs_order_is_drawn_from() -> None:
    key = jax.random.key(SEED)
    orders = [jax.random.key_data(jax.random.fold_in(key, epoch)).tolist() for epoch in range(50)]
    base = jax.random.fold_in(key, NO_EPOCH)
    of_steps = [jax.random.key_data(jax.random.fold_in(base, step)).tolist() for step in range(50)]
    assert len({tuple(drawn) for drawn in orders + of_steps}) == 100


@pytest.mark.parametrize("kind", ["one program", "step by step", "stream", "devices"])
def test_resumed_from_a_checkpoint_it_has_the_same_bits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the midst of the second epoch, against one that was left alone."""
    split, optimizer = points(90), optax.adam(0.01)
    mesh = train.mesh_of(jax.devices()[:2]) if kind == "devices" else None
    step = train.make_train_step(apply, optimizer, mesh=mesh)

    def go_on(state: train.TrainState, totals: train.Totals | None) -> Any:
        if kind == "stream":
            batches = data.Stream(data.ArraySource(split), 8)
            return train.fit_stream(state, step, batches, epochs=2, totals=totals)
        options: Any = {"in_one_program": kind != "step by step", "totals": totals, "mesh": mesh}
        return train.fit(state, step, *split, epochs=2, batch_size=8, **options)

    monkeypatch.setattr(_fit, "SEGMENT_SECONDS", 1e9)
    *_, whole = go_on(start(optimizer), None)
    monkeypatch.setattr(_fit, "SEGMENT_SECONDS", 0.0)
    with Checkpoints(tmp_path) as checkpoints:
        for report in go_on(start(optimizer), None):
            if report.step == 15:  # of 22
                checkpoints.save(report.state, report.totals, {})
                break
    with Checkpoints(tmp_path) as checkpoints:
        found, complaints = checkpoints.newest(like=start(optimizer))
    assert found is not None and complaints == [] and int(found.state.net_state["steps"]) == 15
    *_, resumed = go_on(found.state, found.totals)
    assert_same_bits((resumed.state, resumed.totals), (whole.state, whole.totals))


def test_a_whole_number_that_differs_from_device_to_device_is_refused() -> None:
    def counting(params: Any, x: jax.Array, *, state: Any, **_: Any) -> tuple[jax.Array, Any]:
        return x.reshape(len(x), 4) @ params["w"], {"bright": state["bright"] + jnp.sum(x > 0.5, dtype=jnp.int32)}

    images, labels = points(8)
    batch = {"image": jnp.asarray(images), "label": jnp.asarray(labels)}
    optimizer = optax.sgd(0.1)
    state = train.init_state(init(jax.random.key(0)), optimizer, jax.random.key(1), {"bright": jnp.int32(0)})
    with pytest.raises(ValueError, match="^step: bright of the net's state is int32 and differs from device to device"):
        train.make_train_step(counting, optimizer, mesh=train.mesh_of(jax.devices()[:2]))(state, batch)
    after, _ = train.make_train_step(counting, optimizer)(state, batch)
    assert int(after.net_state["bright"]) == np.sum(images / 255 > 0.5)


# Evaluation, prediction, export


def trained() -> train.TrainState:
    optimizer = optax.sgd(0.1)
    *_, last = train.fit(start(optimizer), train.make_train_step(apply, optimizer), *points(40), epochs=2, batch_size=8)
    return last.state


def as_evaluated(state: train.TrainState, images: np.ndarray) -> np.ndarray:
    """The logits, in NumPy: by the running mean, without dropout."""
    x = images.reshape(len(images), 4) / 255 - np.asarray(state.net_state["mean"], np.float64)
    return x @ np.asarray(state.params["w"], np.float64)


def test_evaluation_takes_the_state_as_it_stands() -> None:
    state, (images, labels) = trained(), points(10)
    found = train.evaluate(apply, state.params, images, labels, net_state=state.net_state, batch_size=4)
    np.testing.assert_allclose(found.logits, as_evaluated(state, images), rtol=0, atol=1e-5)


def test_prediction_and_export_take_the_state_as_it_stands(tmp_path: Path) -> None:
    state, (images, labels) = trained(), points(10)
    network = runs.Network("toy", {"image_shape": (2, 2, 1)}, init, apply, init_state)
    config = {"data": {"name": "points", "classes": list("abc")}, "net": {"name": "toy"}}
    run = runs.Run(tmp_path, config, network, state.params, state.net_state)
    expected = np.exp(logits := as_evaluated(state, images)) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict.probabilities(run, images), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(export.exported(run).call(images), expected, rtol=0, atol=1e-6)
    held_out = predict_held_out(run, data.Dataset(points(1), data.Split(images, labels), ("a", "b", "c")))
    np.testing.assert_allclose(held_out.probabilities, expected.max(axis=1), rtol=0, atol=1e-6)


def test_the_cost_is_that_of_a_training_step() -> None:
    images = jax.ShapeDtypeStruct((2, 2, 2, 1), "float32")
    params = jax.eval_shape(init, jax.random.key(0))
    table = cost.of_net(apply, params, images, net_state=jax.eval_shape(init_state))
    assert [row.op for row in table.rows] == ["flatten", "dense"]


def test_the_page_on_training_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    section = TRAINING.read_text().split("## A network of your own")[1]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match is not None
    exec(match[1], {})
    accuracy = re.search(r"accuracy ([\d.]+)%", capsys.readouterr().out)
    assert accuracy is not None and float(accuracy[1]) > 80


# A run's folder, and the command


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a network with state that `jaxcnn train` knows, for digits."""
    defaults = _settings.Defaults(epochs=2, batch_size=500, optimizer="sgd", learning_rate=0.1)
    digits = SimpleNamespace(
        init=lambda key, *, features=784, classes=10: init(key, features=features, classes=classes),
        apply=apply,
        init_state=lambda *, features: init_state(features=features),
    )
    monkeypatch.setitem(nets.NETS, "toy", digits)
    monkeypatch.setitem(_settings.DEFAULTS, "toy", defaults)
    return "toy"


@pytest.mark.long
def test_the_command_trains_resumes_and_reads_it(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["jaxcnn", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.run()
        assert not end.value.code

    monkeypatch.chdir(tmp_path)
    command("train", "--net", toy, "--validation", "500", "--out", "whole")
    command("train", "--net", toy, "--validation", "500", "--epochs", "1", "--out", "parts")
    command("train", "--resume", "parts", "--epochs", "2")
    command("train", "--net", toy, "--init-from", "whole", "--epochs", "1", "--out", "tuned")
    whole, parts, tuned = map(runs.read, ("whole", "parts", "tuned"))
    assert_same_bits((whole.params, whole.net_state), (parts.params, parts.net_state))
    assert [int(run.net_state["steps"]) for run in (whole, tuned)] == [30, 30 + 16]
    with np.load("whole/parameters.npz") as archive:
        assert set(archive) == {"w", "net_state/mean", "net_state/steps", "net_state/constant"}
    held_out = data.load().test
    measured = train.evaluate(apply, whole.params, *held_out, net_state=whole.net_state)
    assert runs.read_metrics(Path("whole"))[-1]["test_accuracy"] == measured.accuracy
    command("report", "whole")
    command("export", "whole")


def test_a_file_without_the_state_is_refused(toy: str, tmp_path: Path) -> None:
    network = runs.network(toy)
    params, net_state = network.init(jax.random.key(0)), network.init_state()
    assert net_state["mean"].shape == (784,)
    runs.write_parameters(tmp_path, params)
    with pytest.raises(runs.RunError, match=r"parameters\.npz holds w; the network has .*net_state/mean"):
        runs.read_parameters(tmp_path, params, net_state)


# What is no network


def logits_alone(params: Any, x: jax.Array, **_: Any) -> jax.Array:
    return x.reshape(len(x), 4) @ params["w"]


def three_results(params: Any, x: jax.Array, *, state: Any, **_: Any) -> Any:
    return logits_alone(params, x), state, {}


def state_first(params: Any, x: jax.Array, *, state: Any, **_: Any) -> Any:
    return state, logits_alone(params, x)


def without_a_state(params: Any, x: jax.Array, *, ops: Any) -> Any:
    return logits_alone(params, x), ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (logits_alone, r"^apply must return \(logits, state\), got float32\(\d, 3\): return the state as it came"),
        (three_results, r"^apply must return \(logits, state\), got \(float32\(\d, 3\), \(\), dict\): return"),
        (state_first, r"^apply must return \(logits, state\), got \(\(\), float32\(\d, 3\)\): return"),
        (
            without_a_state,
            r"^apply must take \(params, x, \*, ops, state, key, train\), and does not: got an unexpected",
        ),
    ],
)
def test_another_contract_is_refused(wrong: Any, message: str, tmp_path: Path) -> None:
    (images, labels), optimizer = points(4), optax.sgd(0.1)
    step, params = train.make_train_step(wrong, optimizer), init(jax.random.key(0))
    state = train.init_state(params, optimizer, jax.random.key(1))
    network = runs.Network("wrong", {}, init, wrong)
    for use in (
        partial(step, state, {"image": jnp.asarray(images), "label": jnp.asarray(labels)}),
        lambda: next(train.fit(state, step, images, labels, epochs=1, batch_size=4)),
        partial(train.evaluate, wrong, params, images, labels),
        lambda: predict.probabilities(runs.Run(tmp_path, {}, network, params), images),
        partial(cost.of_net, wrong, params, jnp.asarray(images / np.float32(255))),
    ):
        with pytest.raises(ValueError, match=message) as error:
            use()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "returned", "words"),
    [
        ((), {"mean": jnp.zeros(4, jnp.float32)}, r"mean float32\(4,\) for no state"),
        (jnp.zeros(4, jnp.float32), (), r"no state for float32\(4,\)"),
        ({"n": jnp.zeros(4, jnp.float32)}, {"n": jnp.zeros(4, jnp.float64)}, r"n float64\(4,\) for n float32\(4,\)"),
        ({"n": jnp.zeros(4, jnp.float32)}, {"n": jnp.zeros(1, jnp.float32)}, r"n float32\(1,\) for n float32\(4,\)"),
    ],
)
def test_another_state_than_the_given_one_is_refused(given: Any, returned: Any, words: str) -> None:
    (images, labels), optimizer = points(4), optax.sgd(0.1)
    step = train.make_train_step(lambda params, x, **_: (logits_alone(params, x), returned), optimizer)
    state = train.init_state(init(jax.random.key(0)), optimizer, jax.random.key(1), given)
    message = (
        f"^apply must return a state like the one it is given, got {words}: the first one is init_state's net_state"
    )
    with pytest.raises(ValueError, match=message):
        next(train.fit(state, step, images, labels, epochs=1, batch_size=4))
