"""What made a result is told by one function, alike for runs, benchmarks and experiments."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jax
import pytest

import experiments.report
import jaxcnn
from jaxcnn import provenance


def test_results_name_the_checkout_that_they_are_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "it.py"))
    (tmp_path / "it.py").write_text("once")
    (tmp_path / "results.json").write_text("{}")
    git("init")
    assert "commit" not in provenance.made_by(0)
    git("add", ".")
    git("commit", "--message", "Two files")
    assert provenance.made_by(0)["commit"] == git("rev-parse", "--short", "HEAD")
    (tmp_path / "results.json").write_text("{1: 2}")
    assert provenance.commit() == git("rev-parse", "--short", "HEAD")
    (tmp_path / "it.py").write_text("twice")
    assert provenance.made_by(0)["commit"] == git("rev-parse", "--short", "HEAD") + "-dirty"


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert provenance.commit() == "" and "commit" not in provenance.made_by(0)


def test_versions_devices_and_cores() -> None:
    found = provenance.surroundings(jax.devices()[:3])
    assert (found["versions"]["jaxcnn"], found["versions"]["jax"]) == (jaxcnn.__version__, jax.__version__)
    assert found["devices"] == [{"platform": "cpu", "kind": "cpu"}] * 3 and found["processes"] == 1
    assert len(provenance.surroundings()["devices"]) == 1
    flat = provenance.made_by(7)
    assert flat["seed"] == 7 and flat["device"] == f"cpu, {jax.device_count()} devices"
    assert flat.items() >= found["versions"].items() and flat["cores"] == found["cores"] >= 1


def test_experiments_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "results" / "it.json"
    experiments.report.write(path, 5, {"rows": [1]})
    written = json.loads(path.read_text())
    assert written == {"made_by": provenance.made_by(5), "rows": [1]}
    assert experiments.report.MADE_BY.format(**({"commit": "abc"} | written["made_by"]))
