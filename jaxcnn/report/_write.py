"""The file that a report is written to: a new one, or an earlier report."""

from __future__ import annotations

from pathlib import Path

from jaxcnn import runs

GENERATOR = '<meta name="generator" content="jaxcnn report">'
_WITHIN = 1000  # the first bytes, which hold that mark


def refuse_others(path: Path) -> None:
    """Raise `RunError` unless a report can be written to `path`: nothing is there yet, or an earlier report.

    Example:
        >>> refuse_others(Path("report.txt"))
        Traceback (most recent call last):
        jaxcnn.runs._files.RunError: a report is a .html file, got report.txt
    """
    if path.suffix.lower() != ".html":
        raise runs.RunError(f"a report is a .html file, got {path}")
    if path.is_dir():
        raise runs.RunError(f"{path} is a folder: name a .html file")
    if not path.parent.is_dir():
        raise runs.RunError(f"there is no folder {path.parent}")
    if path.is_symlink() or path.exists():
        with path.open("rb") as file:
            if GENERATOR.encode() not in file.read(_WITHIN):
                raise runs.RunError(f"{path} is no report of jaxcnn's, and is not overwritten: name another file")


def write(path: Path, page: str) -> None:
    """Write a page whole, in place of an earlier report or of nothing.

    Raises:
        RunError: anything else is there, or the name does not end in .html.
    """
    refuse_others(path)
    runs.write_whole(path, page.encode())
