"""All reports, in the order of their kinds."""

from __future__ import annotations

from experiments.reports import (
    compiling,
    depthwise,
    dtypes,
    grouped,
    loops,
    one_channel,
    per_example,
    pools,
    transposed,
    values,
    windows,
)
from experiments.reports.record import Report

KINDS = (
    loops,
    depthwise,
    grouped,
    per_example,
    transposed,
    one_channel,
    windows,
    pools,
    compiling,
    dtypes,
    values,
)
REPORTS: dict[str, Report] = {report.id: report for kind in KINDS for report in kind.REPORTS}


def chosen(ids: list[str]) -> list[Report]:
    """Those of such ids; all, where none is named.

    Raises:
        ValueError: there is no report of that id; one line names those of its project.
    """
    for id in ids:
        if id not in REPORTS:
            alike = [known for known in REPORTS if known.startswith(id.partition("#")[0])]
            raise ValueError(f"no report {id!r} is here; there are {', '.join(alike or REPORTS)}")
    return [REPORTS[id] for id in ids] if ids else list(REPORTS.values())
