"""What large windows cost to compile and to lay out, beside lax's own: see the README beside this file.

run         compiles value and gradients of every op with a window, of 3, 30, 300 and 3,000 taps per axis
report      writes the table of the README
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from jax import lax
from rich.progress import track

from experiments.report import insert, table, write
from jaxcnn import ops

HERE = Path(__file__).parent
RESULT = HERE / "results" / "taps.json"
SEED = 0
TAPS = (3, 30, 300, 3000)
WAYS = ("ours", "lax")

app = typer.Typer(add_completion=False, help=__doc__)


@dataclass(frozen=True)
class Case:
    """An op of so many taps per axis, ours and lax's, and the shapes of its arguments."""

    name: str
    taps: int
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable[..., jax.Array]
    lax: Callable[..., jax.Array]


def convolved(x: jax.Array, kernel: jax.Array, *, groups: int = 1) -> jax.Array:
    """lax's own."""
    spatial = "012"[: x.ndim - 2]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    ones = (1,) * len(spatial)
    return lax.conv_general_dilated(x, kernel, ones, "VALID", dimension_numbers=layout, feature_group_count=groups)


def pooled(x: jax.Array, *, taps: int, of_maxima: bool) -> jax.Array:
    """lax's own, of stride 1."""
    axes = x.ndim - 2
    window, ones = (1, *[taps] * axes, 1), (1,) * x.ndim
    if of_maxima:
        return lax.reduce_window(x, -np.inf, lax.max, window, ones, "VALID")
    return lax.reduce_window(x, 0.0, lax.add, window, ones, "VALID") / taps**axes


def unfolded(x: jax.Array, *, taps: int) -> jax.Array:
    """lax's own."""
    spatial = "012"[: x.ndim - 2]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    sizes, ones = (taps,) * len(spatial), (1,) * len(spatial)
    return lax.conv_general_dilated_patches(x, sizes, ones, "VALID", dimension_numbers=layout)


def of_block(x: jax.Array, kernel: jax.Array, *, taps: int) -> jax.Array:
    """lax's own: convolution, ReLU, pool."""
    return pooled(jax.nn.relu(convolved(x, kernel)), taps=taps, of_maxima=True)


def cases() -> list[Case]:
    """Every op with a window along one axis, and the first of each kind along two."""
    found = []
    for taps in TAPS:
        line, plane = (2, 4096), (1, 512, 512)

        def add(name: str, ours: Any, laxs: Any, *shapes: tuple[int, ...], taps: int = taps) -> None:
            found.append(Case(name, taps, shapes, ours, laxs))

        add("conv, 1 channel", ops.conv, convolved, (*line, 1), (taps, 1, 1))
        add("conv, 4 to 8 channels", ops.conv, convolved, (*line, 4), (taps, 4, 8))
        grouped, laxs_grouped = (partial(f, groups=8) for f in (ops.conv, convolved))
        add("conv, depthwise", grouped, laxs_grouped, (*line, 8), (taps, 1, 8))
        add("conv, 8 groups of 2", grouped, laxs_grouped, (*line, 16), (taps, 2, 16))
        for ties in ("first", "all", "split"):
            of_ties = partial(ops.max_pool, window=taps, stride=1, ties=ties)
            add(f"max_pool, ties {ties}", of_ties, partial(pooled, taps=taps, of_maxima=True), (*line, 4))
        averages = partial(ops.avg_pool, window=taps, stride=1)
        add("avg_pool", averages, partial(pooled, taps=taps, of_maxima=False), (*line, 4))
        add("unfold", partial(ops.unfold, window=taps), partial(unfolded, taps=taps), (*line, 1))
        block = partial(ops.conv_relu_max_pool, bias=None, window=taps, pool_stride=1)
        add("conv_relu_max_pool", block, partial(of_block, taps=taps), (*line, 4), (3, 4, 8))
        if taps <= 300:
            add("conv, 1 channel, 2 axes", ops.conv, convolved, (*plane, 1), (taps, taps, 1, 1))
            maxima = partial(ops.max_pool, window=taps, stride=1)
            add("max_pool, 2 axes", maxima, partial(pooled, taps=taps, of_maxima=True), (*plane, 1))
            averages = partial(ops.avg_pool, window=taps, stride=1)
            add("avg_pool, 2 axes", averages, partial(pooled, taps=taps, of_maxima=False), (*plane, 1))
    return found


@app.command()
def run(only: str = "", out: Path = RESULT) -> None:
    """Compile each, ours and lax's, three times: the least of the times, and the bytes that are laid out."""
    rows = []
    for case in track([case for case in cases() if only in case.name], "compiling"):
        ways = {way: _compiled(getattr(case, way), case.shapes) for way in WAYS}
        rows.append({"name": case.name, "taps": case.taps, "ways": ways})
    write(out, SEED, {"rows": rows})


@app.command()
def report() -> None:
    """Write the table: a column per number of taps."""
    found = json.loads(RESULT.read_text())
    cells: dict[str, dict[int, str]] = {}
    for row in found["rows"]:
        ours, laxs = (row["ways"][way] for way in WAYS)
        times = f"{ours['compile_s']:.2f} / {laxs['compile_s']:.2f} s"
        sizes = f"{ours['temporary_bytes'] / 2**20:.1f} / {laxs['temporary_bytes'] / 2**20:.1f} MiB"
        cells.setdefault(row["name"], {})[row["taps"]] = f"{times}, {sizes}"
    rows = [(name, *(of_taps.get(taps, "") for taps in TAPS)) for name, of_taps in cells.items()]
    made_by = found["made_by"]
    line = (
        f"To compile, and laid out beside arguments and results: ours / lax's. {made_by['device']}; "
        f"jax {made_by['jax']}; commit {made_by['commit']}, {made_by['date']}."
    )
    head = ("value and gradients", *(f"{taps:,} taps per axis" for taps in TAPS))
    insert(HERE / "README.md", "taps", f"{table(head, rows)}\n\n{line}")


def _compiled(f: Callable[..., jax.Array], shapes: tuple[tuple[int, ...], ...]) -> dict[str, float]:
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    dy = jax.eval_shape(f, *args)
    seconds, temporary = [], 0
    for _ in range(3):

        def pulled(dy: jax.Array, *args: jax.Array) -> Any:
            y, pull = jax.vjp(f, *args)
            return y, pull(dy)

        jax.clear_caches()
        began = time.perf_counter()
        program = jax.jit(pulled).lower(dy, *args).compile()
        seconds.append(time.perf_counter() - began)
        analysis: Any = program.memory_analysis()
        temporary = analysis.temp_size_in_bytes
    return {"compile_s": min(seconds), "temporary_bytes": temporary}


if __name__ == "__main__":
    app()
