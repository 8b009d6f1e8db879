"""A run's folder, without training: names, round trips, and what is refused."""

import errno
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import runs
from jaxcnn.nets import NETS, gap_cnn
from jaxcnn.train import Report, Totals, TrainState

CONFIG: runs.Config = {
    "net": {"name": "lenet", "options": {"hidden": 8}},
    "data": {"name": "mnist-10k", "classes": list("0123456789")},
    "batch_size": 10,
}


def report(params: runs.Params, *, epoch: int, step: int) -> Report:
    state = TrainState(params, (), jnp.int32(step), jax.random.key(0))
    return Report(
        state, Totals.zero(), epoch, step, steps_per_epoch=4, loss=0.5, accuracy=0.75, images_per_second=100.0
    )


def a_run(folder: Path) -> tuple[runs.Recorder, runs.Params]:
    """A finished run of one epoch in two segments."""
    net = runs.network("lenet", {"hidden": 8})
    params = jax.jit(net.init)(jax.random.key(0))
    recorder = runs.Recorder(runs.claim(folder), CONFIG)
    recorder.add(report(params, epoch=1, step=1))
    recorder.add(report(params, epoch=1, step=4))
    recorder.add_test({"loss": 0.25, "accuracy": 0.875})
    recorder.end_as("finished")
    return recorder, params


@pytest.mark.parametrize("name", NETS)
def test_a_network_is_the_same_after_its_options_went_through_json(name: str) -> None:
    net = runs.network(name)
    again = runs.network(name, json.loads(json.dumps(net.options)))
    assert again.options == net.options
    params = jax.eval_shape(net.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, 28, 28, 1), "float32")
    programs = [
        (str(jax.make_jaxpr(which.init)(jax.random.key(0))), str(jax.make_jaxpr(which.apply)(params, image)))
        for which in (net, again)
    ]
    assert programs[0] == programs[1]


def test_blocks_are_options_of_gap_cnn() -> None:
    blocks = [gap_cnn.Block(2, stride=2)._asdict(), gap_cnn.Block(3, kernel=(5, 5), pool=2, norm=True)._asdict()]
    net = runs.network("gap_cnn", json.loads(json.dumps({"blocks": blocks})))
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert params["block2"]["kernel"].shape == (5, 5, 2, 3)
    logits, _ = jax.eval_shape(net.apply, params, jax.ShapeDtypeStruct((1, 28, 28, 1), "float32"))
    assert logits.shape == (1, 10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenett", {}, "unknown net 'lenett', .*: did you mean 'lenet'"),
        ("zebra", {}, "unknown net 'zebra', expected one of single_filter, gap_cnn, lenet$"),
        ("lenet", {"hiden": 3}, "unknown option of lenet 'hiden', .*: did you mean 'hidden'"),
    ],
)
def test_unknown_networks_and_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runs.network(name, options)


def test_a_run_reads_as_it_was_written(tmp_path: Path) -> None:
    recorder, params = a_run(tmp_path / "deep" / "run")
    run = runs.read(str(recorder.folder))
    assert run.config == recorder.config == {"format": 1, "status": "finished", **CONFIG}
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, run.params, params)))
    (line,) = runs.read_metrics(recorder.folder)
    assert line.pop("seconds") > 0
    assert line == {
        "epoch": 1,
        "step": 4,
        "loss": 0.5,
        "accuracy": 0.75,
        "images_per_second": pytest.approx(100),
        "test_loss": 0.25,
        "test_accuracy": 0.875,
    }
    assert sorted(path.name for path in recorder.folder.iterdir()) == [runs.CONFIG, runs.METRICS, runs.PARAMETERS]


def test_the_archive_names_parameters_by_their_paths(tmp_path: Path) -> None:
    recorder, params = a_run(tmp_path / "run")
    with np.load(recorder.folder / runs.PARAMETERS, allow_pickle=False) as archive:
        assert set(archive) == {f"{layer}/{part}" for layer in params for part in ("kernel", "bias")}
        np.testing.assert_array_equal(archive["dense1/kernel"], params["dense1"]["kernel"])


def test_the_speed_leaves_out_the_segment_that_compiles(tmp_path: Path) -> None:
    recorder = runs.Recorder(runs.claim(tmp_path / "run"), CONFIG)
    recorder.add(report({}, epoch=1, step=1)._replace(images_per_second=0.1))
    recorder.add(report({}, epoch=1, step=4))
    assert recorder.metrics[0]["images_per_second"] == pytest.approx(100)


