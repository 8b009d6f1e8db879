"""A problem's plan, the algorithm of each map: read from `algorithm=`, carried out when a program is lowered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.custom_batching import custom_vmap

from jaxcnn._names import did_you_mean
from jaxcnn.ops._conv._algorithm import MAPS, Algorithm, Map
from jaxcnn.ops._conv._algorithms import ALGORITHMS, DIRECT
from jaxcnn.ops._conv._algorithms._taps import kernel_gradient_of_seen, put_together
from jaxcnn.ops._conv._core import Core
from jaxcnn.ops._conv._finite import where_finite
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._conv._row import Row
from jaxcnn.ops._conv._table import TABLE
from jaxcnn.ops._lib._arguments import refuse
from jaxcnn.ops._lib._bounds import UNROLLED, may_lay_out

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
NAMES = ("auto", *ALGORITHMS)


@dataclass(frozen=True)
class Plan:
    """The algorithm of each of convolution's three maps.

    Attributes:
        correlate, input_gradient, kernel_gradient: the name of an algorithm, or "auto".
        is_guarded: whether `toeplitz`, `split` and `phases` keep NaN and infinity to the windows that see them, as
            "auto" always does, at the price of a pass over their arguments. Algorithms given by a name or a mapping
            are not guarded.
        reasons: why each was chosen, where `conv_plan` made the plan; printed, not compared.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4, 4))
        >>> ops.conv(x, kernel, algorithm=ops.Plan(kernel_gradient="direct")).shape
        (1, 6, 6, 4)
    """

    correlate: str = "auto"
    input_gradient: str = "auto"
    kernel_gradient: str = "auto"
    is_guarded: bool = True
    reasons: tuple[str, str, str] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        reasons = self.reasons or ("",) * len(MAPS)
        lines = zip(MAPS, reasons, strict=True)
        return "\n".join(f"{which:<16}{getattr(self, which):<16}{reason}".rstrip() for which, reason in lines)


Algorithms = str | Mapping[str, str] | Plan  # what `algorithm=` takes


class Planned(NamedTuple):
    """A problem and its plan: the static argument of the three maps."""

    problem: Problem
    plan: Plan

    def of_gradients_along(self, dy: jax.Array) -> tuple[Planned, jax.Array]:
        """The same for the gradients' maps, and dy as they take it."""
        problem, dy = self.problem.of_gradients_along(dy)
        return Planned(problem, self.plan), dy

    def but(self, **changes: Any) -> Planned:
        """The same plan for a problem that differs in some fields."""
        return Planned(replace(self.problem, **changes), self.plan)


def asked_for(op: str, problem: Problem, algorithm: Algorithms, maps: tuple[str, ...] = MAPS) -> Planned:
    """The problem with the plan that is asked for; a name applies to those of `maps` that the algorithm has.

    A `ValueError` naming `op` where that is no plan, or cannot compute the problem.
    """
    planned = Planned(problem, plan_of(op, algorithm, maps))
    core = Core.of(problem).problem
    for which in MAPS:
        name = getattr(planned.plan, which)
        if name != "auto" and (fault := ALGORITHMS[name].cannot(which, core)):
            way_out = (
                f"use 'auto' for it, as in algorithm={ {each: _other(each, which, planned.plan) for each in MAPS} }"
            )
            refuse(op, f"algorithm {name!r} cannot compute {which} of these arguments: {fault}; {way_out}")
    return planned


def _other(each: str, which: str, plan: Plan) -> str:
    return "auto" if each == which else str(getattr(plan, each))


def plan_of(op: str, algorithm: Algorithms, maps: tuple[str, ...]) -> Plan:
    if isinstance(algorithm, Plan):
        names = {which: getattr(algorithm, which) for which in MAPS}
    elif isinstance(algorithm, str):
        has = ALGORITHMS[algorithm].maps if algorithm in ALGORITHMS else maps
        names = {which: algorithm for which in maps if which in has}
        if not names:
            refuse(op, f"algorithm {algorithm!r} has no {' and no '.join(maps)}, only {' and '.join(has)}; use 'auto'")
    else:
        names = dict(algorithm) if isinstance(algorithm, Mapping) else {"": ""}
    if not all(which in MAPS and isinstance(name, str) and name in NAMES for which, name in names.items()):
        odd = next((name for name in names.values() if name not in NAMES), algorithm)
        refuse(
            op,
            f"algorithm must be one of {', '.join(map(repr, NAMES))}, or a mapping from {', '.join(MAPS)} to these, "
            f"or a Plan, got {algorithm!r}{did_you_mean(odd, NAMES)}",
        )
    return algorithm if isinstance(algorithm, Plan) else _unguarded(**names)


def _unguarded(correlate: str = "auto", input_gradient: str = "auto", kernel_gradient: str = "auto") -> Plan:
    return Plan(correlate, input_gradient, kernel_gradient, is_guarded=False)


def row_for(which: str, platform: str, problem: Problem) -> Row | None:
    """The first row that fits and whose algorithm is within the bounds; None if a spatial size is symbolic."""
    if problem.window.is_symbolic:
        return None
    rows = (row for row in TABLE if (row.platform, row.which) == (platform, which))
    return next((row for row in rows if row.fits(problem) and _can_within_bounds(row, problem)), None)


