"""The tables of this folder's README, from `results/models.json`."""

from __future__ import annotations

from pathlib import Path
from statistics import median, quantiles
from typing import Any

from experiments.models.model import AGAIN, ENGINE
from experiments.report import MADE_BY, insert, table
from jaxcnn.bench import milliseconds

MULTIPLE = 4.0  # of plain's own rounding error in float32
EPSILONS = 2.0**-52 / 2.0**-23  # float64's, of float32's
LEAST, MEDIAN, COMPILING, MORE_SECONDS = 1.0, 1.25, 1.5, 2.0  # what is asked for


def report(page: Path, readme: Path, result: dict[str, Any]) -> None:
    """Write them between the marks of the page, and the shortest one into the project's README."""
    rows = [row for row in result["rows"] if "fault" not in row]
    packages = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    line = f"{MADE_BY.format(**result['made_by'])}; {result['rounds']} rounds; {packages}."
    insert(page, "asked", asked(result["rows"]))
    insert(page, "times", f"{times(rows)}\n\n{line}")
    insert(page, "engine", engine(rows))
    insert(page, "compiling", compiling(rows))
    insert(page, "equal", equal(rows))
    insert(page, "losses", losses(rows))
    insert(readme, "models", f"{short(rows)}\n\n{line}")


def ratios(row: dict[str, Any], way: str = "plain") -> list[float]:
    """How many times as long a way took as accelerated, by round."""
    return [other / ours for other, ours in zip(row["ways"][way]["ms"], row["ways"]["accelerated"]["ms"], strict=True)]


def ratio(row: dict[str, Any], way: str = "plain") -> float:
    """That of the minima."""
    quotient: float = row["ways"][way]["min_ms"] / row["ways"]["accelerated"]["min_ms"]
    return quotient


def noise(row: dict[str, Any]) -> float:
    """How far plain's second program was from its first: the same function, compiled again."""
    quotient = row["ways"]["plain"]["min_ms"] / row["ways"][AGAIN]["min_ms"]
    return float(min(quotient, 1 / quotient))


def loses(row: dict[str, Any]) -> bool:
    """Whether plain is faster beyond noise: by more than `noise` in the minima, and in three quarters of the rounds."""
    return ratio(row) < LEAST * noise(row) and quantiles(ratios(row))[2] < LEAST


def is_equal(row: dict[str, Any]) -> bool:
    """Whether accelerated differs by no more than `MULTIPLE` times what rounding makes of plain."""
    found = row["verified"]
    ours = found["float32"]["accelerated"]
    return found["float64"] <= MULTIPLE * rounding(found) and ours <= MULTIPLE * found["float32"]["plain"]


def rounding(found: dict[str, Any]) -> float:
    """What rounding makes of plain in float64: of what it makes in float32, the share that float64's epsilon has."""
    own: float = found["float32"]["plain"]
    return own * (EPSILONS if found["is_double"] else 1.0)


def compiles_long(row: dict[str, Any]) -> bool:
    """Whether it takes longer to lower and compile than is asked for."""
    return seconds(row, "accelerated") > COMPILING * seconds(row, "plain") + MORE_SECONDS


def seconds(row: dict[str, Any], way: str) -> float:
    """To lower and to compile."""
    total: float = row["ways"][way]["lower_s"] + row["ways"][way]["compile_s"]
    return total


def asked(all_rows: list[dict[str, Any]]) -> str:
    """What is asked for, and what came."""
    rows = [row for row in all_rows if "fault" not in row]
    faults = [f"{row['name']} ({row['fault']})" for row in all_rows if "fault" in row]
    least, middle = (of(ratio(row) for row in rows) if rows else 0.0 for of in (min, median))
    longest = max((seconds(row, "accelerated") / seconds(row, "plain") for row in rows), default=0.0)
    lines = [
        ("no model below 1.0 of plain beyond noise", _named(rows, loses), f"the least {least:.2f}"),
        (f"a median of at least {MEDIAN}", "yes" if middle >= MEDIAN else "**no**", f"{middle:.2f}"),
        (
            f"compiled in {COMPILING} times plain's seconds and {MORE_SECONDS:.0f} more",
            _named(rows, compiles_long),
            f"the most {longest:.2f} times",
        ),
        (f"equal within {MULTIPLE:.0f} times plain's rounding", _named(rows, lambda row: not is_equal(row)), ""),
        ("every model runs", f"**no**: {'; '.join(faults)}" if faults else "yes", f"{len(rows)} of {len(all_rows)}"),
    ]
    return table(("asked for", "met", "figure"), lines)


def _named(rows: list[dict[str, Any]], is_amiss: Any) -> str:
    amiss = [row["name"] for row in rows if is_amiss(row)]
    return f"**no**: {', '.join(amiss)}" if amiss else "yes"


