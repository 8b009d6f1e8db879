"""The tables and the picture of this folder's README, and the README's of the project, from `results/*.json`."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import typer

from experiments.report import insert, table
from jaxcnn.bench import geometries, milliseconds
from jaxcnn.bench.choices import ALGORITHMS, DIRECT, MAPS, TABLE, Measured, Row, chosen, row_for

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"


def report() -> None:
    """Write them."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    page = HERE / "README.md"
    insert(page, "steps", f"{steps(found['steps'])}\n\n{machine(found['steps'])}")
    insert(page, "steps on jax 0.12", f"{steps(found['steps_jax_0.12'])}\n\n{machine(found['steps_jax_0.12'])}")
    insert(page, "memory", f"{memory(found['memory'])}\n\n{machine(found['memory'])}")
    insert(page, "ops", f"{by_group(found['ops'])}\n\n{machine(found['ops'])}")
    insert(page, "training", in_training(found["ops"]))
    insert(page, "losers", losers(found["ops"]))
    insert(page, "rows", by_row(found["tune"]))
    insert(page, "choices", f"{choices(found['tune'])}\n\n{machine(found['tune'])}")
    insert(ROOT / "README.md", "speed", steps(found["steps"]))
    draw(found["ops"])


def machine(result: dict[str, Any]) -> str:
    """What made a result, in a line."""
    made_by = result["made_by"]
    rate = f", matrix products {result['product_gflops']:.0f} GF/s" if "product_gflops" in result else ""
    return (
        f"{made_by['device']}, {made_by['cores']} cores{rate}; jax {made_by['jax']}, Python {made_by['python']}; "
        f"seed {made_by['seed']}; commit {made_by.get('commit', 'not noted')}, {made_by['date']}."
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
            f"{milliseconds(row['ways']['ours']['min_ms'])} / {milliseconds(row['ways']['ours']['median_ms'])}",
            *(
                f"{milliseconds(row['ways'][way]['min_ms'])}, **{ratio(row, way):.2f}**" if way in row["ways"] else ""
                for way in ways[1:]
            ),
        )
        for row in result["rows"]
    ]
    return table(("a training step", "ours, ms: min / median", *(f"{way}: ms, **/ ours**" for way in ways[1:])), rows)


def memory(result: dict[str, Any]) -> str:
    """Bytes, of hand-derived rules and of autodiff."""
    rows = [
        (row["name"], f"{ours:,}", f"{theirs:,}", f"{ours / theirs:.2f}")
        for row in result["rows"]
        for ours, theirs in [(row["bytes"]["ours"], row["bytes"]["autodiff"])]
    ]
    return table(("bytes", "hand-derived", "autodiff", "ratio"), rows)


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


def in_training(result: dict[str, Any]) -> str:
    """Each map of each geometry that names its images, and the pools of 2x2/2 and 3x3/2."""
    rows = [
        (
            row["name"],
            milliseconds(row["ways"]["ours"]["min_ms"]),
            f"{row['flops'] / row['ways']['ours']['min_ms'] / 1e6:.0f}" if row["flops"] else "",
            f"{ratio(row):.2f}",
            f"{ratio(row, 'rewrite'):.2f}" if "rewrite" in row["ways"] else "",
        )
        for row in result["rows"]
        if "images" in row["name"] or row["name"].startswith(("max_pool 2x2/2", "max_pool 3x3/2"))
    ]
    return table(("case", "ours, ms", "GF/s", "autodiff / ours", "rewrite / ours"), rows)


def losers(result: dict[str, Any]) -> str:
    """Every case where autodiff's minimum is below 0.9 of ours, its median in bold where that is too."""
    rows = [
        (
            row["name"],
            milliseconds(row["ways"]["ours"]["min_ms"]),
            f"{ratio(row):.2f}",
            f"**{medians:.2f}**" if medians < 0.9 else f"{medians:.2f}",
        )
        for row in result["rows"]
        for medians in [ratio(row, of="median_ms")]
        if ratio(row) < 0.9
    ]
    return table(("below 0.9", "ours, ms", "autodiff / ours, minima", "medians"), rows) if rows else "None."


