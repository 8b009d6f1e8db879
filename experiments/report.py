"""What every experiment needs: results that say what they were made by, and tables between two marks of a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcnn import provenance, runs

MADE_BY = "jax {jax}, {device}; seed {seed}; commit {commit}, {date}"  # of a result's `made_by`


def write(path: Path, seed: int, result: dict[str, Any]) -> None:
    """A result as JSON, with what it was made by."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"made_by": provenance.made_by(seed), **result}, indent=1) + "\n"
    runs.write_whole(path, text.encode())


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---",) * len(head), *rows])


def insert(page: Path, name: str, text: str) -> None:
    """Put text between the page's two marks of that name."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(opening)
    _, mark, after = rest.partition(closing)
    if not mark:
        raise ValueError(f"{page.name} needs the marks {opening} and {closing}")
    runs.write_whole(page, f"{before}{opening}\n{text}\n{closing}{after}".encode())
