"""Where the time of a LeNet's step goes, by the instructions that XLA:CPU runs: see the README beside this file.

run         profiles the step, hand-derived and autodiff's
report      writes the table of the README
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
import typer

from experiments.report import insert, table, write
from jaxcnn import ops, train
from jaxcnn.bench import idiomatic, product_rate, step_arguments, step_program

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "parts.json"
SEED = 0
WAYS = {"hand-derived": ops, "autodiff": idiomatic()}
OTHERS = "all else: patches, pools, loss, Adam"
LAUNCHED = "convolutions, XLA's own: their launch alone"  # they return before they are done

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(batch: int = 128, steps: int = 20) -> None:
    """Profile the step and sum what its instructions take, by what they compute."""
    optimizer = train.OPTIMIZERS["adam"](1e-3)
    point = step_arguments("lenet", batch, optimizer, np.random.default_rng(SEED))
    found = {}
    for way, module in WAYS.items():
        program = step_program("lenet", batch, optimizer, module)
        kinds = _kinds(str(program.as_text()))
        walls = []
        jax.block_until_ready(program(*point))
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                for _ in range(steps):
                    began = time.perf_counter()
                    jax.block_until_ready(program(*point))
                    walls.append(1e3 * (time.perf_counter() - began))
            taken = _milliseconds(Path(folder))
        parts: dict[str, dict[str, float]] = {}
        for name, milliseconds in taken.items():
            if name in kinds:
                kind, flops = kinds[name]
                part = parts.setdefault(kind, {"ms": 0.0, "gflop": 0.0})
                part["ms"] += milliseconds["ms"] / steps
                part["gflop"] += milliseconds["calls"] / steps * flops / 1e9
        found[way] = {"min_ms": min(walls), "median_ms": float(np.median(walls)), "parts": parts}
    write(RESULTS, SEED, {"batch": batch, "steps": steps, "product_gflops": product_rate(), "ways": found})


@app.command()
def report() -> None:
    """Write the table."""
    result = json.loads(RESULTS.read_text())
    ways = result["ways"]
    kinds = sorted({kind for way in ways.values() for kind in way["parts"]} - {OTHERS})
    rows = []
    for kind in (*kinds, OTHERS):
        cells = []
        for way in ways.values():
            part = way["parts"].get(kind, {"ms": 0.0, "gflop": 0.0})
            has_rate = part["gflop"] and part["ms"] and kind != LAUNCHED
            rate = f"{part['gflop'] / part['ms'] * 1e3:.0f}" if has_rate else ""
            cells += [f"{part['ms']:.1f}", rate]
        rows.append((kind, *cells))
    rows.append(("the step, minimum", *[cell for way in ways.values() for cell in (f"{way['min_ms']:.1f}", "")]))
    text = table(("part", *[head for way in ways for head in (f"{way}, ms", "GF/s")]), rows)
    made_by, rate = result["made_by"], result["product_gflops"]
    gflop = sum(part["gflop"] for part in ways["hand-derived"]["parts"].values())
    line = (
        f"{result['batch']} images, {result['steps']} steps; {gflop:.2f} GFLOP, {gflop / rate * 1e3:.0f} ms at "
        f"the {rate:.0f} GF/s of a product of 2048 x 2048 matrices in this run; jax {made_by['jax']}, "
        f"{made_by['device']}; commit {made_by['commit']}, {made_by['date']}."
    )
    insert(HERE / "README.md", "parts", f"{text}\n\n{line}")


def _kinds(text: str) -> dict[str, tuple[str, float]]:
    """For each instruction that is launched, what it computes and by how many operations."""
    bodies: dict[str, list[str]] = {}
    for line in text.splitlines():
        header = re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line)
        if header:
            body = bodies.setdefault(header.group(1), [])
        elif " = " in line:
            body.append(line)
    kinds = {}
    for lines in bodies.values():
        for line in lines:
            name = line.split(" = ")[0].strip().removeprefix("ROOT ").strip().lstrip("%")
            called = re.search(r"calls=%?([\w.-]+)", line)
            kinds[name] = _kind(bodies.get(called.group(1), []) if called else [line], text)
    return {name: kind for name, kind in kinds.items() if kind}


def _kind(lines: list[str], text: str) -> tuple[str, float] | None:
    """Of the instruction, or of the body that it calls; nothing where its parts are launched, not itself."""
    if len(lines) == 1 and re.search(r" (?:while|parameter|call|tuple|get-tuple-element)\(", lines[0]):
        return None
    for line in lines:
        operation = re.search(r"\w+\[([\d,]*)\]\S* (convolution|dot)\(%?([\w.-]+), %?([\w.-]+)\)", line)
        if operation:
            shape, kind, left, right = operation.groups()
            out = prod(int(n) for n in shape.split(",") if n)
            if kind == "dot":
                axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line)
                contracted = prod(_shape(lines, text, left)[int(a)] for a in axes.group(1).split(",")) if axes else 1
                return "matrix products", 2.0 * out * contracted
            *window, c_in, _ = _shape(lines, text, right)
            return LAUNCHED if len(lines) == 1 else "convolutions, YNNPACK's", 2.0 * out * prod(window) * c_in
    return OTHERS, 0.0


def _shape(lines: list[str], text: str, name: str) -> list[int]:
    """The shape of an operand, by the line that defines it."""
    defined = re.compile(rf"%{re.escape(name)} = \w+\[([\d,]*)\]")
    found = next((match for line in lines if (match := defined.search(line))), None) or defined.search(text)
    return [int(n) for n in found.group(1).split(",") if n] if found else []


def _milliseconds(folder: Path) -> dict[str, Counter[str]]:
    """By the name of an event, how often and how long."""
    data: Any = jax.profiler.ProfileData.from_file(str(next(folder.rglob("*.xplane.pb"))))
    found: dict[str, Counter[str]] = {}
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                found.setdefault(event.name, Counter()).update(ms=event.duration_ns / 1e6, calls=1)
    return found


if __name__ == "__main__":
    app()
