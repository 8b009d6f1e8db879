"""Fair times: every way of a case on the same inputs, in turns, after all have given the same result.

Ways of a case: "ours"; "autodiff" (A), `jax.grad` of the idiomatic forward; "rewrite" (B), `jax.grad` of the best
rewrite of that forward which autodiff can still handle; others where a package is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import JaxcnnError

PyTree = Any
FEWEST_ROUNDS, MOST_ROUNDS = 5, 40
LOST = 0.9  # of our time


class BenchError(JaxcnnError, RuntimeError):
    """Nothing can be timed or compiled: two ways differ, or a compiler is not installed."""


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes:
        name: unique, in words.
        group: the row of a summary that it belongs to.
        ways: by name, functions of the arrays that `draw` gives, "ours" and "autodiff" among them.
        draw: fresh arrays from a generator.
        flops: floating-point operations of the arithmetic, for rates; 0 where that says nothing.
        tolerance: greatest difference of two ways, of the greatest number in the array.
        steps: how many steps one call makes.
        hopeless: a way that takes this many times as long as the fastest is timed twice, no more.
        foreign: by name, makers of ways that are not jax's, given the first point; they verify themselves.
    """

    name: str
    group: str
    ways: dict[str, Callable[..., PyTree]]
    draw: Callable[[np.random.Generator], tuple[PyTree, ...]]
    flops: float = 0.0
    tolerance: float = 1e-3
    steps: int = 1
    hopeless: float = 10.0
    foreign: dict[str, Callable[..., Callable[..., Any]]] = field(default_factory=dict)


def run(cases: Iterable[Case], *, seconds: float = 1.0, seed: int = 0, again: bool = True) -> Iterator[dict[str, Any]]:
    """A row for each case: minimum and median of each way's time, and its temporaries.

    jax's caches are cleared after each: a compiled program is some memory maps, of which Linux gives a process 65,530,
    and `ops --tune` compiles thousands.

    Args:
        cases: what to time.
        seconds: time to spend on each, compiling aside; at least 5 rounds are made, and 2 of a way that is `hopeless`.
        seed: of the inputs; every round has new ones.
        again: whether to go on to 40 rounds where autodiff's minimum is below 0.9 of ours: few rounds tell noise and
            loss apart badly.

    Raises:
        BenchError: two ways of a case give different results; nothing of it was timed.
    """
    for case in cases:
        random = np.random.default_rng(seed)
        first = jax.block_until_ready(case.draw(random))
        programs = {way: jax.jit(f).lower(*first).compile() for way, f in case.ways.items()}
        _verify(case, {way: program(*first) for way, program in programs.items()})
        callers: dict[str, Callable[..., Any]] = {**programs}
        callers.update({way: make(*first) for way, make in case.foreign.items()})
        times: dict[str, list[float]] = {way: [] for way in callers}
        started = time.perf_counter()
        while len(times["ours"]) < MOST_ROUNDS and (
            len(times["ours"]) < FEWEST_ROUNDS or time.perf_counter() - started < seconds
        ):
            _time_once(case, callers, times, random)
        if again and min(times["autodiff"]) < LOST * min(times["ours"]):
            while len(times["ours"]) < MOST_ROUNDS:
                _time_once(case, callers, times, random)
        yield {
            "name": case.name,
            "group": case.group,
            "rounds": len(times["ours"]),
            "flops": case.flops,
            "ways": {
                way: {
                    "min_ms": round(min(taken), 4),
                    "median_ms": round(float(np.median(taken)), 4),
                    **({"temporary_bytes": _temporaries(programs[way])} if way in programs else {}),
                }
                for way, taken in times.items()
            },
        }
        jax.clear_caches()


def _time_once(
    case: Case, callers: dict[str, Callable[..., Any]], times: dict[str, list[float]], random: np.random.Generator
) -> None:
    """Add a round to `times`: every way on the same new inputs."""
    point = jax.block_until_ready(case.draw(random))
    for way in random.permutation(list(callers)):  # the first meets inputs in no cache, each what the last left in it
        if _is_settled(times, way, case.hopeless):
            continue
        call = callers[way]
        began = time.perf_counter()
        jax.block_until_ready(call(*point))
        times[way].append(1e3 * (time.perf_counter() - began) / case.steps)


def _is_settled(times: dict[str, list[float]], way: str, hopeless: float) -> bool:
    """Whether a way, never ours, was `hopeless` times slower than the fastest, twice: it needs no more rounds."""
    if way == "ours" or len(times[way]) < 2:
        return False
    return min(times[way]) > hopeless * min(min(taken) for taken in times.values() if taken)


def milliseconds(time: float) -> str:
    """A time for a table: three digits, or whole milliseconds.

    Example:
        >>> milliseconds(0.04239), milliseconds(2018.3)
        ('0.0424', '2,018')
    """
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"


def product_rate(size: int = 2048, rounds: int = 10) -> float:
    """GF/s of a square float32 matrix product on this machine, the best of some: what "share of the rate" is of."""
    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(product(a, a))
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def _verify(case: Case, results: dict[str, PyTree]) -> None:
    expected = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(results["autodiff"])]
    for way, result in results.items():
        for found, wanted in zip(map(np.asarray, jax.tree.leaves(result)), expected, strict=True):
            scale = float(np.max(np.abs(wanted), initial=0.0)) or 1.0
            if found.shape != wanted.shape or not np.all(np.abs(found - wanted) <= case.tolerance * scale):
                raise BenchError(f"{case.name}: {way!r} differs from autodiff; nothing of it was timed")


def _temporaries(program: Any) -> int:
    analysis = program.memory_analysis()
    return int(getattr(analysis, "temp_size_in_bytes", 0))
