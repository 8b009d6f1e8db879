"""What a site's rule decides: who computes the equation."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax

from jaxcnn.ops._lib._arguments import FLOATS


class Replacement(NamedTuple):
    """An equation computed by an op: a function of its arrays, and who computes each of its maps."""

    run: Callable[..., jax.Array]
    runs: dict[str, str]


@lru_cache(maxsize=4096)
def compiled(name: str, op: Callable[..., jax.Array], *static: Hashable) -> Callable[..., jax.Array]:
    """`op(*static, ..)` under jit, the same function for the same statics.

    So a site that runs outside of any other jit is one program, and compiled once, however often what it is part of is
    traced; within another jit it costs nothing.
    """
    run: Any = partial(op, *static)
    run.__name__ = run.__qualname__ = name
    return jax.jit(run)


def not_ours(eqn: Any) -> str | None:
    """Why no op computes this equation, whatever it is; None where one may."""
    for variable in (*eqn.invars, *eqn.outvars):
        if variable.aval.dtype not in FLOATS:
            return f"of dtype {variable.aval.dtype}; the rules are for bfloat16, float16, float32 and float64"
    if eqn.outvars[0].aval.weak_type:
        return "of a weak type"
    return None
