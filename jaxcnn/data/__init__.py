"""Data sets as NumPy arrays: one embedded here, two through TensorFlow Datasets, without TensorFlow, and one's own."""

import os
from pathlib import Path

from jaxcnn._names import unknown
from jaxcnn.data import _embedded, _idx, _tfds
from jaxcnn.data._dataset import DataError as DataError
from jaxcnn.data._dataset import Dataset as Dataset
from jaxcnn.data._dataset import Split as Split
from jaxcnn.data._dataset import expanded
from jaxcnn.data._stream import ArraySource as ArraySource
from jaxcnn.data._stream import Source as Source
from jaxcnn.data._stream import Stream as Stream
from jaxcnn.data._stream import Streamed as Streamed

NAMES = (_embedded.NAME, *_tfds.NAMES, _idx.NAME)


def load(
    name: str = _embedded.NAME,
    *,
    source: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Dataset:
    """The data set `name`, one of `NAMES`, whole and in memory.

    - `"mnist-10k"` is part of the package: the first 10,000 training digits of MNIST, ordered by the SHA-256
      of their pixels, 8,000 to train on and 2,000 held out. A score on those 2,000 is *not* a MNIST test
      accuracy.
    - `"mnist"` and `"fashion_mnist"` (60,000 and 10,000) are read from the folder where TensorFlow Datasets
      keeps them, `$TFDS_DATA_DIR` or `~/tensorflow_datasets`, in its order. The first load takes ten seconds
      or more and leaves the arrays beside the prepared set, as `jaxcnn-<version>.npz`; from then on it takes
      0.1 s. `source` and `download` matter only where nothing is prepared yet: they say how to prepare it,
      with TensorFlow Datasets' own URLs and checksums. What is already prepared is used as it is.

    - `"idx"` is a set of your own in MNIST's format: `source` is a folder with four files of uint8, packed or not, of
      which one is named with "train" and "images", one with "train" and "labels", and two with "test", "t10k" or "val".
      Images may have any size, labels count from 0.

    Args:
        name: one of `NAMES`.
        source: a folder with the four original files, packed or not, in subfolders too, by any common spelling, or with
            a folder `<name>` that has them; what they hold is checked.
        download: fetch the four files (12 MB for MNIST, 31 MB for Fashion-MNIST).

    Returns:
        `Dataset(train, test, classes)`: two splits of `images`, uint8 `[N, H, W, 1]`, 28x28 but for `"idx"`, and
        `labels`, int32 `[N]`, and the names of the classes, a tuple of strings that a label indexes.

    Raises:
        ValueError: an unknown name, `source` and `download`, a `source` for `"mnist-10k"`, or none for `"idx"`.
        DataError: nothing is prepared and neither `source` nor `download` is given, an original file is
            missing or has the wrong checksum, the server cannot be reached, or what is prepared cannot be
            read.

    >>> train, test, classes = load("mnist-10k")
    >>> train.images.shape, train.labels.shape, test.images.shape
    ((8000, 28, 28, 1), (8000,), (2000, 28, 28, 1))
    >>> classes
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    folder = _folder_of_originals(name, source, download)
    if name == _idx.NAME and folder is not None:
        return _idx.load(folder)
    return _embedded.load() if name == _embedded.NAME else _tfds.load(name, folder, download)


def stream(
    name: str = _embedded.NAME,
    *,
    source: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> Streamed:
    """The data set `name`, its training part left on the disk: for sets that do not fit a device's memory.

    `Stream(streamed.train, batch_size)` gives `jaxcnn.train.fit_stream` its batches. "mnist" and "fashion_mnist" are
    read example by example from what TensorFlow Datasets prepared, through its `data_source`; "mnist-10k" and "idx" are
    in memory all the same.

    Args:
        name, source, download: as for `load`.

    Returns:
        `Streamed(train, test, classes)`: a `Source`, a split in memory, and the names of the classes.

    Raises:
        ValueError, DataError: as `load`; DataError also where what is prepared cannot be read in any order.

    >>> import numpy as np
    >>> train, test, classes = stream("mnist-10k")
    >>> len(train), train.read(np.array([5, 7])).images.shape
    (8000, (2, 28, 28, 1))
    """
    folder = _folder_of_originals(name, source, download)
    if name in _tfds.NAMES:
        return _tfds.stream(name, folder, download)
    train, test, classes = load(name, source=source)
    return Streamed(ArraySource(train), test, classes)


def _folder_of_originals(name: str, source: str | os.PathLike[str] | None, download: bool) -> Path | None:
    if name not in NAMES:
        raise ValueError(unknown("data set", name, NAMES))
    if source is not None and download:
        raise ValueError(f"{name}: give source={os.fspath(source)!r} or download=True, not both")
    if source is not None and name == _embedded.NAME:
        raise ValueError(f"{name} is part of the package: it takes no source (given {os.fspath(source)!r})")
    if name == _idx.NAME and (source is None or download):
        raise ValueError(f"{name} is a set of your own: give source=FOLDER with its four files")
    return None if source is None else expanded(source)
