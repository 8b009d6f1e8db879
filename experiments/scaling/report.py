"""The tables of this folder's README and its picture, from `results/*.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from experiments.report import insert, table
from experiments.scaling.model import (
    MACHINES,
    SHARES,
    all_reduce_seconds,
    arithmetic_seconds,
    equal_batch,
    equal_chips,
)
from experiments.scaling.run import IMAGES_IN_ALL, RESULTS

HERE = Path(__file__).parent
COLORS = {"lenet, float32": "#1b6ca8", "lenet, bfloat16": "#e0a030", "gap_cnn, float32": "#d1495b"}
STYLES: tuple[Any, ...] = ("-", "--")  # of the shares
WIDTHS = {"lenet, bfloat16": 3.0}  # so that what lies on top of it is seen
Row = dict[str, Any]


def report() -> None:
    """Write them."""
    results = {target: json.loads((RESULTS / f"{target}.json").read_text()) for target in MACHINES}
    for target, result in results.items():
        text = f"{programs(result['rows'])}\n\n{made_by(target, result)}"
        insert(HERE / "README.md", target, text)
    rows = [row for result in results.values() for row in result["rows"]]
    insert(HERE / "README.md", "model", model(rows))
    draw(rows)


def programs(rows: list[Row]) -> str:
    """What each compiled step holds, computes and sends on one chip."""
    head = (
        "net",
        "chips",
        "images per chip / in all",
        "collectives",
        "numbers summed",
        "arguments, MB",
        "temporaries, MB",
    )
    more = ("GFLOP counted", "GFLOP by compiler", "FLOP per byte summed")
    ordered = sorted(rows, key=lambda row: (list(COLORS).index(name(row)), row["images"], row["chips"]))
    return table((*head, *more), [cells(row) for row in ordered])


def cells(row: Row) -> tuple[str, ...]:
    """One step's line."""
    return (
        name(row),
        str(row["chips"]),
        f"{row['images']:,} / {row['images'] * row['chips']:,}",
        ", ".join(f"{count} {kind}" for kind, count in row["collectives"].items()) or "none",
        ", ".join(f"{count:,} {dtype}" for dtype, count in row["summed_numbers"].items()) or "-",
        f"{row['argument_bytes'] / 1e6:.4g}",
        f"{row['temporary_bytes'] / 1e6:.4g}",
        f"{row['operations'] / 1e9:.3g}",
        f"{row['flops'] / 1e9:.3g}" if row["flops"] else "not given",
        f"{row['operations'] / row['summed_bytes']:,.0f}" if row["summed_bytes"] else "-",
    )


def model(rows: list[Row]) -> str:
    """For each machine and net, where the all-reduce takes as long as the arithmetic."""
    lines = []
    for row in summing(rows):
        machine, size = MACHINES[row["target"]], row["summed_bytes"]
        seconds = [of_an_image(row, share) for share in SHARES]
        counts = [equal_chips(each, size, IMAGES_IN_ALL, machine) for each in seconds]
        lines.append(
            (
                machine.name,
                name(row),
                f"{size / 1e6:.3g}",
                f"{row['operations'] / row['images'] / 1e6:.3g}",
                *(f"{1e6 * all_reduce_seconds(size, chips, machine):.3g}" for chips in (8, machine.chips)),
                " / ".join(f"{equal_batch(each, size, machine.chips, machine):.0f}" for each in seconds),
                " / ".join(str(count) if count else f"over {machine.chips}" for count in counts),
            )
        )
    shares = " / ".join(f"{share:.0%}" for share in SHARES)
    head = ("machine", "net", "MB summed", "MFLOP per image", "all-reduce of 8, µs", "of 256")
    equal = (
        f"equal at images per chip of 256, at {shares} of peak",
        f"equal at chips, {IMAGES_IN_ALL:,} images in all",
    )
    return table((*head, *equal), lines)


