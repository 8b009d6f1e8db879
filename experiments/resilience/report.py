"""Write the tables of this folder's README from its results."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.report import insert, table

HERE = Path(__file__).parent


def report() -> None:
    """Both tables."""
    soak, overhead = (json.loads((HERE / "results" / f"{name}.json").read_text()) for name in ("soak", "overhead"))
    rows = [(name, str(value)) for name, value in soak.items() if name not in ("made_by", "lives")]
    made_by = "jax {jax}, {device}; seed {seed}; commit {commit}, {date}."
    insert(HERE / "README.md", "soak", f"{table(('what', 'figure'), rows)}\n\n{made_by.format(**soak['made_by'])}")
    ways = [
        (
            way,
            f"{figures['ms a step, min']:.1f}",
            f"{figures['ms a step, median']:.1f}",
            f"{figures['overhead']['median']:+.1%}",
            f"{figures['overhead']['from']:+.1%} to {figures['overhead']['to']:+.1%}",
        )
        for way, figures in overhead["ways"].items()
    ]
    head = ("way", "ms a step, minimum", "median", "overhead, median of the rounds", "its 95 % interval")
    insert(HERE / "README.md", "overhead", f"{table(head, ways)}\n\n{made_by.format(**overhead['made_by'])}")


if __name__ == "__main__":
    report()
