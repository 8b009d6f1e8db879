"""Training from Python: the command's options, folder and bits, and errors in Python's words."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import pytest
from rich.console import Console
from rich.progress import BarColumn

import jaxcnn.train
from jaxcnn import JaxcnnError, _progress, cli, runs, session
from jaxcnn.cli import train as command_of
from jaxcnn.session._interrupts import NeverAsked
from tests import command

TRAINING = Path(__file__).parents[1] / "docs" / "training.md"
SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 200, "validation": 1000}
TIMES = {"seconds", "images_per_second"}


def python(code: str, cwd: Path) -> str:
    """What this prints, in a process of its own as the command's."""
    done = subprocess.run(
        [sys.executable, "-c", f"from jaxcnn import session\n{code}"],
        cwd=cwd,
        env=command.ENVIRONMENT | {"PYTHONPATH": str(command.REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def same_bits(one: Any, other: Any) -> bool:
    leaves, others = map(jax.tree.leaves, (one, other))
    return [leaf.tobytes() for leaf in leaves] == [leaf.tobytes() for leaf in others]


def without_times(folder: Path) -> list[dict[str, Any]]:
    return [{name: line[name] for name in line.keys() - TIMES} for line in runs.read_metrics(folder)]


@pytest.mark.long
def test_it_leaves_the_folder_that_the_command_leaves(tmp_path: Path) -> None:
    given = "epochs=2, batch_size=200, validation=1000, early_stopping=1, clip=('clip_by_global_norm', 5)"
    typed = "--epochs 2 --batch-size 200 --validation 1000 --early-stopping 1 --clip clip_by_global_norm=5"
    printed = python(f"print(session.train({given}, out='ours'))", tmp_path)
    assert printed.startswith("Run(folder=") and len(printed.splitlines()) < 100  # nothing else is printed
    command.run("train", *typed.split(), "--out", "theirs", cwd=tmp_path)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
    assert (ours / "config.json").read_bytes() == (theirs / "config.json").read_bytes()
    assert without_times(ours) == without_times(theirs)
    assert same_bits(runs.read(ours).params, runs.read(theirs).params)
    for name in ("learning_curve.png", "confusion_matrix.png"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_it_shows_how_it_goes_on_where_that_is_asked_for(tmp_path: Path) -> None:
    code = "session.train(epochs=1, batch_size=500, out='run', progress=True)"
    ours = python(code, tmp_path)
    assert ours.startswith("single_filter on 8,000 images of mnist-10k") and "epoch 1/1  loss" in ours
    assert "held-out accuracy" in ours


def test_the_options_are_the_commands() -> None:
    ours, theirs = (inspect.signature(of).parameters for of in (session.train, command_of.train))
    together = {"distributed", "coordinator", "processes", "process_id"}  # jax.distributed.initialize's, in Python
    assert ours.keys() - {"progress", "interrupts"} == theirs.keys() - together


@pytest.mark.long
def test_a_run_goes_on_from_the_command_or_from_python(tmp_path: Path) -> None:
    whole = session.train(**SHORT, out=tmp_path / "whole")
    session.train(**SHORT | {"epochs": 1}, out=tmp_path / "parts")
    parts = session.train(resume=tmp_path / "parts", epochs=2)
    assert same_bits(whole.params, parts.params)
    assert without_times(whole.folder)[-1] == without_times(parts.folder)[-1]
    again = session.train(resume=str(whole.folder))  # is finished
    assert again.config == whole.config == runs.read_config(whole.folder)
    assert same_bits(again.params, whole.params)


class AskedAt:
    """Asks to stop once there is something to save."""

    def __init__(self) -> None:
        self.asked = False
        self.last_words: Callable[[], str] = str

    def catch(self) -> None:
        pass

    def save_first(self) -> None:
        self.asked = True

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


@pytest.mark.long
def test_who_asks_it_to_stop_finds_all_saved(tmp_path: Path) -> None:
    assert isinstance(AskedAt(), session.Interrupts) and isinstance(NeverAsked(), session.Interrupts)
    folder = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt, match=rf"interrupted: {folder} keeps .*; jaxcnn train --resume"):
        session.train(**SHORT, out=folder, interrupts=AskedAt())
    assert runs.read_config(folder)["status"] == "interrupted"
    assert runs.read_metrics(folder)[-1]["interrupted"]
    whole, parts = session.train(**SHORT, out=tmp_path / "whole"), session.train(resume=folder)
    assert same_bits(whole.params, parts.params)


@pytest.mark.parametrize("moment", ["make_train_step", "evaluate"])
def test_ctrl_c_says_what_is_kept(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first step, and in an epoch's validation."""

    def press(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jaxcnn.train, moment, press)
    with pytest.raises(KeyboardInterrupt, match=r"interrupted.*jaxcnn train --resume .*begins again"):
        session.train(**SHORT, out=tmp_path / "run")
    assert runs.read_config(tmp_path / "run")["status"] == "interrupted"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1, got 0"),
        ({"keep": True}, "`keep` must be a whole number of at least 1, got True"),
        ({"devices": 1.0}, "`devices` must be a whole number of at least 1, got 1.0"),
        ({"seed": -1}, "`seed` must be a whole number of at least 0, got -1"),
        ({"net": ["lenet"]}, r"`net` must be a name, a module, a class or a place, as .*, got \['lenet'\]"),
        ({"net": "Lenet"}, "unknown net 'Lenet'.*did you mean 'lenet'"),
        ({"learning_rate": "fast"}, "`learning_rate` must be a number, got 'fast'"),
        ({"learning_rate": 0}, "`learning_rate` must be positive and finite in float32, got 0.0"),
        ({"clip": "clip_by_global_norm=1"}, "`clip` must be a name and a limit, as"),
        ({"stream": 1}, "`stream` must be True or False, got 1"),
        ({"out": 3}, "`out` must be a path, got 3"),
        ({"ops": "hand"}, "unknown `ops` 'hand', expected one of manual, reference"),
        ({"early_stopping": 2}, "`early_stopping` needs `validation`"),
        ({"schedule": "warmup_cosine_decay_schedule"}, "`schedule` warmup_cosine_decay_schedule needs `warmup_steps`"),
        ({"batch_size": 9000}, "`batch_size` must be at most the 8000 images, got 9000"),
        ({"validation": 9000}, "`validation` must be fewer than the 8000 images, got 9000"),
        ({"devices": 3}, "3 devices cannot share a batch of 32 equally: give another `batch_size`"),
        ({"data": "idx"}, "give source=FOLDER with its four files"),
        ({"out": "a", "resume": "b"}, "give `resume` or `out`, not both"),
    ],
)
def test_errors_name_options_as_python_does(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(session.SessionError, match=message) as raised:
        session.train(**options)
    assert isinstance(raised.value, JaxcnnError) and isinstance(raised.value, ValueError)
    assert not list(tmp_path.iterdir())


def test_the_command_names_them_as_they_are_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["jaxcnn", "train", "--schedule", "warmup_cosine_decay_schedule"])
    with pytest.raises(SystemExit):
        cli.run()
    assert capsys.readouterr().err == "jaxcnn: --schedule warmup_cosine_decay_schedule needs --warmup-steps\n"


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(session.TrainingError, match="try a `learning_rate` below 1e"):
        session.train(epochs=1, optimizer="sgd", learning_rate=1e38, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "has_widgets", "is_shown"),
    [
        ({"force_terminal": True}, False, True),
        ({"force_jupyter": True}, True, True),
        ({"force_jupyter": True}, False, False),  # Rich would warn instead
        ({"force_terminal": True, "quiet": True}, False, False),  # it would swallow what others print
    ],
)
def test_where_a_bar_is_shown(
    options: dict[str, Any], has_widgets: bool, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "find_spec", lambda name: object() if has_widgets else None)
    bar = _progress.FittingProgress(BarColumn(), given_up=(), console=Console(**options))
    assert bar.disable is not is_shown


@pytest.mark.long
def test_the_page_on_training_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = TRAINING.read_text().split("## From Python")[1]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(match[1], names)
    assert names["run"].config["epochs"] == 3 and names["run"].config["status"] == "finished"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["lenet-mnist-10k-1"]
