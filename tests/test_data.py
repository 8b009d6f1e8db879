"""Data sets: the embedded one, and the two that TensorFlow Datasets prepares and this package reads.

The tests that need the original files take them from the folder `$JAXCNN_ORIGINALS`, which holds `mnist/` and
`fashion_mnist/` with four .gz files each, and skip where it is not set. No test needs a network.
"""

import gzip
import hashlib
import http.server
import importlib
import io
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from jaxcnn import data, runs
from jaxcnn.data import _originals, _prepared, _progress, _tfds
from tests import command

FOUR_FILES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]
TFDS_NAMES = ["mnist", "fashion_mnist"]


def line_of(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which is one line."""
    message = str(error.value)
    assert message and "\n" not in message
    return message


def in_new_process(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def first_of(split: data.Split, count: int) -> data.Split:
    return data.Split(split.images[:count], split.labels[:count])


# --- the embedded set


def test_embedded_shapes_types_and_classes() -> None:
    train, test, classes = data.load("mnist-10k")
    assert train.images.shape == (8000, 28, 28, 1) and test.images.shape == (2000, 28, 28, 1)
    assert train.labels.shape == (8000,) and test.labels.shape == (2000,)
    assert train.images.dtype == test.images.dtype == np.uint8
    assert train.labels.dtype == test.labels.dtype == np.int32
    assert classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_embedded_is_the_default_and_takes_download() -> None:
    np.testing.assert_array_equal(data.load().test.images, data.load("mnist-10k", download=True).test.images)


def test_embedded_bytes() -> None:
    folder = resources.files("jaxcnn.data") / "embedded"
    file = hashlib.sha256((folder / "mnist-10k.npz").read_bytes()).hexdigest()
    assert file == "4b86bf41ba5ef5c06c9d861a5e7ce8c104f30f1045936817fc0fbd9314340620"
    train, test, _ = data.load("mnist-10k")
    arrays = hashlib.sha256(b"".join(array.tobytes() for array in (*train, *test))).hexdigest()
    assert arrays == "061bbbd32b39849bcf543b37360a1ea91370e4c07a0abc95fbd0c9f17573f841"
    licence = (folder / "LICENSE").read_text()
    for needed in ("Yann LeCun", "Corinna Cortes", "Burges", "creativecommons.org/licenses/by-sa/3.0", "MIT"):
        assert needed in licence


def test_embedded_digits_are_balanced_distinct_and_in_the_order_of_their_digests() -> None:
    train, test, _ = data.load("mnist-10k")
    assert np.bincount(train.labels).tolist() == [805, 894, 800, 817, 799, 685, 813, 853, 762, 772]
    assert np.bincount(test.labels).tolist() == [196, 233, 191, 215, 181, 178, 201, 217, 182, 206]
    digests = [hashlib.sha256(image.tobytes()).digest() for image in (*train.images, *test.images)]
    assert digests == sorted(set(digests))


def test_embedded_loads_fast() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        data.load("mnist-10k")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.3  # 0.04 where nothing else runs


def test_each_load_gives_its_own_arrays() -> None:
    data.load("mnist-10k").train.images[:] = 0
    assert data.load("mnist-10k").train.images.any()


def test_import_and_embedded_load_leave_the_heavy_packages_alone() -> None:
    code = "import sys; from jaxcnn import data; data.load(); print(*{m.split('.')[0] for m in sys.modules})"
    imported = output_of(in_new_process(code)).split()
    assert not {"tensorflow_datasets", "PIL", "rich", "requests", "array_record"} & set(imported)


# --- what goes wrong before anything is prepared


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for TensorFlow Datasets."""
    folder = tmp_path / "tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return folder


@pytest.mark.parametrize(
    ("name", "meant"),
    [("mnist_10k", "mnist-10k"), ("MNIST", "mnist"), ("fashion-mnist", "fashion_mnist"), ("imagenet", None)],
)
def test_unknown_name(name: str, meant: str | None) -> None:
    with pytest.raises(ValueError) as error:
        data.load(name)
    line = line_of(error)
    assert repr(name) in line and all(known in line for known in data.NAMES)
    assert (f"did you mean {meant!r}?" in line) if meant else ("did you mean" not in line)


def test_source_excludes_download_and_the_embedded_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not both") as error:
        data.load("mnist", source=tmp_path, download=True)
    assert str(tmp_path) in line_of(error)
    with pytest.raises(ValueError, match="takes no source") as error:
        data.load("mnist-10k", source=tmp_path)
    assert str(tmp_path) in line_of(error)


@pytest.mark.parametrize("name", TFDS_NAMES)
def test_nothing_prepared(name: str, data_dir: Path) -> None:
    with pytest.raises(data.DataError) as error:
        data.load(name)
    line = line_of(error)
    assert str(data_dir / name) in line
    assert all(way in line for way in ("download=True", "source=", "TFDS_DATA_DIR"))
    assert not data_dir.exists()


def test_data_dir_is_a_file(data_dir: Path) -> None:
    data_dir.write_text("")
    with pytest.raises(data.DataError, match="nothing is prepared"):
        data.load("mnist")


def test_missing_files_are_named(tmp_path: Path, data_dir: Path) -> None:
    with pytest.raises(data.DataError) as error:
        data.load("mnist", source=tmp_path / "nowhere")
    assert all(file in line_of(error) for file in FOUR_FILES)
    for file in FOUR_FILES[:3]:
        (tmp_path / file).touch()
    with pytest.raises(data.DataError) as error:
        data.load("mnist", source=tmp_path)
    line = line_of(error)
    assert str(tmp_path) in line and FOUR_FILES[3] in line and not any(f in line for f in FOUR_FILES[:3])


def test_files_that_are_not_the_originals(tmp_path: Path, data_dir: Path) -> None:
    for file in FOUR_FILES:
        (tmp_path / file).write_bytes(gzip.compress(b"anything"))
    with pytest.raises(data.DataError, match="checksum"):
        data.load("fashion_mnist", source=tmp_path)


# --- the network, which is a proxy on this machine


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes a port of this machine the way to every server."""

    def use(port: int) -> None:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)

    return use


@pytest.fixture
def serve(proxy: Callable[[int], None]) -> Iterator[Callable[[Callable[[str], bytes | None]], None]]:
    """Answers each http URL with the bytes a function gives for its last part, or with status 503."""
    running = []

    def start(content: Callable[[str], bytes | None]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = content(urlsplit(self.path).path.rpartition("/")[2])
                self.send_response(503 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body or b"")

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        proxy(server.server_port)

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def assert_fails_soon(name: str, reason: str) -> None:
    importlib.import_module("tensorflow_datasets")  # which takes a second or two that are not the network's
    start = time.perf_counter()
    with pytest.raises(data.DataError) as error:
        data.load(name, download=True)
    assert time.perf_counter() - start < 10
    line = line_of(error)
    assert all(part in line for part in (name, "cannot be reached", reason, "source=")), line


@pytest.mark.parametrize("name", TFDS_NAMES)
def test_download_where_connections_are_refused(name: str, data_dir: Path, proxy: Callable[[int], None]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, but nobody listens
        proxy(closed.getsockname()[1])
        assert_fails_soon(name, "ProxyError")


def test_download_where_nobody_answers(data_dir: Path, proxy: Callable[[int], None]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        proxy(silent.getsockname()[1])
        assert_fails_soon("mnist", "")


def test_download_where_the_server_is_down(data_dir: Path, serve: Callable[..., None]) -> None:
    serve(lambda file: None)
    assert_fails_soon("fashion_mnist", "HTTP 503")


def test_download_of_wrong_files(data_dir: Path, serve: Callable[..., None]) -> None:
    serve(lambda file: gzip.compress(b"anything"))
    with pytest.raises(data.DataError, match="checksum") as error:
        data.load("fashion_mnist", download=True)
    line_of(error)
    assert not (data_dir / "fashion_mnist" / "3.0.1").exists()


# --- a prepared set: the first digits of the embedded one, written through TensorFlow Datasets as MNIST


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, data.Dataset]:
    import tensorflow_datasets as tfds

    def png(image: npt.NDArray[np.uint8]) -> io.BytesIO:
        file = io.BytesIO()
        Image.fromarray(image[..., 0]).save(file, "PNG")
        return io.BytesIO(file.getvalue())

    def examples(split: data.Split) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, (image, label) in enumerate(zip(*split, strict=True)):
            yield key, {"image": png(image), "label": int(label)}

    train, test, classes = data.load("mnist-10k")
    small = data.Dataset(first_of(train, 200), first_of(test, 50), classes)
    folder = tmp_path_factory.mktemp("small")
    builder = tfds.builder("mnist", data_dir=folder)
    builder._split_generators = lambda manager: {"train": examples(small.train), "test": examples(small.test)}
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False), file_format="array_record"
    )
    return folder, small


@pytest.fixture
def small(
    small_set: tuple[Path, data.Dataset], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, data.Dataset]:
    """Its own copy of it, which passes for the whole MNIST."""
    folder, dataset = small_set
    shutil.copytree(folder, data_dir)
    fingerprints = _tfds.fingerprint(dataset.train), _tfds.fingerprint(dataset.test)
    monkeypatch.setitem(_tfds.FINGERPRINTS, "mnist", fingerprints)
    return data_dir, dataset


def assert_same_in_any_order(found: data.Split, expected: data.Split) -> None:
    assert found.images.dtype == np.uint8 and found.labels.dtype == np.int32
    assert found.images.shape == expected.images.shape and found.labels.shape == expected.labels.shape

    def rows(split: data.Split) -> npt.NDArray[np.void]:
        flat = np.column_stack([split.images.reshape(len(split.images), -1), split.labels.astype(np.uint8)])
        return np.sort(np.ascontiguousarray(flat).view(f"V{flat.shape[1]}").ravel())

    np.testing.assert_array_equal(rows(found), rows(expected))


def assert_equal(found: data.Dataset, expected: data.Dataset) -> None:
    for split, other in ((found.train, expected.train), (found.test, expected.test)):
        np.testing.assert_array_equal(split.images, other.images, strict=True)
        np.testing.assert_array_equal(split.labels, other.labels, strict=True)
    assert found.classes == expected.classes


def test_prepared_set_is_read(small: tuple[Path, data.Dataset]) -> None:
    found = data.load("mnist")
    assert_same_in_any_order(found.train, small[1].train)
    assert_same_in_any_order(found.test, small[1].test)
    assert found.classes == small[1].classes


def test_prepared_set_needs_neither_source_nor_network(small: tuple[Path, data.Dataset]) -> None:
    assert_equal(data.load("mnist", source="nowhere"), data.load("mnist", download=True))


def test_second_load_takes_the_cache(small: tuple[Path, data.Dataset]) -> None:
    first = data.load("mnist")
    for records in (small[0] / "mnist" / "3.0.1").glob("*array_record*"):
        records.unlink()
    assert_equal(data.load("mnist"), first)
    code = "import sys; from jaxcnn import data; data.load('mnist'); print('PIL' in sys.modules)"
    assert output_of(in_new_process(code)) == "False\n"


def test_set_that_tensorflow_prepared_is_read(small: tuple[Path, data.Dataset]) -> None:
    import tensorflow_datasets as tfds

    by_array_record = data.load("mnist")
    folder = small[0] / "mnist" / "3.0.1"
    builder = tfds.builder_from_directory(folder)
    for split in ("train", "test"):
        source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        with (folder / f"mnist-{split}.tfrecord-00000-of-00001").open("wb") as file:
            for record in source:
                file.write(len(record).to_bytes(8, "little") + b"crc1" + record + b"crc2")
        (folder / f"mnist-{split}.array_record-00000-of-00001").unlink()
    info = folder / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))
    (small[0] / "mnist" / "jaxcnn-3.0.1.npz").unlink()
    assert_equal(data.load("mnist"), by_array_record)


def flip_a_byte(content: bytes) -> bytes:
    return content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"anything",
    ],
    ids=["a byte flipped", "cut in half", "empty", "another file"],
)
def test_damaged_cache_is_made_again(damage: Callable[[bytes], bytes], small: tuple[Path, data.Dataset]) -> None:
    intact = data.load("mnist")
    cache = small[0] / "mnist" / "jaxcnn-3.0.1.npz"
    content = cache.read_bytes()
    cache.write_bytes(damage(content))
    with pytest.warns(UserWarning, match="cannot be read .*made again") as warned:
        assert_equal(data.load("mnist"), intact)
    assert warned[0].filename == __file__ and str(cache) in str(warned[0].message)
    assert cache.read_bytes() == content
    assert_equal(data.load("mnist"), intact)


def test_cache_that_cannot_be_written(small: tuple[Path, data.Dataset]) -> None:
    intact = data.load("mnist")
    cache = small[0] / "mnist" / "jaxcnn-3.0.1.npz"
    cache.unlink()
    cache.mkdir()
    with pytest.warns(UserWarning) as warned:
        assert_equal(data.load("mnist"), intact)
    assert ["cannot be read" in str(warned[0].message), "cannot be written" in str(warned[1].message)] == [True] * 2
    assert sorted(path.name for path in cache.parent.iterdir()) == ["3.0.1", cache.name]


@pytest.mark.parametrize("damage", [flip_a_byte, lambda content: b""], ids=["a byte flipped", "empty"])
def test_damaged_prepared_set(damage: Callable[[bytes], bytes], small: tuple[Path, data.Dataset]) -> None:
    records = small[0] / "mnist" / "3.0.1" / "mnist-train.array_record-00000-of-00001"
    records.write_bytes(damage(records.read_bytes()))
    with pytest.raises(data.DataError, match="prepare it again") as error:
        data.load("mnist")
    assert str(records.parent) in line_of(error)


def test_records_that_are_damaged_while_they_are_streamed(small: tuple[Path, data.Dataset], tmp_path: Path) -> None:
    """The command says so in a line, and keeps the run."""
    records = small[0] / "mnist" / "3.0.1" / "mnist-train.array_record-00000-of-00001"
    records.write_bytes(flip_a_byte(records.read_bytes()))
    arguments = ["--data", "mnist", "--stream", "--batch-size", "1", "--out", "run"]
    process = command.start("train", *arguments, cwd=tmp_path, TFDS_DATA_DIR=str(small[0]))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and len(err.splitlines()) == 1, err
    assert f"mnist: {records.parent} cannot be read" in err and "jaxcnn train --resume run goes on" in err
    assert runs.read_config(tmp_path / "run")["status"] == "interrupted"


def test_prepared_set_with_other_labels(small: tuple[Path, data.Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    (train, test, _) = small[1]
    other = _tfds.fingerprint(data.Split(train.images, (train.labels + 1) % 10))
    monkeypatch.setitem(_tfds.FINGERPRINTS, "mnist", (other, _tfds.fingerprint(test)))
    with pytest.raises(data.DataError, match="other images or labels"):
        data.load("mnist")


def test_prepared_set_with_other_images(small_set: tuple[Path, data.Dataset], data_dir: Path) -> None:
    shutil.copytree(small_set[0] / "mnist", data_dir / "fashion_mnist")
    with pytest.raises(data.DataError, match="other images or labels") as error:
        data.load("fashion_mnist")
    line_of(error)
    assert not (data_dir / "fashion_mnist" / "jaxcnn-3.0.1.npz").exists()


@pytest.mark.parametrize("name", TFDS_NAMES)
def test_version_and_classes_are_those_of_tensorflow_datasets(name: str, data_dir: Path) -> None:
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    assert str(builder.VERSION) == _tfds.VERSION
    assert tuple(builder.info.features["label"].names) == _tfds.CLASSES[name]
    assert sorted(info.filename for info in builder.url_infos.values()) == sorted(FOUR_FILES)


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with _progress.status("fetching"):
            assert list(_progress.track(range(3), "reading", 3)) == [0, 1, 2]
        assert ("reading" in stream.getvalue()) == shown


# --- the whole sets, from the original files


@pytest.fixture(scope="module")
def originals() -> Path:
    folder = os.environ.get("JAXCNN_ORIGINALS")
    if folder is None:
        pytest.skip("JAXCNN_ORIGINALS is not set: it names the folder with the original files of both sets")
    return Path(folder)


def parsed(folder: Path) -> tuple[data.Split, data.Split]:
    def split(part: str, count: int) -> data.Split:
        images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
        return data.Split(
            np.frombuffer(images, np.uint8).reshape(count, 28, 28, 1),
            np.frombuffer(labels, np.uint8).astype(np.int32),
        )

    return split("train", 60_000), split("t10k", 10_000)


@pytest.fixture(scope="module")
def prepared(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST, where it was unpacked before; the same code prepares the first of Fashion-MNIST in `test_download`."""
    folder = tmp_path_factory.mktemp("prepared")
    extracted = folder / "downloads" / "extracted"
    extracted.mkdir(parents=True)
    for file in FOUR_FILES:
        (extracted / f"GZIP.{file}").write_bytes(gzip.decompress((originals / "mnist" / file).read_bytes()))
    code = "import sys; from jaxcnn import data; data.load('mnist', source=sys.argv[1])"
    process = in_new_process(code, str(originals), TFDS_DATA_DIR=str(folder))
    assert (process.communicate(timeout=300)[0], process.returncode) == ("", 0)  # nothing is printed
    return folder


@pytest.mark.long
def test_whole_set_equals_the_originals(prepared: Path, originals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    start = time.perf_counter()
    found = data.load("mnist")
    assert time.perf_counter() - start < 2  # 0.05 where nothing else runs
    train, test = parsed(originals / "mnist")
    assert_same_in_any_order(found.train, train)
    assert_same_in_any_order(found.test, test)


@pytest.mark.parametrize("name", TFDS_NAMES)
def test_fingerprints_are_those_of_the_originals(name: str, originals: Path) -> None:
    assert tuple(map(_tfds.fingerprint, parsed(originals / name))) == _tfds.FINGERPRINTS[name]


@pytest.mark.long
def test_tensorflow_datasets_itself_reads_what_was_prepared(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    _, test, _ = data.load("mnist")
    stock = tfds.data_source("mnist", split="test", data_dir=prepared, download=False)
    assert len(stock) == 10_000
    for index in (*range(50), 9_999):
        np.testing.assert_array_equal(stock[index]["image"], test.images[index])
        assert stock[index]["label"] == test.labels[index]


@pytest.mark.parametrize(
    "damage",
    [flip_a_byte, lambda content: content[:-100], lambda content: gzip.decompress(content)[:-1]],
    ids=["a byte flipped", "cut short", "unpacked and cut short"],
)
def test_damaged_original(damage: Callable[[bytes], bytes], originals: Path, tmp_path: Path, data_dir: Path) -> None:
    for file in FOUR_FILES:
        shutil.copy(originals / "mnist" / file, tmp_path / file)
    wrong = tmp_path / "t10k-labels-idx1-ubyte.gz"
    wrong.write_bytes(damage(wrong.read_bytes()))
    with pytest.raises(data.DataError, match="wrong checksum") as error:
        data.load("mnist", source=tmp_path)
    assert str(wrong) in line_of(error)
    assert not (data_dir / "mnist").exists()


@pytest.mark.parametrize("spelling", ["MNIST/raw/{}", "{}.GZ", "archive/{}"])
def test_originals_by_other_spellings(spelling: str, originals: Path, tmp_path: Path) -> None:
    for file in FOUR_FILES:
        content = (originals / "mnist" / file).read_bytes()
        path = tmp_path / spelling.format(file.removesuffix(".gz").replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if path.suffix == ".GZ" else gzip.decompress(content))
    paths = _originals.find("mnist", tmp_path)
    assert list(paths) == list(FOUR_FILES)
    _originals.check("mnist", paths)
    images, labels = (paths[file] for file in _originals.FILES["test"])
    assert [label for _, label in itertools.islice(_originals.examples(images, labels), 5)] == [7, 2, 1, 0, 4]
    with pytest.raises(data.DataError, match="wrong checksum, it is t10k-labels-idx1-ubyte.gz of mnist: give t10k-im"):
        _originals.check("mnist", {**paths, "t10k-images-idx3-ubyte.gz": labels})


def test_one_sets_originals_given_as_the_others(originals: Path, data_dir: Path) -> None:
    with pytest.raises(data.DataError, match="wrong checksum"):
        data.load("mnist", source=originals / "fashion_mnist")


def test_download(originals: Path, data_dir: Path, serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """All four files are fetched and verified; only the first 100 images of each split are then prepared."""
    whole = parsed(originals / "fashion_mnist")
    first = [first_of(split, 100) for split in whole]
    monkeypatch.setitem(_tfds.FINGERPRINTS, "fashion_mnist", (_tfds.fingerprint(first[0]), _tfds.fingerprint(first[1])))
    examples = _originals.examples
    monkeypatch.setattr(_originals, "examples", lambda *paths: itertools.islice(examples(*paths), 100))
    serve(lambda file: (originals / "fashion_mnist" / file).read_bytes())

    found = data.load("fashion_mnist", download=True)
    assert_same_in_any_order(found.train, first[0])
    assert_same_in_any_order(found.test, first[1])


def saved(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"compress_level": 0}])
def test_pixels_of_grey_pngs(options: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 300, 400), np.uint8)  # each several chunks of data
    pngs = [saved(picture, **options) for picture in pixels]
    np.testing.assert_array_equal(_prepared._pixels(pngs, 300, 400), pixels)


def png_of(rows: bytes, height: int, width: int, chunk: int = 10**6) -> bytes:
    """A grey PNG of rows that begin with the number of their filter, in chunks of this size, their checksums left 0."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compress(rows)
    parts = [(b"IDAT", packed[at : at + chunk]) for at in range(0, len(packed), chunk)]
    chunks = [(b"IHDR", header), *parts, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(of)) + kind + of + bytes(4) for kind, of in chunks)


@pytest.mark.parametrize(
    ("filtered", "first", "second"),
    [
        (0, [9, 1, 255], [1, 2, 3]),
        (1, [9, 10, 9], [1, 3, 6]),  # plus the pixel to the left
        (2, [9, 1, 255], [10, 3, 2]),  # above
        (3, [9, 5, 1], [5, 7, 7]),  # the mean of both, rounded down
        (4, [9, 10, 9], [10, 12, 15]),  # left, above or their corner: whichever is nearest left + above - corner
    ],
)
def test_a_filter_does_not_reach_into_the_picture_above(filtered: int, first: list[int], second: list[int]) -> None:
    rows = bytes([filtered, 9, 1, 255, filtered, 1, 2, 3])
    found = _prepared._pixels([png_of(rows, 2, 3)] * 3, 2, 3)
    np.testing.assert_array_equal(found, [[first, second]] * 3)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((28, 28), bool),
        np.zeros((28, 28), np.uint16),
        np.zeros((28, 28, 3), np.uint8),
        np.zeros((28, 28, 4), np.uint8),
        np.zeros((14, 28), np.uint8),
        np.zeros((28, 56), np.uint8),
    ],
)
def test_a_picture_of_another_kind_is_refused(pixels: npt.NDArray[Any]) -> None:
    png = saved(np.zeros((28, 28), np.uint8))
    with pytest.raises(ValueError, match="a picture is no PNG of 28x28 grey pixels of 8 bits"):
        _prepared._pixels([png, saved(pixels), png], 28, 28)


def test_what_comes_after_a_png_is_nothing_of_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    np.testing.assert_array_equal(
        _prepared._pixels([saved(pixels) + bytes(1 + n) for n in range(99)], 28, 28)[98], pixels
    )


def test_pixels_of_a_damaged_png() -> None:
    png = saved(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8))
    for damaged in (png[:200], png[:50], png[:100] + bytes([png[100] ^ 255]) + png[101:]):
        with pytest.raises((ValueError, zlib.error), match="cut short|while decompressing"):
            _prepared._pixels([png, damaged], 28, 28)


@pytest.mark.parametrize("size", [28 * 29 - 1, 28 * 29 + 1, 10**8])
@pytest.mark.parametrize("chunk", [10**6, 100, 1])
def test_a_png_that_does_not_hold_what_it_declares(size: int, chunk: int) -> None:
    png = png_of(bytes(size), 28, 28, chunk)
    tracemalloc.start()
    with pytest.raises(ValueError, match="a PNG of 28x28 pixels is cut short, or holds more than these"):
        _prepared._pixels([png], 28, 28)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
