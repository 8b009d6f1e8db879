"""What is shown while something takes seconds: on stderr, and only where that is a terminal."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], task: str, total: int) -> Iterable[Item]:
    """The same items, with a bar that advances as they are taken."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, task, total, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def status(task: str) -> Iterator[None]:
    """A spinner for as long as the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(task):
        yield
