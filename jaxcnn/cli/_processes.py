"""Several processes that train together, through `jax.distributed`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jaxcnn.cli._failure import Failure
from jaxcnn.cli._interrupt import SIGNALS, interrupt

HEARTBEAT_SECONDS = 20  # a process that is silent for so long is lost
START_SECONDS = 120  # all must have come by then


class Processes(NamedTuple):
    """Which process this is; where nothing is given, jax finds it out: on SLURM, MPI and TPU pods."""

    coordinator: str | None
    processes: int | None
    process_id: int | None

    def check(self) -> None:
        """Raise Failure unless all three are given, or none."""
        if len({value is None for value in self}) > 1:
            raise Failure("--coordinator, --processes and --process-id go together")
        if self.processes is not None and self.process_id is not None and not 0 <= self.process_id < self.processes:
            raise Failure(f"--process-id must be from 0 to {self.processes - 1}, got {self.process_id}")
        host, _, port = (self.coordinator or "localhost:12345").rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise Failure(f"--coordinator must be HOST:PORT, as localhost:12345, got {self.coordinator!r}")

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Meet the others: to the context's end `jax.devices()` are all processes' devices.

        Its end leaves them, for an interrupted process has no teardown that would do it.

        Raises:
            Failure: they cannot be reached.
        """
        import jax  # half a second, which --help and Tab need not wait for

        if self.process_id:
            self._wait_for_coordinator()
        try:
            jax.distributed.initialize(
                self.coordinator,
                self.processes,
                self.process_id,
                initialization_timeout=START_SECONDS,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise Failure(f"the processes of this training do not find each other ({reason})") from error
        try:
            yield
        finally:
            jax.distributed.shutdown()

    def _wait_for_coordinator(self) -> None:
        """Until it answers: jax would end this process from within if it never did.

        Raises:
            Failure: it is not there in time, or is no address.
        """
        host, _, port = str(self.coordinator).rpartition(":")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
                return
            except (OSError, UnicodeError) as error:
                if time.monotonic() > deadline or isinstance(error, socket.gaierror | UnicodeError):
                    raise Failure(f"--coordinator {self.coordinator} cannot be reached ({error})") from error
            time.sleep(0.1)


def stand_by() -> None:
    """Go on in a child process, while this one waits to say in one line how it ended.

    When a process of a training is lost, jax ends the others from within, by an abort that no handler there survives.
    """
    if not hasattr(os, "fork"):
        return
    of_child, of_parent = os.pipe()
    child = os.fork()
    if not child:
        os.close(of_parent)
        interrupt.watch()
        threading.Thread(target=_end_with_parent, args=(of_child,), daemon=True).start()
        return
    os.close(of_child)
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGABRT:
        print(
            "jaxcnn: another process of this training was lost, so that none can go on: start all again with --resume",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)
    os._exit(code if code >= 0 else 128 - code)


def _end_with_parent(pipe: int) -> None:
    """Wait for the pipe's other end to close, as it does however the parent ends."""
    os.read(pipe, 1)
    os._exit(1)
