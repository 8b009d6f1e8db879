"""Sets of one's own in MNIST's format: trained on, and refused in one line where they are not what they say."""

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxcnn import cli, data, runs
from jaxcnn.data import DataError
from tests.command import run

LENGTH = ("--epochs", "2", "--batch-size", "10")
RNG = np.random.default_rng(0)


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def written(folder: Path, size: tuple[int, int] = (20, 24), classes: int = 3) -> Path:
    """Images whose class is the third of the rows that is bright, in files of several spellings."""
    (folder / "held-out").mkdir(parents=True)
    names = {"train": ("Train-Images.idx3-ubyte", "train-labels-idx1-ubyte.gz"), "test": ("test_images", "test_labels")}
    for part, count in (("train", 120), ("test", 30)):
        labels = RNG.integers(0, classes, count).astype(np.uint8)
        labels[0] = classes - 1
        images = RNG.integers(0, 60, (count, *size)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[label * size[0] // classes : (label + 1) * size[0] // classes] += 190
        for name, values in zip(names[part], (images, labels), strict=True):
            path = folder / name if part == "train" else folder / "held-out" / name
            path.write_bytes(gzip.compress(idx(values)) if name.endswith(".gz") else idx(values))
    return folder


def test_a_set_of_ones_own_is_read(tmp_path: Path) -> None:
    train, test, classes = data.load("idx", source=written(tmp_path / "own"))
    assert train.images.shape == (120, 20, 24, 1) and test.images.shape == (30, 20, 24, 1)
    assert train.images.dtype == np.uint8 and train.labels.dtype == np.int32 and classes == ("0", "1", "2")
    streamed = data.stream("idx", source=tmp_path / "own")
    np.testing.assert_array_equal(streamed.train.read(np.array([3])).images, train.images[3:4])


@pytest.mark.long
def test_it_is_trained_on_and_gone_on_with_and_reported(tmp_path: Path) -> None:
    own = written(tmp_path / "own")
    out = tmp_path / "run"
    run(
        "train",
        "--net",
        "lenet",
        "--data",
        "idx",
        "--source",
        own,
        "--epochs",
        "2",
        "--batch-size",
        "10",
        "--out",
        out,
        cwd=tmp_path,
    )
    config = runs.read_config(out)
    assert config["source"] == str(own) and config["net"]["options"]["image_shape"] == [20, 24, 1]
    assert config["net"]["options"]["classes"] == 3
    run("train", "--resume", out, "--epochs", "4", cwd=tmp_path)
    assert runs.read_metrics(out)[-1]["test_accuracy"] > 0.9
    run("report", out, "--out", tmp_path / "page.html", cwd=tmp_path)
    assert "are not prepared" not in (tmp_path / "page.html").read_text()


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "swapped": (
        lambda own: (own / "test_images").write_bytes(idx(np.zeros(5, np.uint8))),
        "must hold grey images .3 axes., got labels .1 axis.: are the files swapped",
    ),
    "unequal": (
        lambda own: (own / "test_labels").write_bytes(idx(np.zeros(7, np.uint8))),
        "has 30 images and .* 7 labels",
    ),
    "text": (lambda own: (own / "test_labels").write_bytes(b"0 1 2 3"), "is no idx file"),
    "short": (
        lambda own: (own / "test_images").write_bytes(idx(np.zeros((9, 20, 24), np.uint8))[:-1]),
        "says that it holds 9x20x24 values, and has 4,319",
    ),
    "no header": (lambda own: (own / "test_images").write_bytes(b"\0\0\x08\x03\0\0"), "says that it holds"),
    "floats": (lambda own: (own / "test_images").write_bytes(b"\0\0\x0d\x03" + bytes(12)), "must hold bytes .type 8."),
    "packed badly": (lambda own: (own / "test_images").write_bytes(b"\x1f\x8bxx"), "cannot be read"),
    "another size": (
        lambda own: (own / "test_images").write_bytes(idx(np.zeros((30, 8, 8), np.uint8))),
        "of one size, got 20x24 and 8x8",
    ),
    "none": (
        lambda own: (own / "test_images").unlink(),
        "one file named with t10k or test or val and images",
    ),
    "two": (lambda own: (own / "t10k-images").write_bytes(b""), "got t10k-images, test_images"),
    "empty": (
        lambda own: (
            (own / "test_images").write_bytes(idx(np.zeros((0, 20, 24), np.uint8))),
            (own / "test_labels").write_bytes(idx(np.zeros(0, np.uint8))),
        ),
        "has no images",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_it_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    own = written(tmp_path / "own")
    for path in (own / "held-out").iterdir():
        path.rename(own / path.name)
    spoil, message = BAD[name]
    spoil(own)
    with pytest.raises(DataError, match=message) as error:
        data.load("idx", source=own)
    assert "\n" not in str(error.value)


def test_a_source_is_needed() -> None:
    with pytest.raises(ValueError, match="give source=FOLDER with its four files"):
        data.load("idx")
    with pytest.raises(DataError, match="there is no folder"):
        data.load("idx", source="nowhere")


def test_a_network_that_it_does_not_fit_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["jaxcnn", "train", "--data", "idx", "--source", str(written(tmp_path / "own"))])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.run()
    message = "single_filter takes images of 28x28x1 in 10 classes, got 20x24x1 in 3: give --net lenet"
    assert capsys.readouterr().err == f"jaxcnn: {message}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
