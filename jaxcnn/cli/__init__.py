"""The `jaxcnn` command: one file per sub-command, each a thin layer over the library.

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
    interrupt.watch()  # before what takes seconds to load
    from jaxcnn.cli._app import run

    interrupt.leave(run(sys.argv[1:]) or 0)


def run() -> NoReturn:
    """Run the command of `sys.argv` within a process that is somebody else's.

    Raises:
        SystemExit: as the command ended.
    """
    from jaxcnn.cli import _app

    sys.exit(_app.run(sys.argv[1:]))
