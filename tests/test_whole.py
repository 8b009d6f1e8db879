"""Files are whole, or what they were."""

from __future__ import annotations

import errno
import re
import threading
from pathlib import Path
from typing import IO

import pytest

from jaxcnn import _whole

ROOT = Path(__file__).parents[1]


def write_half(file: IO[bytes]) -> None:
    file.write(b"n")
    raise OSError(errno.ENOSPC, "No space left on device", file.name)


@pytest.mark.parametrize("before", [[], [b"old"]])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, before: list[bytes]) -> None:
    path = tmp_path / "file"
    for content in before:
        _whole.write(path, content)
    with pytest.raises(OSError, match="No space left on device") as error:
        _whole.write(path, write_half)
    assert error.value.filename == str(path)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == before
    _whole.write(path, lambda file: file.write(b"new"))
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"new"]


def test_whoever_reads_meanwhile_finds_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    found: list[bytes | bool] = []
    _whole.write(path, b"old")

    def content(file: IO[bytes]) -> None:
        file.write(b"new")
        file.flush()
        found.append(path.read_bytes())
        ends = threading.Thread(target=lambda: found.append(_whole.WHOLE.acquire(blocking=False)))
        ends.start()
        ends.join()

    _whole.write(path, content)
    assert found == [b"old", False]  # and the lock is held, so that no signal ends the process


def test_what_must_be_new_takes_nothings_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    _whole.write(path, b"mine", new=True)
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        _whole.write(path, b"other", new=True)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        _whole.write(tmp_path / "link", b"other", new=True)
    assert path.read_bytes() == b"mine" and {each.name for each in tmp_path.iterdir()} == {"file", "link"}


def test_there_is_one_helper() -> None:
    """No other file of the package writes or moves a file by itself, but for checkpoints, which Orbax writes."""
    by_itself = r"os\.replace|os\.rename|\.write_bytes\(|\.write_text\(|NamedTemporaryFile|mkstemp|\.open\(\"[wxa]"
    found = {path.name for path in (ROOT / "jaxcnn").rglob("*.py") if re.search(by_itself, path.read_text())}
    assert found == {"_whole.py"}
