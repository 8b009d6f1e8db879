"""A data set as one npz file, whose checksums notice any damage."""

from pathlib import Path
from typing import IO

import numpy as np

from jaxcnn import _whole
from jaxcnn.data._dataset import Dataset, Split


def read(file: IO[bytes], classes: tuple[str, ...]) -> Dataset:
    with np.load(file, allow_pickle=False) as arrays:
        train = Split(arrays["train_images"], arrays["train_labels"])
        test = Split(arrays["test_images"], arrays["test_labels"])
    return Dataset(train, test, classes)


def write(path: Path, dataset: Dataset) -> None:
    """Writes it, uncompressed, all or nothing: a reader never sees half a file."""
    arrays = {
        f"{part}_{what}": array
        for part, split in (("train", dataset.train), ("test", dataset.test))
        for what, array in split._asdict().items()
    }
    _whole.write(path, lambda file: np.savez(file, **arrays))
