"""The step on several devices: the same training, one sum over the devices a step, and nothing gathered."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import data, train
from jaxcnn.nets import gap_cnn, lenet, single_filter
from jaxcnn.train import _fit


def mixed_init(key: jax.Array) -> Any:
    shapes = {"a": (3, 3, 1, 8), "b": (3, 3, 2, 8), "c": (3, 3, 8, 10)}
    keys = jax.random.split(key, len(shapes))
    return {name: jax.random.normal(own, shapes[name]) / 3 for own, name in zip(keys, shapes, strict=True)}


def mixed_apply(params: Any, x: jax.Array, *, ops: Any, state: Any, **_: Any) -> tuple[jax.Array, Any]:
    """The convolutions that autodiff gathers for: strided, grouped, dilated."""
    x = ops.max_pool(ops.relu(ops.conv(x, params["a"], stride=2)), 2)
    x = ops.relu(ops.conv(x, params["b"], groups=4, padding="SAME"))
    return ops.global_avg_pool(ops.conv(x, params["c"], dilation=2, padding="SAME")), state


BLOCKS = (gap_cnn.Block(4, pool=2, norm=True), gap_cnn.Block(8, stride=2), gap_cnn.Block(8, dilation=2))
NETS: dict[str, tuple[Any, Any]] = {
    "single_filter": (single_filter.init, single_filter.apply),
    "lenet": (partial(lenet.init, filters=(4, 8), hidden=16), lenet.apply),
    "mixed": (mixed_init, mixed_apply),
    "gap_cnn": (partial(gap_cnn.init, blocks=BLOCKS), partial(gap_cnn.apply, blocks=BLOCKS)),
}
GATHERS = ("all-gather", "all-to-all", "collective-permute", "reduce-scatter")


@pytest.fixture(scope="module")
def digits() -> data.Split:
    return data.load("mnist-10k").train


def trained(name: str, digits: data.Split, mesh: Any, dtype: str, **options: Any) -> train.Report:
    """After 20 steps of gradient descent."""
    init, apply = NETS[name]
    optimizer = optax.sgd(0.05, momentum=0.9)
    step = train.make_train_step(apply, optimizer, mesh=mesh)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), jax.jit(init)(jax.random.key(0)))
    state = train.init_state(params, optimizer, jax.random.key(1))
    images, labels = digits.images[:160].astype(dtype) / np.dtype(dtype).type(255), digits.labels[:160]
    *_, last = train.fit(state, step, images, labels, epochs=2, batch_size=16, mesh=mesh, **options)
    return last


def compiled_step(name: str, mesh: Any, precision: str = "float32", batch_size: int = 16) -> tuple[str, str]:
    """The step as jax has it, and as XLA compiled it."""
    init, apply = NETS[name]
    optimizer = optax.adam(1e-3)
    step = train.make_train_step(apply, optimizer, mesh=mesh, precision=precision)
    state = jax.eval_shape(lambda key: train.init_state(init(key), optimizer, key), jax.random.key(0))
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, 28, 28, 1), "uint8"),
        "label": jax.ShapeDtypeStruct((batch_size,), "int32"),
    }
    jaxpr = str(jax.make_jaxpr(step)(state, batch))
    program = jax.jit(step).lower(state, batch).compile().as_text()
    assert program is not None
    return jaxpr, program


def count(operation: str, program: str) -> int:
    return len(re.findall(rf" {operation}(?:-start)?\(", program))


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("lenet", "float64", 1e-10),
        ("lenet", "float32", 1e-5),
        *(pytest.param(name, "float64", 1e-10, marks=pytest.mark.long) for name in NETS if name != "lenet"),
    ],
)
def test_eight_devices_train_as_one_does(name: str, dtype: str, tolerance: float, digits: data.Split) -> None:
    """Sums in another order, carried on for 20 steps: in float32 by whatever ReLU or maximum has flipped, too."""
    one, eight = (trained(name, digits, mesh, dtype) for mesh in (None, train.mesh_of(jax.devices()[:8])))
    assert (eight.step, eight.epoch) == (20, 2)
    assert eight.loss == pytest.approx(one.loss, rel=tolerance) and eight.accuracy == pytest.approx(one.accuracy)
    for left, right in zip(*map(jax.tree.leaves, (one.state.params, eight.state.params)), strict=True):
        assert right.sharding.num_devices == 8 and right.is_fully_replicated
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)


def test_step_by_step_the_devices_share_too(digits: data.Split) -> None:
    mesh = train.mesh_of(jax.devices()[:4])
    one, four = (trained("lenet", digits, at, "float64", in_one_program=False) for at in (None, mesh))
    for left, right in zip(*map(jax.tree.leaves, (one.state.params, four.state.params)), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-10)


def test_a_sum_is_one_over_all_devices(digits: data.Split) -> None:
    """[R 1.6]: the losses of a batch added up, wherever they were computed."""
    optimizer = optax.sgd(0.0)
    batch = {"image": jnp.asarray(digits.images[:16]), "label": jnp.asarray(digits.labels[:16])}
    losses = []
    for mesh in (None, train.mesh_of(jax.devices()[:8])):
        step = train.make_train_step(single_filter.apply, optimizer, reduction="sum", mesh=mesh)
        state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
        losses.append(float(step(train.replicated(state, mesh), batch)[1]["loss"]))
    assert losses[0] == pytest.approx(losses[1]) and losses[0] > 16


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize(("name", "precision"), [*((name, "float32") for name in NETS), ("mixed", "bfloat16")])
def test_one_sum_a_step_in_float32_and_nothing_is_gathered(name: str, precision: str) -> None:
    """Chunked loops, grouped and dilated convolutions included; computing in bfloat16 sums in float32 all the same."""
    with jax.enable_x64(False):
        jaxpr, program = compiled_step(name, train.mesh_of(jax.devices()[:8]), precision)
    sums = re.findall(r":(\w+)\[[\d,]*\] = psum\w*\[", jaxpr)
    assert sums and set(sums) == {"f32"}
    assert count("all-reduce", program) == 1
    assert [count(operation, program) for operation in GATHERS] == [0, 0, 0, 0]


def test_the_devices_compute_in_bfloat16_where_they_are_asked_to() -> None:
    with jax.enable_x64(False):
        jaxpr, _ = compiled_step("lenet", None, "bfloat16")
        plain, _ = compiled_step("lenet", None, "float32")
    assert "bf16[" in jaxpr and "bf16[" not in plain


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("name", ["single_filter", "mixed"])
def test_a_mesh_of_one_device_is_the_program_without(name: str) -> None:
    _, without = compiled_step(name, None)
    _, with_mesh = compiled_step(name, train.mesh_of(jax.devices()[:1]))
    assert _anonymous(with_mesh) == _anonymous(without)


def test_parameters_stay_float32_and_learn_in_bfloat16(digits: data.Split) -> None:
    optimizer = optax.adam(0.01)
    step = train.make_train_step(single_filter.apply, optimizer, precision="bfloat16")
    state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    reports = list(train.fit(state, step, digits.images[:640], digits.labels[:640], epochs=2, batch_size=32))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(reports[-1].state.params))
    assert reports[-1].loss < 0.8 * reports[0].loss


def test_an_unequal_share_and_an_unknown_precision_are_refused(digits: data.Split) -> None:
    optimizer = optax.sgd(0.1)
    mesh = train.mesh_of(jax.devices()[:8])
    step = train.make_train_step(single_filter.apply, optimizer, mesh=mesh)
    state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    with pytest.raises(ValueError, match="step: 8 devices cannot share a batch of 12 equally"):
        step(state, {"image": jnp.zeros((12, 28, 28, 1)), "label": jnp.zeros(12, jnp.int32)})
    with pytest.raises(ValueError, match="precision must be 'float32' or 'bfloat16', got 'float16'"):
        train.make_train_step(single_filter.apply, optimizer, precision="float16")


# Going on from a report


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("kind", ["one program", "step by step", "stream", "devices"])
def test_training_that_was_stopped_goes_on_to_the_same_bits(
    kind: str, digits: data.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments of one step, stopped in the midst of an epoch and of a stream's group, against segments of an epoch."""
    images, labels = digits.images[:90], digits.labels[:90]
    optimizer = optax.adam(0.01)
    mesh = train.mesh_of(jax.devices()[:2]) if kind == "devices" else None
    step = train.make_train_step(single_filter.apply, optimizer, mesh=mesh)
    start = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))

    def go_on(state: train.TrainState, totals: train.Totals | None) -> Any:
        if kind == "stream":
            batches = data.Stream(data.ArraySource(data.Split(images, labels)), 8)
            return train.fit_stream(state, step, batches, epochs=2, totals=totals)
        in_one_program = kind != "step by step"
        options: Any = {"in_one_program": in_one_program, "totals": totals, "mesh": mesh}
        return train.fit(state, step, images, labels, epochs=2, batch_size=8, **options)

    monkeypatch.setattr(_fit, "SEGMENT_SECONDS", 1e9)
    *_, whole = go_on(start, None)
    monkeypatch.setattr(_fit, "SEGMENT_SECONDS", 0.0)
    for report in go_on(start, None):
        if report.step == 15:  # of 22, in the midst of the second epoch
            saved = jax.tree.map(jnp.copy, (report.state, report.totals))
            break
    *_, resumed = go_on(*saved)
    assert (resumed.step, resumed.epoch) == (22, 2)
    assert (resumed.loss, resumed.accuracy) == (whole.loss, whole.accuracy)
    jax.tree.map(np.testing.assert_array_equal, resumed.state.params, whole.state.params)