def times(rows: list[dict[str, Any]]) -> str:
    """A step of each model, the slowest relative to plain last."""
    lines = []
    for row in sorted(rows, key=ratio, reverse=True):
        low, middle, high = quantiles(ratios(row))
        cells = [
            f"{milliseconds(row['ways'][way]['min_ms'])} / {milliseconds(row['ways'][way]['median_ms'])}"
            for way in ("plain", "accelerated")
        ]
        other = ""
        if "pytorch" in row["ways"]:
            other = f"{milliseconds(row['ways']['pytorch']['min_ms'])}, {ratio(row, 'pytorch'):.2f}"
        lines.append(
            (
                row["title"],
                row["framework"],
                f"{row['parameters'] / 1e6:.2f} M",
                *cells,
                f"**{ratio(row):.2f}**",
                f"{middle:.2f}; {low:.2f} to {high:.2f}",
                f"{row['ways']['plain']['min_ms'] / row['ways'][AGAIN]['min_ms']:.2f}",
                other,
            )
        )
    head = (
        "a training step",
        "framework",
        "parameters",
        "plain, ms: min / median",
        "accelerated, ms",
        "plain / accelerated, minima",
        "by rounds: median; middle half",
        "plain / plain again, minima",
        "PyTorch, ms: min, of accelerated",
    )
    return table(head, lines)


def engine(rows: list[dict[str, Any]]) -> str:
    """A step with convolutions by oneDNN, the models where it gains most first, and the medians."""
    measured = [row for row in rows if ENGINE in row["ways"]]
    if not measured:
        return "Not measured: oneDNN was not there."

    def gain(row: dict[str, Any], way: str) -> float:
        quotient: float = row["ways"][way]["min_ms"] / row["ways"][ENGINE]["min_ms"]
        return quotient

    lines = []
    for row in sorted(measured, key=lambda row: gain(row, "plain"), reverse=True):
        found, way = row["verified"]["float32"], row["ways"][ENGINE]
        lines.append(
            (
                row["name"],
                f"{milliseconds(way['min_ms'])} / {milliseconds(way['median_ms'])}",
                *(
                    f"{gain(row, each):.2f}" if each in row["ways"] else ""
                    for each in ("plain", "accelerated", "pytorch")
                ),
                f"{seconds(row, ENGINE) / seconds(row, 'plain'):.2f}",
                f"{way['temporary_bytes'] / row['ways']['plain']['temporary_bytes']:.2f}",
                f"{found[ENGINE] / found['plain']:.2g}",
            )
        )
    middles = [
        f"**{median(of):.2f}**" if (of := [gain(row, way) for row in measured if way in row["ways"]]) else ""
        for way in ("plain", "accelerated", "pytorch")
    ]
    lines.append(("median", "", *middles, "", "", ""))
    head = (
        "with oneDNN",
        "ms: min / median",
        "plain / it",
        "accelerated / it",
        "PyTorch / it",
        "compiling, of plain's",
        "temporaries, of plain's",
        "float32 error, of plain's",
    )
    return table(head, lines)


def short(rows: list[dict[str, Any]]) -> str:
    """What a user wants to know first, in the order of the gain."""
    lines = [
        (
            row["title"],
            row["framework"],
            milliseconds(row["ways"]["plain"]["min_ms"]),
            milliseconds(row["ways"]["accelerated"]["min_ms"]),
            f"**{ratio(row):.2f}**",
            f"{ratio(row, 'pytorch'):.2f}" if "pytorch" in row["ways"] else "",
        )
        for row in sorted(rows, key=ratio, reverse=True)
    ]
    return table(
        (
            "a training step",
            "framework",
            "plain, ms",
            "accelerated, ms",
            "plain / accelerated",
            "PyTorch / accelerated",
        ),
        lines,
    )


def compiling(rows: list[dict[str, Any]]) -> str:
    """Seconds to lower and to compile, and the temporaries of a step."""
    lines = []
    for row in rows:
        plain, ours = row["ways"]["plain"], row["ways"]["accelerated"]
        lines.append(
            (
                row["name"],
                *(f"{way['lower_s']:.2f} + {way['compile_s']:.2f}" for way in (plain, ours)),
                f"{seconds(row, 'accelerated') / seconds(row, 'plain'):.2f}",
                *(f"{way['temporary_bytes'] / 1e6:,.1f}" for way in (plain, ours)),
                f"{ours['temporary_bytes'] / plain['temporary_bytes']:.2f}",
            )
        )
    head = (
        "seconds to lower + to compile",
        "plain",
        "accelerated",
        "times",
        "temporaries, MB: plain",
        "accelerated",
        "of plain's",
    )
    return table(head, lines)


def equal(rows: list[dict[str, Any]]) -> str:
    """How far loss, state and gradients are apart."""
    lines = []
    for row in rows:
        found = row["verified"]
        plain, ours = found["float32"]["plain"], found["float32"]["accelerated"]
        lines.append(
            (
                row["name"],
                f"{found['float64']:.1e}",
                f"{found['float64'] / rounding(found):.2g}",
                f"{plain:.1e}",
                f"{ours:.1e}",
                f"{ours / plain:.2g}",
                f"{found['pytorch']:.1e}" if "pytorch" in found else "",
            )
        )
    head = (
        "greatest difference",
        "float64, accelerated from plain",
        "of plain's rounding",
        "float32, plain from float64",
        "accelerated from float64",
        "of plain's",
        "float64, PyTorch from plain",
    )
    return table(head, lines)


def losses(rows: list[dict[str, Any]]) -> str:
    """Ten steps of each way on one batch, side by side."""
    steps = range(len(rows[0]["losses"]["plain"])) if rows else range(0)
    lines = [
        (row["name"] if not place else "", way, *(f"{loss:.5f}" for loss in found))
        for row in rows
        for place, (way, found) in enumerate(row["losses"].items())
    ]
    return table(("loss at step", "", *(str(step + 1) for step in steps)), lines)
