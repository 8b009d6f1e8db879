"""`conv_general_dilated` by the rules of convolution, as `ops.conv_general_dilated` computes it."""

from __future__ import annotations

from typing import Any

import jax

from jaxcnn._accelerate._replacement import Replacement, compiled
from jaxcnn.ops._conv._algorithm import MAPS
from jaxcnn.ops._conv._by_rules import by_rules, way
from jaxcnn.ops._conv._plan import Algorithms, asked_for, own_platform, resolved

# what the value and its gradients are, the value first
ORDERS = {"conv": MAPS, "transposed": ("input_gradient", "correlate", "kernel_gradient")}


def decide(eqn: Any, plan: Algorithms) -> Replacement | str:
    """The rules with its parameters, or why the equation is left to jax.lax."""
    ours = way(*(variable.aval for variable in eqn.invars), **eqn.params)
    if isinstance(ours, str):
        return ours
    algorithm: Algorithms = plan
    try:
        planned = asked_for("accelerate", ours.problem, algorithm)
    except ValueError:  # what cannot compute this one does not stand in its way
        algorithm = "auto"
        planned = asked_for("accelerate", ours.problem, algorithm)
    found = resolved(planned, own_platform())
    run = compiled("conv", _by_rules, algorithm, *eqn.params.items())
    return Replacement(run, {which: getattr(found, which) for which in ORDERS[ours.way]})


def _by_rules(algorithm: Algorithms, *params_and_arrays: Any) -> jax.Array:
    *params, lhs, rhs = params_and_arrays
    return by_rules(lhs, rhs, algorithm=algorithm, **dict(params))
