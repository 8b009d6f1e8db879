"""What the compilers for accelerators make of each op and each step, without an accelerator.

libtpu compiles for a TPU that is only described to it, and jax's CUDA plugin for a GPU; what they give cannot run here,
but its memory, its counts and its text are what the accelerator would run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from jaxcnn import ops
from jaxcnn.bench._ops import Geometry, geometries, map_case, pool_case
from jaxcnn.bench._run import BenchError, Case
from jaxcnn.bench._steps import idiomatic, steps_cases
from jaxcnn.ops._conv._algorithm import MAPS

TARGETS = ("h100", "tpu-v5e")
COMPILERS = ("libtpu", "jax-cuda13-plugin")  # the packages that they are in
NO_TPU_AT_HAND = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # one process at a time may run programs; any may compile
}
# no kernel is tried out where there is no GPU: XLA takes the first that it knows
COMPILER_OPTIONS = {"h100": {"xla_gpu_autotune_level": 0}, "tpu-v5e": {}}
SMALLEST = {"h100": "1x1x1", "tpu-v5e": "v5e:2x2"}
LAST_MAPS = (Geometry((4, 4), (3, 3), 256, 256), Geometry((7, 7), (3, 3), 64, 64), Geometry((2, 2), (3, 3), 512, 512))


def compiled_cases(*, quick: bool = False) -> list[Case]:
    """Each network's step; and without `quick` a convolution of each kind, small last maps, pools and the other ops."""
    # libtpu takes ten minutes and 8 GB over 1,024 images of one channel, by hand-derived rules or by autodiff
    steps = [case for case in steps_cases(quick=True) if "batch 1024" not in case.name]
    if quick:
        return [case for case in steps if case.name.startswith("lenet")]
    first_of_each_kind = {geometry.kind: geometry for geometry in reversed(geometries())}.values()
    convolutions = [map_case(g, which) for g in (*first_of_each_kind, *LAST_MAPS) for which in MAPS]
    pools = [
        pool_case(op, (128, 28, 28, 32), size, stride)
        for op in ("max_pool", "avg_pool")
        for size, stride in ((2, 2), (3, 2))
    ]
    return [*steps, *convolutions, *pools, *_others()]


def compiled_rows(cases: list[Case], target: str) -> Iterator[dict[str, Any]]:
    """A row for each case: what the target's compiler reports of its ways "ours" and "autodiff".

    Args:
        cases: what to compile, with the shapes and dtypes that each would draw.
        target: "h100" or "tpu-v5e".

    Yields:
        By way: `temporary_bytes`; `flops` and `bytes_accessed`, None where the compiler says nothing; `kernels`,
        what is launched one after the other; `scatters`, select-and-scatters included; `convolutions` by who computes
        them: cuDNN's calls by name, or "XLA".

    Raises:
        BenchError: the target's compiler is not installed, in one line.
    """
    device = described(target)
    for case in cases:
        shapes = jax.eval_shape(lambda case=case: case.draw(np.random.default_rng(0)))
        found = {
            way: _report(compiled_for(device, f, *shapes, **COMPILER_OPTIONS[target]))
            for way, f in case.ways.items()
            if way in ("ours", "autodiff")
        }
        yield {"name": case.name, "group": case.group, "ways": found}


def described(target: str) -> Any:
    """A device of the target, known to its compiler only."""
    return described_slice(target, SMALLEST[target])[0]


def described_slice(target: str, topology: str) -> list[Any]:
    """The devices of several that are connected: "v5e:4x4" of a TPU, "1x1x8" of GPUs in one machine."""
    try:
        if target == "h100":
            specification = files("jaxcnn.bench").joinpath("h100.txtpb").read_text()
            return list(
                topologies.get_topology_desc(
                    "", platform="cuda", target_config=specification, topology=topology
                ).devices
            )
        os.environ.update({name: os.environ.get(name, value) for name, value in NO_TPU_AT_HAND.items()})
        return list(topologies.get_topology_desc(topology, platform="tpu").devices)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        extra = {"h100": "jax[cuda13-local]", "tpu-v5e": "jax[tpu]"}[target]
        reason = str(error).splitlines()[0]
        raise BenchError(
            f"the compiler for {target} cannot be loaded; install {extra} beside the same jax ({reason})"
        ) from error


