"""`jaxcnn bench`: what it times, that it verifies first, and what it prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from jaxcnn import cli
from jaxcnn.bench import Case, ops_cases, product_rate, run, steps_cases


def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[Any, str, str]:
    """Its exit code, and what it prints to stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["jaxcnn", "bench", *options])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, *capsys.readouterr()


def square_of(name: str, **ways: Any) -> Case:
    return Case(name, "squares", ways, lambda random: (jnp.asarray(random.normal(size=8)),), flops=8)


def test_every_way_is_timed_on_the_same_inputs() -> None:
    case = square_of("square", ours=lambda x: x * x, autodiff=lambda x: x**2)
    (row,) = run([case], seconds=0)
    assert (row["name"], row["group"], row["rounds"], row["flops"]) == ("square", "squares", 5, 8)
    assert set(row["ways"]) == {"ours", "autodiff"}
    assert all(0 < times["min_ms"] <= times["median_ms"] for times in row["ways"].values())


@pytest.mark.parametrize("wrong", [lambda x: 1.01 * x * x, lambda x: x[:4], lambda x: x * jnp.nan])
def test_what_differs_from_autodiff_is_not_timed(wrong: Any) -> None:
    with pytest.raises(RuntimeError, match="cube: 'ours' differs from autodiff; nothing of it was timed"):
        list(run([square_of("cube", ours=wrong, autodiff=lambda x: x**2)], seconds=0))


def test_the_grid() -> None:
    names = [case.name for case in ops_cases()]
    assert len(names) == len({*names})
    assert sum(": " in name and "pool" not in name for name in names) >= 300
    assert sum("pool" in name for name in names) >= 60
    assert len([*ops_cases(quick=True)]) < len(names) / 8
    assert {"fft", "taps", "im2col", "direct", "winograd4"} <= {way for c in ops_cases(tune=True) for way in c.ways}
    assert len([*steps_cases()]) == 2 * len([*steps_cases(quick=True)]) == 8


def test_a_product_has_a_rate() -> None:
    assert product_rate(64, rounds=2) > 0


def test_a_table_and_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    options = ("ops", "--only", "1x1, 8 to 8, 28x28", "--seconds", "0", "--out", str(out))
    code, printed, err = bench(monkeypatch, capsys, *options)
    assert code is None, err
    result = json.loads(out.read_text())
    assert result["made_by"]["seed"] == 0 and result["product_gflops"] > 0
    assert {row["name"].partition(":")[0] for row in result["rows"]} >= {"correlate", "input_gradient"}
    assert all(row["name"] in printed for row in result["rows"]) and "autodiff / ours: least" in printed
    code, _, err = bench(monkeypatch, capsys, *options)
    assert code == 2 and "exists; give a new file, nothing is overwritten" in err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["speed"], "WHAT must be one of ops, steps, memory, got 'speed'"),
        (["ops", "--only", "wavelet"], "no case of ops has 'wavelet' in its name"),
        (["ops", "--seconds", "-1"], "greater than or equal to 0"),
    ],
)
def test_what_there_is_not_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    code, out, err = bench(monkeypatch, capsys, *options)
    assert (code, out) == (2, "") and complaint in err and len(err.splitlines()) == 1
