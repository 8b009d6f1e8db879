"""What a hurried, confused or malicious user may give, and the one line that each is refused with.

Every case is the whole command: exit code 2, one line on stderr that names what was given and what to do, nothing on
stdout, and every file as it was, to the bit. They run in this process, in a folder of their own that holds

    run, young      a trained run, and one that was interrupted in its second epoch, with checkpoints
    digit.png       a picture that can be read
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import TypeCheckError
from PIL import Image

import jaxcnn.ops
from jaxcnn import cli, data, nets, provenance, runs, train
from jaxcnn._contract import refuse_no_network
from jaxcnn.checkpoints import Checkpoints
from jaxcnn.cli import _processes
from jaxcnn.cli._failure import Failure
from jaxcnn.photos import MAX_BYTES
from jaxcnn.session._folder import quiet_orbax
from jaxcnn.session._settings import DEFAULTS, Settings
from jaxcnn.train._inputs import checked_examples, refuse_other_kinds
from tests.command import start

pytestmark = pytest.mark.filterwarnings("default")  # Orbax's own, about what it finds damaged

Harm = Callable[[Path], Any]


class Case(NamedTuple):
    """Arguments, what the line must match, and what was done before to the folder."""

    arguments: str
    message: str
    harm: Harm = lambda folder: None


# What is done to a folder


def write(name: str, content: bytes | str = "mine") -> Harm:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def make_folder(name: str) -> Harm:
    return lambda folder: (folder / name).mkdir(parents=True)


def remove(name: str) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return harm


def put(name: str, made: Harm) -> Harm:
    """Something else in the place of a file or a folder."""

    def harm(folder: Path) -> None:
        remove(name)(folder)
        made(folder)

    return harm


def link(name: str, to: str) -> Harm:
    return put(name, lambda folder: (folder / name).symlink_to(to))


def pipe(name: str) -> Harm:
    return put(name, lambda folder: os.mkfifo(folder / name))


def config(run: str, **changes: Any) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / run / runs.CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return harm


def data_config(**changes: Any) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / "run" / runs.CONFIG
        found = json.loads(path.read_text())
        path.write_text(json.dumps(found | {"data": found["data"] | changes}))

    return harm


def lenet(**options: Any) -> Harm:
    return config("run", net={"name": "lenet", "options": options})


def gap_cnn(*blocks: Any) -> Harm:
    return config("run", net={"name": "gap_cnn", "options": {"blocks": blocks}})


def cut(name: str) -> Harm:
    def harm(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return harm


def parameters(**changes: Any) -> Harm:
    """Other arrays in the archive; those that are None are left out."""

    def harm(folder: Path) -> None:
        path = folder / "run" / runs.PARAMETERS
        with np.load(path) as archive:
            arrays: dict[str, Any] = dict(archive) | changes
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})

    return harm


def members(**contents: bytes) -> Harm:
    """An archive of members that are no arrays, or say to be other than they are."""

    def harm(folder: Path) -> None:
        with zipfile.ZipFile(folder / "run" / runs.PARAMETERS, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(f"{name}.npy", content)

    return harm


def declared(*shape: int) -> bytes:
    """The header of an array, and nothing after it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def set_flag(at_entry: int, at_directory: int, value: int) -> Harm:
    """Change a byte of the first member's two headers: 6 and 8 say that it is encrypted, 8 and 10 by which method."""

    def harm(folder: Path) -> None:
        path = folder / "run" / runs.PARAMETERS
        content = bytearray(path.read_bytes())
        content[content.find(b"PK\3\4") + at_entry] = value
        content[content.find(b"PK\1\2") + at_directory] = value
        path.write_bytes(bytes(content))

    return harm


class Code:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def in_checkpoints(pattern: str, content: str) -> Harm:
    """Write this to each such file of every checkpoint."""

    def harm(folder: Path) -> None:
        found = [path for path in (folder / "young/checkpoints").rglob(pattern) if path.is_file()]
        assert found
        for path in found:
            path.write_text(content)

    return harm


def checkpoint_of_lenet(folder: Path) -> None:
    shutil.rmtree(folder / "young/checkpoints")
    write_checkpoint(folder / "young", "lenet", 16)


