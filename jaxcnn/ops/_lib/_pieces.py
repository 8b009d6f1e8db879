"""Maps in one piece: what jax compiles once, and does not take apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import jax
from jax.custom_batching import custom_vmap

Function = Callable[..., Any]


def compiled_once(f: Function, statics: int = 1) -> Function:
    """f, compiled once per shape outside of `jax.jit` too, where a loop in it would be compiled at every call.

    Args:
        f: its first arguments are static, hashable values, and its others are arrays.
        statics: how many are static.
    """
    return _compiled_or(f, f, statics)


def in_one_piece(f: Function, statics: int = 1) -> Function:
    """The same of a function without derivatives, also as a call that jax does not look into.

    Else jax moves what depends on no array (the index of `lax.platform_dependent`, zeros) out of a loop; where such a
    loop is differentiated three times, it then counts what a rule keeps from the wrong place (jax 0.10 to 0.12).
    """
    return _compiled_or(f, lambda *args: _opaque(partial(f, *args[:statics]))(*args[statics:]), statics)


def _compiled_or(f: Function, traced: Function, statics: int) -> Function:
    """f compiled where its arrays have values, else the other."""
    compiled = jax.jit(f, static_argnums=range(statics))

    @wraps(f)
    def call(*args: Any) -> Any:
        is_traced = any(isinstance(each, jax.core.Tracer) for each in jax.tree.leaves(args[statics:]))
        return traced(*args) if is_traced else compiled(*args)

    return call


def _opaque(f: Function) -> Function:
    """f with its own rule under `jax.vmap`, which is that of what it calls."""

    def of_examples(examples: int, mapped: Sequence[Any], *args: Any) -> tuple[Any, Any]:
        axes = jax.tree.map(lambda maps: 0 if maps else None, tuple(mapped))
        found = jax.vmap(f, in_axes=axes, axis_size=examples)(*args)
        return found, jax.tree.map(lambda _: True, found)

    opaque = custom_vmap(f)
    opaque.def_vmap(of_examples)
    return opaque
