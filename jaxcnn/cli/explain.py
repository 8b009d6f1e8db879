"""`jaxcnn explain`: the figures of [V] with live numbers."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import jaxcnn
from jaxcnn import _whole
from jaxcnn.cli._devices import devices
from jaxcnn.cli._failure import Failure, refuse_no_new_png


def explain(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder of single_filter, from jaxcnn train.")],
    index: Annotated[int, typer.Option(min=0, help="Which held-out image.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="The picture to write; must not exist.", show_default="RUN/explain-INDEX.png"
        ),
    ] = None,
) -> None:
    """Draw the figures of [V] with live numbers.

    Forwards through the trained network for one held-out image, then backwards, each gradient beside autodiff's.
    """
    devices()
    run = jaxcnn.runs.read(folder)
    if run.network.name != "single_filter":
        raise Failure(f"explain draws the figures of single_filter; {folder} is a run of {run.network.name}")
    out = folder / f"explain-{index}.png" if out is None else out
    refuse_no_new_png("--out", out)
    data = run.config["data"]["name"]
    try:
        held_out = jaxcnn.data.load(data, source=run.config.get("source")).test
    except ValueError as error:
        raise Failure(f"{folder / jaxcnn.runs.CONFIG}: {error}") from error
    if index >= len(held_out.images):
        raise Failure(f"--index must be below {len(held_out.images)}, the number of held-out images, got {index}")
    image, label = held_out.images[index].astype("float32") / 255, int(held_out.labels[index])
    title = f"{data}, {jaxcnn.runs.held_out(data)} image {index}: {run.config['data']['classes'][label]}"
    stderr = Console(stderr=True)
    with stderr.status("going forward and backward, and drawing") if stderr.is_terminal else nullcontext():
        picture = jaxcnn.plots.png(jaxcnn.plots.explain(run.params, image, label, title=title))
        by_hand = jaxcnn.plots.trace(run.params, image, label)
        by_autodiff = jaxcnn.plots.trace(run.params, image, label, ops=jaxcnn.reference)
    _whole.write(out, picture, new=True)
    table = Table("gradient", "equation", "largest magnitude", "largest difference from autodiff's")
    for name, difference in jaxcnn.plots.differences(by_hand, by_autodiff).items():
        magnitude = abs(getattr(by_hand, name)).max()
        table.add_row(name, jaxcnn.plots.EQUATIONS[name], f"{magnitude:.3g}", f"{difference:.1e}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"{escape(str(out))} written")
