"""What every experiment needs: results that say what they were made by, and tables between two marks of a page."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import optax

from jaxcnn import runs


def made_by(seed: int) -> dict[str, Any]:
    """The versions, the device, the commit and the day."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=True
    )
    return {
        "seed": seed,
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "optax": optax.__version__,
        "device": f"{jax.devices()[0].device_kind}, {len(jax.devices())} device",
        "date": time.strftime("%Y-%m-%d"),
    }


def write(path: Path, seed: int, result: dict[str, Any]) -> None:
    """A result as JSON, with what it was made by."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"made_by": made_by(seed), **result}, indent=1) + "\n"
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
