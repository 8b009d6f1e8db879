"""The command as a person runs it: in a process of its own, judged by its exit code, what it prints and what it leaves.

The processes run without float64 and without the type checker of `conftest.py`, as installed. What is refused before
anything is computed is tried in this process, for speed; one such case in a process of its own.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxcnn
from jaxcnn import cli, data, runs
from tests.command import COMMAND, ENVIRONMENT, run, start

Refusal = Callable[..., str]
TINY = ["--epochs", "1", "--batch-size", "500"]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """The one line that the command, called in this process, refuses its arguments with."""

    def refuse(*arguments: str | Path, cwd: Path) -> str:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["jaxcnn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.run()
        err = capsys.readouterr().err
        assert end.value.code == 2 and err.startswith("jaxcnn: ") and len(err.splitlines()) == 1, err
        return err

    return refuse


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, checkpoints aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and "checkpoints" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def trained(home: Path) -> tuple[Path, str]:
    """A run of one epoch, where no --out is given, and what it printed."""
    out = run("train", "--epochs", "1", "--batch-size", "100", cwd=home)
    return home / "runs" / "single_filter-mnist-10k-1", out


@pytest.fixture(scope="session")
def pictures(home: Path) -> list[Path]:
    paths = []
    for number, image in enumerate(data.load().test.images[:5]):
        paths.append(home / f"digit{number}.png")
        Image.fromarray(image[:, :, 0]).save(paths[-1])
    return paths


def test_help_says_what_there_is(home: Path) -> None:
    out = run(cwd=home)
    assert all(command in out for command in ("train", "predict", "explain", "export", "--version"))
    of_train = " ".join(run("train", "--help", cwd=home).split())
    assert "12 for single_filter" in of_train and "runs/<net>-<data>-<n>" in of_train


def test_version_names_the_versions_the_devices_and_the_engines(home: Path) -> None:
    ours, jaxs, devices, engines = run("--version", cwd=home).splitlines()
    assert engines.startswith("engines onednn ")
    assert (ours, jaxs) == (f"jaxcnn {jaxcnn.__version__}", f"jax {jax.__version__}")
    assert devices.startswith("devices cpu:0")


def test_train_leaves_a_run(trained: tuple[Path, str]) -> None:
    folder, out = trained
    assert sorted(contents(folder)) == [
        "config.json",
        "confusion_matrix.png",
        "learning_curve.png",
        "metrics.jsonl",
        "parameters.npz",
    ]
    config = runs.read_config(folder)
    assert config["status"] == "finished"
    assert config["net"] == {"name": "single_filter", "options": {}}
    assert config["data"]["name"] == "mnist-10k" and config["data"]["train_images"] == 8000
    chosen = {"seed": 0, "ops": "manual", "optimizer": "adam", "learning_rate": 0.003, "epochs": 1, "batch_size": 100}
    assert chosen.items() <= config.items()
    assert set(config["versions"]) == {"jaxcnn", "jax", "jaxlib", "numpy", "optax", "python"}
    assert config["devices"] == [{"platform": "cpu", "kind": "cpu"}]
    (line,) = runs.read_metrics(folder)
    assert line["epoch"] == 1 and line["step"] == 80 and line["images_per_second"] > 0
    assert "epoch 1/1  loss " in out and "held-out accuracy" in out and "test accuracy" not in out


def test_the_accuracy_is_that_of_the_parameters_on_the_held_out_part(trained: tuple[Path, str]) -> None:
    folder, out = trained
    net, held_out = runs.read(folder), data.load().test
    logits, _ = net.network.apply(net.params, jnp.asarray(held_out.images / np.float32(255)))
    accuracy = np.mean(np.asarray(logits).argmax(axis=-1) == held_out.labels)
    reported = runs.read_metrics(folder)[-1]["test_accuracy"]
    assert reported == pytest.approx(accuracy, abs=1e-3) and accuracy > 0.6
    assert f"{reported:.2%}" in out


def test_a_folder_in_use_is_refused_and_left_as_it_is(trained: tuple[Path, str], refusal: Refusal) -> None:
    folder, _ = trained
    before = contents(folder)
    assert "is not empty, and nothing is overwritten" in refusal("train", "--out", folder, cwd=folder.parent)
    assert contents(folder) == before


@pytest.mark.long
def test_the_same_seed_gives_the_same_bits_and_autodiffs_gradients_nearly_so(home: Path) -> None:
    settings = [*TINY, "--seed", "7", "--optimizer", "sgd", "--learning-rate", "0.1"]
    for name, ops in (("one", "manual"), ("same", "manual"), ("autodiff", "reference")):
        run("train", *settings, "--ops", ops, "--out", name, cwd=home)
    one, same, autodiff = (np.load(home / name / "parameters.npz") for name in ("one", "same", "autodiff"))
    with one, same, autodiff:
        assert set(one) == set(same) == set(autodiff) == {"f", "w", "b"}
        for name in one:
            assert one[name].tobytes() == same[name].tobytes()
            np.testing.assert_allclose(one[name], autodiff[name], atol=1e-5)
    assert runs.read_config(home / "autodiff")["ops"] == "reference"


def test_ctrl_c_stops_training_and_keeps_what_was_learnt(home: Path) -> None:
    process = start("train", "--epochs", "100000", "--batch-size", "500", "--out", "stopped", cwd=home)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/100000"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    kept = "checkpoints, config.json, metrics.jsonl, parameters.npz"
    answer = "jaxcnn: interrupted: saving, then stopping; once more stops at once\n"
    assert err == f"{answer}jaxcnn: interrupted: stopped keeps {kept}; jaxcnn train --resume stopped goes on\n"
    stopped = runs.read(home / "stopped")
    assert stopped.config["status"] == "interrupted"
    *before, last = runs.read_metrics(home / "stopped")
    assert last["interrupted"] is True and not any("interrupted" in line for line in before)
    assert last["step"] >= 16 and all(np.isfinite(value).all() for value in stopped.params.values())


def test_a_loss_that_is_not_finite_is_one_line(home: Path) -> None:
    arguments = ["--optimizer", "sgd", "--learning-rate", "1e9", "--out", "diverged"]
    error = run("train", *TINY, *arguments, cwd=home, code=1)
    assert "the loss is not finite at step" in error and "try a --learning-rate below 1e+09" in error
    assert not (home / "diverged").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--net", "lenett"], "unknown net 'lenett', expected one of .*: did you mean 'lenet'"),
        (["--data", "mnist10k"], "unknown data set 'mnist10k', .*: did you mean 'mnist-10k'"),
        (["--optimizer", "adamm"], "unknown optimizer 'adamm', .*: did you mean 'adam"),
        (["--ops", "manuel"], "unknown --ops 'manuel', .*: did you mean 'manual'"),
        (["--epochs", "0"], "--epochs"),
        (["--epochs", "many"], "--epochs"),
        (["--batch-size", "9000"], "--batch-size must be at most the 8000 images, got 9000"),
        (["--learning-rate", "-1"], "--learning-rate must be positive and finite"),
        (["--learning-rate", "nan"], "--learning-rate must be positive and finite"),
        (["--sed", "1"], "--sed"),
        (["--data", "mnist"], "mnist: nothing is prepared in .*: use --download, or --source FOLDER"),
        (["--data", "mnist", "--source", "nowhere"], "nowhere"),
        (["--source", "."], "takes no source"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Refusal, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    error = refusal("train", *arguments, cwd=tmp_path)
    assert re.search(message, error), error
    assert not (tmp_path / "runs").exists()


def test_an_unknown_command_is_one_line(home: Path) -> None:
    assert "No such command 'trian'. Did you mean 'train'?" in run("trian", cwd=home, code=2)


@pytest.mark.long
def test_predict_says_what_the_library_says(trained: tuple[Path, str], pictures: list[Path]) -> None:
    folder, _ = trained
    answer = json.loads(run("predict", folder, *pictures, "--json", cwd=folder))
    net = runs.read(folder)
    logits, _ = net.network.apply(net.params, jnp.asarray(data.load().test.images[:5] / np.float32(255)))
    expected = np.asarray(jax.nn.softmax(logits))
    assert [image["file"] for image in answer["images"]] == list(map(str, pictures))
    assert [image["prediction"] for image in answer["images"]] == [str(row.argmax()) for row in expected]
    found = [list(image["probabilities"].values()) for image in answer["images"]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    right = sum(
        image["prediction"] == str(label)
        for image, label in zip(answer["images"], data.load().test.labels, strict=False)
    )
    assert right >= 3


def test_predict_draws_bars(trained: tuple[Path, str], pictures: list[Path]) -> None:
    folder, _ = trained
    out = run("predict", folder, pictures[0], cwd=folder)
    head, *bars = out.splitlines()
    assert head.startswith(f"{pictures[0]}: ") and len(bars) == 10 and "█" in out


@pytest.mark.long
def test_predict_takes_a_folder_and_says_what_it_passed_over(
    trained: tuple[Path, str], pictures: list[Path], tmp_path: Path
) -> None:
    folder, _ = trained
    mixed = tmp_path / "mixed"
    (mixed / "deeper").mkdir(parents=True)
    for number in (2, 0, 1):
        shutil.copy(pictures[number], mixed)
    Image.new("L", (40, 40)).save(mixed / "blank.png")
    (mixed / "notes.txt").write_text("mine")
    (mixed / ".hidden").write_text("not shown")
    os.mkfifo(mixed / "pipe.png")  # at which reading would wait
    answer = json.loads(run("predict", folder, mixed, "--json", cwd=tmp_path))
    assert [Path(image["file"]).name for image in answer["images"]] == ["digit0.png", "digit1.png", "digit2.png"]
    assert [Path(other["file"]).name for other in answer["passed_over"]] == ["blank.png", "deeper", "notes.txt"]
    out = run("predict", folder, mixed, pictures[3], pictures[4], pictures[3], cwd=tmp_path)
    assert [line.partition(":")[0] for line in out.splitlines() if "passed over" not in line] == [
        *(str(mixed / f"digit{number}.png") for number in range(3)),
        *map(str, (pictures[3], pictures[4], pictures[3])),
    ]
    assert f"passed over: {mixed / 'notes.txt'} is no picture in a format known here" in out
    assert f"passed over: {mixed / 'deeper'} is a folder" in out


def test_predict_answers_for_the_pictures_that_can_be_read(
    trained: tuple[Path, str], pictures: list[Path], tmp_path: Path
) -> None:
    """One that is named and cannot is said at the end, and the exit code is 2."""
    process = start("predict", trained[0], "none.png", pictures[3], cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2 and out.startswith(f"{pictures[3]}: ") and "none" not in out
    assert err == "jaxcnn: none.png cannot be read (No such file or directory)\n"


def test_predict_reads_standard_input_and_says_when_it_is_unsure(
    trained: tuple[Path, str], pictures: list[Path]
) -> None:
    folder, _ = trained
    net = runs.read(folder)
    images = data.load().test.images
    logits, _ = net.network.apply(net.params, jnp.asarray(images[:200] / np.float32(255)))
    tops = np.asarray(jax.nn.softmax(logits)).max(axis=-1)

    def told(number: int, *options: str) -> str:
        file = io.BytesIO()
        Image.fromarray(images[number, :, :, 0]).save(file, "PNG")
        command = [*COMMAND, "predict", str(folder), "-", *options]
        done = subprocess.run(
            command, input=file.getvalue(), capture_output=True, check=True, cwd=folder, env=ENVIRONMENT
        )
        return done.stdout.decode()

    assert re.match(r"-: \d\?  \(unsure: \d \d+ %, \d \d+ %\)\n", told(int(tops.argmin())))
    (answer,) = json.loads(told(int(tops.argmax()), "--json"))["images"]
    assert answer["file"] == "-" and answer["unsure"] is False


@pytest.mark.long
def test_predict_splits_several_digits_and_shows_what_it_saw(
    trained: tuple[Path, str], tmp_path: Path, refusal: Refusal
) -> None:
    folder, _ = trained
    images = data.load().test.images
    row = np.concatenate([np.pad(255 - images[k, :, :, 0], 4, constant_values=255) for k in (0, 1, 2)], axis=1)
    Image.fromarray(row).resize((row.shape[1] * 4, row.shape[0] * 4)).save(tmp_path / "row.png")
    assert "row.png shows 3 digits: give --split to read them" in refusal("predict", folder, "row.png", cwd=tmp_path)
    out = run("predict", folder, "row.png", "--split", "--show", "seen.png", cwd=tmp_path)
    assert re.match(r"row.png: (\d\??){3}\n", out) and out.endswith("seen.png written\n")
    with Image.open(tmp_path / "seen.png") as seen:
        assert seen.format == "PNG"
    assert "seen.png exists, and nothing is overwritten" in refusal(
        "predict", folder, "row.png", "--split", "--show", "seen.png", cwd=tmp_path
    )
    assert "--show must name a .png file" in refusal("predict", folder, "row.png", "--show", "seen.jpg", cwd=tmp_path)
    assert "there is no folder" in refusal("predict", folder, "row.png", "--show", "no/seen.png", cwd=tmp_path)
    (answer,) = json.loads(run("predict", folder, "row.png", "--split", "--json", cwd=tmp_path))["images"]
    lefts = [digit["box"][1] for digit in answer["digits"]]
    assert len(answer["prediction"]) == 3 and lefts == sorted(lefts)
    assert all(set(digit) == {"box", "prediction", "unsure", "probabilities"} for digit in answer["digits"])


def test_a_picture_that_cannot_be_read_says_why(
    trained: tuple[Path, str], pictures: list[Path], home: Path, refusal: Refusal
) -> None:
    folder, _ = trained
    Image.new("L", (28, 28)).save(home / "blank.png")
    whole = pictures[0].read_bytes()
    (home / "cut.png").write_bytes(whole[: len(whole) // 2])
    (home / "empty").mkdir()
    error = refusal("predict", folder, pictures[0], *[f"{name}.png" for name in ("blank", "cut", "missing")], cwd=home)
    for message in ("blank.png is blank", "cut.png cannot be read", "missing.png cannot be read (No such file"):
        assert message in error
    assert str(pictures[0]) not in error
    assert "no picture in empty" in refusal("predict", folder, "empty", cwd=home)
    assert "give - once" in refusal("predict", folder, "-", "-", cwd=home)


def test_of_other_data_than_digits_28x28_pixels_alone_are_taken(
    trained: tuple[Path, str], home: Path, tmp_path: Path, refusal: Refusal
) -> None:
    folder, _ = trained
    other = shutil.copytree(folder, tmp_path / "clothes")
    config = runs.read_config(other)
    runs.write_config(other, config | {"data": config["data"] | {"name": "fashion_mnist"}})
    Image.effect_noise((30, 30), 90).save(tmp_path / "boot.png")
    error = refusal("predict", other, tmp_path / "boot.png", cwd=tmp_path)
    assert "boot.png is 30x30 pixels, not 28x28: only digits are cut out" in error


def test_export_writes_what_it_prints_how_to_use(trained: tuple[Path, str], refusal: Refusal, tmp_path: Path) -> None:
    folder, _ = trained
    out = run("export", folder, "--out", tmp_path / "net.jax_export", cwd=tmp_path)
    code = out.partition("\n\n")[2]
    assert len(code.splitlines()) == 5
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert re.fullmatch(r"\['\d'\]\n", done.stdout), done.stderr
    before = contents(tmp_path)
    assert "net.jax_export exists, and nothing is overwritten" in refusal(
        "export", folder, "--out", tmp_path / "net.jax_export", cwd=tmp_path
    )
    assert contents(tmp_path) == before
    assert "there is no folder none" in refusal("export", folder, "--out", "none/net", cwd=tmp_path)
    assert "is no run's folder" in refusal("export", "nowhere", cwd=tmp_path)


def test_predict_and_explain_refuse_what_is_no_run(home: Path, pictures: list[Path], refusal: Refusal) -> None:
    assert "is no run's folder" in refusal("predict", "nowhere", pictures[0], cwd=home)
    assert "is no run's folder" in refusal("explain", "nowhere", "--out", "x.png", cwd=home)


@pytest.mark.long
def test_explain_draws_and_prints_differences(trained: tuple[Path, str], refusal: Refusal) -> None:
    folder, _ = trained
    out = run("explain", folder, "--index", "3", cwd=folder.parent)
    (folder / "explain-3.png").rename(folder.parent / "three.png")
    with Image.open(folder.parent / "three.png") as picture:
        assert picture.format == "PNG" and picture.size == (1600, 2070)
    rows = [row.split("│")[1:-1] for row in out.splitlines() if "[V" in row]
    assert [row[0].strip() for row in rows] == ["dz", "dw", "db", "dx_full", "dx_pool", "df", "dx_conv"]
    for _, _, magnitude, difference in rows:
        assert float(magnitude) > 0 and float(difference) <= 1e-5 * max(1, float(magnitude))
    drawn = (folder.parent / "three.png").read_bytes()
    error = refusal("explain", folder, "--out", "three.png", cwd=folder.parent)
    assert "three.png exists, and nothing is overwritten" in error
    assert (folder.parent / "three.png").read_bytes() == drawn


def test_explain_refuses_what_it_cannot_draw(trained: tuple[Path, str], home: Path, refusal: Refusal) -> None:
    folder, _ = trained
    other = runs.network("lenet", {"hidden": 4})
    config = runs.read_config(folder) | {"net": {"name": "lenet", "options": other.options}}
    recorder = runs.Recorder(runs.claim(home / "lenet"), config)
    shapes = jax.eval_shape(other.init, jax.random.key(0))
    runs.write_parameters(recorder.folder, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    for run_folder, arguments, message in (
        (recorder.folder, ["--out", "x.png"], "is a run of lenet"),
        (folder, ["--out", "x.png", "--index", "2000"], "--index must be below 2000"),
        (folder, ["--out", "x.jpg"], "--out must name a .png file"),
        (folder, ["--out", "none/x.png"], "there is no folder none"),
    ):
        assert message in refusal("explain", run_folder, *arguments, cwd=home)
    assert not (home / "x.png").exists()
