"""The `jaxcnn` command: one file per sub-command, each a thin layer over the library.

A sub-command's file is loaded when it is called, and what takes long to load when it is used: at `jaxcnn.plots.png`
the package loads `jaxcnn.plots`. So help and the Tab key do not wait for jax.

Exit codes: 0 done; 1 training failed, or a gradient is wrong; 2 an argument, a file or a folder that cannot be used;
130 interrupted by Ctrl-C (SIGINT), 143 by SIGTERM, 129 by the end of its terminal (SIGHUP).
"""

from __future__ import annotations

import sys

from jaxcnn.cli._interrupt import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command as this process's own: its signals are answered, and with the command the process ends."""
    interrupt.watch()
    interrupt.leave(_run() or 0)


def run() -> NoReturn:
    """Run the command of `sys.argv` within a process that is somebody else's.

    Raises:
        SystemExit: as the command ended.
    """
    sys.exit(_run())


def _run() -> int | None:
    from jaxcnn.cli import _app  # once presses are answered, for it takes a tenth of a second to load

    return _app.run(sys.argv[1:])