def png(name: str, *size: int, mode: str = "L") -> Harm:
    return lambda folder: Image.new(mode, (size[0], size[1])).save(folder / name, "PNG")


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def large_file(name: str) -> Harm:
    def harm(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(MAX_BYTES + 1)

    return harm


def originals(content: bytes) -> Harm:
    """All four of MNIST's files, with this in each."""

    def harm(folder: Path) -> None:
        for images_or_labels in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
            (folder / f"{images_or_labels}-ubyte.gz").write_bytes(content)

    return harm


DEEP = "[" * 100_000
EPOCH = {"epoch": 1, "step": 16, "loss": 1.0, "accuracy": 0.5, "images_per_second": 1.0, "seconds": 1.0}


def metrics(run: str, **changes: Any) -> Harm:
    return write(f"{run}/metrics.jsonl", json.dumps(EPOCH | changes) + "\n")


CASES = {
    "options": [
        Case("trian", "No such command 'trian'"),
        Case("--frob", "No such option: --frob"),
        Case("train --sed 1", "No such option: --sed .*--seed"),
        Case("train 3", "unexpected extra argument"),
        Case("train --epochs", "'--epochs' requires an argument"),
        Case("predict run", "Missing argument"),
    ],
    "names": [
        Case("train --net le-net", "unknown net 'le-net', expected one of .*: did you mean 'lenet'"),
        Case("train --data mnist10k", "unknown data set 'mnist10k', .*: did you mean 'mnist-10k'"),
        Case("train --optimizer adamm", "unknown optimizer 'adamm', .*: did you mean 'adam"),
        Case("train --ops manuel", "unknown --ops 'manuel', .*: did you mean 'manual'"),
        Case("train --schedule cosine_decay", "unknown schedule .*: did you mean 'cosine_decay_schedule'"),
        Case("train --precision float16", "unknown --precision 'float16', .*: did you mean 'bfloat16'"),
        Case("train --clip clip_by_norm=1", "unknown clip 'clip_by_norm', .*: did you mean 'clip_by_global_norm'"),
        Case("check --op pool", "unknown --op 'pool', expected one of avg_pool, .*did you mean '...?_pool'"),
        Case("check --net lenet5", "unknown --net 'lenet5', .*: did you mean 'lenet'"),
        Case("check --dtype int8", "unknown --dtype 'int8', expected one of float64, "),
        Case("bench speed", "unknown WHAT 'speed', expected one of ops, steps, memory, compiled"),
        Case("bench compiled --target cray", "unknown --target 'cray', expected one of h100, tpu-v5e"),
        Case("bench ops --only wavelet", "no case of ops has 'wavelet'"),
    ],
    "numbers": [
        Case("train --epochs 0", "--epochs.*greater than or equal to 1"),
        Case("train --epochs -3", "--epochs.*greater than or equal to 1"),
        Case("train --epochs 1.5", "--epochs.*valid integer"),
        Case(f"train --epochs {'9' * 5000}", "--epochs"),
        Case("train --epochs 1000000000000", "--epochs 1000000000000 are .* more than the 2,147,483,647"),
        Case("train --batch-size 0", "--batch-size.*greater than or equal to 1"),
        Case("train --batch-size 9000", "--batch-size must be at most the 8000 images, got 9000"),
        Case("train --stream --batch-size 9000", "--batch-size must be at most the 8000 images, got 9000"),
        Case("train --learning-rate nan", "--learning-rate must be positive and finite in float32, got nan"),
        Case("train --learning-rate -1", "--learning-rate must be positive and finite in float32, got -1.0"),
        Case("train --learning-rate 1e300", "--learning-rate must be positive and finite in float32, got 1e.300"),
        Case("train --learning-rate fast", "--learning-rate.*valid number"),
        Case("train --clip clip", "--clip must be NAME=LIMIT, as clip_by_global_norm=1.0, got 'clip'"),
        Case("train --clip clip=-1", "--clip's limit must be positive and finite"),
        Case("train --seed -1", "--seed.*greater than or equal to 0"),
        Case(f"train --seed {2**64}", "--seed.*less than or equal to 9223372036854775807"),
        Case("train --validation 8000", "--validation must be fewer than the 8000 images, got 8000"),
        Case("train --validation 7999", "--batch-size must be at most the 1 images, got 32"),
        Case("train --keep 0", "--keep.*greater than or equal to 1"),
        Case("train --checkpoint-every 0", "--checkpoint-every.*greater than or equal to 1"),
        Case("train --devices 64", "--devices 64, but jax finds .*JAX_NUM_CPU_DEVICES=64"),
        Case("train --devices 3", "3 devices cannot share a batch of 32 equally: give another --batch-size"),
        Case("explain run --out x.png --index 2000", "--index must be below 2000"),
        Case("explain run --out x.png --index -1", "--index.*greater than or equal to 0"),
        Case("check --order 0", "--order.*greater than or equal to 1"),
        Case("check --order 9999", "--order.*less than or equal to 8"),
        Case("bench ops --seconds -1", "--seconds.*greater than or equal to 0"),
        Case("bench ops --seed 4294967296", "--seed.*less than or equal to 4294967295"),
    ],
    "options that do not go together": [
        Case("train --early-stopping 2", "--early-stopping needs --validation"),
        Case("train --warmup-steps 3", "--warmup-steps needs a schedule that warms up"),
        Case("train --schedule warmup_constant_schedule", "needs --warmup-steps"),
        Case(
            "train --schedule warmup_constant_schedule --warmup-steps 100000 --out new",
            "--warmup-steps must be fewer than the 3000 steps, got 100000",
        ),
        Case("train --resume young --out new", "give --resume or --out, not both"),
        Case("train --resume young --batch-size 9", r"was begun otherwise \(batch_size is \d+, asked for 9\)"),
        Case("train --source .", "takes no source"),
        Case("train --data mnist --source . --download", "give --source '.' or --download, not both"),
        Case("train --processes 2", "--coordinator, --processes and --process-id go together"),
        Case("train --coordinator localhost:1", "--coordinator, --processes and --process-id go together"),
        Case("train --distributed", "several processes need --out"),
        Case("train --coordinator localhost:1 --processes 2 --process-id 1", "several processes need --out"),
        Case(
            "train --coordinator localhost --processes 2 --process-id 1 --out new",
            "--coordinator must be HOST:PORT, as localhost:12345, got 'localhost'",
        ),
        Case(
            "train --coordinator localhost:1 --processes 2 --process-id 2 --out new",
            "--process-id must be from 0 to 1, got 2",
        ),
        Case("bench steps --tune", "--tune is of ops, got steps"),
        Case("bench memory --quick", "memory is one small table"),
        Case("predict run - -", "standard input can be read once: give - once"),
        Case("report run run", "run is given twice"),
    ],
    "where to write": [
        Case("train --out run", "run is not empty, and nothing is overwritten: give another folder, or empty it"),
        Case("train --out digit.png", "digit.png is a file, not a folder"),
        Case("train --out digit.png/new", "digit.png/new cannot be made: Not a directory"),
        Case("train --out /proc/new", "/proc/new cannot be made"),
        Case(f"train --out {'x' * 300}", "File name too long"),
        Case("train", "no folder can be made in runs: File exists", write("runs")),
        Case("explain run --out x.jpg", "--out must name a .png file, got x.jpg"),
        Case("explain run --out digit.png", "digit.png exists, and nothing is overwritten: give another --out"),
        Case("explain run --out none/x.png", "there is no folder none"),
        Case("export run --out digit.png", "digit.png exists, and nothing is overwritten"),
        Case("export run --out none/net", "there is no folder none"),
        Case("export run --out net.json", "ends in .json, the name of the file beside it"),
        Case("report run --out mine.html", "mine.html is no report of jaxcnn's", write("mine.html")),
        Case("report run --out folder.html", "folder.html is a folder", make_folder("folder.html")),
        Case("report run --out run/config.json", "a report is a .html file, got run/config.json"),
        Case("report run --out none/x.html", "there is no folder none"),
        Case("bench memory --out digit.png", "digit.png exists; give a new file"),
        Case("bench memory --out none/x.json", "there is no folder none"),
        Case("bench memory --out digit.png/x.json", "there is no folder digit.png"),
        Case("bench memory --out dangling", "dangling exists", lambda folder: (folder / "dangling").symlink_to("new")),
    ],
    "data sets": [
        Case("train --data mnist", "nothing is prepared in .*: use --download, or --source FOLDER"),
        Case("train --data mnist --stream", "nothing is prepared in .*: use --download, or --source FOLDER"),
        Case("train --data mnist --source none", "none lacks train-images-idx3-ubyte.gz, .*put the original files"),
        Case("train --data mnist --source digit.png", "digit.png lacks train-images-idx3-ubyte.gz"),
        Case("train --data mnist --source ~nobody_here/x", "home folder ~ is, is not known: write the path out"),
        Case(
            "train --data mnist --source .",
            r"wrong checksum, sha256 e3b0c44298fc of what it holds: give .* or --download",
            originals(b""),
        ),
        Case("train --data mnist --source .", "wrong checksum", originals(gzip.compress(b"\0" * 900)[:20])),
        Case(
            "train --data mnist --source .",
            "wrong checksum, sha256 .*: give train-images-idx3-ubyte.gz of mnist, or --download",
            originals(gzip.compress(b"\0" * 900)),
        ),
    ],
    "pictures": [
        Case("predict run none.png", r"none.png cannot be read \(No such file"),
        Case("predict run void.png", "void.png is empty", write("void.png", b"")),
        Case("predict run text.png", "text.png is no picture in a format known here", write("text.png", "a digit")),
        Case("predict run cut.png", "cut.png cannot be read .damaged", lambda folder: cut_picture(folder)),
        Case(
            "predict run bomb.png",
            "declares far more pixels, more than the 64,000,000",
            write("bomb.png", png_that_declares(2**31 - 1, 2**31 - 1)),
        ),
        Case(
            "predict run bomb.png",
            "declares 8001x8000 pixels, .*: scale it first",
            write("bomb.png", png_that_declares(8001, 8000)),
        ),
        Case("predict run huge.png", "huge.png is larger than 128 MiB", large_file("huge.png")),
        Case("predict run blank.png", "blank.png is blank: every pixel is equally bright", png("blank.png", 28, 28)),
        Case("predict run empty", "no picture in empty: nothing is in it", make_folder("empty")),
        Case(
            "predict run loop.png",
            "loop.png cannot be read",
            lambda folder: (folder / "loop.png").symlink_to("loop.png"),
        ),
        Case("predict run -", "standard input is empty"),
    ],
    "runs that are none": [
        Case("predict none digit.png", "none is no run's folder: config.json cannot be read .No such file"),
        Case("explain none --out x.png", "none is no run's folder"),
        Case("export none", "none is no run's folder"),
        Case("report none", "there is no folder none"),
        Case("report none --out x.html", "none is no run's folder"),
        Case("train --resume none", "none is no run's folder"),
        Case("predict digit.png digit.png", "digit.png is no run's folder: .*Not a directory"),
    ],
    "config.json": [
        Case("predict run digit.png", "config.json is damaged: Expecting", write("run/config.json", "{")),
        Case(
            "predict run digit.png", "config.json is damaged: it is nested too deeply", write("run/config.json", DEEP)
        ),
        Case(
            "predict run digit.png", "config.json is damaged: 'utf-8' codec", write("run/config.json", b'{"a": "\xff"}')
        ),
        Case("predict run digit.png", "config.json is damaged: .*surrogates", config("run", note="\ud800")),
        Case("predict run digit.png", "config.json is larger than 1 MiB", write("run/config.json", " " * (2**20 + 1))),
        Case("predict run digit.png", "config.json is not of format 1, the one that jaxcnn", config("run", format=2)),
        Case("predict run digit.png", "config.json is not of format 1", write("run/config.json", "[1]")),
        Case("predict run digit.png", "config.json is no file", put("run/config.json", make_folder("run/config.json"))),
        Case("predict run digit.png", "symbolic links", link("run/config.json", "config.json")),
        Case("report run", "config.json is no file", pipe("run/config.json")),
        Case("predict run digit.png", "config.json is no file", link("run/config.json", "/dev/zero")),
        Case("predict run digit.png", "net.name is None, not of type str", config("run", net=None)),
        Case("export run", "net.name is 3, not of type str", config("run", net={"name": 3, "options": {}})),
        Case(
            "export run",
            "unknown net 'LeNet', .*did you mean 'lenet'",
            config("run", net={"name": "LeNet", "options": {}}),
        ),
        Case(
            "export run",
            r"net.options is \['x'\], not of type dict",
            config("run", net={"name": "lenet", "options": ["x"]}),
        ),
        Case("export run", "unknown option of lenet 'hiden', .*did you mean 'hidden'", lenet(hiden=3)),
        Case("export run", "names no network known here", lenet(hidden="many")),
        Case("export run", "names no network known here: .*-4", lenet(hidden=-4)),
        Case("export run", "names no network known here", lenet(hidden=0)),
        Case("export run", "names no network known here", lenet(image_shape=[28])),
        Case("export run", "names no network known here: .*at least 4x4", lenet(image_shape=[2, 2, 1])),
        Case("report run", "names no network known here: .*at least one Block", gap_cnn()),
        Case("report run", "names no network known here: .*padding", gap_cnn({"channels": 3, "padding": "ROUND"})),
        Case("explain run --out x.png", "is a run of lenet", lambda folder: a_run_of_lenet(folder)),
        Case("predict run digit.png", "data.name is None, not of type str", config("run", data=None)),
        Case("explain run --out x.png", "unknown data set 'mnst', .*did you mean 'mnist'", data_config(name="mnst")),
        Case("predict run digit.png", r"data.classes is \['0'\], not 10 names", data_config(classes=["0"])),
        Case("predict run digit.png", "data.classes is .* not 10 names", data_config(classes=list(range(10)))),
        Case("predict run digit.png", "data.classes is .* not 10 names", data_config(classes=["\x1b[31m"] * 10)),
        Case("report run", "epochs is 'two', not of type int", config("run", epochs="two")),
        Case("report run", "data.test_images is -1", data_config(test_images=-1)),
    ],
    "parameters.npz": [
        Case("predict run digit.png", r"parameters.npz cannot be read \(No such file", remove("run/parameters.npz")),
        Case(
            "predict young digit.png",
            "has not come to its first epoch's end; .* jaxcnn train --resume young goes on",
            remove("young/parameters.npz"),
        ),
        Case(
            "predict run digit.png",
            "parameters.npz is damaged: File is not a zip file",
            write("run/parameters.npz", b""),
        ),
        Case("predict run digit.png", "parameters.npz is damaged", cut("run/parameters.npz")),
        Case(
            "predict run digit.png",
            "parameters.npz is no file",
            put("run/parameters.npz", make_folder("run/parameters.npz")),
        ),
        Case("predict run digit.png", "parameters.npz is no file", pipe("run/parameters.npz")),
        Case("predict run digit.png", "parameters.npz is damaged", write("run/parameters.npz", pickle.dumps(Code()))),
        Case("predict run digit.png", r"f is object\(1,\), the network's is float32", parameters(f=np.array([Code()]))),
        Case(
            "predict run digit.png",
            r"f is float64\(6, 6, 1, 1\), the network's is float32",
            parameters(f=np.zeros((6, 6, 1, 1))),
        ),
        Case(
            "predict run digit.png",
            r"b is float32\(3,\), the network's is float32\(10,\)",
            parameters(b=np.zeros(3, "f")),
        ),
        Case(
            "predict run digit.png",
            "b holds numbers that are not finite: train it anew",
            parameters(b=np.full(10, np.nan, "f")),
        ),
        Case("predict run digit.png", "holds b, w; the network has b, f, w", parameters(f=None)),
        Case("predict run digit.png", "holds b, extra, f, w; the network has b, f, w", parameters(extra=np.ones(3))),
        Case(
            "predict run digit.png",
            "holds b, f, lenet/kernel, w; the network has",
            parameters(**{"lenet/kernel": np.ones(3)}),
        ),
        Case("predict run digit.png", "parameters.npz holds nothing; the network has b, f, w", members()),
        Case("predict run digit.png", "parameters.npz is damaged", members(f=b"abc", w=b"", b=b"")),
        Case(
            "predict run digit.png",
            r"b is float32\(1000000000, 1000000000\), the network's",
            members(**dict.fromkeys("fwb", declared(10**9, 10**9))),
        ),
        Case(
            "predict run digit.png",
            "parameters.npz is damaged",
            members(f=declared(6, 6, 1, 1), w=declared(121, 10), b=declared(10)),
        ),
        Case(
            "predict run digit.png",
            "b is float32.* the network's",
            members(f=b"", w=b"", b=declared(10**7) + bytes(4 * 10**7)),
        ),
        Case("predict run digit.png", "parameters.npz is damaged: .*encrypted", set_flag(6, 8, 1)),
        Case("predict run digit.png", "parameters.npz is damaged: .*compression", set_flag(8, 10, 99)),
    ],
    "metrics.jsonl": [
        Case(
            "report run",
            "metrics.jsonl is empty: a run writes it with a line per epoch",
            write("run/metrics.jsonl", ""),
        ),
        Case("report run", r"metrics.jsonl cannot be read \(No such file", remove("run/metrics.jsonl")),
        Case("report run", "metrics.jsonl is damaged: it is nested too deeply", write("run/metrics.jsonl", DEEP)),
        Case("report run", "metrics.jsonl is damaged: line 1 is no object", write("run/metrics.jsonl", "[1]\n")),
        Case("report run", "in line 1, loss is 'low'", metrics("run", loss="low")),
        Case("report run", "in line 1, accuracy is 97", metrics("run", accuracy=97)),
        Case("report run", "in line 1, epoch is -1", metrics("run", epoch=-1)),
        Case("report run", "in line 1, loss is 1000000", metrics("run", loss=10**400)),
        Case("report run", "metrics.jsonl is no file", put("run/metrics.jsonl", make_folder("run/metrics.jsonl"))),
        Case("train --resume young", "in line 1, step is '16'", metrics("young", step="16")),
        Case(
            "train --resume young",
            "metrics.jsonl does not have the 1 epochs before the checkpoint",
            write("young/metrics.jsonl", ""),
        ),
    ],
    "what --resume finds": [
        Case("train --resume young", "epochs is -1$", config("young", epochs=-1)),
        Case("train --resume young", "epochs is 'two', not of type int", config("young", epochs="two")),
        Case("train --resume young", "epochs is True, not of type int", config("young", epochs=True)),
        Case(
            "train --resume young",
            "learning_rate is None, not of type int or float",
            config("young", learning_rate=None),
        ),
        Case(
            "train --resume young",
            "positive and finite in float32, got nan",
            config("young", learning_rate=float("nan")),
        ),
        Case("train --resume young", "seed is 1180591620717411303424", config("young", seed=2**70)),
        Case("train --resume young", "batch-size must be at most the 8000 images", config("young", batch_size=10**9)),
        Case("train --resume young", "clip is .'clip'., not a name and a limit", config("young", clip=["clip"])),
        Case(
            "train --resume young",
            "unknown optimizer 'adamm', .*did you mean 'adam'",
            config("young", optimizer="adamm"),
        ),
        Case("train --resume young", "stream is 'yes', not of type bool", config("young", stream="yes")),
        Case("train --resume young", "early_stopping is -1$", config("young", early_stopping=-1)),
        Case(
            "train --resume young",
            "unknown net 'vgg', expected one of",
            config("young", net={"name": "vgg", "options": {}}),
        ),
        Case("train --resume young", "unknown data set 'imagenet'", config("young", data={"name": "imagenet"})),
        Case(
            "train --resume young",
            "learning_rate is 0.5 in config.json, 0.003 in the checkpoint",
            config("young", learning_rate=0.5),
        ),
        Case(
            "train --resume young",
            "no checkpoint in .* can be read: .*: damaged, or of another net",
            checkpoint_of_lenet,
        ),
        Case(
            "train --resume young",
            "checkpoints cannot be used for checkpoints",
            put("young/checkpoints", write("young/checkpoints")),
        ),
        Case("train --resume young", "config.json is damaged: keep is 0", config("young", keep=0)),
        Case(
            "train --resume young", "config.json is damaged: .*checkpoint_every", config("young", checkpoint_every="")
        ),
        Case("train --resume young", "config.json is damaged: .*tensorboard", config("young", tensorboard="yes")),
        Case("train --resume young", "no checkpoint in .* can be read", in_checkpoints("note/metadata", DEEP)),
        Case("train --resume young", "no checkpoint in .* can be read", in_checkpoints("note/metadata", "{}")),
        Case(
            "train --resume young", "cannot be used for checkpoints|no checkpoint in", in_checkpoints("*METADATA", DEEP)
        ),
        Case(
            "train --resume young",
            "no checkpoint in .* can be read: .*it is of step 20",
            lambda folder: (folder / "young/checkpoints/20").rename(folder / "young/checkpoints/99"),
        ),
        Case(
            "train --resume young",
            "3 epochs and no checkpoint to go on from; .*begin a new run",
            lambda folder: epochs_without_checkpoints(folder),
        ),
    ],
}


def cut_picture(folder: Path) -> None:
    content = (folder / "digit.png").read_bytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])


