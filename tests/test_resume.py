"""`jaxcnn train` interrupted, killed, resumed and shared among processes, each for real in processes of its own."""

from __future__ import annotations

import functools
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxcnn import runs
from tests import command

# one image per step: an epoch of 2,000 takes long enough to be cut short in its midst
CUT = ["--batch-size", "1", "--validation", "6000", "--epochs", "5", "--checkpoint-every", "700"]
CUT += ["--schedule", "cosine_decay_schedule", "--clip", "clip_by_global_norm=5"]
ANSWER = "jaxcnn: interrupted: saving, then stopping; once more stops at once\n"


def start(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return command.start("train", *arguments, cwd=cwd, **environment)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until one is there that counts."""
    deadline = time.monotonic() + 120
    while not any(path.name.isdigit() for path in (folder / "checkpoints").glob("*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_epoch(process: subprocess.Popen[str]) -> None:
    """Until the first line about one."""
    assert process.stdout is not None
    assert any(line.startswith("epoch ") for line in process.stdout)


def parameters(folder: Path) -> dict[str, bytes]:
    with np.load(folder / "parameters.npz") as archive:
        return {name: archive[name].tobytes() for name in archive}


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir() if path.name.isdigit()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    """A run that nothing interrupted."""
    finish(start(*CUT, "--out", "whole", cwd=home))
    return home / "whole"


Cut = Callable[[signal.Signals], Path]


@pytest.fixture(scope="module")
def cut_once(home: Path) -> Cut:
    """The same run, stopped by a signal once a checkpoint is there."""

    @functools.cache
    def cut(by: signal.Signals) -> Path:
        folder = home / f"cut-by-{by.name}"
        process = start(*CUT, "--out", folder.name, cwd=home)
        wait_for_checkpoint(folder, process)
        process.send_signal(by)
        _, err = finish(process, -by if by == signal.SIGKILL else 128 + by)
        if by != signal.SIGKILL:
            assert err.startswith(f"{ANSWER}jaxcnn: interrupted: {folder.name} keeps checkpoints, config.json")
            assert err.endswith(f"jaxcnn train --resume {folder.name} goes on\n")
        return folder

    return cut


@pytest.fixture
def cut(cut_once: Cut, home: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of it, for the test to go on with."""
    folder = home / "cut"
    shutil.copytree(cut_once(request.param), folder)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("cut", "status"),
    [
        (signal.SIGINT, "interrupted"),
        pytest.param(signal.SIGTERM, "interrupted", marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, "running", marks=pytest.mark.long),
    ],
    indirect=["cut"],
)
def test_a_run_that_was_cut_short_goes_on_to_the_same_bits(cut: Path, status: str, whole: Path, home: Path) -> None:
    assert runs.read_config(cut)["status"] == status
    out, err = finish(start("--resume", cut.name, cwd=home))
    assert "goes on from the checkpoint at step " in out and err == ""
    assert parameters(cut) == parameters(whole)
    assert checkpoints(cut) == checkpoints(whole) and "9800" in checkpoints(cut)  # as often as the run was begun with
    config = runs.read_config(cut)
    assert config == runs.read_config(whole) and config["status"] == "finished"
    timeless = [
        [{name: line[name] for name in line if name not in ("seconds", "images_per_second")} for line in lines]
        for lines in map(runs.read_metrics, (cut, whole))
    ]
    assert timeless[0] == timeless[1] and len(timeless[0]) == 5
    assert {"validation_loss", "validation_accuracy"} <= set(timeless[0][0])
    assert finish(start("--resume", cut.name, cwd=home))[0] == f"{cut.name} is finished: nothing is left to do\n"


