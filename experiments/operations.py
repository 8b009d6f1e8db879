"""The README's table of operations, from their records: `python -m experiments.operations` writes it."""

from __future__ import annotations

from pathlib import Path

from experiments.report import insert, table
from jaxcnn.examples import records

README = Path(__file__).parents[1] / "README.md"
HEAD = ("op", "file in `jaxcnn/ops/`", "equations", "kept for the backward pass", "at kinks, ties and NaN")


def operations() -> str:
    """The table, a row for each op."""
    return table(
        HEAD, [(f"`{op.name}`", f"`{op.file}`", op.equations, op.kept, op.at_kinks) for op in records().values()]
    )


if __name__ == "__main__":
    insert(README, "operations", operations())
