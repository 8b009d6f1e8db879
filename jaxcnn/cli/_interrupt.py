"""Ctrl-C and SIGTERM as requests: what is under way is brought to a stop where nothing is lost."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """A context in which SIGINT and SIGTERM set `asked`; a second one ends the process at once, as usual.

    `code` is the exit code that tells which it was: 130 or 143.
    """

    def __init__(self) -> None:
        self.asked = False
        self.code = 130

    def __enter__(self) -> Interrupt:
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked, self.code = True, 128 + number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
