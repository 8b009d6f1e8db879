"""A set of one's own in MNIST's format: two files of images and two of labels, whatever they hold.

An idx file is two zero bytes, a byte for the type (8: uint8), one for the number of axes, each axis' length as four
bytes, the most significant first, and the values.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxcnn.data._dataset import DataError, Dataset, Split

NAME = "idx"
PARTS = {"train": ("train",), "test": ("t10k", "test", "val")}


def load(folder: Path) -> Dataset:
    """The set whose four files are in a folder or its subfolders; its classes are called by their numbers."""
    if not folder.is_dir():
        raise DataError(f"idx: there is no folder {folder}: source must have the four files")
    train, test = (_split(folder, part) for part in PARTS)
    if train.images.shape[1:] != test.images.shape[1:]:
        shapes = " and ".join("x".join(map(str, split.images.shape[1:3])) for split in (train, test))
        raise DataError(f"idx: the images to train on and to test on must be of one size, got {shapes} in {folder}")
    classes = 1 + max(int(split.labels.max()) for split in (train, test))
    return Dataset(train, test, tuple(map(str, range(classes))))


def _split(folder: Path, part: str) -> Split:
    paths = [_file(folder, part, what) for what in ("images", "labels")]
    images, labels = (_values(path, axes) for path, axes in zip(paths, (3, 1), strict=True))
    if len(images) != len(labels):
        raise DataError(f"idx: {paths[0]} has {len(images):,} images and {paths[1]} {len(labels):,} labels")
    if not images.size:
        raise DataError(f"idx: {paths[0]} has no images")
    return Split(images[:, :, :, None], labels.astype(np.int32))


def _file(folder: Path, part: str, what: str) -> Path:
    """The one file whose name has a word for the part and one for what it holds."""
    files = [path for pattern in ("*", "*/*") for path in sorted(folder.glob(pattern)) if path.is_file()]
    found = [path for path in files if what in path.name.lower() and any(w in path.name.lower() for w in PARTS[part])]
    if len(found) != 1:
        words, which = " or ".join(PARTS[part]), ", ".join(path.name for path in found) or "none"
        raise DataError(f"idx: {folder} must have one file named with {words} and {what}, got {which}")
    return found[0]


def _values(path: Path, axes: int) -> np.ndarray:
    """What an idx file of bytes with so many axes holds."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"idx: {path} cannot be read ({error})") from error
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"idx: {path} is no idx file: it must begin with two zero bytes, got {content[:4]!r}")
    if content[2] != 8:
        raise DataError(f"idx: {path} must hold bytes (type 8), got type {content[2]}")
    if content[3] != axes:
        expected = {1: "labels (1 axis)", 3: "grey images (3 axes)"}
        got = expected.get(content[3], f"{content[3]} axes")
        raise DataError(f"idx: {path} must hold {expected[axes]}, got {got}: are the files swapped?")
    begin = 4 + 4 * axes
    lengths = struct.unpack(f">{axes}I", content[4:begin].ljust(4 * axes, b"\0"))
    if len(content) - begin != np.prod(lengths, dtype=object):
        size = "x".join(map(str, lengths))
        raise DataError(f"idx: {path} says that it holds {size} values, and has {max(0, len(content) - begin):,}")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(lengths)
