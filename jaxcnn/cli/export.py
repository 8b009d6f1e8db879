"""`jaxcnn export`: a trained network as one file that needs jax and flatbuffers alone."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import jaxcnn
from jaxcnn.cli._devices import devices
from jaxcnn.cli._own import Imports, import_own
from jaxcnn.session._folder import warn_of_unfinished


def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, from jaxcnn train.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write; must not exist.", show_default="RUN/network.jax_export"),
    ] = None,
    modules: Imports = None,
) -> None:
    """Write a trained network as one file that predicts on CPU, GPU and TPU without jaxcnn.

    It takes any number of images of bytes, and gives the probabilities of the classes, whose names are written beside
    it as JSON. What is printed loads it.
    """
    devices()
    import_own(modules or ())
    run = jaxcnn.runs.read(folder)
    warn_of_unfinished(run)
    file = folder / jaxcnn.export.NETWORK if out is None else out
    stderr = Console(stderr=True)
    with stderr.status("tracing the network for three platforms") if stderr.is_terminal else nullcontext():
        jaxcnn.export.write(run, file)
    print(f"{file} and {jaxcnn.export.names_file(file)} written ({file.stat().st_size:,} bytes).")
    print("To use them, where jax and flatbuffers are installed:\n")
    print(jaxcnn.export.how_to_use(run, file))
