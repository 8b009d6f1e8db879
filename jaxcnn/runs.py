"""A run's folder: what `jaxcnn train` writes, and what the other commands read.

    config.json      what was trained, on what, how, by which versions, and the run's status
    metrics.jsonl    a line an epoch
    parameters.npz   one array a parameter, named by its path in the pytree, joined by "/"
    checkpoints/     what training needs to go on from where it was (jaxcnn.checkpoints)

config.json has `format` (1), `status` ("running", "finished", "interrupted" or "failed"), `net` (`name`, `options`),
`data` (`name`, `train_images`, `test_images`, `classes`), `seed`, `ops`, `optimizer`, `learning_rate`, `epochs`,
`batch_size`, `versions`, `devices`, `processes` and `cores`; since version 0.2 also `schedule`, `warmup_steps`, `clip`
(a name and a limit, or null), `precision`, `validation` (images set aside), `early_stopping` (epochs, or null) and
`stream`.

A line of metrics.jsonl has `epoch`, `step`, `loss` and `accuracy` (means over the epoch's training batches, taken as
the parameters moved), `images_per_second` (without compilation) and `seconds`; `validation_loss` and
`validation_accuracy` where images were set aside. The last line of a finished run adds `test_loss` and `test_accuracy`,
on the held-out part of the data set, and `test_epoch` where training stopped early: the epoch whose parameters were
kept. That of an interrupted run has `"interrupted": true`.

Every file is written beside its place and then moved there, so that whoever reads it finds it whole.
"""

from __future__ import annotations

import difflib
import inspect
import io
import itertools
import json
import os
import platform
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn import nets
from jaxcnn.nets import gap_cnn

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxcnn.train import Report  # optax loads on use

FORMAT = 1
NETS = {"single_filter": nets.single_filter, "gap_cnn": nets.gap_cnn, "lenet": nets.lenet}
CONFIG, METRICS, PARAMETERS = "config.json", "metrics.jsonl", "parameters.npz"
CHECKPOINTS = "checkpoints"
MAX_CONFIG_BYTES, MAX_METRICS_BYTES = 2**20, 2**26  # two kB and 200 bytes an epoch are usual

_NUMBERS = ("epoch", "step", "loss", "accuracy", "images_per_second", "seconds")  # of each epoch
_OPTIONAL_NUMBERS = ("test_loss", "test_accuracy", "validation_loss", "validation_accuracy", "learning_rate")

Config = dict[str, Any]
Metrics = dict[str, Any]
Params = dict[str, Any]


class RunError(RuntimeError):
    """A run's folder cannot be used; the message says why in one line."""


class Network(NamedTuple):
    """A network whose options are fixed: `init(key) -> params`, `apply(params, x, *, ops, intermediates) -> logits`.

    `options` are `init`'s, as JSON has them.
    """

    name: str
    options: dict[str, Any]
    init: Callable[[jax.Array], Params]
    apply: Callable[..., Any]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The images (H, W, C) that it takes; 28x28 where it takes any size.

        Example:
            >>> network("lenet", {"image_shape": (32, 32, 3)}).image_shape, network("gap_cnn").image_shape
            ((32, 32, 3), (28, 28, 1))
        """
        height, width, channels = self.options.get("image_shape", (28, 28, self.options.get("channels", 1)))
        return height, width, channels


class Run(NamedTuple):
    """A run as read from its folder."""

    folder: Path
    config: Config
    network: Network
    params: Params


def network(name: str, options: Mapping[str, Any] | None = None) -> Network:
    """The network `name`, with the options that its `init` takes; those not given are written out as they default.

    Raises:
        ValueError: an unknown name or option.

    Example:
        >>> network("lenet", {"hidden": 64}).options
        {'image_shape': [28, 28, 1], 'filters': [32, 64], 'kernel': 3, 'hidden': 64, 'classes': 10}
    """
    if name not in NETS:
        raise ValueError(unknown("net", name, NETS))
    net = NETS[name]
    chosen = _keyword_options(net.init)
    for option, value in (options or {}).items():
        if option not in chosen:
            raise ValueError(unknown(f"option of {name}", option, chosen))
        chosen[option] = _from_json(value)
    for_apply = {option: value for option, value in chosen.items() if option in _keyword_options(net.apply)}
    return Network(name, _to_json(chosen), partial(net.init, **chosen), partial(net.apply, **for_apply))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line that refuses a name, with the nearest known one.

    Example:
        >>> unknown("net", "le-net", ["single_filter", "lenet"])
        "unknown net 'le-net', expected one of single_filter, lenet: did you mean 'lenet'?"
    """
    known = list(known)
    nearest = difflib.get_close_matches(str(name).lower().replace("-", "_"), known, n=1)
    hint = f": did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown {kind} {name!r}, expected one of {', '.join(known)}{hint}"


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


