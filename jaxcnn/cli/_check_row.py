"""What `jaxcnn check` looks at of one op or network: a row of its table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax

from jaxcnn.check import Comparison, Kind, comparisons, residuals
from jaxcnn.examples import Example


def row_of(name: str, example: Example, dtype: str, order: int, seed: int) -> dict[str, Any]:
    """All that was looked at, as one row of the table; float64 is at hand meanwhile."""
    with jax.enable_x64(True):
        return _row_of(name, example, dtype, order, seed)


def _row_of(name: str, example: Example, dtype: str, order: int, seed: int) -> dict[str, Any]:
    key = jax.random.fold_in(jax.random.key(seed), sum(map(ord, name)))
    seen: dict[str, list[Comparison]] = {"value": [], "gradients": [], "differences": [], "higher": [], "at ties": []}
    problem = None
    try:
        for where, comparison in _comparisons(example, key, dtype, order):
            seen[where].append(comparison)
    except AssertionError as error:  # a shape, a dtype or a structure: the rest has no meaning
        problem = str(error)
    wrong = [comparison for group in seen.values() for comparison in group if not comparison.passed]
    by_autodiff = [c for where in ("value", "gradients", "higher") for c in seen[where] if c.kind != Kind.DIFFERENCE]
    worst = max(by_autodiff, key=lambda c: c.error / (c.allowed or 1), default=None)
    args = example.distinct(key, dtype)
    return {
        "name": name,
        "passed": not wrong and problem is None,
        **{where: [c.passed for c in group] for where, group in seen.items()},
        "largest_error_ulps": worst.error if worst else None,
        "allowed_ulps": worst.allowed if worst else None,
        "where": f"{worst.what} {list(worst.index)}" if worst else None,
        "residual_bytes": {
            way: sum(kept.bytes for kept in residuals(f, *args))
            for way, f in (("by_hand", jax.jit(example.by_hand)), ("by_autodiff", jax.jit(example.by_autodiff)))
        },
        "problems": [problem] if problem else [str(c) for c in wrong],
    }


def _comparisons(example: Example, key: Any, dtype: str, order: int) -> Iterator[tuple[str, Comparison]]:
    columns = {Kind.VALUE: "value", Kind.GRADIENT: "gradients", Kind.DIFFERENCE: "differences"}
    by_hand, by_autodiff = jax.jit(example.by_hand), jax.jit(example.by_autodiff)
    for c in comparisons(by_hand, example.distinct(key, dtype), reference=by_autodiff, order=order, key=key):
        yield columns[c.kind] if c.order == 1 else "higher", c
    if example.has_kinks or example.is_exact:
        is_exact = example.is_exact and dtype == "float64"
        at = example.integers(key, dtype)
        for c in comparisons(by_hand, at, reference=by_autodiff, order=order, exact=is_exact, directions=0, key=key):
            yield "at ties", c
