"""What a data set is, and what goes wrong with one."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxcnn import JaxcnnError


class DataError(JaxcnnError, RuntimeError):
    """A data set is missing, damaged or out of reach; the message says in one line what to do."""


class Split(NamedTuple):
    """Images, uint8 `[N, H, W, C]`, and their labels, int32 `[N]`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]

    def __repr__(self) -> str:
        return f"Split({len(self.images):,} images of {'x'.join(map(str, np.shape(self.images)[1:]))})"


class Dataset(NamedTuple):
    """What to train on, what is held out, and the names of the classes: a label is an index into them."""

    train: Split
    test: Split
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Dataset(train={self.train!r}, test={self.test!r}, {len(self.classes)} classes)"


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ~ as the home folder; a DataError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{os.fspath(path)}: whose home folder ~ is, is not known: write the path out") from error


DIGITS = tuple("0123456789")


def one_line(error: Exception) -> str:
    """An error's kind and text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
