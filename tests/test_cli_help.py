"""What a newcomer meets first: `--help` in panels, and what the Tab key offers."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcnn import cli, data, examples
from jaxcnn.cli import _arrange, _commands, _completion
from jaxcnn.session._settings import DEFAULTS
from tests.command import ENVIRONMENT, start

FUNCTIONS = {name: getattr(importlib.import_module(f"jaxcnn.cli.{name}"), name) for name in _commands.HELP}
PARAMETERS = {name: set(inspect.signature(function).parameters) for name, function in FUNCTIONS.items()}


def test_every_command_is_in_the_table_with_its_first_line() -> None:
    files = {path.stem for path in Path(cli.__file__).parent.glob("[!_]*.py")}
    assert {*_commands.HELP} == files
    for name, function in FUNCTIONS.items():
        first_line, *rest = (inspect.getdoc(function) or "").splitlines()
        assert _commands.HELP[name] == first_line and rest[:1] in ([], [""])


def loaded_by(code: str, **environment: str) -> set[str]:
    """The modules that a fresh interpreter has loaded when this is through."""
    after = "import atexit, json, sys; atexit.register(lambda: print(json.dumps([*sys.modules]), file=sys.stderr))\n"
    command = [sys.executable, "-c", after + code]
    done = subprocess.run(command, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=60)
    return set(json.loads(done.stderr))


def test_help_and_tab_on_a_name_load_no_command() -> None:
    of_help = loaded_by("sys.argv = ['jaxcnn', '--help']; import jaxcnn.cli; jaxcnn.cli.run()")
    tab = {"COMP_WORDS": "jaxcnn tr", "COMP_CWORD": "1", "_JAXCNN_COMPLETE": "complete_bash"}
    of_tab = loaded_by("sys.argv = ['jaxcnn']; import jaxcnn.cli; jaxcnn.cli.run()", **tab)
    for loaded in (of_help, of_tab):
        assert "jaxcnn.cli._commands" in loaded
        assert loaded.isdisjoint({"jax", "numpy", "jaxcnn.session", *(f"jaxcnn.cli.{name}" for name in FUNCTIONS)})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_of_a_command_does_not_wait_for_jax(name: str) -> None:
    loaded = loaded_by(f"sys.argv = ['jaxcnn', '{name}', '--help']; import jaxcnn.cli; jaxcnn.cli.run()")
    assert f"jaxcnn.cli.{name}" in loaded and loaded.isdisjoint({"jax", "optax", "matplotlib", "PIL", "jinja2"})


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
