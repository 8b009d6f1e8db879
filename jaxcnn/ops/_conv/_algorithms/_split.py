"""`split`: a grouped convolution as dense ones, of a few groups each.

The groups share nothing, so any m of them side by side are a convolution of their own; and m groups are a dense one of
m times the channels, whose kernel has each group's own on its diagonal:

    k_dense[u, (a, c), (b, d)] = [a = b] k[u, c, (a, d)]        a, b groups; c, d a group's own channels

That is m times the multiplications, m - 1 of m by zeros, in products m times as wide. With m the least that makes them
WIDTH channels wide, XLA:CPU's dense convolutions are together faster than its grouped one. A strided dx is by `phases`.
Zeros add no rounding, but make NaN of what is not finite, in the m - 1 groups beside its own (`spreads`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops._conv._algorithm import Algorithm, Cost
from jaxcnn.ops._conv._algorithms import _phases
from jaxcnn.ops._conv._algorithms._direct import DIRECT
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._types import Kernel, X, Y

WIDTH = 16


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    return None if problem.groups > 1 else "groups must be more than 1"


def cost(which: str, problem: Problem) -> Cost:
    """The convolutions that it spells out, for dx of a stride each in phases."""
    return Cost(unrolls=problem.c_in // max(1, _part(problem).c_in) * prod(problem.window.stride))


def correlate(problem: Problem, x: X, kernel: Kernel) -> Y:
    """y, some groups at a time [R 1]."""
    part = _part(problem)
    dense = DIRECT.on("cpu", "correlate", part)
    parts = zip(_apart(x, problem, part), _dense_kernels(problem, part, kernel), strict=True)
    return jnp.concatenate([dense(part, *each) for each in parts], axis=-1)


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """dx, some groups at a time [R 6]."""
    part = _part(problem)
    is_strided = _phases.unsupported(part) is None
    gradient = _phases.input_gradient if is_strided else DIRECT.on("cpu", "input_gradient", part)
    parts = zip(_apart(dy, problem, part), _dense_kernels(problem, part, kernel), strict=True)
    return jnp.concatenate([gradient(part, *each) for each in parts], axis=-1)


def _part(problem: Problem) -> Problem:
    """The dense problem of m groups."""
    narrow = min(problem.c_in, problem.c_out) // problem.groups
    m = next(
        m
        for m in range(1, problem.groups + 1)
        if problem.groups % m == 0 and (m * narrow >= WIDTH or m == problem.groups)
    )
    return replace(
        problem, c_in=problem.c_in // problem.groups * m, c_out=problem.c_out // problem.groups * m, groups=1
    )


def _apart(array: jax.Array, problem: Problem, part: Problem) -> list[jax.Array]:
    """The channels of each part."""
    return jnp.split(array, problem.c_in // part.c_in, axis=-1)


def _dense_kernels(problem: Problem, part: Problem, kernel: jax.Array) -> Iterator[jax.Array]:
    """For each part, k_dense: (*k, m C_in/groups, m C_out/groups)."""
    own, merged = kernel.shape[-2], part.c_in // kernel.shape[-2]
    for each in _apart(kernel, problem, part):
        by_group = each.reshape(*each.shape[:-2], 1, own, merged, -1)
        is_own = np.eye(merged, dtype=bool).reshape(merged, 1, merged, 1)
        yield jnp.where(is_own, by_group, 0).reshape(*each.shape[:-2], part.c_in, part.c_out)


SPLIT = Algorithm(
    "split",
    {"correlate": correlate, "input_gradient": input_gradient},
    unsupported=unsupported,
    cost=cost,
    spreads={"correlate": (0,), "input_gradient": (0, 1)},
)
