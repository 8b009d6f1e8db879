"""The four files that MNIST and Fashion-MNIST are published as, under the same names."""

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data._dataset import DataError

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
COUNTS = {"train": 60_000, "test": 10_000}


def find(name: str, source: Path) -> Path:
    """The folder that has all four: `source/name` if it is there, else `source`."""
    folder = source / name if (source / name).is_dir() else source
    names = [file for pair in FILES.values() for file in pair]
    missing = [file for file in names if not (folder / file).is_file()]
    if missing:
        raise DataError(
            f"{name}: {folder} lacks {', '.join(missing)}: put the original files there, or use download=True"
        )
    return folder


def check(name: str, folder: Path, url_infos: Mapping[str, Any]) -> None:
    """Raises DataError unless each file is, byte for byte, what TensorFlow Datasets expects of its URL."""
    for url, expected in url_infos.items():
        path = folder / expected.filename
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected.checksum:
            raise DataError(
                f"{name}: {path} has the wrong checksum ({path.stat().st_size} bytes, sha256 {found[:12]}, "
                f"not {int(expected.size)} bytes, {expected.checksum[:12]}): fetch {url} again"
            )


def examples(images: Path, labels: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Each image, uint8 `[28, 28]`, with its label, in the original order."""
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    classes = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)
    return zip(pixels, classes.tolist(), strict=True)
