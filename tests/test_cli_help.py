"""What a newcomer meets first: `--help` in panels, and what the Tab key offers."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from jaxcnn import data, examples
from jaxcnn.cli import _app, _arrange, _completion
from jaxcnn.session._settings import DEFAULTS
from tests.command import start

PARAMETERS = {
    command.callback.__name__: set(inspect.signature(command.callback).parameters)
    for command in _app.app.registered_commands
    if command.callback is not None
}


def test_help_of_train_is_in_panels(tmp_path: Path) -> None:
    out, err = start("train", "--help", cwd=tmp_path).communicate(timeout=60)
    panels: dict[str, str] = {}
    for line in out.splitlines():
        if line.startswith("╭─ "):
            panels[title := line.strip("╭─╮ ")] = ""
        elif panels:
            panels[title] += line + "\n"
    assert list(panels) == ["Options", *_arrange.PANELS] and err == ""
    for panel, options in _arrange.PANELS.items():
        for option in options:
            assert f" --{option.replace('_', '-')} " in panels[panel]
    basic = [line.split()[1] for line in panels["Options"].splitlines() if line.startswith("│ --")]
    assert {"--net", "--data", "--epochs", "--batch-size", "--out", "--resume"} <= set(basic) and len(basic) <= 12


def test_what_is_arranged_is_there() -> None:
    assert {option for options in _arrange.PANELS.values() for option in options} <= PARAMETERS["train"]
    assert all(parameter in PARAMETERS[command] for command, parameter in _completion.OFFERS)


def test_what_tab_offers_is_what_is_taken() -> None:
    offers = {key: offer("") for key, offer in _completion.OFFERS.items() if offer is not _completion.run_folders}
    assert all(offers.values())
    assert offers["train", "net"] == list(DEFAULTS)
    assert offers["train", "data"] == list(data.NAMES)
    assert offers["check", "op"] == list(dict.fromkeys(name.split()[0] for name in examples.OPS))
    assert _completion.OFFERS["check", "op"]("cor") == ["correlate"]


def test_run_folders_are_those_with_a_run_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a-1", "runs/b [2]", "mine", "runs/a-1/checkpoints/1"):
        Path(name).mkdir(parents=True)
    for name in ("runs/a-1", "runs/b [2]", "mine"):
        (Path(name) / "config.json").touch()
    assert _completion.run_folders("") == ["mine", "runs/a-1", "runs/b [2]"]
    assert _completion.run_folders("runs/b [") == ["runs/b [2]"]
    assert _completion.run_folders(f"{tmp_path}/mi") == [f"{tmp_path}/mine"]
    assert _completion.run_folders("other") == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("jaxcnn train --net le", ["lenet"]),
        ("jaxcnn train --data mnist-", ["mnist-10k"]),
        ("jaxcnn predict ru", ["runs/a-1"]),
        ("jaxcnn ex", ["explain", "export"]),
    ],
)
def test_tab_in_a_shell(line: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs" / "a-1").mkdir(parents=True)
    (tmp_path / "runs" / "a-1" / "config.json").touch()
    where = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_JAXCNN_COMPLETE": "complete_bash"}
    out, err = start(cwd=tmp_path, **where).communicate(timeout=60)
    assert (out.split(), err) == (offered, "")


def test_the_shell_is_told_how(tmp_path: Path) -> None:
    out, _ = start("--help", cwd=tmp_path).communicate(timeout=60)
    assert "--install-completion" in out and "--show-completion" in out
