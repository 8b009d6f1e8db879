"""One report, verified and then timed, in a process of its own: a program may end the process or never end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from experiments.reports.record import Function, Report
from jaxcnn import provenance

SEED = 0
PLAIN, ACCELERATED, PYTORCH = "plain", "accelerated", "PyTorch"
WAYS = (PLAIN, ACCELERATED)
HOPELESS = 10  # times as long as the fastest: timed twice, no more
LEAST_SECONDS = 1.0  # for each report, so that what takes microseconds has more rounds
PYTORCH_TOLERANCE = 1e-3
Row = dict[str, Any]


def in_a_process(report: Report, rounds: int, timeout: float) -> Row:
    """The row of a report.

    Returns:
        what JSON can hold: `id`, `measured`, `made_by` and `ways`; for each way what `measured_here` says of it, or why
        it `failed`.
    """
    if report.measured != "value":
        return _process(report, WAYS, rounds, timeout)
    plain, accelerated = (_process(report, (way,), rounds, timeout) for way in WAYS)
    return {**plain, **accelerated, "ways": plain["ways"] | accelerated["ways"]}


def measured_here(report: Report, ways: Sequence[str], rounds: int) -> Row:
    """The row of a report, in this process.

    Each way has its `difference` from what is right, of the greatest number (None where a NaN, an infinity or a shape
    is another), whether it `is_right`, its `compile_s`, and where it is timed its `min_ms`, `median_ms` (or `min_s` and
    `median_s` of compiling) and how many `rounds`. What is not right is not timed.
    """
    if report.needs_float64:
        jax.config.update("jax_enable_x64", True)
    jax.block_until_ready(jax.jit(jnp.sin)(jnp.ones(8)))  # the compiler itself is made ready
    random = np.random.default_rng(SEED)
    args = _drawn(report, 0)
    row: Row = {"id": report.id, "measured": report.measured, "made_by": provenance.made_by(SEED), "ways": {}}
    programs: dict[str, Any] = {}
    functions = {way: function(report, way) for way in ways}
    if functions.get(ACCELERATED) is not None:
        row["left"] = left_to_lax(report, args)
    for way in random.permutation(list(functions)):
        f = functions[way]
        if f is None:
            row["ways"][way] = {"failed": "there is no jaxcnn.accelerate here"}
            continue
        began = time.perf_counter()
        try:
            programs[way] = _compile(f, args)
        except (ValueError, TypeError, NotImplementedError) as error:
            row["ways"][way] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            continue
        row["ways"][way] = {"compile_s": round(time.perf_counter() - began, 3)}
    wanted = right_values(report, args, programs.get(PLAIN))
    for way, program in programs.items():
        row["ways"][way] |= _judged(program(*args), wanted, report.tolerance)
    right = {way: program for way, program in programs.items() if row["ways"][way]["is_right"]}
    if report.measured == "run":
        for way, times in _times(report, right, wanted, rounds, random, row).items():
            row["ways"][way] |= _summary(times, 1e3, "ms")
    elif report.measured == "compile":
        for way, times in _compile_times({way: functions[way] for way in right}, args, rounds, random).items():
            row["ways"][way] |= _summary(times, 1.0, "s")
    return row


def function(report: Report, way: str) -> Function | None:
    """What its user would jit; None where `jaxcnn.accelerate` does not exist."""
    if way == PLAIN:
        return report.around(report.f)
    accelerate = _of_jaxcnn("accelerate")
    return None if accelerate is None else report.around(accelerate(report.f))


def left_to_lax(report: Report, args: tuple[Any, ...]) -> list[str]:
    """Of each convolution and pool that `jaxcnn.accelerate` leaves as it is, what it is and why."""
    found: list[str] = []

    def noted(*inner: Any) -> Any:
        types = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), inner)
        found.extend(f"{site.what}: {site.left}" for site in _of_jaxcnn("sites")(report.f, *types).left)
        return report.f(*inner)

    jax.eval_shape(report.around(noted), *args)
    return list(dict.fromkeys(found))


def right_values(report: Report, args: tuple[Any, ...], plain: Callable[..., Any] | None) -> Any:
    """NumPy's of a "value"; of halves plain's in float32; plain's own of everything else."""
    if report.truth is not None:
        return report.truth(*map(np.asarray, args))
    halves = (jnp.float16, jnp.bfloat16)
    if any(leaf.dtype in halves for leaf in jax.tree.leaves(args)):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype in halves else leaf, args)
        return jax.jit(report.around(report.f))(*wide)
    return None if plain is None else plain(*args)