def a_run_of_lenet(folder: Path) -> None:
    write_run(folder / "run", "lenet", "finished")


def epochs_without_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "young/checkpoints")
    (folder / "young/checkpoints").mkdir()
    runs.write_metrics(folder / "young", [EPOCH | {"epoch": epoch, "step": 16 * epoch} for epoch in (1, 2, 3)])


# The folder that each case has


def settings(net: str) -> Settings:
    defaults = DEFAULTS[net]._asdict() | {"epochs": 4, "batch_size": 500}
    return Settings(net, "mnist-10k", **defaults)


def write_run(folder: Path, net: str, status: str) -> None:
    network = runs.network(net)
    folder.mkdir(exist_ok=True)
    runs.write_config(
        folder,
        {
            "format": runs.FORMAT,
            "status": status,
            "net": {"name": net, "options": network.options},
            "data": {"name": "mnist-10k", "train_images": 8000, "test_images": 2000, "classes": list("0123456789")},
            **settings(net).to_config(),
            **provenance.surroundings(),
        },
    )
    runs.write_metrics(folder, [EPOCH | ({"test_loss": 1.0, "test_accuracy": 0.5} if status == "finished" else {})])
    runs.write_parameters(folder, drawn(net))


def drawn(net: str) -> runs.Params:
    """Parameters of a network, as NumPy draws them: without compiling."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(runs.network(net).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def fresh(net: str) -> train.TrainState:
    optimizer = train.make_optimizer(settings(net).optimizer, settings(net).learning_rate)
    return train.init_state(drawn(net), optimizer, jax.random.key(1))


def write_checkpoint(folder: Path, net: str, step: int) -> None:
    state = fresh(net)._replace(step=jax.numpy.int32(step))
    with Checkpoints(folder) as checkpoints:
        note = {"seconds": 0.5, "settings": settings(net).to_config()}
        checkpoints.save(state, train.Totals.zero(), note, score=-1.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    write_run(folder / "run", "single_filter", "finished")
    write_run(folder / "young", "single_filter", "interrupted")
    write_checkpoint(folder / "young", "single_filter", 20)
    Image.fromarray(data.load().test.images[0, :, :, 0]).save(folder / "digit.png")
    return folder


def state_of(folder: Path) -> dict[str, Any]:
    """Every file, folder, pipe and link below, and what is in it."""

    def content(path: Path) -> Any:
        if path.is_symlink():
            return path.readlink()
        return path.read_bytes() if path.is_file() and path.stat().st_size < 2**24 else path.stat().st_mode

    return {str(path.relative_to(folder)): content(path) for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{kind}: {case.message:.40}") for kind in CASES for case in CASES[kind]]
)
def test_it_is_refused_in_one_line_and_nothing_is_changed(
    case: Case,
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(prepared, folder)
    case.harm(folder)
    before = state_of(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
    monkeypatch.setattr(sys, "argv", ["jaxcnn", *case.arguments.split()])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit) as end:
        cli.run()
    out, err = capfd.readouterr()
    assert end.value.code == 2, err
    assert err.startswith("jaxcnn: ") and len(err.splitlines()) == 1, err
    assert re.search(case.message, err), err
    assert out == ""
    assert state_of(folder) == before


def test_there_are_many_cases() -> None:
    assert sum(map(len, CASES.values())) >= 150


# What arguments and files alone do not show


Refusal = Callable[..., str]


@pytest.fixture
def refusal(prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """The one line that the command, called in this process, refuses its arguments with."""

    def refuse(*arguments: str) -> str:
        before = state_of(prepared)
        monkeypatch.chdir(prepared)
        monkeypatch.setattr(sys, "argv", ["jaxcnn", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.run()
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "") and len(err.splitlines()) == 1 and state_of(prepared) == before, err
        return err

    return refuse


@pytest.mark.parametrize(
    "arguments", ["train", "predict run digit.png", "export run", "explain run --out x.png", "report run", "check"]
)
def test_no_device(refusal: Refusal, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    def fail() -> None:
        raise RuntimeError("Unable to initialize backend 'nowhere'")

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "nowhere")
    assert "jax finds no device with JAX_PLATFORMS='nowhere' (Unable to" in refusal(*arguments.split())


def test_a_name_that_is_not_utf8(prepared: Path) -> None:
    process = start("train", "--out", os.fsdecode(b"odd-\xff"), cwd=prepared)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1), err
    assert "is not in UTF-8, as checkpoints must be: give another folder" in err
    assert sorted(path.name for path in prepared.iterdir()) == ["digit.png", "run", "young"]


def test_closed_standard_input(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed or a terminal: pipe a picture into it" in refusal("predict", "run", "-")


def test_a_terminal_without_the_letters_shows_others(prepared: Path) -> None:
    process = start("predict", "run", "digit.png", cwd=prepared, PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "") and out.startswith("digit.png: ")


def test_what_an_unfinished_run_says_is_said_to_be_that(prepared: Path) -> None:
    process = start("predict", "young", "digit.png", cwd=prepared)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and out.startswith("digit.png: ")
    assert err.startswith("jaxcnn: young is not finished (interrupted): its parameters are the last that")


def test_a_coordinator_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "START_SECONDS", 0)
    refused = pytest.raises(Failure, match="--coordinator 127.0.0.1:1 cannot be reached .*refused")
    with refused, _processes.Processes("127.0.0.1:1", 2, 1).joined():
        pass


def test_readers_of_a_damaged_checkpoint_that_come_too_late_are_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do, now and then, in test_resume; this is what they say."""
    heard: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    late, other = (SimpleNamespace(exc_value=RuntimeError(text)) for text in ("Event loop is closed", "another"))
    with quiet_orbax():
        sys.unraisablehook(late)
        sys.unraisablehook(other)
    sys.unraisablehook(late)
    assert heard == [other, late]