def _can_within_bounds(row: Row, problem: Problem) -> bool:
    algorithm = ALGORITHMS[row.algorithm]
    if algorithm.cannot(row.which, problem):
        return False
    cost = algorithm.cost(row.which, problem)
    return cost.unrolls <= UNROLLED and may_lay_out(cost.lays_out, problem.bytes)


def chosen(which: str, platform: str, problem: Problem) -> Algorithm:
    """What "auto" takes: the algorithm of the table's row, or `direct`."""
    row = row_for(which, platform, problem)
    return ALGORITHMS[row.algorithm] if row else DIRECT


def own_platform() -> str:
    """The default device's, as the table calls it."""
    return "cuda" if jax.default_backend() == "gpu" else jax.default_backend()


def resolved(planned: Planned, platform: str) -> Plan:
    """The plan, guarded, with a name for each "auto", and the reasons."""
    y, dx, dk = (_with_reason(which, platform, planned) for which in MAPS)
    return Plan(y[0], dx[0], dk[0], reasons=(y[1], dx[1], dk[1]))


def _with_reason(which: str, platform: str, planned: Planned) -> tuple[str, str]:
    core = Core.of(planned.problem)
    problem, name = core.problem, getattr(planned.plan, which)
    if core.is_empty:
        return DIRECT.name, "nothing to compute: all is zeros"
    if name != "auto":
        return name, "as asked for"
    if problem.window.is_symbolic:
        return DIRECT.name, "a spatial size is known only when the program runs"
    row = row_for(which, platform, problem)
    return (row.algorithm, row.reason) if row else (DIRECT.name, "no row of the table fits: jax.lax's own")


def run(which: str, planned: Planned, *args: jax.Array) -> jax.Array:
    """A map, its algorithm chosen when it is lowered: one exported program may serve several platforms."""
    problem, name = planned.problem, getattr(planned.plan, which)
    takers = {platform: _taker(which, platform, problem, name) for platform in PLATFORMS}
    ways = {platform: (taker, taker.on(platform, which, problem)) for platform, taker in takers.items()}
    branches = {platform: _way(which, planned, *way) for platform, way in ways.items()}
    if len({*ways.values()}) == 1:
        return branches["cpu"](*args)
    default = _way(which, planned, DIRECT, DIRECT.maps[which]) if name == "auto" else branches["tpu"]
    return lax.platform_dependent(*args, **branches, default=default)


def _taker(which: str, platform: str, problem: Problem, name: str) -> Algorithm:
    """The algorithm by its name, or what "auto" takes where it is asked for, or where the other does not run."""
    asked = ALGORITHMS.get(name)
    runs = asked is not None and (asked.platforms is None or platform in asked.platforms)
    return asked if asked is not None and runs else chosen(which, platform, problem)


def run_of_transposed(planned: Planned, x: jax.Array, dy: jax.Array) -> jax.Array:
    """`kernel_gradient` for a transposed convolution, whose argument is dy and whose result, along which x is, x.

    Every algorithm multiplies dy by x's padding, where the kernel puts what the result leaves out. Guarded, as the
    other maps are, it keeps what is not finite in dy to the taps that put it on the result.
    """
    computed, plan = partial(run, "kernel_gradient", planned), planned.plan
    if planned.problem.window.is_padded and (plan.is_guarded or plan.kernel_gradient == "auto"):
        return where_finite(computed, partial(kernel_gradient_of_seen, planned.problem), (1,))(x, dy)
    return computed(x, dy)


def _way(which: str, planned: Planned, taker: Algorithm, map_: Map) -> Callable[..., jax.Array]:
    """The map of the problem, guarded where the plan is."""
    problem, plan = planned
    computed, is_auto = partial(map_, problem), getattr(plan, which) == "auto"
    if (is_auto or plan.is_guarded) and (spreads := taker.spreads.get(which)):
        return where_finite(computed, _careful(which, problem), spreads)
    if is_auto and (of_each := taker.of_examples.get(which)):
        return _with_another_of_examples(computed, partial(of_each, problem))
    return computed


def _careful(which: str, problem: Problem) -> Callable[..., jax.Array]:
    """The map without products with zeros, except x's padding: by lax where it makes none, else tap by tap."""
    if which == "correlate":
        return partial(DIRECT.maps[which], problem)
    if problem.groups == 1 and max(problem.window.stride) > 1:
        return partial(DIRECT.maps[which], problem)
    # always in a loop: what unrolled taps would lay out is allocated, and costs time, even where it never runs
    return partial(put_together, problem, unrolled=1)


def _with_another_of_examples(of_one: Map, of_each: Map) -> Callable[..., jax.Array]:
    def of_examples(examples: int, mapped: list[bool], *args: jax.Array) -> tuple[jax.Array, bool]:
        axes = [0 if maps else None for maps in mapped]
        return jax.vmap(of_each, in_axes=axes, axis_size=examples)(*args), True

    chosen_for_one = custom_vmap(of_one)
    chosen_for_one.def_vmap(of_examples)
    return chosen_for_one
