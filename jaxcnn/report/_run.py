"""A run as the page tells of it: its files, held to what the page needs of them, and what can be computed from them."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxcnn
from jaxcnn import runs
from jaxcnn.report._held_out import HeldOut

_CONFIG: dict[str, tuple[type, ...]] = {
    "status": (str,),
    "net.name": (str,),
    "net.options": (dict,),
    "data.name": (str,),
    "data.train_images": (int,),
    "data.test_images": (int,),
    "optimizer": (str,),
    "learning_rate": (int, float),
    "epochs": (int,),
    "batch_size": (int,),
}
_NO_SETTING = ("format", "status", "data.classes")
_YOUNG = ("running", "interrupted", "failed")  # what may have no epoch behind it


class Recorded(NamedTuple):
    """A run's files; `trained` is None where there is no parameters.npz yet."""

    name: str
    config: runs.Config
    metrics: list[runs.Metrics]
    trained: runs.Run | None

    @property
    def title(self) -> str:
        """What was trained on what."""
        return f"{self.config['net']['name']} on {self.config['data']['name']}"

    @property
    def held_out(self) -> str:
        """What its held-out part is called."""
        return runs.held_out(self.config["data"]["name"])


class Result(NamedTuple):
    """Accuracy and loss on `images` held-out images, as the run recorded them, or else as computed for the page."""

    accuracy: float
    loss: float
    images: int
    is_recorded: bool

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the accuracy, which tells how far so few images can be trusted.

        Example:
            >>> low, high = Result(0.9, 0.3, 100, True).interval
            >>> round(low, 3), round(high, 3)
            (0.826, 0.945)
        """
        z = 1.96
        share = z * z / self.images
        middle = (self.accuracy + share / 2) / (1 + share)
        half = z / (1 + share) * math.sqrt(self.accuracy * (1 - self.accuracy) / self.images + share / self.images / 4)
        return max(0.0, middle - half), min(1.0, middle + half)


def read(folder: Path, name: str) -> Recorded:
    """Read a run's files; those that a young or failed run may lack can be missing.

    Raises:
        RunError: as `jaxcnn.runs.read`, or a file lacks what the page is made of.
    """
    config = runs.read_config(folder)
    _check_config(folder / runs.CONFIG, config)
    metrics = _read_metrics(folder, config["status"])
    return Recorded(name, config, metrics, runs.read(folder) if (folder / runs.PARAMETERS).exists() else None)


def result(run: Recorded, held_out: HeldOut | None) -> Result | None:
    """The run's result, or None where it recorded none and none can be computed."""
    last = run.metrics[-1] if run.metrics else {}
    if {"test_accuracy", "test_loss"} <= set(last):
        return Result(last["test_accuracy"], last["test_loss"], run.config["data"]["test_images"], True)
    if held_out is None:
        return None
    return Result(held_out.accuracy, held_out.loss, len(held_out.labels), False)


def ending(run: Recorded) -> str:
    """How the run ended, in one sentence.

    Example:
        >>> config = {"status": "failed", "epochs": 5}
        >>> ending(Recorded("a run", config, [{"epoch": 2, "step": 8}], None))
        'Failed after epoch 2 of 5; what is shown is of that epoch.'
        >>> config = {"status": "finished", "epochs": 5}
        >>> ending(Recorded("a run", config, [{"epoch": 3, "step": 12, "test_epoch": 2}], None))
        'Finished after 3 of 5 epochs, stopped early; its parameters are those of epoch 2, the best.'
    """
    epochs = run.config["epochs"]
    epoch, step = (run.metrics[-1]["epoch"], run.metrics[-1]["step"]) if run.metrics else (0, 0)
    match run.config["status"]:
        case "finished":
            best = run.metrics[-1].get("test_epoch") if run.metrics else None
            whole = f"{epochs:,} epoch{'s' * (epochs != 1)}"
            kept = f"; its parameters are those of epoch {best:,}, the best" if best is not None else ""
            return f"Finished after {f'{epoch:,} of {whole}, stopped early' if 0 < epoch < epochs else whole}{kept}."
        case "interrupted":
            where = f"at step {step:,}, in epoch {epoch:,} of {epochs:,}" if run.metrics else "before anything was kept"
            return f"Interrupted {where}: not trained to the end."
        case "failed":
            return f"Failed after epoch {epoch:,} of {epochs:,}; what is shown is of that epoch."
        case "running":
            so_far = f"after epoch {epoch:,}" if run.metrics else "before the end of the first"
            return (
                f"Not finished when this page was made, {so_far} of {epochs:,}: still running, or ended without a "
                "word, as when killed."
            )
        case other:
            return f"Ended as {other!r}, which jaxcnn {jaxcnn.__version__} does not know."