def as_of_today(result: dict[str, Any]) -> dict[str, Any]:
    """The result of `--tune` by today's names: up to 3603d59 what `direct` does on a CPU was timed as "overhang"."""
    problems = {f"{which}: {geometry.name}": geometry.problem for geometry in geometries() for which in MAPS}
    rows = []
    for row in result["rows"]:
        which, _, _ = row["name"].partition(":")
        ways = dict(row["ways"])
        longer = ways.pop("overhang", None)
        if longer and DIRECT.on_a_cpu(which, problems[row["name"]]):
            ways["direct"] = longer
        rows.append({**row, "ways": ways})
    return {**result, "rows": rows}


def ratios_of_rows(result: dict[str, Any]) -> dict[Row, dict[str, list[float]]]:
    """For each row of the table for a CPU, autodiff's time over each algorithm's that can compute all of its cases."""
    named = {row["name"]: row["ways"] for row in as_of_today(result)["rows"]}
    cases: dict[Row, list[dict[str, Any]]] = {row: [] for row in TABLE if row.platform == "cpu"}
    for geometry in geometries():
        for which in MAPS:
            row = row_for(which, "cpu", geometry.problem)
            if row and f"{which}: {geometry.name}" in named:
                cases[row].append(named[f"{which}: {geometry.name}"])
    return {
        row: {
            name: [ways["autodiff"]["min_ms"] / ways[name]["min_ms"] for ways in found]
            for name in ALGORITHMS
            if found and all(name in ways for ways in found)
        }
        for row, found in cases.items()
    }


def measured(ratios: list[float]) -> Measured | None:
    """What the table of the choice says of a row."""
    if not ratios:
        return None
    return Measured(round(min(ratios), 2), round(median(ratios), 2), round(max(ratios), 1), len(ratios))


def by_row(result: dict[str, Any]) -> str:
    """For each row of the chooser's table for a CPU: what it gives over its problems, and the next best."""
    lines = []
    for row, ratios in ratios_of_rows(result).items():
        own = measured(ratios.pop(row.algorithm, []))
        others = sorted(((median(values), name) for name, values in ratios.items()), reverse=True)
        range_of = f"{own.least:.2f} / {own.median:.2f} / {own.greatest:.1f}" if own else "not in the grid"
        best = f"{others[0][1]}: {others[0][0]:.2f}" if others else ""
        lines.append((row.which, row.problems, row.algorithm, str(own.cases if own else 0), range_of, best))
    head = (
        "map",
        "problems",
        "algorithm",
        "cases",
        "autodiff / it: least / median / greatest",
        "the next best's median",
    )
    return table(head, lines)


def choices(result: dict[str, Any]) -> str:
    """For each map and kind, how much faster than lax's own each algorithm is, and the one that is chosen today."""
    problems = {f"{which}: {geometry.name}": geometry.problem for geometry in geometries() for which in MAPS}
    groups: dict[str, list[dict[str, float]]] = {}
    for row in as_of_today(result)["rows"]:
        which, _, _ = row["name"].partition(":")
        times = {name: way["min_ms"] for name, way in row["ways"].items() if name != "ours"}
        times["chosen"] = times[chosen(which, "cpu", problems[row["name"]]).name]
        groups.setdefault(row["group"], []).append(times)
    algorithms = ("chosen", *ALGORITHMS)
    rows = []
    for group, members in sorted(groups.items()):
        cells = []
        for algorithm in algorithms:
            ratios = [times["autodiff"] / times[algorithm] for times in members if algorithm in times]
            cells.append(f"{min(ratios):.2f} / {median(ratios):.2f}" if ratios else "")
        rows.append((group, str(len(members)), *cells))
    return table(("autodiff / algorithm: least / median", "cases", *algorithms), rows)


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
