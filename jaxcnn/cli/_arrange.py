"""How a command's help is laid out, and what Tab offers: beside the options themselves, which say what they mean."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from jaxcnn.cli._completion import OFFERS

PANELS = {  # of `jaxcnn train`; what is in none is what a newcomer looks for
    "Data": ("source", "download", "validation", "stream"),
    "Optimization": ("optimizer", "learning_rate", "schedule", "warmup_steps", "clip", "early_stopping", "init_from"),
    "Computation": ("precision", "seed", "ops"),
    "Keeping": ("checkpoint_every", "keep", "tensorboard"),
    "Several devices and machines": ("devices", "distributed", "coordinator", "processes", "process_id"),
}


def arranged(command: Callable[..., None]) -> Callable[..., None]:
    """The command, its options in panels and with what Tab offers, its help in paragraphs that any width can wrap."""
    name = command.__name__
    panel_of = {option: panel for panel, options in PANELS.items() for option in options} if name == "train" else {}
    command.__annotations__ = typing.get_type_hints(command, include_extras=True)
    for parameter, hint in command.__annotations__.items():
        for info in getattr(hint, "__metadata__", ()):
            _arrange(info, panel_of.get(parameter), OFFERS.get((name, parameter)))
    command.__doc__ = "\n\n".join(
        " ".join(paragraph.split()) for paragraph in (inspect.getdoc(command) or "").split("\n\n")
    )
    return command


def _arrange(info: Any, panel: str | None, offer: Callable[[str], list[str]] | None) -> None:
    if panel is not None:
        info.rich_help_panel = panel
    if offer is not None:
        info.autocompletion = offer
    if info.metavar is None and info.min is not None:
        info.metavar = "N"  # a range of twenty digits would squeeze the help beside it