# The library


def step_of_single_filter() -> tuple[train.TrainState, train.Step]:
    optimizer = optax.sgd(0.1)
    state = train.init_state(nets.single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
    return state, train.make_train_step(nets.single_filter.apply, optimizer)


IMAGES, LABELS = np.zeros((8, 28, 28, 1), np.float32), np.arange(8)
WITH_NAN = np.where(np.arange(8)[:, None, None, None] == 5, np.float32("nan"), IMAGES)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[0, 0], LABELS, r"fit: images must be \(N, \*spatial, C\), got \(28, 1\)"),
        (IMAGES, LABELS[:7], r"labels must be \(N,\), one per image, got labels \(7,\) for images \(8, 28, 28, 1\)"),
        (IMAGES, np.eye(10)[LABELS], r"if one-hot, take labels.argmax\(axis=1\)"),
        (IMAGES, LABELS[:, None], r"labels must be \(N,\) classes, got .* \(8, 1\): take labels\[:, 0\]"),
        (IMAGES, np.ma.array(LABELS, mask=LABELS == 3), "labels must have no masked entries, got 1: leave those"),
        (IMAGES, jnp.asarray(LABELS - 8).astype("int4"), r"labels must be at least 0 .*, got -8 at labels\[0\]"),
        ([IMAGES[0], IMAGES[0, 1:]], LABELS[:2], "images must be of one shape, got a list of several"),
        (IMAGES, LABELS + 3, r"labels must be in \[0, 10\), counted from 0, got 10 at labels\[7\]$"),
        (IMAGES, LABELS.astype(np.uint8) + np.uint8(252), r"got 252 at labels\[0\] and 3 more"),
        (IMAGES, LABELS + 2**32, r"got 4294967296 at labels\[0\] and 7 more"),
        (IMAGES, LABELS.astype(float), r"labels must be integers, got float64"),
        (IMAGES, LABELS.astype("m8[s]"), r"labels must be integers, got timedelta64"),
        (IMAGES.astype(np.longdouble), LABELS, "images must be uint8, or floats, usually in .*, got float128"),
        (IMAGES[:0], LABELS[:0], "fit: needs at least one image"),
        (IMAGES.astype(np.int32), LABELS, "images must be uint8, or floats, usually in .*, got int32: convert them"),
        (IMAGES > 0, LABELS, "images must be uint8, or floats, usually in .*, got bool"),
        (WITH_NAN, LABELS, r"images must be finite, got NaN or infinite pixels, first in images\[5\]"),
        (IMAGES, LABELS - 1, r"labels must be at least 0 .*, counted from 0, got -1 at labels\[0\]"),
    ],
)
def test_what_cannot_be_trained_on(images: Any, labels: np.ndarray, message: str) -> None:
    state, step = step_of_single_filter()
    with pytest.raises(ValueError, match=message):
        next(train.fit(state, step, images, labels, epochs=1, batch_size=4))


