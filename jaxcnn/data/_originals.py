"""The four files that MNIST and Fashion-MNIST are published as, under the same names."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxcnn.data._dataset import DataError

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
COUNTS = {"train": 60_000, "test": 10_000}
CONTENTS = {  # the SHA-256 of each file unpacked
    "mnist": {
        "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}


def find(name: str, source: Path) -> dict[str, Path]:
    """Where each of the four is, by its own name: in `source/name` if that is there, else in `source`.

    Packed or not, in subfolders too, in any case, and with a point where the first name has a hyphen.
    """
    folder = source / name if (source / name).is_dir() else source
    files = [path for pattern in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(pattern)) if path.is_file()]
    spelled: dict[str, Path] = {}
    for path in files:
        spelled.setdefault(_spelling(path.name), path)
    names = [file for pair in FILES.values() for file in pair]
    missing = [file for file in names if _spelling(file) not in spelled]
    if missing:
        raise DataError(
            f"{name}: {folder} lacks {', '.join(missing)}: put the original files there, or use download=True"
        )
    return {file: spelled[_spelling(file)] for file in names}


def check(name: str, paths: Mapping[str, Path]) -> None:
    """Raises DataError unless each file, unpacked, is byte for byte the one that its name says."""
    known = {digest: (of, file) for of, files in CONTENTS.items() for file, digest in files.items()}
    for file, path in paths.items():
        try:
            found = hashlib.sha256(_unpacked(path)).hexdigest()
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{name}: {path} has the wrong checksum, it cannot be unpacked ({error}): fetch it again"
            ) from error
        if found != CONTENTS[name][file]:
            what = (
                "it is {1} of {0}".format(*known[found]) if found in known else f"sha256 {found[:12]} of what it holds"
            )
            raise DataError(f"{name}: {path} has the wrong checksum, {what}: give {file} of {name}, or download=True")


def _spelling(file: str) -> str:
    return file.lower().removesuffix(".gz").replace(".", "-")


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def examples(images: Path, labels: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Each image, uint8 `[28, 28]`, with its label, in the original order."""
    pixels = np.frombuffer(_unpacked(images), np.uint8, offset=16).reshape(-1, 28, 28)
    classes = np.frombuffer(_unpacked(labels), np.uint8, offset=8)
    return zip(pixels, classes.tolist(), strict=True)
