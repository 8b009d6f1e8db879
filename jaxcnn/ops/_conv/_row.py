"""A row of the table by which "auto" chooses: data, with one of its problems and the measurement behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from jaxcnn.ops._conv._problem import Problem


class Example(NamedTuple):
    """The shapes of x and kernel, and the options, of a problem that a row is for."""

    x_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    options: dict[str, int]


class Measured(NamedTuple):
    """autodiff's time over the algorithm's, over `cases` cases."""

    least: float
    median: float
    greatest: float
    cases: int


@dataclass(frozen=True, eq=False)
class Row:
    """The algorithm for a map of the problems that fit, on one platform."""

    platform: str
    which: str
    problems: str  # in words
    fits: Callable[[Problem], bool]
    example: Example
    algorithm: str
    measured: Measured | None = None  # none where the grid of the measurement has no such problem

    @property
    def reason(self) -> str:
        """The problems in words, and what was measured."""
        if self.measured is None:
            return self.problems
        least, median, greatest, cases = self.measured
        return f"{self.problems}: {median:g} times as fast as autodiff's, median of {cases} ({least:g} to {greatest:g})"


def example(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], **options: int) -> Example:
    """x, kernel and options of a problem."""
    return Example(x_shape, kernel_shape, options)
