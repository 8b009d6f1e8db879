"""What composes with what, as the tests found it: runs them and writes the table of docs/composition.md.

    python -m experiments.gradients.compositions

A test is a cell: `test_composes[scan-conv]` the transformations', `test_against_float64[float32-conv]` the dtypes'.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import jax

from experiments.report import insert, table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "composition.md"
TESTS = ("tests/ops/test_compositions.py::test_composes", "tests/ops/test_dtypes.py::test_against_float64")


def main() -> int:
    """Run the tests and write the page; their exit status."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.xml")
        options = [
            "-m",
            "long or not long",
            "-n0",
            "-q",
            "-p",
            "no:cacheprovider",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={results}",
        ]
        status = subprocess.run([sys.executable, "-m", "pytest", *options, *TESTS], cwd=ROOT).returncode
        insert(PAGE, "compositions", report(ElementTree.parse(results).getroot()))
    return status


def report(results: ElementTree.Element) -> str:
    """The table, its notes, and what ran."""
    cells: dict[tuple[str, str], str] = {}
    notes: list[str] = []
    for case in results.iter("testcase"):
        transformation, _, op = case.get("name", "").rstrip("]").partition("[")[2].rpartition("-")
        way_out = case.find("properties/property[@name='way out']")
        if case.find("failure") is not None or case.find("error") is not None:
            mark = "fails"
        elif way_out is None:
            mark = "✓"
        else:
            note = way_out.get("value", "")
            notes += [] if note in notes else [note]
            mark = f"[{notes.index(note) + 1}]"
        cells[op, transformation] = mark
    ops, transformations = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    rows = [(f"`{op}`", *(cells[op, transformation] for transformation in transformations)) for op in ops]
    numbered = [f"[{number}] {note}" for number, note in enumerate(notes, start=1)]
    ran = f"{len(cells)} cells, run with jax {jax.__version__} and Python {platform.python_version()}."
    return "\n\n".join([table(("op", *transformations), rows), *numbered, ran])


if __name__ == "__main__":
    sys.exit(main())
