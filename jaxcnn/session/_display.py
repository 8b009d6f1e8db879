"""How a training goes on: a bar on a terminal or in a notebook, and a line per epoch anywhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxcnn._progress import FittingProgress

if TYPE_CHECKING:
    from jaxcnn.runs import Metrics
    from jaxcnn.train import Report


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
