"""Networks of the user's own: the modules that they are in, imported because an option names them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

import jaxcnn
from jaxcnn.cli._failure import Failure

Imports = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Import this first: the module of a network of your own."),
]


def import_own(places: Iterable[str]) -> None:
    """Import the modules that these begin with, from the folder of now too, as Python itself does.

    Raises:
        Failure: one cannot be imported.
    """
    for place in places:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            jaxcnn.runs.import_own(place)
        except ValueError as error:
            raise Failure(str(error)) from error
