"""Twelve models as their users write them, plain and accelerated: see the README beside this file.

run         verifies and times them, each in processes of its own
report      writes the tables of the README
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from experiments.models import report as tables
from experiments.models.model import NAMES
from experiments.report import write
from jaxcnn import provenance

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results" / "models.json"
SEED = 0
PACKAGES = ("flax", "equinox", "dm-haiku", "keras", "torch")

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Option(help="A model by its name, as often as wanted.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="In which each way is timed once.")] = 15,
    out: Annotated[Path, typer.Option(help="Where the result is written.")] = RESULT,
) -> None:
    """Verify the models, then time them: plain, accelerated and in PyTorch, in an order drawn anew for each round."""
    names = tuple(only or NAMES)
    if unknown := sorted(set(names) - set(NAMES)):
        raise typer.BadParameter(f"{', '.join(unknown)}: expected of {', '.join(NAMES)}")
    if only and out == RESULT:
        raise typer.BadParameter("the committed result has all models from one run: give another --out")
    rows = []
    with Progress() as progress:
        task = progress.add_task("models", total=2 * len(names))
        for name in names:
            row: dict[str, Any] = {"name": name}
            for part, arguments in (("verify", []), ("measure", ["--rounds", str(rounds)])):
                progress.update(task, description=f"{part} {name}")
                found = _in_a_process(part, name, *arguments)
                progress.advance(task)
                row |= found if part == "measure" or "fault" in found else {"verified": found}
            rows.append(row)
            if "fault" in row:
                progress.console.print(f"{name}: {row['fault']}", markup=False)
    write(out, SEED, {"packages": provenance.versions(*PACKAGES), "rounds": rounds, "rows": rows})


@app.command()
def report() -> None:
    """Write the tables."""
    tables.report(HERE / "README.md", ROOT / "README.md", json.loads(RESULT.read_text()))


@app.command(hidden=True)
def part(which: str, name: str, out: Path, rounds: int = 15) -> None:
    """What `run` starts in a process of its own: float64 is a whole process's setting."""
    import jax

    jax.config.update("jax_enable_x64", which == "verify")
    from experiments.models import measure

    found = measure.verify(name) if which == "verify" else measure.measure(name, rounds=rounds, seed=SEED)
    out.write_text(json.dumps(found))


def _in_a_process(which: str, name: str, *arguments: str) -> dict[str, Any]:
    """What it found, or the last line of what it died of."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "experiments.models", "part", which, name, str(result), *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(result.read_text())
            return found
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return {"fault": f"{which}: {said[-1] if said else f'exit code {done.returncode}'}"}


if __name__ == "__main__":
    app()