def test_floats_that_do_not_fit_are_told_from_infinite_ones() -> None:
    state, step = step_of_single_filter()
    wide, message = np.full(IMAGES.shape, 1e200), r"images must fit float32, as which .* got 1e\+200: scale them"
    with jax.enable_x64(False), pytest.raises(ValueError, match=message):
        next(train.fit(state, step, wide, LABELS, epochs=1, batch_size=4))


WIDER = ("uint8", "int16", "uint16", "uint32", "int64", "uint64")


@pytest.mark.parametrize("dtype", ["int8", *(pytest.param(dtype, marks=pytest.mark.long) for dtype in WIDER), list])
def test_labels_of_any_integer_type_train_alike(dtype: Any) -> None:
    state, step = step_of_single_filter()
    images = np.random.default_rng(0).random(IMAGES.shape, np.float32)
    given: Any = LABELS.tolist() if dtype is list else LABELS.astype(dtype)
    (report,) = train.fit(state, step, images, given, epochs=1, batch_size=8)
    (expected,) = train.fit(state, step, images, LABELS.astype(np.int32), epochs=1, batch_size=8)
    assert report.loss == expected.loss
    metrics, _ = train.evaluate(nets.single_filter.apply, state.params, images, given)
    assert metrics == train.evaluate(nets.single_filter.apply, state.params, images, LABELS.astype(np.int32))[0]


