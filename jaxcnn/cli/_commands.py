"""The sub-commands: each is a file here, loaded when it is called, so that help and Tab on a name answer at once."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from jaxcnn.cli._arrange import arranged

HELP = {  # by command, in this order; the first line of its docstring, which could not be read without loading it
    "train": "Train a network and leave a run's folder.",
    "predict": "Name the digit on each picture, a photo or a drawing.",
    "report": "Make one page of a run, or of several side by side.",
    "explain": "Draw the figures of [V] with live numbers.",
    "export": "Write a trained network as one file that predicts on CPU, GPU and TPU without jaxcnn.",
    "check": "Hold every op and network to autodiff, and in float64 to differences.",
    "bench": "Time the hand-derived rules against autodiff, each result verified before it is timed.",
    "sites": "Tell which convolutions and pools of a function jaxcnn.accelerate replaces.",
}


class Commands(TyperGroup):
    """Has every command by its name and its line of help alone, until one is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, line in HELP.items():
            self.add_command(TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the arguments call, loaded, and the arguments that are its own."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else loaded(name), rest


def loaded(name: str) -> Any:
    """The command with its options, from the function of its name in the file of its name."""
    alone = typer.Typer(rich_markup_mode="rich", add_completion=False)
    alone.command()(arranged(getattr(importlib.import_module(f"jaxcnn.cli.{name}"), name)))
    return get_command(alone)
