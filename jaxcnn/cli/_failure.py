"""What ends a sub-command early, for a reason that is the user's to mend."""

from pathlib import Path


class Failure(Exception):
    """One line for stderr and the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def refuse_no_new_png(option: str, path: Path) -> None:
    """Raise Failure unless a .png file can be written at the path without taking anything's place."""
    if path.suffix.lower() != ".png":
        raise Failure(f"{option} must name a .png file, got {path}")
    if path.exists():
        raise Failure(f"{path} exists, and nothing is overwritten: give another {option}")
    if not path.parent.is_dir():
        raise Failure(f"there is no folder {path.parent}")