def test_a_finished_state_has_nothing_left_to_do(digits: data.Split) -> None:
    optimizer = optax.sgd(0.1)
    step = train.make_train_step(single_filter.apply, optimizer)
    state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    done = state._replace(step=jnp.int32(4))
    assert list(train.fit(done, step, digits.images[:16], digits.labels[:16], epochs=1, batch_size=4)) == []


@pytest.mark.parametrize("every", [1, 3, 4, 7])
def test_reports_come_where_a_pause_is_asked_for(every: int, digits: data.Split) -> None:
    optimizer = optax.sgd(0.1)
    step = train.make_train_step(single_filter.apply, optimizer)
    state = train.init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    images, labels = digits.images[:40], digits.labels[:40]
    reports = list(train.fit(state, step, images, labels, epochs=2, batch_size=4, pause_every=every))
    steps = {report.step for report in reports}
    assert steps >= {*range(every, 21, every), 10, 20}
    with pytest.raises(ValueError, match="fit: pause_every must be a whole number, at least 1, got 0"):
        next(train.fit(state, step, images, labels, epochs=1, batch_size=4, pause_every=0))


def _anonymous(program: str) -> str:
    """Without the names of source lines."""
    program = re.sub(r", metadata=\{[^}]*\}", "", program)
    return re.sub(r"(?s)\n(?:FileNames|FunctionNames|FileLocations|StackFrames)\n.*?\n\n", "\n", program)
