"""Making a run's folder, and keeping it up to date while training goes on."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcnn.runs._files import (
    CHECKPOINTS,
    CONFIG,
    FORMAT,
    Config,
    Metrics,
    RunError,
    write_config,
    write_metrics,
    write_parameters,
)
from jaxcnn.runs._network import Params

if TYPE_CHECKING:
    from jaxcnn.train import Report  # optax loads on use


def refuse_taken(folder: Path) -> None:
    """Raise `RunError` unless a run can be written to `folder`: it is not there yet, or an empty folder."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file, not a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty, and nothing is overwritten: give another folder, or empty it")


def claim(folder: Path) -> Path:
    """Make `folder`, with its parents, for a run.

    Raises:
        RunError: it holds something, or cannot be made.
    """
    refuse_taken(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made: {error.strerror}") from error
    return folder


def claim_next(stem: str, root: Path = Path("runs")) -> Path:
    """Make `<root>/<stem>-<n>` for a run, n the least number from 1 that is free."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = root / f"{stem}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            break
    except OSError as error:
        raise RunError(f"no folder can be made in {root}: {error.strerror}") from error
    return folder


def kept(folder: Path) -> str:
    """The names of the files in a run's folder, for a person; "" where it has gone."""
    names = (path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else ()
    return ", ".join(sorted(names))


class Recorder:
    """Keeps a run's folder up to date while `jaxcnn.train.fit` goes on.

    `config` is the run's config.json, `metrics` the lines of its metrics.jsonl so far, `images_per_second` how many
    images the epoch has trained on so far, per second of its segments: compiling, validation and checkpoints aside.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        *,
        metrics: Iterable[Metrics] = (),
        step: int = 0,
        seconds: float = 0.0,
        writes: bool = True,
    ) -> None:
        """Start the record of a run in `folder`, which is to be `config`, format and status aside.

        Args:
            folder: empty, or of a run that goes on.
            config: as config.json.
            metrics, step, seconds: of a run that goes on: its lines so far, the steps behind it, and the time that the
                epoch which it is in the midst of has taken.
            writes: False for all processes of a training but one.
        """
        self.folder = folder
        self.config = {"format": FORMAT, **config, "status": "running"}
        self.metrics = [*metrics]
        self.images_per_second = 0.0
        self._writes = writes
        self._epoch_began = time.perf_counter() - seconds
        self._segments: list[tuple[int, float]] = []  # images and seconds of each in this epoch
        self._has_compiled = True  # in the first segment of this epoch, whose time is not the training's
        self._step = step
        self._write_config()

    @property
    def seconds(self) -> float:
        """The time that this epoch has taken so far."""
        return time.perf_counter() - self._epoch_began

    def add(self, report: Report, validated: Mapping[str, float] | None = None) -> None:
        """Take note of a segment; at the end of an epoch write its metrics and the parameters.

        `validated` is the `loss` and `accuracy` on the validation images at the end of an epoch, if any are set aside.
        """
        images = (report.step - self._step) * self.config["batch_size"]
        self._segments.append((images, images / report.images_per_second))
        self._step = report.step
        steady = self._segments[1:] if self._has_compiled and len(self._segments) > 1 else self._segments
        self.images_per_second = sum(images for images, _ in steady) / sum(seconds for _, seconds in steady)
        if report.ends_epoch:
            self._write(report, validated or {})
            self._epoch_began, self._segments, self._has_compiled = time.perf_counter(), [], False

    def stop_at(self, report: Report) -> None:
        """Write what there is in the midst of an epoch, marked as interrupted."""
        if not report.ends_epoch:
            self._write(report, {})
        self.metrics[-1]["interrupted"] = True
        self._write_metrics()

    def add_test(
        self, tested: Mapping[str, float], *, params: Params | None = None, net_state: Any = (), **more: Any
    ) -> None:
        """Add the held-out part's `loss` and `accuracy` to the last line, and `more`.

        `params` and `net_state` are what it ends with, if not those of the last epoch.
        """
        self.metrics[-1] |= {f"test_{name}": value for name, value in tested.items()} | more
        self._write_metrics()
        if self._writes and params is not None:
            write_parameters(self.folder, params, net_state)

    def end_as(self, status: str) -> None:
        """Note how the run ended; of one that failed before it had anything to keep, the folder goes too."""
        if status == "failed" and not self.metrics and self._writes:
            (self.folder / CONFIG).unlink()
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)  # empty but for what was cut short
            self.folder.rmdir()
            return
        self.config["status"] = status
        self._write_config()

    def _write(self, report: Report, validated: Mapping[str, float]) -> None:
        self.metrics.append(
            {
                "epoch": report.epoch,
                "step": report.step,
                "loss": report.loss,
                "accuracy": report.accuracy,
                **{f"validation_{name}": value for name, value in validated.items()},
                "images_per_second": self.images_per_second,
                "seconds": self.seconds,
            }
        )
        self._write_metrics()
        if self._writes:
            write_parameters(self.folder, report.state.params, report.state.net_state)

    def _write_config(self) -> None:
        if self._writes:
            write_config(self.folder, self.config)

    def _write_metrics(self) -> None:
        if self._writes:
            write_metrics(self.folder, self.metrics)