def surroundings(mesh: Mesh | None = None) -> Config:
    """The part of config.json that tells where a run was made: results agree to the bit only where all of it does.

    `mesh` is of the devices that a run uses; without one it uses the first.

    Example:
        >>> sorted(surroundings())
        ['cores', 'devices', 'processes', 'versions']
    """
    versions = {package: metadata.version(package) for package in ("jax", "jaxlib", "numpy", "optax")}
    devices = jax.devices()[:1] if mesh is None else list(mesh.devices.flat)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "versions": {"jaxcnn": jaxcnn.__version__, **versions, "python": platform.python_version()},
        "devices": [{"platform": device.platform, "kind": device.device_kind} for device in devices],
        "processes": jax.process_count(),
        "cores": cores,
    }


def held_out(data: str) -> str:
    """What to call the held-out part of a data set: "test" only where the set itself has a test part.

    Example:
        >>> held_out("mnist"), held_out("mnist-10k")
        ('test', 'held-out')
    """
    return "held-out" if data == "mnist-10k" else "test"


class Recorder:
    """Keeps a run's folder up to date while `jaxcnn.train.fit` goes on.

    `config` is the run's config.json, `metrics` the lines of its metrics.jsonl so far.
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
        self._writes = writes
        self._epoch_began = time.perf_counter() - seconds
        self._segments: list[tuple[int, float]] = []  # images and seconds of each in this epoch
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
        if report.ends_epoch:
            self._write(report, validated or {})
            self._epoch_began, self._segments = time.perf_counter(), []

    def stop_at(self, report: Report) -> None:
        """Write what there is in the midst of an epoch, marked as interrupted."""
        if not report.ends_epoch:
            self._write(report, {})
        self.metrics[-1]["interrupted"] = True
        self._write_metrics()

    def add_test(self, tested: Mapping[str, float], *, params: Params | None = None, **more: Any) -> None:
        """Add the held-out part's `loss` and `accuracy` to the last line, and `more`.

        `params` are what it ends with, if not those of the last epoch.
        """
        self.metrics[-1] |= {f"test_{name}": value for name, value in tested.items()} | more
        self._write_metrics()
        if self._writes and params is not None:
            write_parameters(self.folder, params)

    def end_as(self, status: str) -> None:
        """Note how the run ended; of one that failed before it had anything to keep, the folder goes too."""
        if status == "failed" and not self.metrics and self._writes:
            (self.folder / CONFIG).unlink()
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)  # empty but for what was cut short
            self.folder.rmdir()
            return
        self.config["status"] = status
        self._write_config()

    def kept(self) -> str:
        """The names of the files in the folder, for a person."""
        return ", ".join(sorted(path.name for path in self.folder.iterdir())) if self.folder.is_dir() else ""

    def _write(self, report: Report, validated: Mapping[str, float]) -> None:
        steady = self._segments[1:] if not self.metrics and len(self._segments) > 1 else self._segments
        images, seconds = (sum(part) for part in zip(*steady, strict=True))
        self.metrics.append(
            {
                "epoch": report.epoch,
                "step": report.step,
                "loss": report.loss,
                "accuracy": report.accuracy,
                **{f"validation_{name}": value for name, value in validated.items()},
                "images_per_second": images / seconds,
                "seconds": self.seconds,
            }
        )
        self._write_metrics()
        if self._writes:
            write_parameters(self.folder, report.state.params)

    def _write_config(self) -> None:
        if self._writes:
            write_config(self.folder, self.config)

    def _write_metrics(self) -> None:
        if self._writes:
            write_metrics(self.folder, self.metrics)


def write_config(folder: Path, config: Config) -> None:
    """Write config.json, or replace it."""
    text = json.dumps(config, indent=2) + "\n"
    write_whole(folder / CONFIG, text.encode())


def write_metrics(folder: Path, lines: Iterable[Metrics]) -> None:
    """Write metrics.jsonl, or replace it."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_whole(folder / METRICS, text.encode())


