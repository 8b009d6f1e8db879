"""A run's folder as a training finds, takes and guards it."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcnn.session._error import SessionError
from jaxcnn.session._place import Place, warn
from jaxcnn.session._settings import Settings

if TYPE_CHECKING:
    from jaxcnn.runs import Run


def refuse_odd_name(folder: Path) -> None:
    """Raise SessionError unless the folder's whole path is UTF-8: what writes checkpoints knows no other."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise SessionError(
            f"{folder.absolute()} is not in UTF-8, as checkpoints must be: give another folder"
        ) from error


def folder_of(settings: Settings, out: Path | None, resume: Path | None, place: Place) -> Path:
    """Where to train: the run to go on with, the folder asked for, or the next of `runs/`; made, if it is new."""
    from jaxcnn import runs

    if resume is not None:
        return resume
    if out is None:
        return runs.claim_next(f"{settings.net.replace(':', '.').strip('.')}-{settings.data}")
    return runs.claim(out) if place.leads else out


@contextlib.contextmanager
def locked(folder: Path, place: Place) -> Iterator[None]:
    """Nobody else trains in this folder meanwhile; the lock goes with the process, however it ends.

    Raises:
        SessionError: another does.
    """
    try:
        import fcntl
    except ImportError:  # Windows has none
        yield
        return
    import os

    if not place.leads:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SessionError(
                f"{folder} is being trained in by another process: wait for its end, or stop it"
            ) from None
        yield
    finally:
        os.close(handle)


def interrupted(folder: Path) -> str:
    """What is left in the folder of a training that was stopped, and how it goes on."""
    from jaxcnn import runs
    from jaxcnn.checkpoints import CHECKPOINTS

    checkpoints = folder / CHECKPOINTS
    if not checkpoints.is_dir() or not any(path.name.isdecimal() for path in checkpoints.iterdir()):
        return f"interrupted before the first checkpoint; jaxcnn train --resume {folder} begins again"
    return f"interrupted: {folder} keeps {runs.kept(folder)}; jaxcnn train --resume {folder} goes on"


def give_up(folder: Path) -> str:
    """Note in the folder that its training is stopped, wherever it was, and say so."""
    from jaxcnn import runs

    if not (folder / runs.CONFIG).exists():  # removed: it kept nothing
        return "interrupted"
    config = runs.read_config(folder)
    if runs.is_finished(config):
        return f"interrupted: {folder} is finished"
    runs.write_config(folder, config | {"status": "interrupted"})
    return interrupted(folder)


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
    """Silence Orbax: it warns in pages of what is said here in a line.

    When one array of a damaged checkpoint cannot be read, the readers of the others find their event loop closed, and
    each prints a traceback.
    """
    import logging

    def hook(late: Any) -> None:
        if not (isinstance(late.exc_value, RuntimeError) and str(late.exc_value) == "Event loop is closed"):
            hook_before(late)

    logger = logging.getLogger("absl")
    level_before, hook_before = logger.level, sys.unraisablehook
    logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        logger.setLevel(level_before)
        sys.unraisablehook = hook_before


def warn_of_other_surroundings(folder: Path, config: dict[str, Any], place: Place) -> None:
    """Say what differs from where the run was begun, since the bits may then differ too."""
    from jaxcnn import provenance, runs

    before = runs.read_config(folder)
    differing = [
        f"{name} {_in_words(before.get(name))} then, {_in_words(config[name])} now"
        for name in provenance.surroundings(place.devices)
        if before.get(name) != config[name]
    ]
    if differing:
        warn(f"the place differs, so that results may differ in their last bits: {'; '.join(differing)}", place)


def _in_words(value: Any) -> Any:
    """A list of devices by how many there are of each kind; all else as it is."""
    match value:
        case [{"kind": _}, *_]:
            kinds = Counter(device.get("kind") for device in value)
            return ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
        case _:
            return value


def warn_of_unfinished(run: Run) -> None:
    """Warn if the training is not finished: its parameters are then those last kept."""
    from jaxcnn import runs

    if not runs.is_finished(run.config):
        status = run.config.get("status")
        warn(f"{run.folder} is not finished ({status}): its parameters are the last that training had kept")
