"""`conv_general_dilated` by the rules of convolution, as `ops.conv_general_dilated` computes it."""

from __future__ import annotations

from typing import Any

import jax

from jaxcnn._accelerate._replacement import Replacement, compiled
from jaxcnn.ops._conv._algorithm import MAPS
from jaxcnn.ops._conv._by_rules import by_rules, way
from jaxcnn.ops._conv._plan import Algorithms, Planned, asked_for, own_platform, resolved
from jaxcnn.ops._conv._problem import Problem

# what the value and its gradients are, the value first
ORDERS = {"conv": MAPS, "transposed": ("input_gradient", "correlate", "kernel_gradient")}


def decide(eqn: Any, plan: Algorithms) -> Replacement | str:
    """The rules with its parameters, or why the equation is left to jax.lax."""
    ours = way(*(variable.aval for variable in eqn.invars), **eqn.params)
    if isinstance(ours, str):
        return ours
    planned = planned_for(ours.problem, plan)
    run = compiled("conv", _by_rules, planned.plan, *eqn.params.items())
    return Replacement(run, runs_of(planned, ours.way))


def planned_for(problem: Problem, plan: Algorithms) -> Planned:
    """The problem with that plan, with "auto" where it cannot compute the problem: it does not stand in its way."""
    try:
        return asked_for("accelerate", problem, plan)
    except ValueError:
        return asked_for("accelerate", problem, "auto")


def runs_of(planned: Planned, way: str) -> dict[str, str]:
    """Who computes the value and each gradient on the default device."""
    found = resolved(planned, own_platform())
    return {which: getattr(found, which) for which in ORDERS[way]}


def _by_rules(algorithm: Algorithms, *params_and_arrays: Any) -> jax.Array:
    *params, lhs, rhs = params_and_arrays
    return by_rules(lhs, rhs, algorithm=algorithm, **dict(params))
