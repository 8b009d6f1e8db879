"""The line of progress of every command: a bar on a terminal or in a notebook, and the figures beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn

LEAST_BAR = 16


class FittingProgress(Progress):
    """A line on a terminal, gone at its end, that gives up columns until its bar is wide enough to be of use."""

    def __init__(self, *columns: ProgressColumn, given_up: Sequence[ProgressColumn], console: Console) -> None:
        """`columns` as they stand, one per bar of any width; of those that may be `given_up` the first goes first."""
        self._all, self._given_up, self._terminal = columns, given_up, console
        super().__init__(*columns, console=console, transient=True, disable=not _can_be_drawn_anew(console))

    def get_renderables(self) -> Iterable[RenderableType]:
        """The line, for the terminal's width now."""
        columns = [*self._all]
        for column in self._given_up:
            if self._width(columns) <= self._terminal.width:
                break
            columns.remove(column)
        self.columns = tuple(columns)
        return super().get_renderables()

    def _width(self, columns: Sequence[ProgressColumn]) -> int:
        """Of the widest task's line with the least bar."""
        options = self._terminal.options
        widths = [
            sum(
                LEAST_BAR
                if isinstance(column, BarColumn)
                else Measurement.get(self._terminal, options, column(task)).maximum
                for column in columns
            )
            for task in self.tasks
        ]
        return max(widths, default=0) + len(columns) - 1


def _can_be_drawn_anew(console: Console) -> bool:
    """Whether a line can change where it stands: on a terminal, and in a notebook that has widgets."""
    is_live = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
    return is_live and not console.quiet
