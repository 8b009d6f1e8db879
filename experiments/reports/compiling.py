"""Programs that take long to compile."""

from __future__ import annotations

from dataclasses import replace

from experiments.reports import per_example, transposed
from experiments.reports.record import Report


def _compiled(report: Report, title: str, reported: str) -> Report:
    """The same program, whose compilation is timed."""
    return replace(report, id=f"{report.id}-compile", title=title, reported=reported, also=(), measured="compile")


REPORTS = (
    _compiled(
        next(report for report in transposed.REPORTS if report.id == "jax#17464"),
        "compiling a transposed convolution with wide windows and long steps",
        "over 4 minutes on a GPU",
    ),
    _compiled(
        next(report for report in per_example.REPORTS if report.id == "jax#1606"),
        "compiling per-example gradients of a tiny network",
        "minutes from 300 examples on",
    ),
)
