"""The files of a run's folder: written whole, and read with no trust in what they hold."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn import _whole
from jaxcnn._names import nearest
from jaxcnn.runs._network import Params

FORMAT = 1
CONFIG, METRICS, PARAMETERS = "config.json", "metrics.jsonl", "parameters.npz"
CHECKPOINTS = "checkpoints"
MAX_CONFIG_BYTES, MAX_METRICS_BYTES = 2**20, 2**26  # two kB and 200 bytes per epoch are usual
_NUMBERS = ("epoch", "step", "loss", "accuracy", "images_per_second", "seconds")  # of each epoch
_OPTIONAL_NUMBERS = ("test_loss", "test_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
Config = dict[str, Any]
Metrics = dict[str, Any]


class RunError(jaxcnn.JaxcnnError, RuntimeError):
    """A run's folder cannot be used; the message says why in one line."""


def write_config(folder: Path, config: Config) -> None:
    """Write config.json, or replace it."""
    text = json.dumps(config, indent=2) + "\n"
    write_whole(folder / CONFIG, text.encode())


def write_metrics(folder: Path, lines: Iterable[Metrics]) -> None:
    """Write metrics.jsonl, or replace it."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_whole(folder / METRICS, text.encode())


def write_parameters(folder: Path, params: Params, net_state: Any = ()) -> None:
    """Write parameters.npz, or replace it: pytrees of dicts with string keys, their leaves arrays."""
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _by_name(params, net_state).items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_whole(folder / PARAMETERS, file.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside `path`, then move it there.

    Raises:
        RunError: it cannot be written, as on a full disk.
    """
    try:
        _whole.write(path, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error


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


def read_parameters(source: Path, like: Params, net_state: Any = ()) -> tuple[Params, Any]:
    """Read a run's parameters.npz, or such a file: the parameters and the network's state.

    Args:
        source: the run's folder, or the file.
        like: parameters, and
        net_state: a state, of the structure, shapes and dtypes to expect.

    Raises:
        RunError: it is missing or damaged, or holds other names, shapes or dtypes, or numbers that are not finite.
    """
    path = source / PARAMETERS if source.is_dir() else source
    _refuse_what_is_no_file(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            arrays = _read_arrays(path, archive, _by_name(like, net_state))
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error})") from error
    except RunError:
        raise
    except Exception as error:  # a damaged archive makes its readers raise almost anything
        raise RunError(f"{path} is damaged: {one_line(error)}") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise RunError(f"{path}: {name} holds numbers that are not finite: train it anew, at a lower learning rate")
    return jax.tree.unflatten(jax.tree.structure((like, net_state)), [jnp.asarray(array) for array in arrays.values()])


def require(path: Path, config: Config, kinds: Mapping[str, tuple[type, ...]]) -> None:
    """Raise `RunError` unless `config`, of the file `path`, has each of these names, dotted, and of one of these types.

    Example:
        >>> require(Path("config.json"), {"net": {"name": 3}}, {"net.name": (str,)})
        Traceback (most recent call last):
        jaxcnn.runs._files.RunError: config.json is damaged: net.name is 3, not of type str
        >>> require(Path("config.json"), {"epocs": 3}, {"epochs": (int,)})
        Traceback (most recent call last):
        jaxcnn.runs._files.RunError: config.json is damaged: epochs is None, not of type int: is 'epocs' meant?
    """
    for name, types in kinds.items():
        value: Any = config
        meant = None
        for part in name.split("."):
            within = value if isinstance(value, dict) else {}
            meant = None if part in within else meant or nearest(part, within)
            value = within.get(part)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            hint = f": is {meant!r} meant?" if meant else ""
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in types)
            raise RunError(f"{path} is damaged: {name} is {value!r:.60}, not of type {expected}{hint}")


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


def _by_name(params: Params, net_state: Any) -> dict[str, Any]:
    """The leaves, each under its path, those of the state after "net_state/"."""
    trees = params, {"net_state": net_state}
    leaves = [leaf for tree in trees for leaf in jax.tree_util.tree_leaves_with_path(tree)]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
