"""`jaxcnn predict`: what is on these pictures?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from jaxcnn.cli._devices import devices
from jaxcnn.cli._failure import Failure
from jaxcnn.cli._folder import warn_of_unfinished

if TYPE_CHECKING:
    import numpy as np

MOST_WITH_BARS = 5


class Found(NamedTuple):
    """What was read, each with the name to call it by, and (name, reason) of what in a folder was not."""

    names: list[str]
    pictures: list[np.ndarray]
    passed_over: list[tuple[str, str]]


def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, from jaxcnn train.")],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...", help="Pictures (PNG, JPEG, WebP, BMP, GIF, TIFF), folders of them, or - for stdin."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
) -> None:
    """Name the digit on each picture, a photo or a drawing.

    Dark on light or light on dark, of any size: the digit is found, and made as MNIST's were. What is 28x28 pixels and
    white on black is taken as it is. Where the network is not sure, a question mark says so. The bars are the
    probabilities of all ten classes; of more than five pictures there is a line each.
    """
    import json

    import numpy as np

    from jaxcnn import predict as library
    from jaxcnn import runs
    from jaxcnn.pictures import SIDE

    devices()
    run = runs.read(folder)
    warn_of_unfinished(run)
    if run.network.image_shape != (SIDE, SIDE, 1):
        raise Failure(f"{folder} takes images of {run.network.image_shape}; pictures are made {SIDE}x{SIDE}, grey")
    classes, data = run.config["data"]["classes"], run.config["data"]["name"]
    found = _read_all(images, digits=data.startswith("mnist"))
    rows = np.concatenate(list(library.in_batches(run, np.stack(found.pictures))))
    if as_json:
        answers = [
            {
                "file": name,
                "prediction": classes[int(np.argmax(row))],
                "unsure": library.is_unsure(row),
                "probabilities": {name: float(value) for name, value in zip(classes, row, strict=True)},
            }
            for name, row in zip(found.names, rows, strict=True)
        ]
        passed_over = [{"file": name, "reason": reason} for name, reason in found.passed_over]
        print(json.dumps({"run": str(folder), "images": answers, "passed_over": passed_over}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, row in zip(found.names, rows, strict=True):
        console.print(f"{escape(name)}: {_answer(classes, row, is_unsure=library.is_unsure(row))}")
        if len(rows) <= MOST_WITH_BARS:
            console.print(_bars(classes, row))
    for _, reason in found.passed_over:
        console.print(f"passed over: {escape(reason)}")


def _read_all(images: list[Path], *, digits: bool) -> Found:
    """Every picture; one that is named must be readable, of a folder's those are taken that are."""
    from jaxcnn.pictures import PictureError, read

    found, complaints = Found([], [], []), []
    if [str(image) for image in images].count("-") > 1:
        raise Failure("standard input can be read once: give - once")
    listed: list[tuple[Path, bool]] = []
    for image in images:
        listed += [(path, True) for path in _within(image)] if image.is_dir() else [(image, False)]
    stderr = Console(stderr=True)
    for image, is_listed in track(listed, "reading", console=stderr, transient=True, disable=not stderr.is_terminal):
        try:
            if image.is_dir():
                raise PictureError(f"{image} is a folder")
            if str(image) == "-":
                if sys.stdin is None or sys.stdin.isatty():
                    raise Failure("standard input is closed or a terminal: pipe a picture into it")
                picture = read(sys.stdin.buffer, name="standard input", digits=digits)
            else:
                picture = read(image, digits=digits)
        except PictureError as error:
            if is_listed:
                found.passed_over.append((str(image), str(error)))
            else:
                complaints.append(str(error))
            continue
        found.names.append(str(image))
        found.pictures.append(picture)
    if complaints:
        raise Failure("; ".join(complaints))
    if not found.pictures:
        reasons = "; ".join(reason for _, reason in found.passed_over[:3]) or "nothing is in it"
        raise Failure(f"no picture in {', '.join(map(str, images))}: {reasons}")
    return found


def _within(folder: Path) -> list[Path]:
    """What a folder shows, sorted."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _answer(classes: list[str], row: np.ndarray, *, is_unsure: bool) -> str:
    first, second = (int(number) for number in row.argsort()[::-1][:2])
    if not is_unsure:
        return f"[bold]{escape(classes[first])}[/]"
    return (
        f"[bold]{escape(classes[first])}?[/]  (unsure: {_share(classes, row, first)}, {_share(classes, row, second)})"
    )


def _share(classes: list[str], row: np.ndarray, number: int) -> str:
    return f"{escape(classes[number])} {100 * row[number]:.0f} %"


def _bars(classes: list[str], probabilities: np.ndarray) -> Table:
    best = int(probabilities.argmax())
    table = Table(box=None, show_header=False)
    for number, (name, value) in enumerate(zip(classes, probabilities, strict=True)):
        style = "bold" if number == best else ""
        bar = Bar(size=1, begin=0, end=float(value), width=40, color="green" if number == best else "blue")
        table.add_row(escape(name), bar, f"{value:.4f}", style=style)
    return table
