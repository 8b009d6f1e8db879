"""MNIST and Fashion-MNIST: found where TensorFlow Datasets keeps them, or prepared there, and read once."""

import os
import warnings
from pathlib import Path

import numpy as np

from jaxcnn.data import _arrays, _originals, _prepare, _prepared
from jaxcnn.data._dataset import DIGITS, DataError, Dataset, Split, expanded, one_line
from jaxcnn.data._stream import Streamed

VERSION = "3.0.1"  # of both sets
CLASSES = {
    "mnist": DIGITS,
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
NAMES = tuple(CLASSES)
FINGERPRINTS = {  # of train and test
    "mnist": (8_505_836_182, 1_441_434_027),
    "fashion_mnist": (18_643_160_444, 3_113_926_560),
}


def load(name: str, source: Path | None, download: bool) -> Dataset:
    """The cached arrays, or else the prepared set, which is prepared first where there is none."""
    cache = _data_dir() / name / f"jaxcnn-{VERSION}.npz"
    cached = _read_cache(cache, CLASSES[name])
    if cached is not None:
        return cached
    train, test = _read_prepared(name, _prepared_folder(name, source, download))
    dataset = Dataset(train, test, CLASSES[name])
    _write_cache(cache, dataset)
    return dataset


def stream(name: str, source: Path | None, download: bool) -> Streamed:
    """The training part of the prepared set left where it is, and the test part in memory."""
    folder = _prepared_folder(name, source, download)
    try:
        return Streamed(_prepared.RecordSource(folder, "train"), _prepared.read_test(folder), CLASSES[name])
    except (DataError, ImportError):
        raise
    except Exception as error:
        raise _prepared.unreadable(folder, error) from error


def _data_dir() -> Path:
    return expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def _prepared_folder(name: str, source: Path | None, download: bool) -> Path:
    """Where the prepared set is, after it is prepared if it has to be."""
    folder = _data_dir() / name / VERSION
    if not (folder / "dataset_info.json").is_file():
        _prepare_set(name, _data_dir(), source, download)
    return folder


def _prepare_set(name: str, data_dir: Path, source: Path | None, download: bool) -> None:
    if source is None and not download:
        raise DataError(
            f"{name}: nothing is prepared in {data_dir / name / VERSION}: use download=True, or "
            "source=FOLDER with the four original files, or set TFDS_DATA_DIR to where it is prepared"
        )
    originals = None if source is None else _originals.find(name, source)
    try:
        _prepare.prepare(name, data_dir, originals)
    except (DataError, ImportError):
        raise
    except Exception as error:  # checksum, network, disk: each of its parts raises its own
        raise DataError(f"{name}: not prepared in {data_dir}: {one_line(error)}") from error


def _read_prepared(name: str, folder: Path) -> tuple[Split, Split]:
    try:
        splits = _prepared.read(folder)
    except ImportError:
        raise
    except Exception as error:  # a damaged file makes its reader raise almost anything
        raise _prepared.unreadable(folder, error) from error
    found, expected = tuple(fingerprint(split) for split in splits), FINGERPRINTS[name]
    if found != expected:
        raise DataError(
            f"{name}: {folder} holds other images or labels ({found}, expected {expected}): delete "
            "that folder and prepare it again"
        )
    return splits


def fingerprint(split: Split) -> int:
    """The sum of all pixels, each times one more than its image's label: the same in any order."""
    brightness = split.images.sum(axis=(1, 2, 3), dtype=np.int64)
    return int(brightness @ (1 + split.labels.astype(np.int64)))


def _read_cache(cache: Path, classes: tuple[str, ...]) -> Dataset | None:
    try:
        with cache.open("rb") as file:
            return _arrays.read(file, classes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # damaged, most likely
        warnings.warn(f"{cache} cannot be read ({one_line(error)}): it is made again", stacklevel=4)
        return None


def _write_cache(cache: Path, dataset: Dataset) -> None:
    try:
        _arrays.write(cache, dataset)
    except OSError as error:
        warnings.warn(f"{cache} cannot be written ({one_line(error)}): loading stays slow", stacklevel=4)
