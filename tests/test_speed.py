"""No gross loss of speed: ratios within one run, in a process compiled as in use, against half of the committed.

Ours and autodiff's programs do not use the cores alike, so that whatever runs beside them changes their ratio: these
tests run alone, by `pytest -n 0 -m alone`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.speed.report import measured, ratios_of_rows

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "experiments" / "speed" / "results"
RATIO = """
import sys
from dataclasses import replace
from jaxcnn import bench

what, name = sys.argv[1:]
case = next(case for case in getattr(bench, f"{what}_cases")() if case.name == name)
two = {way: case.ways[way] for way in ("ours", "autodiff")}
(row,) = bench.run([replace(case, ways=two, foreign={})], seconds=0.5)
print(row["ways"]["autodiff"]["min_ms"] / row["ways"]["ours"]["min_ms"])
"""


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """By case, how many times as long autodiff takes."""
    return {row["name"]: row["ways"]["autodiff"]["min_ms"] / row["ways"]["ours"]["min_ms"] for row in result["rows"]}


@pytest.mark.alone
@pytest.mark.parametrize(
    ("what", "case"),
    [
        ("steps", "lenet, batch 128"),
        ("ops", "max_pool 2x2/2: 128x28x28x32"),
        ("ops", "input_gradient: 3x3, 128 to 128, 14x14, groups 128"),
        ("ops", "kernel_gradient: 3x3, 64 to 64, 28x28, groups 4"),
    ],
)
def test_at_least_half_of_the_committed_ratio(what: str, case: str) -> None:
    where = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", RATIO, what, case]
    done = subprocess.run(command, env=os.environ | where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    committed = ratios(json.loads((COMMITTED / f"{what}.json").read_text()))
    assert float(done.stdout) >= committed[case] / 2


def test_the_measurements_beside_the_choice_are_the_committed_ones() -> None:
    result = json.loads((COMMITTED / "tune.json").read_text())
    found = {row: measured(ratios.get(row.algorithm, [])) for row, ratios in ratios_of_rows(result).items()}
    assert {row.problems: row.measured for row in found} == {row.problems: those for row, those in found.items()}
