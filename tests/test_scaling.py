"""experiments/scaling: what a step sends to other chips, as committed and as the compilers make it now."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.scaling import report, run
from experiments.scaling.model import MACHINES, all_reduce_seconds, equal_batch, equal_chips

ROOT = Path(__file__).parents[1]
PAGE = (run.RESULTS.parent / "README.md").read_text()
ROWS = {target: json.loads((run.RESULTS / f"{target}.json").read_text())["rows"] for target in MACHINES}
ALL_ROWS = [row for rows in ROWS.values() for row in rows]


@pytest.mark.parametrize("row", ALL_ROWS, ids=lambda row: f"{row['topology']}-{report.name(row)}-{row['images']}")
def test_a_step_sums_once_and_gathers_nothing(row: dict[str, Any]) -> None:
    """The sum is of the gradients, the loss and the accuracy, in float32 whatever is computed in."""
    is_shared = row["chips"] > 1
    assert row["collectives"] == ({"all-reduce": 1} if is_shared else {})
    assert row["summed_numbers"] == ({"f32": row["parameters"] + 2} if is_shared else {})
    assert row["products_meanwhile"] == 0  # the page says so
    assert row["summed_bytes"] == (4 * row["parameters"] + 8 if is_shared else 0)


def test_more_chips_are_no_more_to_hold_or_compute_for_each() -> None:
    """Arguments, operations and, among several chips, temporaries depend on the images of one chip alone."""
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in ALL_ROWS:
        alike.setdefault((row["target"], report.name(row), row["images"]), []).append(row)
    assert any(len(rows) == 4 for rows in alike.values())
    for rows in alike.values():
        assert len({(row["argument_bytes"], row["operations"], row["flops"]) for row in rows}) == 1
        assert len({row["temporary_bytes"] for row in rows if row["chips"] > 1}) <= 1


def test_all_that_is_named_was_compiled() -> None:
    for target, rows in ROWS.items():
        assert [run.Program(*(row[field] for field in run.Program._fields)) for row in rows] == run.PROGRAMS[target]


@pytest.mark.parametrize("target", MACHINES)
def test_the_page_has_the_tables_of_the_results(target: str) -> None:
    assert f"<!-- {target} -->\n{report.programs(ROWS[target])}\n" in PAGE
    assert f"<!-- model -->\n{report.model(ALL_ROWS)}\n<!-- /model -->" in PAGE


def test_a_ring_sends_twice_what_the_others_have() -> None:
    tpu, gpu = MACHINES["tpu-v5e"], MACHINES["h100"]
    assert all_reduce_seconds(200e9, 1, tpu) == 0
    assert all_reduce_seconds(200e9, 2, tpu) == pytest.approx(1)
    assert all_reduce_seconds(200e9, 256, tpu) == pytest.approx(2 * 255 / 256)
    assert all_reduce_seconds(1e9, 9, gpu) / all_reduce_seconds(1e9, 8, gpu) == pytest.approx(64 / 63 * 450 / 400)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_where_both_take_as_long(machine: Any) -> None:
    image, size = 1e-7, 3e6
    count = equal_chips(image, size, 8192, machine)
    assert count is not None
    assert all_reduce_seconds(size, count, machine) >= 8192 / count * image
    assert all_reduce_seconds(size, count - 1, machine) < 8192 / (count - 1) * image
    assert equal_batch(image, size, 16, machine) * image == pytest.approx(all_reduce_seconds(size, 16, machine))
    assert equal_chips(image, 1.0, 8192, machine) is None


PROGRAM = """
  %both = (f32[3,2]{1,0:T(8,128)S(1)}, bf16[]{:T(128)}) all-reduce(%a, %b), replica_groups={{0,1}}
  %start = f32[10]{0} all-reduce-start(%c)
  %one = f32[4] convolution(%d, %e)
  %done = f32[10]{0} all-reduce-done(%start)
  %two = f32[4] convolution(%d, %e)
  %g = u8[8,28]{1,0} all-gather(%f), dimensions={0}
  %p = f32[8] collective-permute-start(%f)
"""


def test_collectives_are_counted_once_and_by_what_they_sum() -> None:
    assert run.counted(PROGRAM) == {
        "collectives": {"all-reduce": 2, "all-gather": 1, "collective-permute": 1},
        "summed_numbers": {"f32": 16, "bf16": 1},
        "summed_bytes": 66,
        "products_meanwhile": 1,
    }


COMPILE = """
import json, sys
import jax
jax.config.update("jax_platforms", "cpu")
from experiments.scaling.run import Program, row_of
print(json.dumps(row_of(sys.argv[1], Program(sys.argv[2], "lenet", sys.argv[3], 8))))
"""


@pytest.mark.parametrize(
    ("target", "topology", "precision", "package"),
    [
        ("tpu-v5e", "v5e:2x2", "float32", "libtpu"),
        ("h100", "1x1x8", "float32", "jax_cuda13_plugin"),
        ("h100", "1x4x8", "bfloat16", "jax_cuda13_plugin"),
    ],
)
def test_the_compilers_still_make_one_sum_of_it(target: str, topology: str, precision: str, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: it compiles for {target}")
    command = [sys.executable, "-c", COMPILE, target, topology, precision]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    test_a_step_sums_once_and_gathers_nothing(json.loads(done.stdout))