def write_parameters(folder: Path, params: Params) -> None:
    """Write parameters.npz, or replace it: a pytree of dicts with string keys, its leaves arrays."""
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _by_name(params).items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_whole(folder / PARAMETERS, file.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside `path`, then move it there.

    Raises:
        RunError: it cannot be written, as on a full disk.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


def read(folder: Path) -> Run:
    """Read a run.

    Raises:
        RunError: it is no run's folder, a file is damaged or missing, its format is newer, or the parameters are not
            those of its network, or not finite.
    """
    config = read_config(folder)
    path = folder / CONFIG
    require(path, config, {"net.name": (str,), "net.options": (dict,)})
    try:
        net = network(config["net"]["name"], config["net"]["options"])
        params = jax.eval_shape(net.init, jax.random.key(0))
        logits = jax.eval_shape(net.apply, params, jax.ShapeDtypeStruct((1, *net.image_shape), "float32"))
    except Exception as error:  # options of the wrong kind make each layer raise its own
        raise RunError(f"{path} names no network known here: {one_line(error)}") from error
    require(path, config, {"data.name": (str,), "data.classes": (list,)})
    classes = config["data"]["classes"]
    if len(classes) != logits.shape[-1] or not all(isinstance(name, str) and name.isprintable() for name in classes):
        raise RunError(f"{path} is damaged: data.classes is {classes!r:.60}, not {logits.shape[-1]} names")
    return Run(folder, config, net, read_parameters(folder, like=params))


def require(path: Path, config: Config, kinds: Mapping[str, tuple[type, ...]]) -> None:
    """Raise `RunError` unless `config`, of the file `path`, has each of these names, dotted, and of one of these types.

    Example:
        >>> require(Path("config.json"), {"net": {"name": 3}}, {"net.name": (str,)})
        Traceback (most recent call last):
        jaxcnn.runs.RunError: config.json is damaged: net.name is 3, not of type str
    """
    for name, types in kinds.items():
        value: Any = config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in types)
            raise RunError(f"{path} is damaged: {name} is {value!r:.60}, not of type {expected}")


def read_config(folder: Path) -> Config:
    """Read config.json.

    Raises:
        RunError: it is missing, damaged, or of a newer format.
    """
    path = folder / CONFIG
    try:
        text = _read_whole(path, MAX_CONFIG_BYTES)
    except OSError as error:
        raise RunError(f"{folder} is no run's folder: {CONFIG} cannot be read ({error.strerror})") from error
    config = _from_text(path, text)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise RunError(f"{path} is not of format {FORMAT}, the one that jaxcnn {jaxcnn.__version__} reads")
    return config


def read_metrics(folder: Path) -> list[Metrics]:
    """Read metrics.jsonl.

    Raises:
        RunError: it is missing or damaged, or a line lacks a number that each epoch has.
    """
    path = folder / METRICS
    try:
        lines = [_from_text(path, line) for line in _read_whole(path, MAX_METRICS_BYTES).splitlines()]
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict):
            raise RunError(f"{path} is damaged: line {number} is no object")
        for name in (*_NUMBERS, *(name for name in _OPTIONAL_NUMBERS if name in line)):
            if not _can_be(name, line.get(name)):
                raise RunError(f"{path} is damaged: in line {number}, {name} is {line.get(name)!r:.60}")
    return lines


