"""`jaxcnn predict`: what is on these pictures?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

import jaxcnn
from jaxcnn import _whole
from jaxcnn.cli._devices import devices
from jaxcnn.cli._failure import Failure, refuse_no_new_png
from jaxcnn.cli._own import Imports, import_own
from jaxcnn.photos import SIDE, Found, PictureError, find
from jaxcnn.session._folder import warn_of_unfinished

MOST_WITH_BARS = 5
MOST_SHOWN = 20  # pictures in one drawing


class Read(NamedTuple):
    """What was read, each with the name to call it by, and (name, reason) of what was not.

    `complaints` are the reasons of those that were named one by one, not found in a folder.
    """

    names: list[str]
    found: list[Found]
    passed_over: list[tuple[str, str]]
    complaints: list[str]


class Answer(NamedTuple):
    """What a network says of one digit: the classes' names, their probabilities, and whether it is unsure."""

    classes: list[str]
    probabilities: np.ndarray
    is_unsure: bool

    @property
    def name(self) -> str:
        return self.classes[int(self.probabilities.argmax())]

    def as_json(self) -> dict[str, object]:
        values = {name: float(value) for name, value in zip(self.classes, self.probabilities, strict=True)}
        return {"prediction": self.name, "unsure": self.is_unsure, "probabilities": values}


def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, from jaxcnn train.")],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...", help="Pictures (PNG, JPEG, WebP, BMP, GIF, TIFF), folders of them, or - for stdin."
        ),
    ],
    split: Annotated[bool, typer.Option("--split", help="Read several digits, left to right, line by line.")] = False,
    show: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw what the network saw; must not exist.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
    modules: Imports = None,
) -> None:
    """Name the digit on each picture, a photo or a drawing.

    Dark on light or light on dark, of any size, in any light: the digit is found, and made as MNIST's were. What is
    28x28 pixels and white on black is taken as it is. Where the network is not sure, a question mark says so. The bars
    are the probabilities of all ten classes; of more than five pictures there is a line each.
    """
    if show is not None:
        refuse_no_new_png("--show", show)
    devices()
    import_own(modules or ())
    run = jaxcnn.runs.read(folder)
    warn_of_unfinished(run)
    if run.network.image_shape != (SIDE, SIDE, 1):
        raise Failure(f"{folder} takes images of {run.network.image_shape}; pictures are made {SIDE}x{SIDE}, grey")
    read = _read_all(images, digits=run.config["data"]["name"].startswith("mnist"), split=split)
    answers = _answers(run, read.found)
    if show is not None:
        _draw(read, answers, show)
    if as_json:
        documents = [
            {"file": name, **_document(found, some, split=split)}
            for name, found, some in zip(read.names, read.found, answers, strict=True)
        ]
        passed_over = [{"file": name, "reason": reason} for name, reason in read.passed_over]
        print(json.dumps({"run": str(folder), "images": documents, "passed_over": passed_over}, indent=2))
    else:
        _print(read, answers, split=split)
        if show is not None:
            Console(highlight=False, soft_wrap=True).print(f"{escape(str(show))} written")
    if read.complaints:
        raise Failure("; ".join(read.complaints))


