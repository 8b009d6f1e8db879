"""experiments/reports: programs of public reports, and how they are measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reports import measure, page
from experiments.reports.catalogue import KINDS, REPORTS, chosen
from experiments.reports.record import Report, normal, url

ROOT = Path(__file__).parents[1]
GREATEST_BYTES = 128 * 2**20
EVERY = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())


@pytest.fixture(autouse=True)
def as_in_use() -> Iterator[None]:
    """Without the float64 that the other tests enable."""
    with jax.enable_x64(False):
        yield


def test_ids_are_unique() -> None:
    assert len(REPORTS) == sum(len(kind.REPORTS) for kind in KINDS)


@EVERY
def test_addresses(report: Report) -> None:
    for id in (report.id, *report.also):
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/[1-9]\d*", url(id))


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="as jax#12868; got 'jax12868'"):
        url("jax12868")
    with pytest.raises(ValueError, match="no report 'scico#1' is here; there are scico#287"):
        chosen(["scico#1"])
    assert chosen([]) == list(REPORTS.values())


@EVERY
def test_programs_trace_and_are_small(report: Report) -> None:
    with jax.enable_x64(report.needs_float64):
        args = jax.eval_shape(report.args, jax.random.key(0))
        found = jax.eval_shape(report.around(report.f), *args)
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((args, found))]
    assert 0 < sum(sizes) < GREATEST_BYTES
    assert report.needs_float64 == any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(args))


@EVERY
def test_what_is_exact_and_what_has_a_truth(report: Report) -> None:
    """Integers are compared to the bit; what is right of a "value" is of the shape of what is computed."""
    with jax.enable_x64(report.needs_float64):
        args = jax.eval_shape(report.args, jax.random.key(0))
        integers = all(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(args))
        assert report.tolerance == 0 or not integers
        assert (report.truth is not None) == (report.measured == "value")
        if report.truth is not None:
            found = report.truth(*(np.ones(leaf.shape, leaf.dtype) for leaf in args))
            assert found.shape == jax.eval_shape(report.f, *args).shape


def test_differences() -> None:
    one = np.array([1.0, np.nan, -np.inf, 4.0])
    assert measure.difference(one, one) == 0
    assert measure.difference(one + [0, 0, 0, 1], one) == 0.25
    assert measure.difference([one, one], [one, one[:2]]) == np.inf
    for there, here in ((0.0, np.nan), (np.nan, 0.0), (0.0, np.inf), (-np.inf, np.inf)):
        assert measure.difference(np.array([there]), np.array([here])) == np.inf


def _report(**changes: Any) -> Report:
    asked = Report(id="jax#1", title="t", reported="r", shape="s", f=jnp.tanh, args=normal((4, 4)))
    return replace(asked, **changes)


def test_what_differs_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure.jaxcnn, "accelerate", lambda f: jnp.sinh, raising=False)
    monkeypatch.setattr(measure.jaxcnn, "sites", lambda f, *args: type("Sites", (), {"left": ()}), raising=False)
    ways = measure.measured_here(_report(), measure.WAYS, rounds=2)["ways"]
    assert ways["plain"]["is_right"] and ways["plain"]["rounds"] >= 2 and ways["plain"]["min_ms"] > 0
    assert not ways["accelerated"]["is_right"] and "min_ms" not in ways["accelerated"]


def test_compiling_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure.jaxcnn, "accelerate", lambda f: f, raising=False)
    monkeypatch.setattr(measure.jaxcnn, "sites", lambda f, *args: type("Sites", (), {"left": ()}), raising=False)
    ways = measure.measured_here(_report(measured="compile"), measure.WAYS, rounds=2)["ways"]
    assert all(way["rounds"] == 2 and way["median_s"] >= way["min_s"] > 0 for way in ways.values())


def test_halves_are_held_to_float32() -> None:
    report = _report(f=jnp.square, args=normal((4, 4), dtype="float16"))
    args = report.args(jax.random.key(0))
    wanted = measure.right_values(report, args, None)
    assert wanted.dtype == jnp.float32 and not np.array_equal(wanted, jnp.square(args[0]))


ROWS: list[dict[str, Any]] = [
    {
        "id": id,
        "measured": REPORTS[id].measured,
        "made_by": {"jax": "0", "device": "an abacus", "seed": 0, "commit": "c", "date": "today"},
        "ways": ways,
    }
    for id, ways in (
        (
            "jax#12868",
            {way: {"min_ms": t, "median_ms": t, "is_right": True} for way, t in (("plain", 9), ("accelerated", 1))},
        ),
        (
            "jax#25461",
            {way: {"min_ms": t, "median_ms": t, "is_right": True} for way, t in (("plain", 1), ("accelerated", 2))},
        ),
        ("jax#8537", {"plain": {"min_ms": 1, "median_ms": 1, "is_right": True}, "accelerated": {"failed": "SIGABRT"}}),
        (
            "xla#48713",
            {"plain": {"is_right": False, "difference": None}, "accelerated": {"is_right": True, "difference": 0.0}},
        ),
    )
]


def test_the_page_sorts_by_gain_and_hides_no_loss() -> None:
    table = page.timed(ROWS[:3], "ms").splitlines()[2:]
    assert re.findall(r"\[([\w#-]+)\]", "\n".join(table)) == ["jax#12868", "jax#25461", "jax#8537"]
    assert "| 9.0 |" in table[0] and "| **0.50** |" in table[1] and "SIGABRT" in table[2]
    counts = page.counted(ROWS[:3])
    assert "Of 2 programs" in counts and "1 are at" in counts
    assert (
        "Slower than plain, below 0.9: jax#25461; from there to 1: none." in counts
        and "Without a time: jax#8537." in counts
    )
    assert "| **wrong**: NaN, infinity or shape | right |" in page.valued(ROWS[3:])


@pytest.mark.long
def test_one_is_run_whole(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    command = [sys.executable, "-m", "experiments.reports", "run", "xla#48713", "--rounds", "2", "--out", str(out)]
    where = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=os.environ | where, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(out.read_text())["reports"]
    assert row["id"] == "xla#48713" and set(row["ways"]) == set(measure.WAYS)
    assert row["made_by"]["jax"] == jax.__version__
    assert "is_right" in row["ways"]["plain"]


@pytest.mark.long
@EVERY
def test_each_is_run(report: Report) -> None:
    row = measure.in_a_process(report, rounds=1, timeout=300)
    assert "failed" not in row["ways"]["plain"] or report.measured == "value"
