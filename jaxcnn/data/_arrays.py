"""A data set as one npz file, whose checksums notice any damage."""

import os
from pathlib import Path
from typing import IO

import numpy as np

from jaxcnn.data._dataset import Dataset, Split


def read(file: IO[bytes], classes: tuple[str, ...]) -> Dataset:
    with np.load(file, allow_pickle=False) as arrays:
        train = Split(arrays["train_images"], arrays["train_labels"])
        test = Split(arrays["test_images"], arrays["test_labels"])
    return Dataset(train, test, classes)


def write(path: Path, dataset: Dataset) -> None:
    """Writes it, uncompressed, all or nothing: a reader never sees half a file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.savez(
                file,
                train_images=dataset.train.images,
                train_labels=dataset.train.labels,
                test_images=dataset.test.images,
                test_labels=dataset.test.labels,
            )
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
