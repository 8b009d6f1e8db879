"""Public reports of slow or wrong convolutions and pools, as they are and with `jaxcnn.accelerate`.

run         verifies and times one report, some, or all
report      writes the tables of the README
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from experiments.reports import page
from experiments.reports.catalogue import REPORTS, chosen
from experiments.reports.measure import in_a_process, measured_here
from jaxcnn import runs

RESULT = page.HERE / "results" / "reports.json"

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.command()
def run(
    ids: Annotated[list[str] | None, typer.Argument(help="Of reports, as jax#12868; without any, all.")] = None,
    rounds: Annotated[int, typer.Option(help="Of each way, at least; what is hopeless has two.")] = 10,
    timeout: Annotated[float, typer.Option(help="Seconds for a report.")] = 300,
    out: Annotated[Path, typer.Option(help="Where the rows are; those of other reports stay.")] = RESULT,
) -> None:
    """Each report in a process of its own; the file is written after each."""
    try:
        reports = chosen(ids or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    rows: dict[str, Any] = {row["id"]: row for row in page.read(out)}
    console = Console()
    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(reports))
        for report in reports:
            progress.update(task, description=report.id)
            row = rows[report.id] = in_a_process(report, rounds, timeout)
            ordered = [rows[id] for id in REPORTS if id in rows]
            out.parent.mkdir(parents=True, exist_ok=True)
            runs.write_whole(out, (json.dumps({"reports": ordered}, indent=1) + "\n").encode())
            console.print(page.in_a_line(row), highlight=False, markup=False, soft_wrap=True)
            progress.advance(task)


@app.command(hidden=True)
def one(
    id: str,
    out: Annotated[Path, typer.Option()],
    way: Annotated[list[str], typer.Option()],
    rounds: Annotated[int, typer.Option()],
) -> None:
    """A report in this process, as `run` starts it."""
    out.write_text(json.dumps(measured_here(REPORTS[id], way, rounds)))


@app.command()
def report() -> None:
    """Write the tables of this folder's README from what was measured."""
    page.write(page.read(RESULT))


if __name__ == "__main__":
    app()
