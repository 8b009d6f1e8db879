"""The README's table of operations and their page in docs, from their records: `python -m experiments.operations`."""

from __future__ import annotations

import inspect
from pathlib import Path
from textwrap import wrap
from typing import Any

import jax
import jax.numpy as jnp

import jaxcnn.ops
from experiments.report import insert, table
from jaxcnn import cost, examples
from jaxcnn.examples import Op, records

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "operations.md"
HEAD = ("op", "file in `jaxcnn/ops/`", "equations", "kept for the backward pass", "at kinks, ties and NaN")


def operations() -> str:
    """The table, a row for each op."""
    return table(
        HEAD, [(f"`{op.name}`", f"`{op.file}`", op.equations, op.kept, op.at_kinks) for op in records().values()]
    )


def pages() -> str:
    """What is known of each op, one after another."""
    return "\n\n".join(map(_page, records().values()))


def _page(op: Op) -> str:
    function = getattr(jaxcnn.ops, op.name)
    sentence = (inspect.getdoc(function) or "").partition("\n")[0]
    rows = [
        ("derived in", f"[`{op.file}`](../jaxcnn/ops/{op.file})"),
        ("equations", op.equations),
        ("kept for the backward pass", op.kept),
        ("at kinks, ties and NaN", op.at_kinks),
        ("elsewhere", op.elsewhere),
        *_figures(op),
    ]
    lines = "\n".join(f"- **{name}**: {text}" for name, text in rows)
    return f"## `{op.name}`\n\n{sentence}\n\n```text\n{_signature(op.name, function)}\n```\n\n{lines}"


def _signature(name: str, function: Any) -> str:
    """The parameters with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    first_option = next((i for i, p in enumerate(plain) if p.kind is p.KEYWORD_ONLY), None)
    names = [str(p) for p in plain]
    if first_option is not None:
        names.insert(first_option, "*")
    return "\n".join(wrap(f"{name}({', '.join(names)})", 100, subsequent_indent=" " * (len(name) + 1)))


def _figures(op: Op) -> list[tuple[str, str]]:
    """Products and bytes at the first point that `jaxcnn check` looks at, and the points."""
    own = {name: example for name, example in examples.of_ops().items() if name.split(" ")[0] == op.name}
    example = next(iter(own.values()))

    def apply(args: tuple[Any, ...], x: jax.Array, *, ops: Any, **_: Any) -> Any:
        held = (jnp.asarray(array[: args[0].shape[0]], jnp.int32) for array in example.held)
        return example.call(ops, *args, *held), ()

    (row,) = cost.of_net(apply, example.like, jnp.zeros(())).rows
    shapes = ", ".join(str(like.shape) for like in example.like)
    figures = f"{row.cost.residual_bytes:,} bytes kept in float32"
    if row.cost.forward:
        figures = f"{row.cost.forward:,} multiply-adds forward, {figures}"
    return [(f"of {shapes}", figures), ("checked as", ", ".join(f"`{name}`" for name in own))]


if __name__ == "__main__":
    insert(README, "operations", operations())
    insert(PAGE, "operations", pages())
