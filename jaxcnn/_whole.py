"""Files that are whole whenever anyone looks, and what is held meanwhile, so that nobody ends the process in its midst.

Loaded before all else of the command: by the standard library alone.
"""

from __future__ import annotations

import errno
import os
import threading

TYPE_CHECKING = False  # typing's would have to be loaded
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

WHOLE = threading.RLock()


def write(path: Path, content: bytes | Callable[[IO[bytes]], object], *, new: bool = False) -> None:
    """Write a file beside `path`, then move it there: what was there is replaced at once, or stays.

    Args:
        path: where.
        content: what, or a function that writes it to an open file.
        new: whether to refuse a path where something is by now.

    Raises:
        OSError: it cannot be written, as on a full disk; its `filename` is the path.
        FileExistsError: something is there, and `new` was asked for.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two processes may write one file
    with WHOLE:
        try:
            with beside.open("wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
            if new and os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "it exists by now, and nothing is overwritten")
            beside.replace(path)
        except OSError as error:
            error.filename, error.filename2 = str(path), None
            raise
        finally:
            beside.unlink(missing_ok=True)
