"""The tables and the picture of this folder's README, and the README's of the project, from `results/*.json`."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import typer

from experiments.report import insert, table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"


def report() -> None:
    """Write them."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    page = HERE / "README.md"
    insert(page, "steps", f"{steps(found['steps'])}\n\n{machine(found['steps'])}")
    insert(page, "memory", f"{memory(found['memory'])}\n\n{machine(found['memory'])}")
    insert(page, "ops", f"{by_group(found['ops'])}\n\n{machine(found['ops'])}")
    insert(page, "losers", losers(found["ops"]))
    insert(page, "choices", choices(found["tune"]))
    insert(ROOT / "README.md", "speed", steps(found["steps"]))
    draw(found["ops"])


def machine(result: dict[str, Any]) -> str:
    """What made a result, in a line."""
    made_by = result["made_by"]
    rate = f", matrix products {result['product_gflops']:.0f} GF/s" if "product_gflops" in result else ""
    return (
        f"{made_by['device']}, {made_by['cores']} cores{rate}; "
        f"jax {made_by['jax']}, Python {made_by['python']}; seed {made_by['seed']}; {made_by['date']}."
    )


def ratio(row: dict[str, Any], way: str = "autodiff", of: str = "min_ms") -> float:
    """How many times as long a way takes as ours."""
    return row["ways"][way][of] / row["ways"]["ours"][of]


def steps(result: dict[str, Any]) -> str:
    """Whole steps, with every way that was there."""
    ways = list(dict.fromkeys(way for row in result["rows"] for way in row["ways"]))
    rows = [
        (
            row["name"],
            *(f"{t['min_ms']:.3g} / {t['median_ms']:.3g}" if (t := row["ways"].get(way)) else "" for way in ways),
            *(f"{ratio(row, way):.2f}" if way in row["ways"] else "" for way in ways[1:]),
        )
        for row in result["rows"]
    ]
    head = ("a training step", *(f"{way}, ms: min / median" for way in ways), *(f"{way} / ours" for way in ways[1:]))
    return table(head, rows)


def memory(result: dict[str, Any]) -> str:
    """Bytes by hand and by autodiff."""
    rows = [
        (row["name"], f"{ours:,}", f"{theirs:,}", f"{ours / theirs:.2f}")
        for row in result["rows"]
        for ours, theirs in [(row["bytes"]["ours"], row["bytes"]["autodiff"])]
    ]
    return table(("bytes", "by hand", "by autodiff", "ratio"), rows)


def by_group(result: dict[str, Any]) -> str:
    """For each kind of case how many, and the least, the median and the greatest ratio."""
    groups: dict[str, list[float]] = {}
    for row in result["rows"]:
        groups.setdefault(row["group"], []).append(ratio(row))
    rows = [
        (name, str(len(r)), f"{min(r):.2f}", f"{median(r):.2f}", f"{max(r):.1f}") for name, r in sorted(groups.items())
    ]
    everything = [r for group in groups.values() for r in group]
    rows.append(
        ("all", str(len(everything)), f"{min(everything):.2f}", f"{median(everything):.2f}", f"{max(everything):.1f}")
    )
    return table(("autodiff / ours, of minima", "cases", "least", "median", "greatest"), rows)


def losers(result: dict[str, Any]) -> str:
    """Every case where autodiff takes less than 0.9 of our time."""
    rows = [
        (row["name"], f"{row['ways']['ours']['min_ms']:.3g}", f"{ratio(row):.2f}", f"{ratio(row, of='median_ms'):.2f}")
        for row in result["rows"]
        if ratio(row) < 0.9
    ]
    return table(("below 0.9", "ours, ms", "autodiff / ours, minima", "medians"), rows) if rows else "None."


def choices(result: dict[str, Any]) -> str:
    """For each map and kind, how much faster than lax's own the fastest algorithm is, and the chosen one."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault(row["group"], []).append(row)
    algorithms = list(dict.fromkeys(way for row in result["rows"] for way in row["ways"] if way not in ("autodiff",)))
    rows = []
    for group, members in sorted(groups.items()):
        cells = []
        for algorithm in algorithms:
            ratios = [
                row["ways"]["autodiff"]["min_ms"] / row["ways"][algorithm]["min_ms"]
                for row in members
                if algorithm in row["ways"]
            ]
            cells.append(f"{min(ratios):.2f} / {median(ratios):.2f}" if ratios else "")
        rows.append((group, str(len(members)), *cells))
    head = ("autodiff / algorithm: least / median", "cases", *("chosen" if a == "ours" else a for a in algorithms))
    return table(head, rows)


def draw(result: dict[str, Any]) -> None:
    """Every case as a dot: how many times as long autodiff takes."""
    import matplotlib.pyplot as plt

    groups: dict[str, list[float]] = {}
    for row in result["rows"]:
        groups.setdefault(row["group"], []).append(ratio(row))
    names = sorted(groups, key=lambda name: median(groups[name]))
    figure, axes = plt.subplots(figsize=(10, 0.28 * len(names) + 1.2), layout="constrained")
    for place, name in enumerate(names):
        values = groups[name]
        axes.plot(values, [place] * len(values), "o", color="#1b6ca8", alpha=0.35, markersize=5, markeredgewidth=0)
        axes.plot(median(values), place, "|", color="#d1495b", markersize=11, markeredgewidth=2)
    axes.axvline(1, color="#444444", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50, 100], ["0.5", "1", "2", "5", "10", "20", "50", "100"])
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("autodiff's time / ours; a dot a case, the bar its kind's median")
    figure.savefig(RESULTS / "ops.png", dpi=110)


if __name__ == "__main__":
    typer.run(report)
