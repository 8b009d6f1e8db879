"""Where an equation of a traced program comes from: the user's line and scope."""

from __future__ import annotations

import os
import sysconfig
from typing import Any

from jax.extend.source_info_util import summarize

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARIES = (_HERE + os.sep, *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")))
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def line_of(source_info: Any) -> str:
    """The innermost line that no installed library holds, else the innermost outside jax: "file:line (function)"."""
    for frame in source_info.traceback.frames if source_info.traceback else ():
        if _is_of_the_user(frame.file_name):
            return f"{_short(frame.file_name)}:{frame.line_num} ({frame.function_name.rpartition('.')[2]})"
    return summarize(source_info)


def scope_of(source_info: Any) -> str:
    """The name that a profiler shows it under, "" where there is none."""
    return str(source_info.name_stack)


def is_already_a_gradient(source_info: Any) -> bool:
    """Whether autodiff made it, by transposing, before it came here."""
    return "transpose(" in str(source_info.name_stack)


def _is_of_the_user(path: str) -> bool:
    return not path.startswith((*_LIBRARIES, "<frozen")) and not any(part in path for part in _INSTALLED)


def _short(path: str) -> str:
    """The path from here where the file lies below."""
    relative = os.path.relpath(path) if os.path.isabs(path) else path
    return path if relative.startswith("..") else relative