@pytest.mark.parametrize("given", [None, 3, "abc", {"a": 1}])
def test_what_is_no_array(given: Any) -> None:
    with pytest.raises(ValueError, match=f"fit: labels must be an array, got: {type(given).__name__}$"):
        checked_examples("fit", IMAGES, given)


def test_the_other_order_of_bytes_and_labels_of_four_bits_train_alike() -> None:
    state, step = step_of_single_filter()
    images, labels = np.random.default_rng(0).random(IMAGES.shape, np.float32), LABELS % 7
    (expected,) = train.fit(state, step, images, labels, epochs=1, batch_size=8)
    alike: list[Any] = [(images.astype(">f4"), labels.astype(">i8")), (images, jnp.asarray(labels).astype("int4"))]
    for other, given in alike:
        (report,) = train.fit(state, step, other, given, epochs=1, batch_size=8)
        assert report.loss == expected.loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 1.5}, "epochs must be a whole number, at least 1, got 1.5"),
        ({"epochs": None}, "epochs must be a whole number, at least 1, got None"),
        ({"batch_size": True}, "batch_size must be a whole number, at least 1, got True"),
        ({"batch_size": "5"}, "batch_size must be a whole number, at least 1, got '5'"),
        ({"pause_every": 1.5}, "pause_every must be a whole number, at least 1, got 1.5"),
        ({"state": {}}, "state must be as from jaxcnn.train.init_state, got: dict"),
        ({"totals": 3}, "totals must be as from a report's totals, got: int"),
        ({"mesh": 3}, "mesh must be as from jaxcnn.train.mesh_of, got: int"),
        ({"step": None}, "step must be as from jaxcnn.train.make_train_step, got: NoneType"),
    ],
)
def test_what_is_no_number_or_no_state(change: dict[str, Any], message: str) -> None:
    state, step = step_of_single_filter()
    given: dict[str, Any] = {"images": IMAGES, "labels": LABELS, "epochs": 1, "batch_size": 4, "state": state} | change
    with pytest.raises((ValueError, TypeCheckError)) as raised:  # the type checker of these tests may answer first
        next(train.fit(**{"step": step} | given))
    assert isinstance(raised.value, TypeCheckError) or f"fit: {message}" in str(raised.value)