def _print(read: Read, answers: list[list[Answer]], *, split: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for name, some in zip(read.names, answers, strict=True):
        if split:
            word = "".join(f"{answer.name}?" if answer.is_unsure else answer.name for answer in some)
            console.print(f"{escape(name)}: [bold]{escape(word)}[/]")
            for number, answer in enumerate(some, 1):
                if answer.is_unsure:
                    console.print(f"  digit {number}: {_line(answer)}")
        else:
            console.print(f"{escape(name)}: {_line(some[0])}")
            if len(answers) <= MOST_WITH_BARS:
                console.print(_bars(some[0]))
    for _, reason in read.passed_over:
        if reason not in read.complaints:
            console.print(f"passed over: {escape(reason)}")


def _read_all(images: list[Path], *, digits: bool, split: bool) -> Read:
    """Every picture that can be read."""
    read = Read([], [], [], [])
    if [str(image) for image in images].count("-") > 1:
        raise Failure("standard input can be read once: give - once")
    listed: list[tuple[Path, bool]] = []
    for image in images:
        listed += [(path, True) for path in _within(image)] if image.is_dir() else [(image, False)]
    stderr = Console(stderr=True)
    for image, is_listed in track(listed, "reading", console=stderr, transient=True, disable=not stderr.is_terminal):
        try:
            found = _found(image, digits=digits, split=split)
        except PictureError as error:
            read.passed_over.append((str(image), str(error)))
            if not is_listed:
                read.complaints.append(str(error))
            continue
        read.names.append(str(image))
        read.found.append(found)
    if not read.found and read.complaints:
        raise Failure("; ".join(read.complaints))
    if not read.found:
        reasons = "; ".join(reason for _, reason in read.passed_over[:3]) or "nothing is in it"
        raise Failure(f"no picture in {', '.join(map(str, images))}: {reasons}")
    return read


def _found(image: Path, *, digits: bool, split: bool) -> Found:
    if image.is_dir():
        raise PictureError(f"{image} is a folder")
    if str(image) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise Failure("standard input is closed or a terminal: pipe a picture into it")
        found = find(sys.stdin.buffer, name="standard input", digits=digits, several=split)
    else:
        found = find(image, digits=digits, several=split)
    if not split and len(found.digits) > 1:
        name = "standard input" if str(image) == "-" else image
        raise PictureError(f"{name} shows {len(found.digits)} digits: give --split to read them from left to right")
    return found


def _answers(run: jaxcnn.runs.Run, found: list[Found]) -> list[list[Answer]]:
    """Of each picture, of each digit on it."""
    images = np.stack([digit.image for one in found for digit in one.digits])
    was_cut_out = np.array([not one.as_it_was for one in found for _ in one.digits])
    rows = np.concatenate(list(jaxcnn.predict.in_batches(run, images)))
    if was_cut_out.any():
        rows[was_cut_out] = jaxcnn.predict.of_photographs(run, images[was_cut_out])
    answers = iter([Answer(run.config["data"]["classes"], row, jaxcnn.predict.is_unsure(row)) for row in rows])
    return [[next(answers) for _ in one.digits] for one in found]


def _document(found: Found, answers: list[Answer], *, split: bool) -> dict[str, object]:
    if not split:
        return answers[0].as_json()
    digits = [{"box": digit.box, **answer.as_json()} for digit, answer in zip(found.digits, answers, strict=True)]
    return {"prediction": "".join(answer.name for answer in answers), "digits": digits}


def _draw(read: Read, answers: list[list[Answer]], out: Path) -> None:
    if len(read.found) > MOST_SHOWN:
        read = Read(read.names[:MOST_SHOWN], read.found[:MOST_SHOWN], [], [])
        Console(stderr=True).print(f"of {len(answers)} pictures the first {MOST_SHOWN} are drawn")
    rows = [
        jaxcnn.plots.Seen(
            Path(name).name,
            found.picture,
            [digit.box for digit in found.digits],
            [digit.image for digit in found.digits],
            [answer.name for answer in some],
            [not answer.is_unsure for answer in some],
        )
        for name, found, some in zip(read.names, read.found, answers[: len(read.found)], strict=True)
    ]
    _whole.write(out, jaxcnn.plots.photograph(jaxcnn.plots.seen(rows)), new=True)


def _within(folder: Path) -> list[Path]:
    """What a folder shows, sorted; no pipes, sockets and devices, which one could wait at for ever."""
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in shown if path.is_file() or path.is_dir() or not path.exists())


def _line(answer: Answer) -> str:
    name = escape(answer.name)
    if not answer.is_unsure:
        return f"[bold]{name}[/]"
    first, second = (int(number) for number in answer.probabilities.argsort()[::-1][:2])
    return f"[bold]{name}?[/]  (unsure: {_share(answer, first)}, {_share(answer, second)})"


def _share(answer: Answer, number: int) -> str:
    return f"{escape(answer.classes[number])} {100 * answer.probabilities[number]:.0f} %"


def _bars(answer: Answer) -> Table:
    best = int(answer.probabilities.argmax())
    table = Table(box=None, show_header=False)
    for number, (name, value) in enumerate(zip(answer.classes, answer.probabilities, strict=True)):
        style = "bold" if number == best else ""
        bar = Bar(size=1, begin=0, end=float(value), width=40, color="green" if number == best else "blue")
        table.add_row(escape(name), bar, f"{value:.4f}", style=style)
    return table
