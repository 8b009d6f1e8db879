"""One model, verified and then timed, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

import jaxcnn
from experiments.models.model import (
    AGAIN,
    ENGINE,
    Batch,
    Loss,
    Model,
    PyTree,
    cast,
    first_arguments,
    make,
    training_step,
)
from jaxcnn import ops

Call = Callable[[Batch], Callable[[], Any]]  # what is to be timed, given the batch
FEW_IMAGES = 4  # to be verified on: XLA:CPU has no fast convolutions in float64
STEPS = 10
POINTS = 5
NOTHING = 1e-12  # of the greatest number: what float64 makes of 0
COMPILES = 2


def ways(model: Model) -> dict[str, Loss]:
    """The loss as it is, with the one line before it, and with its convolutions by oneDNN where that is here."""
    own = {"plain": model.loss, "accelerated": jaxcnn.accelerate(model.loss)}
    has_engine = not ops.engines()[ENGINE].startswith(f"{ENGINE} is not here")
    return own | ({ENGINE: jaxcnn.accelerate(model.loss, plan=ENGINE)} if has_engine else {})


def timed_ways(model: Model) -> dict[str, Loss]:
    """These, and plain a second time: what two programs of one function differ by is noise."""
    return {**ways(model), AGAIN: model.loss}


def verify(name: str) -> dict[str, Any]:
    """How far loss, state and gradients are apart, as shares of each array's greatest number.

    A ReLU whose argument is rounded to the other side of 0 changes gradients by far more than rounding does, in plain
    and in accelerated alike. It is rare, and comes at some points only: in float32 the least of some points is given.

    Returns:
        `float64`, of accelerated from plain, the greatest of the points; `float32`, of each way from plain in float64;
        `pytorch`, where it is installed, of its loss and gradients from plain's, in float64.
    """
    if jax.dtypes.canonicalize_dtype("float64") != "float64":
        raise ValueError("float64 is wanted: set jax_enable_x64")
    first = make(name, images=FEW_IMAGES)
    found: dict[str, dict[str, list[PyTree]]] = {}
    for dtype in ("float32", "float64"):
        model = make(name, images=FEW_IMAGES, dtype=dtype)
        params, state = cast(first.params, dtype), cast(first.state, dtype)
        batches = [model.draw(jax.random.key(point)) for point in range(POINTS)]
        found[dtype] = {}
        for way, loss in ways(model).items():
            program = jax.jit(jax.value_and_grad(loss, has_aux=True))
            found[dtype][way] = [jax.device_get(program(params, state, batch)) for batch in batches]
        if wrong := {leaf.dtype.name for leaf in jax.tree.leaves(found[dtype])} - {dtype, "int32", "uint8"}:
            raise ValueError(f"{name} in {dtype} gives {', '.join(sorted(wrong))}")
    truths = found["float64"]["plain"]
    apart = {
        (dtype, way): [difference(result, truth) for result, truth in zip(results, truths, strict=True)]
        for dtype, of in found.items()
        for way, results in of.items()
    }
    row = {
        "images": FEW_IMAGES,
        "points": POINTS,
        "is_double": first.is_double,
        "float64": max(apart["float64", "accelerated"]),
        "float32": {way: min(apart["float32", way]) for way in found["float32"]},
    }
    if find_spec("torch"):
        from experiments.models.pytorch import Twin

        (value, _), gradients = truths[0]
        twin = Twin(name, replace(model, params=params), batches[0])
        row["pytorch"] = difference(twin.gradients(twin.tensors(batches[0]), params), (value, gradients))
    return row


def measure(name: str, *, rounds: int = 15, seed: int = 0) -> dict[str, Any]:
    """A row of the result: losses of ten steps, compile times, temporaries, and the times of a step in turns."""
    jax.config.update("jax_enable_compilation_cache", False)
    model, random = make(name), np.random.default_rng(seed)
    batch = jax.block_until_ready(model.draw(jax.random.key(seed)))
    arguments = first_arguments(model, batch)
    programs, compiling = compiled(model, arguments, random)
    losses = {way: trained(program, arguments) for way, program in programs.items() if way != AGAIN}
    row: dict[str, Any] = {
        "name": name,
        "title": model.name,
        "framework": model.framework,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
        "losses": losses,
    }
    calls = {way: jax_call(program, arguments) for way, program in programs.items()}
    if find_spec("torch"):
        from experiments.models.pytorch import Twin

        twin = Twin(name, model, batch)
        losses["pytorch"] = [float(twin.step(twin.tensors(batch))) for _ in range(STEPS)]
        calls["pytorch"] = torch_call(twin)
    times = timed(calls, model, rounds, random)
    row["ways"] = {
        way: {
            "min_ms": round(min(taken), 3),
            "median_ms": round(float(np.median(taken)), 3),
            "ms": [round(one, 3) for one in taken],
            **compiling.get(way, {}),
        }
        for way, taken in times.items()
    }
    return row


def compiled(
    model: Model, arguments: tuple[PyTree, ...], random: np.random.Generator
) -> tuple[dict[str, Callable[..., Any]], dict[str, dict[str, Any]]]:
    """The step of each way, and the least seconds of lowering and of compiling it, out of some tries in turns."""
    for loss in timed_ways(model).values():
        jax.eval_shape(training_step(model, loss), *arguments)  # what is imported and read only once
    programs: dict[str, Any] = {}
    seconds: dict[str, list[tuple[float, float]]] = {}
    for _ in range(COMPILES):
        losses = timed_ways(model)
        for way in random.permutation(list(losses)):
            jax.clear_caches()
            began = time.perf_counter()
            lowered = jax.jit(training_step(model, losses[way])).lower(*arguments)
            between = time.perf_counter()
            programs[str(way)] = lowered.compile()
            seconds.setdefault(str(way), []).append((between - began, time.perf_counter() - between))
    found = {}
    for way, taken in seconds.items():
        lowering, compiling = min(taken, key=sum)
        found[way] = {
            "lower_s": round(lowering, 3),
            "compile_s": round(compiling, 3),
            "temporary_bytes": int(programs[way].memory_analysis().temp_size_in_bytes),
        }
    return programs, found


def trained(program: Callable[..., Any], arguments: tuple[PyTree, ...]) -> list[float]:
    """The losses of ten steps on the first batch."""
    *carried, batch = arguments
    losses = []
    for _ in range(STEPS):
        *carried, loss = program(*carried, batch)
        losses.append(float(loss))
    return losses


def jax_call(program: Callable[..., Any], arguments: tuple[PyTree, ...]) -> Call:
    """The first training step."""

    def prepared(batch: Batch) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(program(*arguments[:-1], batch))

    return prepared


def torch_call(twin: Any) -> Call:
    """The next training step of a twin in PyTorch."""

    def prepared(batch: Batch) -> Callable[[], Any]:
        tensors = twin.tensors(batch)
        return lambda: twin.step(tensors)

    return prepared


def timed(calls: dict[str, Call], model: Model, rounds: int, random: np.random.Generator) -> dict[str, list[float]]:
    """Milliseconds of each way per round: on the same new batch, in an order drawn anew."""
    times: dict[str, list[float]] = {way: [] for way in calls}
    for turn in range(rounds):
        batch = jax.block_until_ready(model.draw(jax.random.key(turn)))
        for way in random.permutation(list(calls)):
            call = calls[way](batch)
            began = time.perf_counter()
            call()
            times[way].append(1e3 * (time.perf_counter() - began))
    return times


def difference(found: PyTree, wanted: PyTree) -> float:
    """The greatest of two pytrees, each array's as a share of the greatest number in it; infinite where one is NaN.

    An array that is 0 but for rounding, as the gradient of a shift that a normalization takes away again, has its
    difference as a share of the greatest number of all.
    """
    pairs = [
        (np.asarray(ours, np.float64), np.asarray(theirs, np.float64))
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    ]
    greatest = max(float(np.abs(theirs).max(initial=0.0)) for _, theirs in pairs)
    worst = 0.0
    for ours, theirs in pairs:
        size = float(np.abs(theirs).max(initial=0.0))
        gap = float(np.abs(ours - theirs).max(initial=0.0)) / (size if size > NOTHING * greatest else greatest)
        worst = max(worst, gap if np.isfinite(gap) else float("inf"))
    return worst