def test_what_is_no_step_no_network_and_no_batches() -> None:
    """Asked of what `fit`, `fit_stream` and `evaluate` ask: the type checker of these tests answers before them."""
    state, step = step_of_single_filter()
    with pytest.raises(ValueError, match="^fit: step must be as from jaxcnn.train.make_train_step, got: NoneType"):
        refuse_other_kinds("fit", state, None, None, None)
    with pytest.raises(ValueError, match="^evaluate: ops must be jaxcnn.ops or jaxcnn.reference, got None"):
        refuse_no_network("evaluate", nets.lenet.apply, None)
    with pytest.raises(ValueError, match="^evaluate: apply must be a function, as nets.lenet.apply, got None"):
        refuse_no_network("evaluate", None, jaxcnn.ops)
    with pytest.raises(ValueError, match="^evaluate: params must be as the net's init makes them, got None"):
        train.evaluate(nets.lenet.apply, None, IMAGES, LABELS)
    with pytest.raises((ValueError, TypeCheckError), match="batches"):
        next(train.fit_stream(state, step, None, epochs=1))  # type: ignore[arg-type]  # what is refused


def test_what_comes_one_by_one_is_no_array() -> None:
    """Asked of what `fit` and `evaluate` ask: the type checker of these tests answers before them."""
    with pytest.raises(
        ValueError,
        match="fit: images must be an array, got: .*iterator, which comes one by one",
    ):
        checked_examples("fit", iter(IMAGES), LABELS)
    with pytest.raises(
        ValueError,
        match="fit: labels must be an array, got: generator, which comes one by one",
    ):
        checked_examples("fit", IMAGES, (label for label in LABELS))


def test_floats_that_nobody_scaled_are_warned_of() -> None:
    state, step = step_of_single_filter()
    with pytest.warns(UserWarning, match="images are floats from 255 to 255, taken as they are: divide them by 255"):
        next(train.fit(state, step, IMAGES + 255, LABELS, epochs=1, batch_size=4))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, np.full(8, 10), r"evaluate: labels must be in \[0, 10\), .*, got 10 at labels\[0\] and 7 more"),
        (IMAGES, LABELS[:7], r"labels must be \(N,\), one per image"),
        (IMAGES.astype(np.int32), LABELS, "evaluate: images must be uint8, or floats, usually in .*, got int32"),
    ],
)
def test_what_cannot_be_evaluated(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train.evaluate(nets.single_filter.apply, nets.single_filter.init(jax.random.key(0)), images, labels)


@pytest.mark.parametrize("name", [None, 3, "", "MNIST", "../mnist"])
def test_no_such_data_set(name: Any) -> None:
    with pytest.raises(ValueError, match="unknown data set .*, expected one of mnist-10k, mnist, fashion_mnist"):
        data.load(name)
