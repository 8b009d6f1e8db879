"""The tables of this folder's README."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report import MADE_BY, insert, table
from experiments.reports.catalogue import REPORTS
from experiments.reports.measure import ACCELERATED, PLAIN, PYTORCH, Row
from experiments.reports.record import Report, url
from jaxcnn.bench import milliseconds

HERE = Path(__file__).parent
MANY = 2.0  # times as fast
NOISE = 0.9  # of plain: from there to 1 nothing is told apart on a shared machine


def read(path: Path) -> list[Row]:
    """The rows that were measured so far."""
    return list(json.loads(path.read_text())["reports"]) if path.exists() else []


def write(rows: Sequence[Row]) -> None:
    """Put the tables into the README."""
    page = HERE / "README.md"
    known = [row for row in rows if row["id"] in REPORTS]
    by_kind = {kind: [row for row in known if row["measured"] == kind] for kind in ("run", "compile", "value")}
    insert(page, "count", counted(known))
    insert(page, "run", timed(by_kind["run"], "ms"))
    insert(page, "compile", timed(by_kind["compile"], "s"))
    insert(page, "value", valued(by_kind["value"]))
    insert(page, "made by", made_by(known))


def gain(row: Row) -> float | None:
    """How many times as long plain takes, by the minima; None where one of the two has no time."""
    unit = "min_s" if row["measured"] == "compile" else "min_ms"
    times = [row["ways"].get(way, {}).get(unit) for way in (PLAIN, ACCELERATED)]
    return None if None in times else times[0] / times[1]


def counted(rows: Sequence[Row]) -> str:
    """How many gain, how many lose, which failed."""
    gains = {row["id"]: gain(row) for row in rows if row["measured"] != "value"}
    known = {id: times for id, times in gains.items() if times is not None}
    slower = sorted((id for id, times in known.items() if times < 1), key=known.__getitem__)
    missing = [id for id, times in gains.items() if times is None]
    left = [row["id"] for row in rows if row.get("left")]
    lines = [
        f"Of {len(known)} programs that were timed both ways, {sum(times >= MANY for times in known.values())} are at "
        f"least {MANY:.0f} times as fast with `accelerate`.",
        f"Slower than plain, below {NOISE}: {_listed([id for id in slower if known[id] < NOISE])}; "
        f"from there to 1: {_listed([id for id in slower if known[id] >= NOISE])}.",
        f"Refused, at least in part: {_listed(left)}.",
        f"Without a time: {_listed(missing)}.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def timed(rows: Sequence[Row], unit: str) -> str:
    """A row for each, the greatest gain first; a gain below 1 is bold."""
    ordered = sorted(rows, key=lambda row: (gain(row) is None, -(gain(row) or 0.0)))
    head = (
        "report",
        "what",
        "shape here",
        f"plain, {unit}: min / median",
        "accelerated",
        "times",
        "PyTorch",
        "differs",
    )
    return table(
        head,
        [
            (
                linked(REPORTS[row["id"]]),
                said(REPORTS[row["id"]]),
                shape(REPORTS[row["id"]]),
                _times(row, PLAIN, unit),
                _times(row, ACCELERATED, unit),
                _gain(gain(row)),
                _times(row, PYTORCH, unit),
                _difference(row["ways"].get(ACCELERATED, {})),
            )
            for row in ordered
        ],
    )


def valued(rows: Sequence[Row]) -> str:
    """A row for each, and for each way whether it is right."""
    return table(
        ("report", "what", "shape here", "plain", "accelerated"),
        [
            (
                linked(REPORTS[row["id"]]),
                said(REPORTS[row["id"]]),
                shape(REPORTS[row["id"]]),
                *(_verdict(row["ways"].get(way, {})) for way in (PLAIN, ACCELERATED)),
            )
            for row in rows
        ],
    )


def made_by(rows: Sequence[Row]) -> str:
    """What made the rows: a line for each machine, commit and day."""
    lines: dict[str, int] = {}
    for row in rows:
        torch = row["made_by"].get("torch")
        line = MADE_BY.format(**{"commit": "not noted", **row["made_by"]}) + (f", PyTorch {torch}" if torch else "")
        lines[line] = lines.get(line, 0) + 1
    return "\n".join(f"- {count} rows: {line}." for line, count in lines.items())


def linked(report: Report) -> str:
    """The report and those of the same, as links."""
    return ", ".join(f"[{id}]({url(id)})" for id in (report.id, *report.also))


def said(report: Report) -> str:
    """What it is of, and what was reported."""
    return f"{report.title}: {report.reported}"


def shape(report: Report) -> str:
    """What is computed here, and what of it was made smaller."""
    return f"{report.shape} ({report.scaled})" if report.scaled else report.shape


def in_a_line(row: Row) -> str:
    """A row in words, for the terminal."""
    unit = "s" if row["measured"] == "compile" else "ms"
    ways = [
        f"{way} {_verdict(found) if row['measured'] == 'value' else _times(row, way, unit)}"
        for way, found in row["ways"].items()
    ]
    times = gain(row)
    return f"{row['id']}: {', '.join(ways)}" + (f"; {times:.2f} times" if times is not None else "")


def _times(row: Row, way: str, unit: str) -> str:
    found: dict[str, Any] = row["ways"].get(way, {})
    if "failed" in found:
        return str(found["failed"])
    if found.get("is_right") is False:
        return f"wrong: {_difference(found)}"
    if f"min_{unit}" not in found:
        return ""
    return f"{milliseconds(found[f'min_{unit}'])} / {milliseconds(found[f'median_{unit}'])}"


def _verdict(found: dict[str, Any]) -> str:
    if "failed" in found:
        return str(found["failed"])
    if "is_right" not in found:
        return ""
    return "right" if found["is_right"] else f"**wrong**: {_difference(found)}"


def _difference(found: dict[str, Any]) -> str:
    if "difference" not in found:
        return ""
    return "NaN, infinity or shape" if found["difference"] is None else f"{found['difference']:.1g}"


def _gain(times: float | None) -> str:
    if times is None:
        return ""
    return f"**{times:.2f}**" if times < 1 else f"{times:.1f}" if times < 100 else f"{times:,.0f}"


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids) if ids else "none"
