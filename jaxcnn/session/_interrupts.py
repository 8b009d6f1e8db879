"""Who may ask a training to save and stop."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, runtime_checkable


@runtime_checkable
class Interrupts(Protocol):
    """A context around the steps of a training, which reads `asked` after each report.

    If true, the training saves, stops and raises KeyboardInterrupt with a line on what is kept. `last_words` is set to
    what marks the folder as interrupted and returns that line, for ending the process at once.
    """

    asked: bool
    last_words: Callable[[], str]

    def catch(self) -> None:
        """Called once jax has started, as it may take over signals."""

    def save_first(self) -> None:
        """Called within the context: from now on there is something to save."""

    def __enter__(self) -> object:
        """Called before the first step."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Called after the last one."""


class NeverAsked:
    """Nobody asks: Ctrl-C raises KeyboardInterrupt wherever the training is, as in any Python program."""

    asked = False

    def __init__(self) -> None:
        self.last_words: Callable[[], str] = lambda: "interrupted"

    def catch(self) -> None:
        """Nothing is to be done."""

    def save_first(self) -> None:
        """Nothing is to be done."""

    def __enter__(self) -> NeverAsked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is to be done."""
