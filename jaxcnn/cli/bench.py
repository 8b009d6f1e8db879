"""`jaxcnn bench`: how fast, against what, on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import jaxcnn
from jaxcnn import _whole
from jaxcnn._names import unknown
from jaxcnn._progress import FittingProgress
from jaxcnn.cli._devices import devices
from jaxcnn.cli._failure import Failure

_WHAT = ("ops", "steps", "memory", "compiled")


def bench(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(_WHAT)}.")],
    quick: Annotated[bool, typer.Option("--quick", help="A small part, in a minute or two.")] = False,
    only: Annotated[str, typer.Option(help="Cases whose name holds this text.")] = "",
    tune: Annotated[bool, typer.Option("--tune", help="Of ops: every algorithm of convolution, apart.")] = False,
    seconds: Annotated[float, typer.Option(min=0.0, help="To spend on a case, compiling aside.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the inputs.")] = 0,
    target: Annotated[str, typer.Option(help="Of compiled: h100 or tpu-v5e, neither of which need be here.")] = "h100",
    out: Annotated[Path | None, typer.Option(help="A new file for the results as JSON.")] = None,
) -> None:
    """Time the hand-derived rules against autodiff, each result verified before it is timed.

    "autodiff" is jax.grad of the idiomatic forward, "rewrite" jax.grad of the best rewrite of it that autodiff can
    handle. All ways of a case run in turns on the same fresh inputs; a ratio over 1 says that ours is faster.
    compiled runs nothing: it reports what an accelerator's own compiler makes of each op and step.
    """
    if what not in _WHAT:
        raise Failure(unknown("WHAT", what, _WHAT))
    if tune and what != "ops":
        raise Failure(f"--tune is of ops, got {what}")
    if what == "memory" and (only or quick):
        raise Failure("memory is one small table: it takes no --only and no --quick")
    if out is not None and (out.exists() or out.is_symlink()):
        raise Failure(f"{out} exists; give a new file, nothing is overwritten")
    if out is not None and not out.parent.is_dir():
        raise Failure(f"there is no folder {out.parent}")
    if what == "compiled":
        import jax  # half a second, which --help and Tab need not wait for

        jax.config.update("jax_platforms", "cpu")  # the plugins are there to compile, not to run
    devices()
    if what == "memory":
        return _print(_memory_table(_gathered(jaxcnn.bench.memory_rows(), None, jaxcnn.provenance.made_by(seed), out)))
    if what == "compiled":
        if target not in jaxcnn.bench.TARGETS:
            raise Failure(unknown("--target", target, jaxcnn.bench.TARGETS))
        cases = _holding(only, what, jaxcnn.bench.compiled_cases(quick=quick))
        device = f"{jaxcnn.bench.described(target).device_kind}, known to its compiler only"
        made_by = jaxcnn.provenance.made_by(seed, device=device) | jaxcnn.provenance.versions(*jaxcnn.bench.COMPILERS)
        return _print(_compiled_table(_gathered(jaxcnn.bench.compiled_rows(cases, target), len(cases), made_by, out)))
    make = jaxcnn.bench.ops_cases(quick=quick, tune=tune) if what == "ops" else jaxcnn.bench.steps_cases(quick=quick)
    cases = _holding(only, what, make)
    rate = round(jaxcnn.bench.product_rate(), 1)
    timed = jaxcnn.bench.run(cases, seconds=seconds, seed=seed, again=not tune)
    return _print(_table(_gathered(timed, len(cases), jaxcnn.provenance.made_by(seed), out, product_gflops=rate), rate))


def _holding(only: str, what: str, cases: Iterable[jaxcnn.bench.Case]) -> list[jaxcnn.bench.Case]:
    chosen = [case for case in cases if only in case.name]
    if not chosen:
        raise Failure(f"no case of {what} has {only!r} in its name")
    return chosen


def _gathered(
    found: Iterator[dict[str, Any]], total: int | None, made_by: dict[str, Any], out: Path | None, **more: Any
) -> list[dict[str, Any]]:
    """All rows, written as they come, so that what an interruption leaves is whole."""
    rows: list[dict[str, Any]] = []
    for row in _with_progress(found, total):
        rows.append(row)
        if out is not None:
            text = json.dumps({"made_by": made_by, **more, "rows": rows}, indent=1) + "\n"
            _whole.write(out, text.encode())
    return rows


def _print(table: Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:  # nothing is cut where nothing limits a line
        console.width = 1000
        console.width = console.measure(table).maximum
    console.print(table)


def _with_progress(found: Iterator[dict[str, Any]], total: int | None) -> Iterator[dict[str, Any]]:
    elapsed, remaining, name_of = TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    columns = (BarColumn(bar_width=None), MofNCompleteColumn(), elapsed, remaining, name_of)
    given_up = (elapsed, name_of, remaining)
    with FittingProgress(*columns, given_up=given_up, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        for row in found:
            progress.update(task, advance=1, description=row["name"])
            yield row


def _table(rows: list[dict[str, Any]], rate: float) -> Table:
    ways = list(dict.fromkeys(way for row in rows for way in row["ways"]))
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("case", no_wrap=True)
    for way in ways:
        table.add_column(f"{way}\nms: min / median", justify="right", no_wrap=True)
    for way in ways[1:]:
        table.add_column(f"{way}\n/ ours", justify="right", no_wrap=True)
    table.add_column("GF/s\nof ours", justify="right", no_wrap=True)
    for row in rows:
        ours = row["ways"]["ours"]
        ratios = [row["ways"][way]["min_ms"] / ours["min_ms"] if way in row["ways"] else None for way in ways[1:]]
        speed = row["flops"] / ours["min_ms"] / 1e6
        table.add_row(
            row["name"],
            *(_times(row["ways"].get(way)) for way in ways),
            *("" if ratio is None else f"[{'green' if ratio >= 1 else 'red'}]{ratio:.2f}[/]" for ratio in ratios),
            f"{speed:.0f} ({speed / rate:.0%})" if row["flops"] else "",
        )
    against = [row["ways"]["autodiff"]["min_ms"] / row["ways"]["ours"]["min_ms"] for row in rows]
    table.caption = (
        f"autodiff / ours: least {min(against):.2f}, median {median(against):.2f}, greatest {max(against):.1f}; "
        f"{sum(ratio < 0.9 for ratio in against)} of {len(rows)} below 0.9; matrix products here: {rate:.0f} GF/s"
    )
    return table


def _times(found: dict[str, Any] | None) -> str:
    return "" if found is None else " / ".join(jaxcnn.bench.milliseconds(found[of]) for of in ("min_ms", "median_ms"))


def _memory_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("bytes", "ours", "autodiff", "ours / autodiff"):
        table.add_column(column, justify="left" if column == "bytes" else "right")
    for row in rows:
        ours, autodiff = row["bytes"]["ours"], row["bytes"]["autodiff"]
        table.add_row(row["name"], f"{ours:,}", f"{autodiff:,}", f"{ours / autodiff:.2f}" if autodiff else "")
    return table


def _compiled_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("ours / autodiff")
    for column in ("temporaries\nMB", "bytes accessed\nMB", "kernels", "scatters"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("convolutions by")
    for row in rows:
        ours, autodiff = row["ways"]["ours"], row["ways"]["autodiff"]
        table.add_row(
            row["name"],
            *(_pair(ours[what], autodiff[what], 1e6) for what in ("temporary_bytes", "bytes_accessed")),
            *(_pair(ours[what], autodiff[what], 1) for what in ("kernels", "scatters")),
            " / ".join(dict.fromkeys(_calls(way["convolutions"]) for way in (ours, autodiff))),
        )
    return table


def _pair(ours: float | None, autodiff: float | None, unit: float) -> str:
    """Both, red where ours is over a hundredth more."""
    if ours is None or autodiff is None:
        return "not given"
    colour = "red" if ours > 1.01 * autodiff else "green" if ours < autodiff else "default"
    return " / ".join(f"[{colour}]{number / unit:.4g}[/]" for number in (ours, autodiff))


def _calls(convolutions: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.removeprefix('conv')}" for name, count in sorted(convolutions.items())) or "-"