def read_parameters(folder: Path, like: Params) -> Params:
    """Read parameters.npz into the pytree of `like`, whose leaves have the shapes and dtypes to expect.

    Raises:
        RunError: it is missing or damaged, or holds other names, shapes or dtypes, or numbers that are not finite.
    """
    path = folder / PARAMETERS
    _refuse_what_is_no_file(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            arrays = _read_arrays(path, archive, _by_name(like))
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error})") from error
    except RunError:
        raise
    except Exception as error:  # a damaged archive makes its readers raise almost anything
        raise RunError(f"{path} is damaged: {one_line(error)}") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise RunError(f"{path}: {name} holds numbers that are not finite: train it anew, at a lower learning rate")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(array) for array in arrays.values()])


def one_line(error: Exception) -> str:
    """What an error of another library says, in its first line, its type where it says nothing.

    Example:
        >>> one_line(ValueError("bad\\nand more")), one_line(EOFError())
        ('bad', 'EOFError')
    """
    lines = str(error).strip().splitlines()
    return f"{lines[0]:.300}" if lines else type(error).__name__


def _read_arrays(path: Path, archive: zipfile.ZipFile, expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays, if they are those expected: no more is read than those take, whatever the archive declares."""
    found = {name.removesuffix(".npy") for name in archive.namelist()}
    if found != set(expected):
        names = [", ".join(f"{name!r}"[1:-1] for name in sorted(group)) for group in (found, expected)]
        raise RunError(f"{path} holds {names[0] or 'nothing':.200}; the network has {names[1]}")
    arrays = {}
    for name, leaf in expected.items():
        with archive.open(f"{name}.npy") as file:
            major = np.lib.format.read_magic(file)[0]
            header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
        if (shape, dtype) != (leaf.shape, leaf.dtype):
            raise RunError(f"{path}: {name} is {dtype}{shape}, the network's is {leaf.dtype}{leaf.shape}")
        with archive.open(f"{name}.npy") as file:
            arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays


def _read_whole(path: Path, most: int) -> str:
    """A file of text, of so many bytes at most."""
    _refuse_what_is_no_file(path)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise RunError(f"{path} is larger than {most >> 20} MiB, the most that is read")
    try:
        return content.decode()
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error


def _refuse_what_is_no_file(path: Path) -> None:
    """A pipe would be waited for, and a device never ends."""
    if path.exists() and not path.is_file():
        raise RunError(f"{path} is no file")


def _from_text(path: Path, text: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair can be read, and never written
    except RecursionError as error:
        raise RunError(f"{path} is damaged: it is nested too deeply") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {one_line(error)}") from error
    return value


def _can_be(name: str, value: Any) -> bool:
    """Whether a line of metrics.jsonl may have this: counts from 0, shares from 0 to 1, any number for the rest."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if name in ("epoch", "step"):
        return isinstance(value, int) and 0 <= value < 2**63
    if name.endswith("accuracy"):
        return 0 <= value <= 1
    return isinstance(value, float) or abs(value) < 2**63


def _by_name(params: Params) -> dict[str, Any]:
    """The leaves, each under its path."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _keyword_options(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {option.name: option.default for option in parameters if option.kind is option.KEYWORD_ONLY}


def _to_json(value: Any) -> Any:
    if isinstance(value, gap_cnn.Block):
        return _to_json(value._asdict())
    if isinstance(value, dict):
        return {key: _to_json(part) for key, part in value.items()}
    return [_to_json(part) for part in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return gap_cnn.Block(**{key: _from_json(part) for key, part in value.items()})
    return tuple(_from_json(part) for part in value) if isinstance(value, list) else value
