"""`jaxcnn check`: is every gradient right, here, on this machine?"""

from __future__ import annotations

import json
import signal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import jaxcnn
from jaxcnn._names import unknown
from jaxcnn._progress import FittingProgress
from jaxcnn.cli._devices import devices
from jaxcnn.cli._failure import Failure

LEGEND = {
    "value, grad": "what the op gives, and its gradient by hand, held to the plain forward and to autodiff",
    "diff": "the gradient held to differences of values along some directions; in float64 alone",
    "2nd": "the gradients' own gradients, as far as --order goes",
    "ties": "all of it again where numbers are equal or at a kink: two maxima in a window, relu at 0; blank: has none",
    "ulps": "units in the last place: steps from the array's greatest number to the next that its dtype has; the "
    "largest error, of as many as rounding explains",
    "bytes kept": "what the forward keeps for the backward, at this small point",
}
_DTYPES = ("float64", "float32", "bfloat16", "float16")


def check(
    op: Annotated[list[str] | None, typer.Option(help="Only this op; may be repeated.")] = None,
    net: Annotated[list[str] | None, typer.Option(help="Only this network; may be repeated.")] = None,
    dtype: Annotated[str, typer.Option(help=f"Of all arguments: {', '.join(_DTYPES)}.")] = "float64",
    order: Annotated[int, typer.Option(min=1, max=8, help="1 for gradients, 2 for their gradients too, ...")] = 2,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the arguments, cotangents and directions.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
) -> None:
    """Hold every op and network to autodiff, and in float64 to differences.

    Errors are in ulps of the greatest number in the array; beside them, how many rounding explains. Ops are checked
    away from ties and kinks, and, where they have any, at them; in float64, ops that round nothing must agree to the
    last bit there. Exits with 1 if anything is off.
    """
    devices()
    if hasattr(signal, "SIGPIPE"):  # a reader that leaves, as `| head`, ends this; nothing is wrong with a gradient
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if dtype not in _DTYPES:
        raise Failure(unknown("--dtype", dtype, _DTYPES))
    from jaxcnn.cli._check_row import row_of  # takes most of a second, which --help and Tab need not wait for

    ops = _chosen("--op", jaxcnn.examples.of_ops(), op, nothing=bool(net))
    chosen = ops | _chosen("--net", jaxcnn.examples.NETS, net, nothing=bool(op))
    rows = []
    name_of, elapsed = TextColumn("{task.description}"), TimeElapsedColumn()
    columns = (name_of, BarColumn(bar_width=None), MofNCompleteColumn(), elapsed)
    with FittingProgress(*columns, given_up=(elapsed, name_of), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(chosen))
        for name, example in chosen.items():
            progress.update(task, description=name)
            rows.append(row_of(name, example, dtype, order, seed))
            progress.advance(task)
    made_by = jaxcnn.provenance.made_by(seed)
    if as_json:
        print(json.dumps({"made_by": made_by, "dtype": dtype, "order": order, "seed": seed, "rows": rows}, indent=2))
    else:
        where = ", ".join(f"{name} {made_by[name]}" for name in ("jaxcnn", "jax", "device"))
        _print(rows, f"{dtype}, order {order}, {where}")
    if not all(row["passed"] for row in rows):
        raise typer.Exit(1)


def _chosen(
    option: str, known: dict[str, jaxcnn.examples.Example], names: list[str] | None, nothing: bool
) -> dict[str, jaxcnn.examples.Example]:
    """The examples of these names: a name stands for every example that begins with it."""
    if not names:
        return {} if nothing else known
    first_words = dict.fromkeys(key.split()[0] for key in known)
    for name in names:
        if name not in first_words:
            raise Failure(unknown(option, name, first_words))
    return {key: example for key, example in known.items() if key.split()[0] in names}


def _print(rows: list[dict[str, Any]], caption: str) -> None:
    console = Console(highlight=False)
    terminal_width = console.width if console.is_terminal else 160
    # a file or a pipe has no edge to wrap at; what a narrow terminal wraps stays whole
    console.width = max(console.width, 96) if console.is_terminal else 160
    yes, no = ("✓", "✗") if "utf" in console.encoding else ("yes", "NO")
    table = Table(caption=caption, box=None, header_style="bold", pad_edge=False)
    table.add_column("op or net", no_wrap=True)
    for column in ("value", "grad", "diff", "2nd", "ties"):
        table.add_column(column, justify="center", no_wrap=True)
    table.add_column("error of allowed\nin ulps", justify="right", no_wrap=True)
    if console.width >= 120:
        table.add_column("where", overflow="fold")
    table.add_column("bytes kept by hand\n/ by autodiff", justify="right", no_wrap=True)
    for row in rows:
        error = "" if row["where"] is None else f"{row['largest_error_ulps']:.3g} of {row['allowed_ulps']:.3g}"
        kept = row["residual_bytes"]
        table.add_row(
            f"[{'green' if row['passed'] else 'red'}]{row['name']}[/]",
            *(_mark(row[where], yes, no) for where in ("value", "gradients", "differences", "higher", "at ties")),
            error,
            *([escape(row["where"] or "")] if console.width >= 120 else []),
            f"{kept['by_hand']:,} / {kept['by_autodiff']:,}",
        )
    console.print(table)
    console.width = terminal_width
    words = Table(box=None, show_header=False, pad_edge=False, style="dim")
    for word, meaning in LEGEND.items():
        words.add_row(word, meaning)
    console.print("", words)
    for row in rows:
        for problem in row["problems"]:
            console.print(f"[red]{row['name']}[/]: {escape(problem)}", soft_wrap=True)


def _mark(passed: list[bool], yes: str, no: str) -> str:
    return "" if not passed else f"[green]{yes}[/]" if all(passed) else f"[red]{no}[/]"