@pytest.mark.parametrize("cut", [signal.SIGINT], indirect=True)
def test_what_does_not_fit_the_run_is_refused_and_nothing_is_lost(cut: Path, home: Path) -> None:
    before = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    _, err = finish(start("--resume", cut.name, "--batch-size", "9", "--net", "lenet", cwd=home), 2)
    assert "was begun otherwise (net is single_filter, asked for lenet; batch_size is 1, asked for 9)" in err
    _, err = finish(start("--resume", cut.name, "--out", "elsewhere", cwd=home), 2)
    assert "give --resume or --out, not both" in err
    config = (cut / "config.json").read_text()
    (cut / "config.json").write_text(re.sub(r'"learning_rate": [\d.]+', '"learning_rate": 0.5', config))
    _, err = finish(start("--resume", cut.name, cwd=home), 2)
    assert "cannot go on: learning_rate is 0.5 in config.json, 0.003 in the checkpoint" in err
    (cut / "config.json").write_text(config)
    assert {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("cut", [signal.SIGINT], indirect=True)
def test_another_place_is_warned_of(cut: Path, home: Path) -> None:
    path = cut / "config.json"
    path.write_text(path.read_text().replace('"cores": ', '"cores": 10'))
    process = start("--resume", cut.name, cwd=home)
    wait_for_epoch(process)
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, 128 + signal.SIGTERM)
    warning, answer, interrupted = err.splitlines()
    assert warning.startswith("jaxcnn: the place differs, so that results may differ in their last bits: cores 10")
    assert f"{answer}\n" == ANSWER
    assert interrupted.startswith("jaxcnn: interrupted: ")


@pytest.mark.long
@pytest.mark.parametrize("cut", [signal.SIGKILL], indirect=True)
def test_a_damaged_newest_checkpoint_is_reported_and_costs_only_time(cut: Path, whole: Path, home: Path) -> None:
    process = start("--resume", cut.name, cwd=home)
    while len([path for path in (cut / "checkpoints").glob("*") if path.name.isdigit()]) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    finish(process, -signal.SIGKILL)
    steps = sorted(int(path.name) for path in (cut / "checkpoints").glob("*") if path.name.isdigit())
    newest = cut / "checkpoints" / str(steps[-1])
    largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:10])
    out, err = finish(start("--resume", cut.name, cwd=home))
    assert err.startswith(f"jaxcnn: checkpoint {steps[-1]} cannot be read (") and len(err.splitlines()) == 1
    assert f"goes on from the checkpoint at step {steps[-2]}\n" in out
    assert parameters(cut) == parameters(whole)


@pytest.mark.long
def test_two_do_not_train_in_one_folder(home: Path) -> None:
    first = start(*CUT, "--epochs", "100000", "--out", "shared", cwd=home)
    wait_for_checkpoint(home / "shared", first)
    _, err = finish(start("--resume", "shared", cwd=home), 2)
    assert err == "jaxcnn: shared is being trained in by another process: wait for its end, or stop it\n"
    first.send_signal(signal.SIGTERM)
    finish(first, 128 + signal.SIGTERM)


def test_a_full_disk_is_one_line(home: Path) -> None:
    """No file may grow beyond 4 kB, as if the disk were full: parameters and checkpoints are larger."""
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
    limit += "os.execvp(sys.argv[1], sys.argv[1:])"
    arguments = ["train", "--batch-size", "500", "--out", "full"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "COMMAND", [sys.executable, "-c", limit, *command.COMMAND])
        process = command.start(*arguments, cwd=home, JAX_ENABLE_COMPILATION_CACHE="false")
    _, err = finish(process, 2)
    assert len(err.splitlines()) == 1 and "File too large" in err


@pytest.mark.long
def test_early_stopping_keeps_the_best_epoch(home: Path) -> None:
    arguments = ["--epochs", "30", "--batch-size", "20", "--validation", "7800", "--early-stopping", "2"]
    out, _ = finish(start(*arguments, "--learning-rate", "0.05", "--out", "early", cwd=home))
    lines = runs.read_metrics(home / "early")
    losses = [line["validation_loss"] for line in lines]
    best = 1 + int(np.argmin(losses))
    assert len(lines) == best + 2 < 30
    assert lines[-1]["test_epoch"] == best and re.search(rf"parameters are kept, the best +│ {best} ", out)


def test_streaming_in_bfloat16_with_event_files(home: Path) -> None:
    arguments = ["--stream", "--epochs", "1", "--batch-size", "500", "--precision", "bfloat16", "--tensorboard"]
    out, _ = finish(start(*arguments, "--out", "streamed", cwd=home))
    config = runs.read_config(home / "streamed")
    assert (config["stream"], config["precision"]) == (True, "bfloat16") and ", bfloat16\n" in out
    assert [path.name.startswith("events.out.tfevents") for path in (home / "streamed" / "tensorboard").iterdir()]
    assert runs.read_metrics(home / "streamed")[-1]["test_accuracy"] > 0.3


