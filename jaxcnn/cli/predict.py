"""`jaxcnn predict`: what is on these pictures?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxcnn.cli._failure import Failure

if TYPE_CHECKING:
    import numpy as np


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder, from jaxcnn train.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG files, 28x28, white on black.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
) -> None:
    """Name the digit on each picture.

    The bars are the probabilities of all ten classes.
    """
    import json

    import jax.numpy as jnp
    import numpy as np

    import jaxcnn.ops
    from jaxcnn import runs
    from jaxcnn.cli._picture import PictureError, read_picture
    from jaxcnn.train import as_floats

    run = runs.read(folder)
    pictures, complaints = [], []
    for image in images:
        try:
            pictures.append(read_picture(image))
        except PictureError as error:
            complaints.append(str(error))
    if complaints:
        raise Failure("; ".join(complaints))
    logits = run.network.apply(run.params, as_floats(jnp.asarray(np.stack(pictures))))
    probabilities = np.asarray(jaxcnn.ops.softmax(logits))
    classes = run.config["data"]["classes"]
    if as_json:
        answers = [
            {
                "file": str(image),
                "prediction": classes[int(np.argmax(row))],
                "probabilities": {name: float(value) for name, value in zip(classes, row, strict=True)},
            }
            for image, row in zip(images, probabilities, strict=True)
        ]
        print(json.dumps({"run": str(folder), "images": answers}, indent=2))
        return
    console = Console(highlight=False)
    for image, row in zip(images, probabilities, strict=True):
        console.print(f"{escape(str(image))}: [bold]{classes[int(row.argmax())]}[/]", soft_wrap=True)
        console.print(_bars(classes, row))


def _bars(classes: list[str], probabilities: np.ndarray) -> Table:
    best = int(probabilities.argmax())
    table = Table(box=None, show_header=False)
    for number, (name, value) in enumerate(zip(classes, probabilities, strict=True)):
        style = "bold" if number == best else ""
        bar = Bar(size=1, begin=0, end=float(value), width=40, color="green" if number == best else "blue")
        table.add_row(name, bar, f"{value:.4f}", style=style)
    return table
