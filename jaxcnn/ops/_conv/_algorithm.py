"""What an algorithm of convolution is: one record at the end of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax

from jaxcnn.ops._conv._problem import Problem

MAPS = ("correlate", "input_gradient", "kernel_gradient")
Map = Callable[..., jax.Array]


class Cost(NamedTuple):
    """What a map takes beside its arguments and its result; "auto" keeps it within the bounds of `_bounds`."""

    unrolls: int = 1  # taps, phases or parts that the program spells out, one after another
    lays_out: int = 0  # bytes


def anything(problem: Problem) -> None:
    """The `unsupported` of an algorithm that has no limits."""
    return


def nothing_more(which: str, problem: Problem) -> Cost:
    """The cost of a map that spells out and lays out nothing."""
    return Cost()


def always_the_same(which: str, problem: Problem) -> None:
    """No other map for a CPU."""
    return


@dataclass(frozen=True, eq=False)
class Algorithm:
    """A way to compute some of the three maps.

    Attributes:
        name: as in `algorithm=`.
        maps: those that it has: `correlate(problem, x, kernel)`, `input_gradient(problem, dy, kernel)` and
            `kernel_gradient(problem, x, dy)`.
        unsupported: why it cannot compute a problem, if so.
        cost: the cost of a map of a problem.
        spreads: for a map that carries NaN and infinity beyond the windows that see them, the positions of the
            arguments that it carries them from.
        on_a_cpu: the map as it is computed on a CPU, if it differs there.
        of_examples: another map for many examples at a time (`jax.vmap`), where "auto" chooses.
        platforms: those that it runs on; on others "auto" chooses. None for all.
    """

    name: str
    maps: Mapping[str, Map]
    unsupported: Callable[[Problem], str | None] = anything
    cost: Callable[[str, Problem], Cost] = nothing_more
    spreads: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    on_a_cpu: Callable[[str, Problem], Map | None] = always_the_same
    of_examples: Mapping[str, Map] = field(default_factory=dict)
    platforms: tuple[str, ...] | None = None

    def cannot(self, which: str, problem: Problem) -> str | None:
        """Why it cannot compute a map of a problem, if so."""
        return self.unsupported(problem) if which in self.maps else f"it has no {which}"

    def on(self, platform: str, which: str, problem: Problem) -> Map:
        """The map as it is computed on a platform."""
        return (self.on_a_cpu(which, problem) if platform == "cpu" else None) or self.maps[which]