# Several processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def together(*arguments: str | Path, cwd: Path, processes: int = 2) -> list[subprocess.Popen[str]]:
    """Processes of two devices each."""
    address = f"127.0.0.1:{free_port()}"
    where = ["--coordinator", address, "--processes", str(processes)]
    # several processes do not share a cache of compiled programs
    environment = {"JAX_NUM_CPU_DEVICES": "2", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    return [
        start(*arguments, *where, "--process-id", str(number), cwd=cwd, **environment) for number in range(processes)
    ]


@pytest.mark.long
def test_two_processes_train_as_one_does(home: Path) -> None:
    """20 steps of gradient descent; float32 sums in another order: 3e-7 was seen, 1e-5 is allowed."""
    arguments = ["--epochs", "1", "--batch-size", "400", "--optimizer", "sgd", "--learning-rate", "0.1"]
    finish(start(*arguments, "--stream", "--out", "one", cwd=home))
    (lead, lead_err), (out, _) = [finish(process) for process in together(*arguments, "--out", "two", cwd=home)]
    assert "4 devices of 2 processes" in lead and "images/s per device" in lead
    # one of them speaks; Gloo's threads do in both, and may break each other's lines
    assert not [word for word in ("devices of", "epoch", "images/s", "accuracy") if word in out]
    with np.load(home / "one" / "parameters.npz") as one, np.load(home / "two" / "parameters.npz") as two:
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-5)
    assert runs.read_metrics(home / "two")[-1]["step"] == 20


@pytest.mark.long
def test_a_lost_process_ends_the_others_and_training_goes_on_elsewhere(home: Path) -> None:
    """Within a minute, with a clear line; then on four devices of one process, from the checkpoint."""
    arguments = ["--epochs", "40", "--batch-size", "40", "--checkpoint-every", "50"]
    lead, other = together(*arguments, "--out", "lost", cwd=home)
    wait_for_checkpoint(home / "lost", lead)
    other.kill()
    lost = time.monotonic()
    _, err = lead.communicate(timeout=120)
    assert time.monotonic() - lost < 60
    assert lead.returncode == 1
    assert err.splitlines()[-1] == (
        "jaxcnn: another process of this training was lost, so that none can go on: start all again with --resume"
    )
    other.communicate()
    process = start("--resume", "lost", "--devices", "4", cwd=home, JAX_NUM_CPU_DEVICES="4")
    wait_for_epoch(process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the place differs" in err


MORE = ["--batch-size", "200", "--validation", "6000", "--checkpoint-every", "7"]


@pytest.mark.long
def test_a_finished_run_goes_on_for_more_epochs_to_the_bits_of_one_that_had_them_from_the_start(home: Path) -> None:
    finish(start(*MORE, "--epochs", "3", "--out", "at-once", cwd=home))
    finish(start(*MORE, "--epochs", "1", "--out", "more", cwd=home))
    finish(start("--resume", "more", "--epochs", "3", cwd=home))
    assert parameters(home / "more") == parameters(home / "at-once")
    assert [line["epoch"] for line in runs.read_metrics(home / "more")] == [1, 2, 3]
    assert runs.read_config(home / "more")["epochs"] == 3
    out, _ = finish(start("--resume", "more", "--epochs", "3", cwd=home))
    assert out == "more is finished: nothing is left to do\n"
    _, err = finish(start("--resume", "more", "--epochs", "2", cwd=home), 2)
    assert err == "jaxcnn: more has 3 epochs behind it, more than --epochs 2: ask for more\n"


@pytest.mark.long
def test_more_epochs_of_a_schedule_are_refused(home: Path, whole: Path) -> None:
    _, err = finish(start("--resume", whole.name, "--epochs", "9", cwd=home), 2)
    assert "whole was begun with a cosine_decay_schedule over --epochs 5: with 9, its rates would have been" in err


@pytest.mark.long
def test_training_starts_from_the_parameters_of_another_run(home: Path, whole: Path) -> None:
    finish(start(*MORE, "--epochs", "1", "--init-from", whole.name, "--out", "onward", cwd=home))
    finish(start(*MORE, "--epochs", "1", "--init-from", f"{whole.name}/parameters.npz", "--out", "again", cwd=home))
    assert parameters(home / "onward") == parameters(home / "again") != parameters(whole)
    assert runs.read_config(home / "onward")["init_from"] == str(whole)
    first = runs.read_metrics(home / "onward")[0]
    assert first["loss"] < 0.6  # where one that is drawn begins at 2.3
    _, err = finish(start("--net", "lenet", "--init-from", whole.name, "--out", "other", cwd=home), 2)
    assert "whole/parameters.npz holds b, f, w; the network has conv1/bias" in err and not (home / "other").exists()