def test_a_run_stopped_within_an_epoch_keeps_what_it_had(tmp_path: Path) -> None:
    recorder = runs.Recorder(runs.claim(tmp_path / "run"), CONFIG)
    params = jax.jit(runs.network("lenet", {"hidden": 8}).init)(jax.random.key(0))
    recorder.add(report(params, epoch=1, step=4))
    recorder.add(report(params, epoch=2, step=6))
    recorder.stop_at(report(params, epoch=2, step=6))
    recorder.end_as("interrupted")
    first, last = runs.read_metrics(recorder.folder)
    assert "interrupted" not in first and last["interrupted"] is True and last["step"] == 6
    assert runs.read(recorder.folder).config["status"] == "interrupted"


def test_a_run_that_failed_at_once_leaves_no_folder(tmp_path: Path) -> None:
    recorder = runs.Recorder(runs.claim(tmp_path / "run"), CONFIG)
    recorder.end_as("failed")
    assert runs.kept(recorder.folder) == "" and not (tmp_path / "run").exists()


def test_a_run_that_failed_later_keeps_its_epochs(tmp_path: Path) -> None:
    recorder = runs.Recorder(runs.claim(tmp_path / "run"), CONFIG)
    recorder.add(report({}, epoch=1, step=4))
    recorder.end_as("failed")
    assert runs.kept(recorder.folder) == "config.json, metrics.jsonl, parameters.npz"
    assert runs.read_config(tmp_path / "run")["status"] == "failed"


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(runs.RunError, match="full is not empty, and nothing is overwritten"):
        runs.claim(tmp_path / "full")
    with pytest.raises(runs.RunError, match=r"mine\.txt is a file"):
        runs.claim(tmp_path / "full" / "mine.txt")
    with pytest.raises(runs.RunError, match="cannot be made"):
        runs.claim(tmp_path / "full" / "mine.txt" / "run")
    assert runs.claim(tmp_path / "empty") == tmp_path / "empty"


def test_default_folders_count_up(tmp_path: Path) -> None:
    names = [runs.claim_next("lenet-mnist", tmp_path / "runs").name for _ in range(2)]
    assert names == ["lenet-mnist-1", "lenet-mnist-2"]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(runs.RunError, match=r"file cannot be written: No space left on device$"):
        runs.write_whole(tmp_path / "file", b"new")


def damage_config(folder: Path) -> None:
    (folder / runs.CONFIG).write_text("{")


def age_config(folder: Path) -> None:
    (folder / runs.CONFIG).write_text('{"format": 99}')


def rename_net(folder: Path) -> None:
    (folder / runs.CONFIG).write_text('{"format": 1, "net": {"name": "vgg", "options": {}}}')


def forget_net(folder: Path) -> None:
    (folder / runs.CONFIG).write_text('{"format": 1}')


def lose_parameters(folder: Path) -> None:
    (folder / runs.PARAMETERS).unlink()


def damage_parameters(folder: Path) -> None:
    whole = (folder / runs.PARAMETERS).read_bytes()
    (folder / runs.PARAMETERS).write_bytes(whole[: len(whole) // 2])


def pickle_parameters(folder: Path) -> None:
    with (folder / runs.PARAMETERS).open("wb") as file:
        np.save(file, np.array([{}]), allow_pickle=True)


def write_one_array(folder: Path) -> None:
    with (folder / runs.PARAMETERS).open("wb") as file:
        np.save(file, np.ones(3))


def swap_parameters(folder: Path) -> None:
    np.savez(folder / runs.PARAMETERS, f=np.ones(3))


def reshape_parameters(folder: Path) -> None:
    with np.load(folder / runs.PARAMETERS) as archive:
        arrays: dict[str, Any] = dict(archive)
    np.savez(folder / runs.PARAMETERS, **(arrays | {"dense2/bias": np.ones(3, "float32")}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage_config, r"config\.json is damaged"),
        (age_config, r"config\.json is not of format 1"),
        (rename_net, "names no network known here: unknown net 'vgg'"),
        (forget_net, "net.name is None, not of type str"),
        (lose_parameters, r"parameters\.npz cannot be read \(No such file"),
        (damage_parameters, r"parameters\.npz is damaged"),
        (pickle_parameters, r"parameters\.npz is damaged"),
        (write_one_array, r"parameters\.npz is damaged"),
        (swap_parameters, r"parameters\.npz holds f; the network has conv1/bias, "),
        (reshape_parameters, r"dense2/bias is float32\(3,\), the network's is float32\(10,\)"),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(tmp_path: Path, harm: Any, message: str) -> None:
    recorder, _ = a_run(tmp_path / "run")
    harm(recorder.folder)
    with pytest.raises(runs.RunError, match=message) as error:
        runs.read(recorder.folder)
    assert "\n" not in str(error.value)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(runs.RunError, match="is no run's folder"):
        runs.read(tmp_path)
    with pytest.raises(runs.RunError, match="cannot be read"):
        runs.read_metrics(tmp_path)
    (tmp_path / runs.METRICS).write_text("{}\n{")
    with pytest.raises(runs.RunError, match="is damaged"):
        runs.read_metrics(tmp_path)
