"""Compile the training step for several chips and count what it sends: see the README beside this file."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import dropwhile, takewhile
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, NamedTuple

import jax
import typer
from jax.sharding import NamedSharding, PartitionSpec
from rich.console import Console
from rich.progress import track

from experiments.report import write
from jaxcnn import cost, nets, provenance, runs, train
from jaxcnn.bench import COMPILER_OPTIONS, COMPILERS, TARGETS, compiled_as_traced, described_slice

RESULTS = Path(__file__).parent / "results"
SEED = 0  # nothing is drawn
IMAGES_IN_ALL = 8192  # of strong scaling
_COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|reduce-scatter|(?:ragged-)?all-to-all|collective-permute|collective-broadcast|send|recv)"
    r"(?:-start)?\("
)
_SIZES = {"f32": 4, "bf16": 2, "f16": 2, "f64": 8, "s32": 4}


class Program(NamedTuple):
    """One step to compile: for which chips, of which net, for how many images on each chip."""

    topology: str
    net: str
    precision: str
    images: int


PROGRAMS = {
    "tpu-v5e": [
        *(Program(f"v5e:{side}x{side}", "lenet", "float32", 128) for side in (2, 4, 8, 16)),
        *(Program(f"v5e:{side}x{side}", "lenet", "bfloat16", 128) for side in (2, 16)),
        *(Program(f"v5e:{side}x{side}", "gap_cnn", "float32", 128) for side in (2, 16)),
        *(Program(f"v5e:{side}x{side}", "lenet", "float32", IMAGES_IN_ALL // side**2) for side in (16, 4, 2)),
    ],
    "h100": [
        Program(topology, net, precision, images)
        for net, precision in (("lenet", "float32"), ("lenet", "bfloat16"), ("gap_cnn", "float32"))
        for topology, images in (
            *(("1x1x1", images) for images in (128, 1024, IMAGES_IN_ALL)),
            *(("1x1x8", images) for images in (128, IMAGES_IN_ALL // 8)),
            *(("1x4x8", images) for images in (128, IMAGES_IN_ALL // 32)),  # four machines of eight
        )
    ],
}


def run(target: Annotated[str, typer.Argument(help=f"One of {', '.join(TARGETS)}.")]) -> None:
    """Compile every step of the target that its result does not have yet; it is whole after each.

    It goes on where it was stopped, unless jax or a compiler has changed since: then it begins anew.
    """
    if target not in TARGETS:
        raise typer.BadParameter(runs.unknown("TARGET", target, TARGETS))
    jax.config.update("jax_platforms", "cpu")  # the plugins are there to compile, not to run
    path, compilers = RESULTS / f"{target}.json", {"jax": jax.__version__, **provenance.versions(*COMPILERS)}
    before = json.loads(path.read_text()) if path.exists() else {}
    rows = before["rows"] if before.get("compilers") == compilers else []
    done = [Program(*(row[field] for field in Program._fields)) for row in rows]
    missing = [program for program in PROGRAMS[target] if program not in done]
    for program in track(missing, description=f"for {target}", console=Console(stderr=True)):
        rows.append(row_of(target, program))
        write(path, SEED, {"compilers": compilers, "rows": rows})


def row_of(target: str, program: Program) -> dict[str, Any]:
    """What the target's compiler makes of it: all is one chip's; `flops` is None where the compiler has no count."""
    devices = described_slice(target, program.topology)
    step, state, batch = _step(devices, program)
    began = perf_counter()
    compiled = compiled_as_traced(devices[0], step.trace(state, batch), **COMPILER_OPTIONS[target])
    seconds = perf_counter() - began
    memory = compiled.memory_analysis()
    image = jax.ShapeDtypeStruct((1, *batch["image"].shape[1:]), "float32")
    total = cost.of_net(nets.NETS[program.net].apply, state.params, image).total
    return {
        "target": target,
        "chips": len(devices),
        **program._asdict(),
        **counted(compiled.as_text()),
        "parameters": total.parameters,
        "operations": 2 * (total.forward + total.backward) * program.images,
        "flops": (compiled.cost_analysis() or {}).get("flops"),
        "argument_bytes": int(memory.argument_size_in_bytes),
        "temporary_bytes": int(memory.temp_size_in_bytes),
        "seconds_to_compile": round(seconds, 1),
    }


def counted(text: str) -> dict[str, Any]:
    """Of a compiled program: its collectives by kind, and what its all-reduces sum."""
    sums = _summed(text)
    return {
        "collectives": dict(Counter(_COLLECTIVE.findall(text))),
        "summed_numbers": dict(sums),
        "summed_bytes": sum(_SIZES[dtype] * count for dtype, count in sums.items()),
        "products_meanwhile": _products_meanwhile(text),
    }


def _step(devices: list[Any], program: Program) -> tuple[Any, train.TrainState, dict[str, jax.ShapeDtypeStruct]]:
    """The step over a mesh of the devices, and the shapes that it takes, each where it lies."""
    net, optimizer, mesh = nets.NETS[program.net], train.OPTIMIZERS["adam"](1e-3), train.mesh_of(devices)
    step = train.make_train_step(net.apply, optimizer, precision=program.precision, mesh=mesh)
    state = jax.eval_shape(lambda key: train.init_state(net.init(key), optimizer, key), jax.random.key(SEED))
    everywhere, in_parts = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(*mesh.axis_names))
    count = program.images * len(devices)
    return (
        step,
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), state),
        {
            "image": jax.ShapeDtypeStruct((count, 28, 28, 1), "uint8", sharding=in_parts),
            "label": jax.ShapeDtypeStruct((count,), "int32", sharding=in_parts),
        },
    )


def _summed(text: str) -> Counter[str]:
    """How many numbers of each dtype all-reduces sum."""
    found: Counter[str] = Counter()
    for result in re.findall(r" = (.*?) all-reduce(?:-start)?\(", text):
        for dtype, shape in re.findall(r"\b([a-z]+\d+)\[([\d,]*)\]", result):
            found[dtype] += prod(int(size) for size in shape.split(",") if size)
    return found


def _products_meanwhile(text: str) -> int:
    """Convolutions and matrix products that are scheduled between an all-reduce's start and its end."""
    lines = dropwhile(lambda line: " all-reduce-start(" not in line, text.splitlines())
    between = takewhile(lambda line: " all-reduce-done(" not in line, lines)
    return sum(bool(re.search(r" (?:convolution|dot|custom-call)\(", line)) for line in between)


if __name__ == "__main__":
    typer.run(run)
