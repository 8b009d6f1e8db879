"""What runs other programs: jit, scan, while, cond, checkpoint, custom rules, shard_map, with those rewritten.

The equation stays as it is, with its name, its donated arguments, its policy and whatever else a version of jax has
among its parameters; only the jaxprs there are others, of the same types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
from jax.extend import linear_util

from jaxcnn._accelerate._equations import bind, consts_of, is_jaxpr, opened
from jaxcnn._accelerate._sites import Site


class Rewriting(Protocol):
    """What goes through a program and replaces its sites (`_rewrite`)."""

    sites: list[Site]

    def within(self, eqn: Any) -> Rewriting:
        """The same inside of an equation, with sites of its own."""
        ...

    def body(self, jaxpr: Any, eqn: Any) -> Any:
        """A jaxpr with its sites replaced, itself where none is."""
        ...

    def evaluated(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """What the program gives, its sites replaced."""
        ...


Rewrite = Callable[[Rewriting, Any, list[Any]], list[Any]]


def _with_bodies(rewriting: Rewriting, eqn: Any, args: list[Any]) -> list[Any]:
    """Whose jaxprs hold their constants themselves."""
    return bind(eqn, args, **_rewritten(rewriting, eqn))


def _rewritten(rewriting: Rewriting, eqn: Any) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for key, value in eqn.params.items():
        if is_jaxpr(value):
            changes[key] = rewriting.body(value, eqn)
        elif isinstance(value, tuple) and value and all(map(is_jaxpr, value)):
            changes[key] = tuple(rewriting.body(each, eqn) for each in value)
    return changes


def _checkpoint(rewriting: Rewriting, eqn: Any, args: list[Any]) -> list[Any]:
    """Whose jaxpr holds no constants: those of the rules go before its arguments."""
    own = eqn.params["jaxpr"]
    body = rewriting.body(own, eqn)
    if body is own:
        return bind(eqn, args)
    consts = list(consts_of(body))
    jaxpr = opened(body)
    if consts:
        types = [jax.typeof(const) for const in consts] + [variable.aval for variable in jaxpr.invars]
        jaxpr = opened(jax.make_jaxpr(_with_constants_given(jaxpr, len(consts)))(*types))
    prevent_cse = eqn.params["prevent_cse"]
    if isinstance(prevent_cse, tuple):
        prevent_cse = (*(False for _ in consts), *prevent_cse)
    return bind(eqn, [*consts, *args], jaxpr=jaxpr, prevent_cse=prevent_cse)


def _with_constants_given(jaxpr: Any, count: int) -> Callable[..., list[Any]]:
    return lambda *args: jax.core.eval_jaxpr(jaxpr, args[:count], *args[count:])


def _custom_vjp(rewriting: Rewriting, eqn: Any, args: list[Any]) -> list[Any]:
    """The function, and the forward of its rule; the backward is the user's own."""
    forward = eqn.params["fwd_jaxpr_thunk"]
    unseen = rewriting.within(eqn)  # what the forward computes is the function's, and taken down once
    rewritten: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def rewritten_forward(*nonzeros: Any) -> tuple[Any, Any]:
        if nonzeros not in rewritten:
            jaxpr, consts = forward.call_wrapped(*nonzeros)
            types = [variable.aval for variable in opened(jaxpr).invars]
            closed = jax.make_jaxpr(lambda *primals: unseen.evaluated(jaxpr, consts, primals))(*types)
            rewritten[nonzeros] = opened(closed), closed.consts
        return rewritten[nonzeros]

    wrapped = linear_util.wrap_init(rewritten_forward, debug_info=forward.debug_info)
    return bind(eqn, args, **_rewritten(rewriting, eqn), fwd_jaxpr_thunk=wrapped)


def _shard_map(rewriting: Rewriting, eqn: Any, args: list[Any]) -> list[Any]:
    """Traced anew by `jax.shard_map`, inside which alone its axes have names."""
    params, inner = eqn.params, rewriting.within(eqn)
    body = params["jaxpr"]

    def evaluated(*shards: Any) -> tuple[Any, ...]:
        return tuple(inner.evaluated(body, consts_of(body), shards))

    mapped = jax.shard_map(
        evaluated,
        mesh=params["mesh"],
        in_specs=tuple(params["in_specs"]),
        out_specs=tuple(params["out_specs"]),
        axis_names=params["newly_manual_axes"],
        check_vma=params["check_vma"],
    )
    results = list(mapped(*args))
    rewriting.sites += inner.sites
    return results


REWRITES: dict[str, Rewrite] = {
    **dict.fromkeys(("jit", "pjit", "scan", "while", "cond", "closed_call", "eval_jaxpr"), _with_bodies),
    **dict.fromkeys(("checkpoint", "remat", "remat2"), _checkpoint),
    "custom_jvp_call": _with_bodies,
    "custom_vjp_call": _custom_vjp,
    "shard_map": _shard_map,
}