def summing(rows: list[Row]) -> list[Row]:
    """One step of each machine and net that sums: the model asks for its bytes and operations, alike in all."""
    found = {(row["target"], name(row)): row for row in rows if row["chips"] > 1}
    return [found[target, net] for target in MACHINES for net in COLORS if (target, net) in found]


def of_an_image(row: Row, share: float) -> float:
    """Seconds of the arithmetic of one image, by the model."""
    machine = MACHINES[row["target"]]
    return arithmetic_seconds(row["operations"] / row["images"], machine, row["precision"], share)


def name(row: Row) -> str:
    """The net and what it computes in."""
    return f"{row['net']}, {row['precision']}"


def made_by(target: str, result: dict[str, Any]) -> str:
    """What made a result, in a line."""
    made, rows = result["made_by"], result["rows"]
    compilers = ", ".join(f"{package} {version}" for package, version in result["compilers"].items())
    seconds = sum(row["seconds_to_compile"] for row in rows)
    return (
        f"{MACHINES[target].name}, known to its compiler only; {len(rows)} steps compiled in {seconds:.0f} s; "
        f"{compilers}, Python {made['python']}; commit {made['commit']}, {made['date']}."
    )


def draw(rows: list[Row]) -> None:
    """By the model: the speed-up of a fixed global batch, and arithmetic's part of a step over the images per chip."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(2, 2, figsize=(10, 7.4), layout="constrained")
    for (left, right), (target, machine) in zip(axes, MACHINES.items(), strict=True):
        counts = list(range(1, machine.chips + 1))
        batches = np.geomspace(8, 8192, 100)
        left.plot(counts, counts, color="#999999", linewidth=0.8, linestyle=":")
        left.annotate("as many", (16, 16), (-6, 6), textcoords="offset points", ha="right", fontsize=8, color="#777777")
        for row in (row for row in summing(rows) if row["target"] == target):
            size = row["summed_bytes"]
            width = WIDTHS.get(name(row), 1.5)
            look: dict[str, Any] = {"color": COLORS[name(row)], "linewidth": width, "zorder": 1 / width}
            for share, style in zip(SHARES, STYLES, strict=True):
                alone = IMAGES_IN_ALL * of_an_image(row, share)
                shared = [alone / chips + all_reduce_seconds(size, chips, machine) for chips in counts]
                left.plot(counts, [alone / seconds for seconds in shared], style, **look)
                arithmetic = batches * of_an_image(row, share)
                whole = arithmetic + all_reduce_seconds(size, machine.chips, machine)
                right.plot(batches, arithmetic / whole, style, **look)
        left.set(xscale="log", yscale="log", xlabel="chips", ylabel="times as fast as one")
        left.set_title(f"{machine.name}: {IMAGES_IN_ALL:,} images in all", fontsize=10)
        right.set(xscale="log", xlabel="images per chip", ylabel="arithmetic's part of a step", ylim=(0, 1.02))
        right.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
        right.set_title(f"{machine.name}: {machine.chips} chips", fontsize=10)
        _label(left.xaxis, [1, 4, 16, 64, 256])
        _label(left.yaxis, [1, 4, 16, 64, 256])
        _label(right.xaxis, [8, 32, 128, 512, 2048, 8192])
        for each in (left, right):
            each.spines[["top", "right"]].set_visible(False)
    handles = [
        plt.Line2D([], [], color=color, linewidth=WIDTHS.get(label, 1.5), label=label)
        for label, color in COLORS.items()
    ]
    for share, style in zip(SHARES, STYLES, strict=True):
        handles.append(plt.Line2D([], [], color="#444444", linestyle=style, label=f"at {share:.0%} of peak"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    figure.savefig(RESULTS / "model.png", dpi=110)


def _label(axis: Any, numbers: list[int]) -> None:
    axis.set_ticks(numbers, [f"{number:,}" for number in numbers])
    axis.set_ticks([], minor=True)


if __name__ == "__main__":
    typer.run(report)
