"""The tables of this folder's README, from `results/compiled_*.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from experiments.report import insert, table

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def report() -> None:
    """Write them."""
    for path in sorted(RESULTS.glob("compiled_*.json")):
        target = path.stem.removeprefix("compiled_")
        result = json.loads(path.read_text())
        insert(HERE / "README.md", target, f"{compiled(result['rows'])}\n\n{made_by(result['made_by'])}")


def compiled(rows: list[dict[str, Any]]) -> str:
    """What the compiler reports, ours / autodiff."""
    has_bytes = any(row["ways"]["ours"]["bytes_accessed"] for row in rows)
    numbers = {"temporary_bytes": 1e6, **({"bytes_accessed": 1e6} if has_bytes else {}), "kernels": 1, "scatters": 1}
    cells = [
        (
            row["name"],
            *(pair(row["ways"]["ours"][what], row["ways"]["autodiff"][what], unit) for what, unit in numbers.items()),
            " / ".join(dict.fromkeys(calls(way["convolutions"]) for way in row["ways"].values())),
        )
        for row in rows
    ]
    units = {"temporary_bytes": "temporaries, MB", "bytes_accessed": "bytes accessed, MB"}
    return table(("ours / autodiff", *(units.get(what, what) for what in numbers), "convolutions by"), cells)


def pair(ours: float, autodiff: float, unit: float) -> str:
    """Both, in bold where ours is over a hundredth more."""
    mark = "**" if ours > 1.01 * autodiff else ""
    return f"{mark}{ours / unit:.4g} / {autodiff / unit:.4g}{mark}"


def calls(convolutions: dict[str, int]) -> str:
    """Who computes how many."""
    return ", ".join(f"{count} {name.removeprefix('conv')}" for name, count in sorted(convolutions.items())) or "-"


def made_by(made: dict[str, Any]) -> str:
    """What made a result, in a line."""
    compilers = ", ".join(f"{name} {made[name]}" for name in ("libtpu", "jax-cuda13-plugin") if name in made)
    versions = f"jax {made['jax']}, {compilers}, Python {made['python']}"
    return f"{made['device']}; {versions}; commit {made['commit']}, {made['date']}."


if __name__ == "__main__":
    typer.run(report)