def compiled_for(device: Any, f: Callable[..., Any], *shapes: Any, **options: Any) -> Any:
    """f for one such device."""
    there = SingleDeviceSharding(device)
    return compiled_as_traced(device, jax.jit(f, in_shardings=there, out_shardings=there).trace(*shapes), **options)


def compiled_as_traced(device: Any, traced: Any, **options: Any) -> Any:
    """What `jit(f).trace(...)` gave, for one such device or for the several that its shardings name."""
    return traced.lower(lowering_platforms=(device.platform if device.platform == "tpu" else "cuda",)).compile(
        compiler_options=options
    )


def _report(program: Any) -> dict[str, Any]:
    text = program.as_text()
    costs = program.cost_analysis() or {}
    return {
        "temporary_bytes": int(program.memory_analysis().temp_size_in_bytes),
        "flops": costs.get("flops"),
        "bytes_accessed": costs.get("bytes accessed"),
        "kernels": len(_launched(text)),
        "scatters": len(re.findall(r" (?:select-and-)?scatter\(", text)),
        "convolutions": dict(Counter(_convolutions(text))),
    }


def _launched(text: str) -> list[str]:
    """The instructions of the program that are more than names for bytes: those of no fusion's or reduction's body."""
    bodies = set(re.findall(r"(?:calls|to_apply)=%?([\w.-]+)", text))
    found, name = [], ""
    for line in text.splitlines():
        header = re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line)
        name = header.group(1) if header else name
        operation = re.match(r"\s+(?:ROOT )?%?[\w.-]+ = .*?\s([a-z][\w-]*)\(", line)
        if operation and name not in bodies and operation.group(1) not in _NAMES_FOR_BYTES:
            found.append(operation.group(1))
    return found


_NAMES_FOR_BYTES = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota"}


def _convolutions(text: str) -> list[str]:
    cudnn = re.findall(r'custom_call_target="__cudnn\$(conv\w+)"', text)
    return cudnn + ["XLA"] * len(re.findall(r" convolution\(", text))


def _others() -> list[Case]:
    rows, scale = (1024, 512), (512,)
    return [
        _op_case("relu", lambda m, x: m.relu(x), (128, 28, 28, 32)),
        _op_case("global_avg_pool", lambda m, x: m.global_avg_pool(x), (128, 7, 7, 256)),
        _op_case("dense", lambda m, x, k, b: m.dense(x, k, b), rows, (512, 512), scale),
        _op_case("layer_norm", lambda m, x, s, b: m.layer_norm(x, s, b), rows, scale, scale),
        _op_case(
            "softmax_cross_entropy",
            lambda m, z: m.softmax_cross_entropy(z, jnp.arange(z.shape[0]) % z.shape[1]),
            (1024, 1000),
        ),
        _op_case(
            "conv_relu_max_pool",
            lambda m, x, k, b: m.conv_relu_max_pool(x, k, b, 2, padding="SAME"),
            (128, 28, 28, 32),
            (3, 3, 32, 64),
            (64,),
        ),
        _op_case(
            "conv_transpose",
            lambda m, x, k, b: m.conv_transpose(x, k, b, stride=2, padding=1),
            (128, 14, 14, 64),
            (4, 4, 32, 64),
            (32,),
        ),
    ]


def _op_case(name: str, call: Callable[..., jax.Array], *shapes: tuple[int, ...]) -> Case:
    """Value and gradients, along a cotangent like the value."""

    def both(module: ModuleType, *args: jax.Array) -> Any:
        y, pull = jax.vjp(partial(call, module), *args)
        return y, pull(jnp.cos(y))

    return Case(
        name=f"{name}: {'x'.join(map(str, shapes[0]))}",
        group="ops",
        ways={"ours": partial(both, ops), "autodiff": partial(both, idiomatic())},
        draw=lambda random: tuple(jnp.asarray(random.standard_normal(shape, np.float32)) for shape in shapes),
    )