def first_filters(params: runs.Params) -> np.ndarray | None:
    """The first layer's filters on images of one channel, (count, height, width), or None where there are none."""
    for leaf in jax.tree.leaves(params):
        if leaf.ndim == 4 and leaf.shape[2] == 1:
            return np.moveaxis(np.asarray(leaf, np.float32)[:, :, 0], -1, 0)
    return None


def precision(config: Mapping[str, Any]) -> str:
    """What a run computed in: float32 where it does not say, as there was nothing else then."""
    return str(config.get("precision", "float32"))


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    """A configuration as lines: dotted names, values as a person writes them; equal devices are counted.

    Example:
        >>> flat({"net": {"name": "lenet", "options": {"filters": [32, 64]}}, "devices": [{"kind": "cpu"}] * 2})
        {'net.name': 'lenet', 'net.options.filters': '32, 64', 'devices': '2 of kind cpu'}
    """
    lines: dict[str, str] = {}
    for name, value in config.items():
        if name == "devices" and isinstance(value, list):
            lines[name] = _devices(value)
        elif isinstance(value, dict):
            lines |= {f"{name}.{part}": shown for part, shown in flat(value).items()}
        elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
            lines |= flat({f"{name}[{number}]": part for number, part in enumerate(value)})
        else:
            lines[name] = ", ".join(map(_shown, value)) if isinstance(value, list) else _shown(value)
    return lines


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str | None]]:
    """The lines in which configurations differ, but for status, classes, and options that only some of the nets have.

    None is of a line that a configuration does not have.

    Example:
        >>> differences([{"seed": 0, "epochs": 5}, {"seed": 1, "epochs": 5}, {"epochs": 5}])
        {'seed': ['0', '1', None]}
    """
    all_lines = [flat({**config, "precision": precision(config)}) for config in configs]
    names = dict.fromkeys(name for lines in all_lines for name in lines if name not in _NO_SETTING)
    values = {name: [lines.get(name) for lines in all_lines] for name in names}
    one_net = len(set(values.get("net.name", ()))) < 2
    return {
        name: of_runs
        for name, of_runs in values.items()
        if len(set(of_runs)) > 1 and (one_net or None not in of_runs or not name.startswith("net.options."))
    }


def names(folders: Sequence[Path]) -> list[str]:
    """What to call each run: its folder's name, or where two share it the whole path as given; readable in any case.

    Raises:
        RunError: none is given, or one twice.

    Example:
        >>> names([Path("runs/a"), Path("runs/b")]), names([Path("old/a"), Path("new/a")])
        (['a', 'b'], ['old/a', 'new/a'])
    """
    if not folders:
        raise runs.RunError("a report is of at least one run's folder, got none")
    places = [folder.resolve() for folder in folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise runs.RunError(f"{folders[number]} is given twice")
    found = [place.name or str(place) for place in places]
    chosen = [str(folder) if found.count(name) > 1 else name for folder, name in zip(folders, found, strict=True)]
    return [os.fsencode(name).decode("utf-8", "replace") for name in chosen]


def _check_config(path: Path, config: runs.Config) -> None:
    runs.require(path, config, _CONFIG)
    for name in ("train_images", "test_images"):
        if config["data"][name] < 1:
            raise runs.RunError(f"{path} is damaged: data.{name} is {config['data'][name]}")


def _read_metrics(folder: Path, status: str) -> list[runs.Metrics]:
    path = folder / runs.METRICS
    if not path.exists() and status in _YOUNG:
        return []
    lines = runs.read_metrics(folder)
    if not lines:
        raise runs.RunError(f"{path} is empty: a run writes it with a line per epoch")
    return lines


def _devices(devices: Sequence[Any]) -> str:
    kinds = Counter(str(device.get("kind", "unknown") if isinstance(device, dict) else device) for device in devices)
    return ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
