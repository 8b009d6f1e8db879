"""Today's programs beside another commit's, timed in turns in one process: see the README beside this file.

run         exports our way of every case from both commits, and times what differs
report      writes the table of the README
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import jax
import typer
from jax import export
from rich.progress import Progress

from experiments.report import insert, table, write
from jaxcnn import bench

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results" / "turns.json"
SEED = 0
SECONDS = 2.0
GROUPED = "grouped convolutions"
# run with each commit's own code: our program of every case, of flat arrays, whatever holds them there
EXPORT = """
import pickle, sys
import jax, numpy as np
from jax import export
from jaxcnn import bench

programs = {}
for case in (*bench.steps_cases(), *(case for case in bench.ops_cases() if "group" in case.name)):
    leaves, tree = jax.tree.flatten(case.draw(np.random.default_rng(0)))
    flat = jax.jit(lambda *leaves: jax.tree.leaves(case.ways["ours"](*jax.tree.unflatten(tree, leaves))))
    programs[case.name] = bytes(export.export(flat, platforms=["cpu"])(*leaves).serialize())
    jax.clear_caches()
    print(case.name, flush=True)
open(sys.argv[1], "wb").write(pickle.dumps(programs))
"""

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    other: Annotated[Path, typer.Argument(help="A checkout of the commit to compare with.")],
    out: Annotated[Path, typer.Option(help="Where the result is written.")] = RESULT,
) -> None:
    """Times are of the rounds of `jaxcnn bench`, the other's program in the place of autodiff."""
    names = [case.name for case in _cases()]
    rows = []
    with Progress() as progress:
        exporting = progress.add_task("exporting", total=2 * len(names))
        theirs, ours = (_programs(tree, lambda: progress.advance(exporting)) for tree in (other.resolve(), ROOT))
        for case in progress.track(_cases(), len(names), description="timing"):
            if case.name in theirs:
                rows.append(_row(case, theirs[case.name], ours[case.name]))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=other, capture_output=True, text=True, check=True
    ).stdout.strip()
    write(out, SEED, {"other": commit, "rows": rows})


@app.command()
def report() -> None:
    """Write the table: a row per step, and one of all grouped convolutions."""
    found = json.loads(RESULT.read_text())
    steps, grouped = ([row for row in found["rows"] if (row["group"] == GROUPED) is is_one] for is_one in (False, True))
    rows = [(row["name"], *_times(row)) for row in steps]
    differing = sorted((row for row in grouped if not row["same"]), key=_quotient)
    rows += [(row["name"], *_times(row)) for row in differing[:3]]
    quotients = [_quotient(row) for row in differing]
    made_by = found["made_by"]
    line = (
        f"Least time, with the median. The last three rows are the worst of {len(grouped)} grouped convolutions: "
        f"{len(grouped) - len(differing)} of these are one program in both commits, the others' quotients have the "
        f"median {median(quotients):.2f}, and {sum(quotient < 0.8 for quotient in quotients)} are below 0.8. "
        f"{made_by['device']}; jax {made_by['jax']}; commit {made_by['commit']}, {made_by['date']}."
    )
    head = ("our way", f"{found['other']}, ms", f"{made_by['commit']}, ms", f"{found['other']} / {made_by['commit']}")
    insert(HERE / "README.md", "turns", f"{table(head, rows)}\n\n{line}")


def _cases() -> Iterator[bench.Case]:
    yield from bench.steps_cases()
    for case in bench.ops_cases():
        if "group" in case.name:
            yield replace(case, group=GROUPED)


def _programs(tree: Path, advance: Callable[[], None]) -> dict[str, bytes]:
    """Our program of every case, as the code in that tree makes it."""
    with tempfile.TemporaryDirectory() as at:
        file = Path(at) / "programs"
        command = [sys.executable, "-c", EXPORT, str(file)]
        environment = os.environ | {"PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu"}
        with subprocess.Popen(command, cwd=at, env=environment, stdout=subprocess.PIPE, text=True) as process:
            for _ in process.stdout or ():
                advance()
        if process.returncode:
            raise SystemExit(f"{tree}: no program can be exported, see above")
        return pickle.loads(file.read_bytes())


def _row(case: bench.Case, theirs: bytes, ours: bytes) -> dict[str, Any]:
    """What both took, where their programs differ."""
    programs = {"ours": export.deserialize(bytearray(ours)), "autodiff": export.deserialize(bytearray(theirs))}
    is_same = len({program.mlir_module() for program in programs.values()}) == 1
    row: dict[str, Any] = {"name": case.name, "group": case.group, "same": is_same}
    if is_same:
        return row
    ways = {way: _of_arrays(program) for way, program in programs.items()}
    (timed,) = bench.run([replace(case, ways=ways, foreign={})], seconds=SECONDS, seed=SEED)
    for way, name in (("ours", "today"), ("autodiff", "other")):
        row[name] = {key: timed["ways"][way][key] for key in ("min_ms", "median_ms")}
    return row | {"rounds": timed["rounds"]}


def _of_arrays(program: export.Exported) -> Callable[..., Any]:
    return lambda *arrays: program.call(*jax.tree.leaves(arrays))


def _quotient(row: dict[str, Any]) -> float:
    return row["other"]["min_ms"] / row["today"]["min_ms"]


def _times(row: dict[str, Any]) -> tuple[str, str, str]:
    if row["same"]:
        return "", "", "the same program"
    both = (row["other"], row["today"])
    other, today = (f"{bench.milliseconds(of['min_ms'])} ({bench.milliseconds(of['median_ms'])})" for of in both)
    return other, today, f"{_quotient(row):.2f}"


if __name__ == "__main__":
    app()
