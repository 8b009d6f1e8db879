"""TensorBoard's event files, read back as TensorBoard reads them."""

import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from jaxcnn import runs, tensorboard

pytest.importorskip("tensorboardX")


def records(file: Path) -> Iterator[Any]:
    """The events of a file: of each its length (8 bytes), a checksum (4), it, a checksum (4)."""
    from tensorboardX.proto.event_pb2 import Event

    content = file.read_bytes()
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        yield Event.FromString(content[at + 12 : at + 12 + length])
        at += length + 16


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Of each tag its steps and values; a session's start takes back what there was from its step on."""
    from tensorboardX.proto.event_pb2 import SessionLog

    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for file in sorted((run / tensorboard.FOLDER).iterdir()):
        for event in records(file):
            if event.session_log.status == SessionLog.START:
                for tag, points in found.items():
                    found[tag] = [point for point in points if point[0] < event.step]
            for value in event.summary.value:
                found[value.tag].append((event.step, value.simple_value))
    return dict(found)


def line(epoch: int, **more: float) -> runs.Metrics:
    return {
        "epoch": epoch,
        "step": 100 * epoch,
        "loss": 1 / epoch,
        "accuracy": 1 - 0.5 / epoch,
        "images_per_second": 1000.0,
        "seconds": 2.0,
        **more,
    }


def test_every_number_is_read_back_at_its_step(tmp_path: Path) -> None:
    with tensorboard.Events(tmp_path) as events:
        events.add(line(1, validation_loss=1.5, validation_accuracy=0.25, learning_rate=0.125))
        last = line(2, validation_loss=1.25, validation_accuracy=0.5, learning_rate=0.0625)
        events.add(last)
        events.add(last | {"test_loss": 1.75, "test_accuracy": 0.75})
    assert scalars(tmp_path) == {
        "loss/training": [(100, 1.0), (200, 0.5)],
        "accuracy/training": [(100, 0.5), (200, 0.75)],
        "loss/validation": [(100, 1.5), (200, 1.25)],
        "accuracy/validation": [(100, 0.25), (200, 0.5)],
        "loss/held-out": [(200, 1.75)],
        "accuracy/held-out": [(200, 0.75)],
        "images_per_second": [(100, 1000.0), (200, 1000.0)],
        "learning_rate": [(100, 0.125), (200, 0.0625)],
        "epoch": [(100, 1.0), (200, 2.0)],
    }


def test_what_a_line_lacks_is_not_written(tmp_path: Path) -> None:
    with tensorboard.Events(tmp_path) as events:
        events.add(line(1))
    assert set(scalars(tmp_path)) == {"loss/training", "accuracy/training", "images_per_second", "epoch"}


def test_a_run_that_goes_on_has_no_step_twice(tmp_path: Path) -> None:
    with tensorboard.Events(tmp_path) as events:
        for epoch in (1, 2):
            events.add(line(epoch))
        events.add(line(3) | {"step": 230, "loss": 9.0})  # interrupted in the midst of the third
    for first in (3, 4):
        with tensorboard.Events(tmp_path, after_step=100 * (first - 1)) as events:
            events.add(line(first))
    assert len(list((tmp_path / tensorboard.FOLDER).iterdir())) == 3
    assert [step for step, _ in scalars(tmp_path)["loss/training"]] == [100, 200, 300, 400]
    assert scalars(tmp_path)["loss/training"][2][1] == pytest.approx(1 / 3)


def test_what_was_added_can_be_read_while_training_goes_on(tmp_path: Path) -> None:
    with tensorboard.Events(tmp_path) as events:
        events.add(line(1))
        deadline = time.monotonic() + 20
        while "epoch" not in scalars(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert scalars(tmp_path)["epoch"] == [(100, 1.0)]


def test_without_tensorboardx_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None if name == "tensorboardX" else util.find_spec(name))
    with pytest.raises(runs.RunError, match=r"need tensorboardX: pip install 'jaxcnn\[tensorboard\]'$"):
        tensorboard.Events(tmp_path)
    assert list(tmp_path.iterdir()) == []
