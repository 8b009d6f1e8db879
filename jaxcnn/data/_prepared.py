"""Reads, without TensorFlow, what TensorFlow Datasets prepared, be it with TensorFlow or by this package."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data._dataset import DataError, Split, one_line
from jaxcnn.data._progress import track

TOGETHER = 1000  # records that are decoded at a time where all are


def read(folder: Path) -> tuple[Split, Split]:
    """The train and the test split, in the order of the records."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return _split(builder, "train"), _split(builder, "test")


class RecordSource:
    """A prepared split as a `Source`: each example is read from its file and decoded when it is asked for."""

    def __init__(self, folder: Path, split: str) -> None:
        """Open `split` of the set in `folder`, prepared as array records."""
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(folder)
        if builder.info.file_format.value != "array_record":
            raise DataError(
                f"{folder} is prepared as {builder.info.file_format.value}, which cannot be read in any order: prepare "
                "it as array_record to stream it, or load it whole"
            )
        self._folder = folder
        self._shape = builder.info.features["image"].shape
        self._records = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, numbers: np.ndarray) -> Split:
        """These examples, decoded.

        Raises:
            DataError: they cannot be read; in the midst of a training too.
        """
        try:
            return _decoded(self._records.__getitems__(numbers.tolist()), self._shape)
        except Exception as error:  # a damaged file makes its reader raise almost anything
            raise unreadable(self._folder, error) from error


def read_test(folder: Path) -> Split:
    """The test split alone."""
    import tensorflow_datasets as tfds

    return _split(tfds.builder_from_directory(folder), "test")


def unreadable(folder: Path, error: Exception) -> DataError:
    """What to say of a prepared set, <name>/<version>, that cannot be read."""
    return DataError(
        f"{folder.parent.name}: {folder} cannot be read ({one_line(error)}): delete that folder and prepare it again"
    )


def _split(builder: Any, split: str) -> Split:
    count = builder.info.splits[split].num_examples
    shape = builder.info.features["image"].shape
    records = iter(track(_records(builder, split), f"reading {builder.info.name}, {split}", count))
    some = iter(lambda: list(itertools.islice(records, TOGETHER)), [])
    images, labels = zip(*(_decoded(of_some, shape) for of_some in some), strict=True)
    return Split(np.concatenate(images), np.concatenate(labels))


def _decoded(records: Sequence[bytes], shape: tuple[int, ...]) -> Split:
    from tensorflow_datasets.proto import tf_example_pb2

    # to decode here takes a third of the time that the builder's own features take
    examples = [tf_example_pb2.Example.FromString(record).features.feature for record in records]
    pngs = [example["image"].bytes_list.value[0] for example in examples]
    labels = [example["label"].int64_list.value[0] for example in examples]
    return Split(_pixels(pngs, *shape[:2])[..., None], np.array(labels, np.int32))


def _pixels(pngs: Sequence[bytes], height: int, width: int) -> np.ndarray:
    """Of grey PNGs (len(pngs), height, width), uint8.

    A picture of 28x28 costs Pillow ten times its arithmetic, so that all are given to it as one, above each other.
    A filter may refer to the row above, which is all 0 for a picture's first: between pictures comes such a row.
    """
    from PIL import Image

    rows = b"".join(bytes(width + 1) + _filtered(png, height, width) for png in pngs)
    tall = Image.frombytes("L", (width, len(pngs) * (height + 1)), zlib.compress(rows, 0), "zip", "L")
    return np.frombuffer(tall.tobytes(), np.uint8).reshape(len(pngs), height + 1, width)[:, 1:]


def _filtered(png: bytes, height: int, width: int) -> bytes:
    """A PNG's rows as it has them, each after the number of its filter (https://www.w3.org/TR/png/#9Filters).

    Raises:
        ValueError: it is not (height, width) grey pixels of 8 bits, not interlaced, or is damaged.
    """
    if png[:29] != b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 0, 0, 0, 0):
        raise ValueError(f"a picture is no PNG of {height}x{width} grey pixels of 8 bits")
    size = height * (width + 1)
    inflate, rows, at = zlib.decompressobj(), b"", 8
    while at + 8 <= len(png) and len(rows) <= size:
        length, kind = struct.unpack_from(">I4s", png, at)
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            rows += inflate.decompress(png[at + 8 : at + 8 + length], size + 1 - len(rows))  # at most one byte too many
        at += 12 + length
    if not inflate.eof or len(rows) != size:
        raise ValueError(f"a PNG of {height}x{width} pixels is cut short, or holds more than these")
    return rows


def _records(builder: Any, split: str) -> Iterable[bytes]:
    import tensorflow_datasets as tfds

    if builder.info.file_format.value == "tfrecord":
        return _tfrecords(builder.info.splits[split].filepaths)
    source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    return source.__getitems__(range(len(source)))


def _tfrecords(paths: Iterable[Path]) -> Iterator[bytes]:
    """TensorFlow's own format: of each record its length (8 bytes), a checksum (4), it, a checksum (4)."""
    for path in paths:
        with open(path, "rb") as file:
            while length := file.read(8):
                file.seek(4, io.SEEK_CUR)
                yield file.read(int.from_bytes(length, "little"))
                file.seek(4, io.SEEK_CUR)
