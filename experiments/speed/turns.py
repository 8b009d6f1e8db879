"""Today's speed beside another commit's, the two in turns: see the README beside this file.

run         `jaxcnn bench` of both, once each per turn, in processes of their own
report      writes the table of the README
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.progress import Progress

from experiments.report import insert, table, write

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results" / "turns.json"
SEED = 0
# what `jaxcnn bench` is asked for
BENCHES: dict[str, tuple[str, ...]] = {
    "training steps": ("steps", "--seconds", "2"),
    "grouped convolutions": ("ops", "--only", "group", "--seconds", "0"),
}

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    other: Annotated[Path, typer.Argument(help="A checkout of the commit to compare with.")],
    turns: Annotated[int, typer.Option(help="Of each commit.")] = 3,
    out: Annotated[Path, typer.Option(help="Where the result is written.")] = RESULT,
) -> None:
    """Each turn is one run of both, in an order that changes from turn to turn."""
    trees = {"other": other.resolve(), "today": ROOT}
    rows: dict[str, dict[str, Any]] = {}
    with Progress() as progress:
        for turn in progress.track(range(turns), description="turns"):
            for name in sorted(trees, reverse=bool(turn % 2)):
                for bench, arguments in BENCHES.items():
                    for case, ratio in _ratios(trees[name], arguments).items():
                        row = rows.setdefault(case, {"name": case, "bench": bench, "other": [], "today": []})
                        row[name].append(round(ratio, 3))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=other, capture_output=True, text=True, check=True
    ).stdout.strip()
    write(out, SEED, {"turns": turns, "other": commit, "rows": list(rows.values())})


@app.command()
def report() -> None:
    """Write the table: a row per step, and one of all grouped convolutions."""
    found = json.loads(RESULT.read_text())
    steps, grouped = ([row for row in found["rows"] if row["bench"] == bench] for bench in BENCHES)
    rows = [(row["name"], *(f"{median(row[tree]):.2f}" for tree in ("other", "today")), _range(row)) for row in steps]
    quotients = sorted(_quotient(row) for row in grouped)
    least = min(grouped, key=_quotient)
    rows.append(
        (
            f"{len(grouped)} grouped convolutions, the median of each",
            *(f"{median(median(row[tree]) for row in grouped):.2f}" for tree in ("other", "today")),
            f"{median(quotients):.2f}; {quotients[0]:.2f} to {quotients[-1]:.2f}",
        )
    )
    made_by = found["made_by"]
    below = sum(quotient < 0.8 for quotient in quotients)
    line = (
        f"Medians of {found['turns']} turns; the last column with the least and the greatest of a turn, or of a case. "
        f"Grouped cases below 0.8: {below}; the least is {least['name']}. {made_by['device']}; jax {made_by['jax']}; "
        f"commit {made_by['commit']}, {made_by['date']}."
    )
    head = ("autodiff / ours", found["other"], made_by["commit"], "today's by the other's")
    insert(HERE / "README.md", "turns", f"{table(head, rows)}\n\n{line}")


def _ratios(tree: Path, arguments: tuple[str, ...]) -> dict[str, float]:
    """By case, how many times as long autodiff takes, as the code in that tree measures it."""
    with tempfile.TemporaryDirectory() as at:
        result = Path(at) / "result.json"
        command = [sys.executable, "-m", "jaxcnn", "bench", *arguments, "--out", str(result)]
        done = subprocess.run(
            command, cwd=at, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} in {tree}: {done.stderr}")
        rows = json.loads(result.read_text())["rows"]
    return {row["name"]: row["ways"]["autodiff"]["min_ms"] / row["ways"]["ours"]["min_ms"] for row in rows}


def _quotient(row: dict[str, Any]) -> float:
    return median(row["today"]) / median(row["other"])


def _range(row: dict[str, Any]) -> str:
    of_turns = [today / other for today, other in zip(row["today"], row["other"], strict=True)]
    return f"{_quotient(row):.2f}; {min(of_turns):.2f} to {max(of_turns):.2f}"


if __name__ == "__main__":
    app()
