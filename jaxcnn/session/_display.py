"""How a command goes on: a bar on a terminal or in a notebook; of training also a line per epoch, anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from jaxcnn.runs import Metrics
    from jaxcnn.train import Report

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


class Display:
    """A context in which reports are shown."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._epochs = epochs
        loss, speed, elapsed, remaining = (
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[speed]:,.0f} images/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = FittingProgress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            loss,
            TextColumn("accuracy {task.fields[accuracy]:.2%}"),
            speed,
            elapsed,
            remaining,
            given_up=(elapsed, loss, speed, remaining),
            console=console,
        )

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, report: Report, images_per_second: float) -> None:
        """Move the bar."""
        fields: dict[str, Any] = {
            "epoch": f"{report.epoch}/{self._epochs}",
            "loss": report.loss,
            "accuracy": report.accuracy,
            "speed": images_per_second,
        }
        if not self._progress.tasks:
            self._progress.add_task("", total=self._epochs * report.steps_per_epoch, **fields)
        self._progress.update(self._progress.task_ids[0], completed=report.step, **fields)

    def end_epoch(self, line: Metrics) -> None:
        """Print an epoch's line of metrics."""
        parts = [
            f"epoch {line['epoch']}/{self._epochs}",
            f"loss {line['loss']:.4f}",
            f"accuracy {line['accuracy']:.2%}",
            f"{line['images_per_second']:,.0f} images/s",
            f"{line['seconds']:.1f} s",
        ]
        if "validation_loss" in line:
            parts[3:3] = [
                f"validation loss {line['validation_loss']:.4f}",
                f"accuracy {line['validation_accuracy']:.2%}",
            ]
        self._progress.console.print("  ".join(parts))
