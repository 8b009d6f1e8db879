"""No gross loss of speed: ratios within one run, in a process compiled as in use, against half of the committed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "experiments" / "speed" / "results"


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """By case, how many times as long autodiff takes."""
    return {row["name"]: row["ways"]["autodiff"]["min_ms"] / row["ways"]["ours"]["min_ms"] for row in result["rows"]}


@pytest.mark.parametrize(
    ("what", "case"),
    [
        ("steps", "lenet, batch 128"),
        ("ops", "max_pool 2x2/2: 128x28x28x32"),
        ("ops", "input_gradient: 3x3, 128 to 128, 14x14, groups 128"),
        ("ops", "kernel_gradient: 3x3, 64 to 64, 28x28, groups 4"),
    ],
)
def test_at_least_half_of_the_committed_ratio(what: str, case: str, tmp_path: Path) -> None:
    out = tmp_path / "now.json"
    options = ("--quick", "--only", case, "--seconds", "0.5", "--out", str(out))
    command = [sys.executable, "-m", "jaxcnn.cli", "bench", what, *options]
    where = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=os.environ | where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    committed = ratios(json.loads((COMMITTED / f"{what}.json").read_text()))
    now = ratios(json.loads(out.read_text()))
    assert now[case] >= committed[case] / 2
