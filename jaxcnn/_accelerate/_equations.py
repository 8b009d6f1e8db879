"""The equations of a traced program: binding them anew, and what their bodies hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.extend import core

import jaxcnn.ops

SITES = {
    "conv_general_dilated": "convolution",
    "reduce_window_max": "max pool",
    "reduce_window_min": "min pool",
    "reduce_window_sum": "sum pool",
    "reduce_window": "pool",
}
_NAMES = {"pjit": "jit", "remat": "checkpoint", "remat2": "checkpoint", "closed": "", "eval_jaxpr": ""}
_OPS = os.path.dirname(os.path.abspath(jaxcnn.ops.__file__ or ""))


def bind(eqn: Any, args: Sequence[Any], **changes: Any) -> list[Any]:
    """The results of an equation as it is, but for changed parameters."""
    params = eqn.primitive.get_bind_params({**eqn.params, **changes})
    results = eqn.primitive.bind(*args, **params)
    return list(results) if eqn.primitive.multiple_results else [results]


def bodies_of(eqn: Any) -> Iterator[Any]:
    """The jaxprs among the parameters of an equation."""
    for value in eqn.params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if is_jaxpr(each):
                yield each


def sites_within(eqn: Any) -> Iterator[Any]:
    """The equations of convolutions and pools in the bodies of an equation; those of our ops are none."""
    if is_ours(eqn):
        return
    for body in bodies_of(eqn):
        for each in opened(body).eqns:
            if each.primitive.name in SITES:
                yield each
            yield from sites_within(each)


def is_ours(eqn: Any) -> bool:
    """Whether it is an op's own rule, by the file that defines it."""
    if eqn.primitive.name != "custom_vjp_call":
        return False
    return _OPS in str(getattr(opened(eqn.params["call_jaxpr"]).debug_info, "func_src_info", ""))


def is_jaxpr(value: Any) -> bool:
    """Whether it is a program, with its constants or without."""
    return isinstance(value, core.ClosedJaxpr | core.Jaxpr)


def opened(jaxpr: Any) -> Any:
    """A program without its constants."""
    return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


def consts_of(jaxpr: Any) -> Sequence[Any]:
    """The constants that a program holds itself."""
    return jaxpr.consts if isinstance(jaxpr, core.ClosedJaxpr) else ()


def closes_over_arrays(jaxpr: Any) -> bool:
    """Whether a program, or one in it, holds arrays of jax that it was not given; what it made itself is of NumPy."""
    if any(isinstance(const, jax.Array) for const in consts_of(jaxpr)):
        return True
    return any(closes_over_arrays(body) for eqn in opened(jaxpr).eqns for body in bodies_of(eqn))


def name_of(eqn: Any) -> str:
    """What a user calls an equation that runs other programs, as "jit loss" or "checkpoint"."""
    name = eqn.primitive.name.removesuffix("_call")
    return f"{_NAMES.get(name, name)} {eqn.params.get('name', '')}".strip()
