"""What a data set is, and what goes wrong with one."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class DataError(RuntimeError):
    """A data set is missing, damaged or out of reach; the message says in one line what to do."""


class Split(NamedTuple):
    """Images, uint8 `[N, H, W, C]`, and their labels, int32 `[N]`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]


class Dataset(NamedTuple):
    """What to train on, what is held out, and the names of the classes: a label is an index into them."""

    train: Split
    test: Split
    classes: tuple[str, ...]


DIGITS = tuple("0123456789")
