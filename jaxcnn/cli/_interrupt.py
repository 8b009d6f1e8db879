"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) at any moment: answered at once, with nothing left half written.

XLA compiles in threads of its own. A KeyboardInterrupt leaves the main thread's wait for them, and the process's
teardown then destroys what they still compile for: a segmentation fault. Raised in a function that jax is called back
with, it is printed and lost. And Python calls a signal's handler in the main thread alone, between two instructions:
seconds late, or never. So no handler here raises anything. A thread learns of each signal through a pipe, says so, sees
to the run's folder, and ends the process by `os._exit`, which tears nothing down.

This is loaded before all else, so it loads little.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time

from jaxcnn._whole import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import NoReturn

SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
ONE_PRESS_SECONDS = 0.3  # within which what a terminal sends, and a parent process passes on, counts once
PATIENCE_SECONDS = 0.5  # to wait for a file in silence
GIVEN_UP_SECONDS = 5.0  # after which a file that cannot be written does not keep the process
_CLEARS_LINE, _SHOWS_CURSOR = b"\r\x1b[K", b"\x1b[?25h"


class Interrupt:
    """What a press does: it ends the process at once, but within this context, once there is something to save.

    There the first press sets `asked`, for the one who trains to stop when all is saved; leaving the context raises
    KeyboardInterrupt where nobody did. The second press ends the process at once.

    While WHOLE is held, the process is not ended.
    """

    def __init__(self) -> None:
        self.asked = False
        self.code = 0  # to exit with, once there was a press: 130, 143 or 129
        self.last_words: Callable[[], str] = lambda: "interrupted"  # what there is to see to, and what to say then
        self._can_save = self._is_watching = self._is_ending = self._is_over = False
        self._asked_at = 0.0
        self._signals = SIGNALS
        self._deciding = threading.RLock()

    def watch(self) -> None:
        """Answer presses from here on; to be called once a process, and again in a forked one."""
        heard, told = os.pipe()
        os.set_blocking(told, False)
        self._is_watching = True
        if os.name != "nt":  # where a pipe cannot be told, and no terminal hangs up
            signal.set_wakeup_fd(told, warn_on_full_buffer=False)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup asks for
                self._signals = (*SIGNALS, signal.SIGHUP)
        self.catch()
        threading.Thread(target=self._listen, args=(heard,), name="interrupt", daemon=True).start()

    def catch(self) -> None:
        """Take the signals back from whoever took them meanwhile, as jax's service for preemption and libtpu do."""
        if self._is_watching:
            for number in self._signals:
                signal.signal(number, self._handle)

    def save_first(self) -> None:
        """From here to the context's end the first press is a request."""
        self._can_save = True

    def __enter__(self) -> Interrupt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._deciding:
            self._can_save = False
        if self.asked and error is None:
            raise KeyboardInterrupt

    def leave(self, code: int) -> NoReturn:
        """End the process, which has done and said all that it had to."""
        with self._deciding:
            self._is_over = not self._is_ending
        if self._is_ending:
            time.sleep(2 * GIVEN_UP_SECONDS)  # by then it is over
        if self.asked or code > 128:
            _flush()
            os._exit(code)
        for number in self._signals:
            signal.signal(number, signal.SIG_IGN)  # nothing is left to stop
        sys.exit(code)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.name == "nt":
            self._press(number)

    def _listen(self, heard: int) -> None:
        while True:
            for number in os.read(heard, 64):
                if number in self._signals:
                    self._press(number)

    def _press(self, number: int) -> None:
        if number not in SIGNALS:  # the terminal has gone
            _print_to_nobody()
        with self._deciding:
            is_echo = self.asked and time.monotonic() - self._asked_at < ONE_PRESS_SECONDS
            if self._is_over or is_echo:
                return
            self.code = self.code or 128 + number
            self._is_ending = self.asked or not self._can_save
            if not self._is_ending:
                self.asked, self._asked_at = True, time.monotonic()
        if self._is_ending:
            self._end()
        _say("interrupted: saving, then stopping; once more stops at once")

    def _end(self) -> NoReturn:
        is_whole = WHOLE.acquire(timeout=PATIENCE_SECONDS)
        if not is_whole:
            _say("interrupted: stopping when what is being written is whole")
            is_whole = WHOLE.acquire(timeout=GIVEN_UP_SECONDS)
        words = "interrupted"
        if is_whole:
            try:
                words = self.last_words()
            except Exception as error:  # nothing may keep the process
                words = f"interrupted: {error}"
        flushing = threading.Thread(target=_flush, daemon=True)  # for nobody may read what is printed
        flushing.start()
        flushing.join(PATIENCE_SECONDS)
        _say(words, is_last=True)
        os._exit(self.code)


interrupt = Interrupt()  # of this process, as its signals are


def _say(message: str, *, is_last: bool = False) -> None:
    """One line to standard error, past what the main thread may be in the midst of printing."""
    line = f"jaxcnn: {' '.join(message.split())}\n".encode(errors="backslashreplace")
    if "rich" in sys.modules and os.environ.get("TERM") not in ("dumb", "unknown"):  # a bar may be there
        if is_last and os.isatty(1):
            _write(1, _SHOWS_CURSOR)
        if os.isatty(2):
            line = _CLEARS_LINE + (_SHOWS_CURSOR if is_last else b"") + line
    _write(2, line)


def _write(descriptor: int, content: bytes) -> None:
    """Unless nobody takes it."""
    try:
        if os.name == "nt" or select.select([], [descriptor], [], PATIENCE_SECONDS)[1]:
            os.write(descriptor, content)
    except OSError:
        return


def _print_to_nobody() -> None:
    """From here on what is printed to a terminal is lost, in place of an error for whoever prints."""
    nobody = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            os.dup2(nobody, descriptor)
    os.close(nobody)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, it leads nowhere, or it is closed
            continue
