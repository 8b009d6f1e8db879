"""`jaxcnn bench`: what it times, that it verifies first, and what it prints."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import jaxcnn.bench
from jaxcnn import cli
from jaxcnn.bench import Case, compiled_cases, ops_cases, product_rate, run, steps_cases

MAPS = Path("/proc/self/maps")
ACCELERATORS = Path(__file__).parents[1] / "experiments" / "accelerators" / "results"


def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[Any, str, str]:
    """Its exit code, and what it prints to stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["jaxcnn", "bench", *options])
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    return stopped.value.code, *capsys.readouterr()


def square_of(name: str, **ways: Any) -> Case:
    return Case(name, "squares", ways, lambda random: (jnp.asarray(random.normal(size=8)),), flops=8)


@pytest.mark.long
def test_every_way_is_timed_on_the_same_inputs() -> None:
    case = square_of("square", ours=lambda x: x * x, autodiff=lambda x: x**2)
    (row,) = run([case], seconds=0, again=False)
    assert (row["name"], row["group"], row["rounds"], row["flops"]) == ("square", "squares", 5, 8)
    assert set(row["ways"]) == {"ours", "autodiff"}
    assert all(0 < times["min_ms"] <= times["median_ms"] for times in row["ways"].values())


def test_what_is_hopeless_is_timed_twice() -> None:
    calls: list[None] = []

    def squared(x: Any) -> Any:
        time.sleep(0.02)
        calls.append(None)
        return x * x

    case = square_of("square", ours=lambda x: x * x, autodiff=lambda x: jax.pure_callback(squared, x, x))
    (row,) = run([case], seconds=0)
    assert row["rounds"] == 5 and row["ways"]["autodiff"]["min_ms"] >= 20
    assert len(calls) == 1 + 2  # it was verified first


def test_where_ours_is_slower_more_rounds_are_made() -> None:
    def squared(x: Any) -> Any:
        time.sleep(0.005)
        return x * x

    case = square_of("square", ours=lambda x: jax.pure_callback(squared, x, x), autodiff=lambda x: x**2)
    assert [row["rounds"] for again in (False, True) for row in run([case], seconds=0, again=again)] == [5, 40]


@pytest.mark.skipif(not MAPS.exists(), reason="counts a process's memory maps, as Linux lists them")
def test_programs_do_not_pile_up() -> None:
    """Each is three maps or more, and a process may have 65,530."""
    cases = [
        square_of(str(power), ours=lambda x, power=power: x**power, autodiff=lambda x, power=power: x**power)
        for power in range(2, 32)
    ]
    maps = [len(MAPS.read_text().splitlines()) for _ in run(cases, seconds=0, again=False)]
    assert maps[-1] < maps[4] + 40


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


@pytest.mark.long
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


def test_what_is_compiled_for_accelerators() -> None:
    names = [case.name for case in compiled_cases()]
    assert len(names) == len({*names})
    kinds = {case.group.partition(":")[0] for case in ops_cases() if "pool" not in case.name}
    assert kinds <= {case.group.partition(":")[0] for case in compiled_cases()}
    assert {"relu", "dense", "layer_norm", "softmax_cross_entropy"} <= {name.partition(":")[0] for name in names}
    assert [case.name for case in compiled_cases(quick=True)] == ["lenet, batch 128"]


COMPILE_LENET = """
import dataclasses, json, sys
import jax
jax.config.update("jax_platforms", "cpu")
from jaxcnn.bench import compiled_cases, compiled_rows
(case,) = compiled_cases(quick=True)
case = dataclasses.replace(case, ways={way: case.ways[way] for way in sys.argv[2:]})
(row,) = compiled_rows([case], sys.argv[1])
print(json.dumps(row["ways"]))
"""


def compiled_lenet(target: str, package: str, *ways: str) -> dict[str, dict[str, Any]]:
    """What a target's compiler reports of a step, by way."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: it compiles for {target}")
    where = {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", COMPILE_LENET, target, *ways]
    done = subprocess.run(command, env=os.environ | where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def test_on_an_h100_a_step_scatters_nothing_holds_half_and_convolves_by_cudnn() -> None:
    ours, autodiff = compiled_lenet("h100", "jax_cuda13_plugin", "ours", "autodiff").values()
    assert ours["scatters"] == 0 < autodiff["scatters"]
    assert ours["temporary_bytes"] <= 0.5 * autodiff["temporary_bytes"]
    assert sum(ours["convolutions"].values()) == 5 and "XLA" not in ours["convolutions"]
    assert ours["convolutions"]["convBackwardFilter"] == autodiff["convolutions"]["convBackwardFilter"] == 2


def test_on_a_tpu_a_step_scatters_nothing_and_moves_no_more_bytes_than_autodiff_did() -> None:
    """Autodiff's are from the committed table: to compile both takes libtpu two minutes."""
    committed = json.loads((ACCELERATORS / "compiled_tpu-v5e.json").read_text())["rows"]
    (autodiff,) = (row["ways"]["autodiff"] for row in committed if row["name"] == "lenet, batch 128")
    ours = compiled_lenet("tpu-v5e", "libtpu", "ours")["ours"]
    assert ours["scatters"] == 0 < autodiff["scatters"]
    assert 0 < ours["bytes_accessed"] <= autodiff["bytes_accessed"]


def test_the_compiled_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As printed, of a target whose compiler is not asked."""
    report = {"temporary_bytes": 2e6, "flops": None, "bytes_accessed": None, "kernels": 3, "scatters": 1}
    ways = {"ours": {**report, "convolutions": {"convForward": 2}}, "autodiff": {**report, "convolutions": {"XLA": 1}}}
    monkeypatch.setattr(jaxcnn.bench, "described", lambda target: jax.devices()[0])
    monkeypatch.setattr(jaxcnn.bench, "compiled_rows", lambda cases, target: iter([{"name": "it", "ways": ways}]))
    code, printed, err = bench(monkeypatch, capsys, "compiled", "--quick")
    assert (code, err) == (None, "")
    assert printed.splitlines()[-1].split(maxsplit=1) == [
        "it",
        "2 / 2       not given    3 / 3     1 / 1  2 Forward / 1 XLA",
    ]


def test_a_compiler_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no such platform")

    monkeypatch.setattr(jax.experimental.topologies, "get_topology_desc", missing)
    code, printed, err = bench(monkeypatch, capsys, "compiled", "--quick")
    assert (code, printed) == (2, "") and len(err.splitlines()) == 1
    assert err.startswith("jaxcnn: the compiler for h100 cannot be loaded; install jax[cuda13-local] beside the same")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["compiled", "--target", "cray"], "unknown --target 'cray', expected one of h100, tpu-v5e"),
        (["steps", "--tune"], "--tune is of ops, got steps"),
        (["memory", "--only", "lenet"], "memory is one small table: it takes no --only and no --quick"),
        (["step"], "unknown WHAT 'step', expected one of ops, steps, memory, compiled: did you mean 'steps'?"),
        (["ops", "--only", "wavelet"], "no case of ops has 'wavelet' in its name"),
        (["ops", "--seconds", "-1"], "greater than or equal to 0"),
    ],
)
def test_what_there_is_not_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    code, out, err = bench(monkeypatch, capsys, *options)
    assert (code, out) == (2, "") and complaint in err and len(err.splitlines()) == 1
