"""`jaxcnn report`: one page on one or several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

import jaxcnn
from jaxcnn._progress import FittingProgress
from jaxcnn.cli._devices import devices
from jaxcnn.cli._own import Imports, import_own


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs' folders, from jaxcnn train.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="The page to write; may replace an earlier report, and nothing else.",
            show_default="RUN/report.html of one run, report.html of several",
        ),
    ] = None,
    modules: Imports = None,
) -> None:
    """Make one page of a run, or of several side by side.

    Learning curves, what is taken for what, the surest mistakes as images, the first layer's filters, and the whole
    configuration; of several runs also what differs. One file that needs no other, no network and no script.
    """
    devices()
    import_own(modules or ())
    if out is None:
        out = folders[0] / "report.html" if len(folders) == 1 else Path("report.html")
    jaxcnn.report.refuse_others(out)
    elapsed, what = TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    columns = (BarColumn(bar_width=None), elapsed, what)
    with FittingProgress(*columns, given_up=(elapsed, what), console=Console(stderr=True)) as progress:
        task = progress.add_task("reading", total=len(folders) + 1)
        page = jaxcnn.report.page(
            folders, tell=lambda done, what: progress.update(task, completed=done, description=what)
        )
    jaxcnn.report.write(out, page)
    print(f"{out} written, {len(page.encode()) / 1000:,.0f} kB")