def difference(found: Any, wanted: Any) -> float:
    """The greatest of all leaves, of the leaf's greatest number; infinite where a NaN, infinity or shape is another."""
    greatest = 0.0
    for f, w in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        f, w = np.asarray(f, np.float64), np.asarray(w, np.float64)
        if f.shape != w.shape:
            return float("inf")
        apart = ~((f == w) | (np.isnan(f) & np.isnan(w)))
        if np.any(apart & ~(np.isfinite(f) & np.isfinite(w))):
            return float("inf")
        scale = np.max(np.abs(w[np.isfinite(w)]), initial=0.0) or 1.0
        greatest = max(greatest, float(np.max(np.abs(f[apart] - w[apart]), initial=0.0) / scale))
    return greatest


def _of_jaxcnn(name: str) -> Any:
    """The function of that name; None where this jaxcnn has none."""
    return getattr(jaxcnn, name, None)


def _judged(found: Any, wanted: Any, tolerance: float) -> Row:
    apart = difference(found, wanted)
    return {"difference": apart if np.isfinite(apart) else None, "is_right": apart <= tolerance}


def _drawn(report: Report, number: int) -> tuple[Any, ...]:
    return jax.block_until_ready(report.args(jax.random.key(SEED + number)))


def _times(
    report: Report, programs: dict[str, Any], wanted: Any, rounds: int, random: np.random.Generator, row: Row
) -> dict[str, list[float]]:
    """Seconds of each round, all ways on the same new numbers and in an order of the round's own."""
    makers: dict[str, Callable[..., Callable[[], Any]]] = {
        way: partial(_call_of, program) for way, program in programs.items()
    }
    if report.in_pytorch is not None and find_spec("torch") is not None:
        found = _in_numpy(report, *_drawn(report, 0))()
        row["ways"][PYTORCH] = _judged([array.numpy() for array in found], wanted, PYTORCH_TOLERANCE)
        row["made_by"] |= provenance.versions("torch")
        if row["ways"][PYTORCH]["is_right"]:
            makers[PYTORCH] = partial(_in_numpy, report)
    times: dict[str, list[float]] = {way: [] for way in makers}
    began, made = time.perf_counter(), 0
    while made < rounds or (made < 10 * rounds and time.perf_counter() - began < LEAST_SECONDS):
        made += 1
        args = _drawn(report, made)
        for way in random.permutation(list(makers)):
            if not _is_hopeless(times, way):
                call = makers[way](*args)
                times[way].append(_seconds(call))
    return times


def _compile_times(
    functions: dict[str, Any], args: tuple[Any, ...], rounds: int, random: np.random.Generator
) -> dict[str, list[float]]:
    """Seconds from the function to its program, with nothing kept from before."""
    times: dict[str, list[float]] = {way: [] for way in functions}
    for _ in range(rounds):
        for way in random.permutation(list(functions)):
            if not _is_hopeless(times, way):
                jax.clear_caches()
                times[way].append(_seconds(partial(_compile, functions[way], args)))
    return times


def _compile(f: Function, args: tuple[Any, ...]) -> Any:
    return jax.jit(f).lower(*args).compile()


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _call_of(program: Any, *args: Any) -> Callable[[], Any]:
    return lambda: jax.block_until_ready(program(*args))


def _in_numpy(report: Report, *args: Any) -> Callable[[], Any]:
    assert report.in_pytorch is not None
    return report.in_pytorch(*map(np.asarray, args))


def _is_hopeless(times: dict[str, list[float]], way: str) -> bool:
    """Whether a way, never the accelerated, took many times as long as the fastest, twice."""
    if way == ACCELERATED or len(times[way]) < 2:
        return False
    return min(times[way]) > HOPELESS * min(min(taken) for taken in times.values() if taken)


def _summary(times: list[float], unit: float, name: str) -> Row:
    taken = unit * np.asarray(times)
    return {f"min_{name}": float(np.min(taken)), f"median_{name}": float(np.median(taken)), "rounds": len(times)}


def _process(report: Report, ways: Sequence[str], rounds: int, timeout: float) -> Row:
    with tempfile.TemporaryDirectory() as at:
        out = Path(at) / "row.json"
        asked = [flag for way in ways for flag in ("--way", way)]
        command = [sys.executable, "-m", "experiments.reports", "one", report.id, *asked]
        command += ["--rounds", str(rounds), "--out", str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return _failed(report, ways, f"not done in {timeout:.0f} s")
        if done.returncode < 0:
            return _failed(report, ways, f"the process ended by {signal.Signals(-done.returncode).name}")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            return _failed(report, ways, last)
        return dict(json.loads(out.read_text()))


def _failed(report: Report, ways: Sequence[str], why: str) -> Row:
    made_by = provenance.made_by(SEED)
    return {
        "id": report.id,
        "measured": report.measured,
        "made_by": made_by,
        "ways": {way: {"failed": why} for way in ways},
    }
