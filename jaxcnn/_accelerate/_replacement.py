"""What a site's rule decides: who computes the equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxcnn.ops._lib._arguments import FLOATS


class Replacement(NamedTuple):
    """An equation computed by an op: a function of its arrays, and who computes each of its maps."""

    run: Callable[..., jax.Array]
    runs: dict[str, str]


def not_ours(eqn: Any) -> str | None:
    """Why no op computes this equation, whatever it is; None where one may."""
    for variable in (*eqn.invars, *eqn.outvars):
        if variable.aval.dtype not in FLOATS:
            return f"of dtype {variable.aval.dtype}; the rules are for bfloat16, float16, float32 and float64"
    if eqn.outvars[0].aval.weak_type:
        return "of a weak type"
    return None
