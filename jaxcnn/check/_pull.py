"""Values and gradients of a function of pytrees, in their floating leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Function = Callable[..., Any]
PyTree = Any


def is_float(leaf: Any) -> bool:
    """Whether one can differentiate in it; what is not an array is held."""
    try:
        return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.floating))
    except TypeError:
        return False


def floats_of(tree: PyTree) -> list[Any]:
    """The floating leaves, in order."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def with_floats(tree: PyTree, floats: list[Any]) -> PyTree:
    """The tree with its floating leaves replaced, in order."""
    replacements = iter(floats)
    return jax.tree.map(lambda leaf: next(replacements) if is_float(leaf) else leaf, tree)


def vjp(f: Function, args: tuple[PyTree, ...]) -> tuple[PyTree, Callable[[PyTree], tuple[PyTree, ...]]]:
    """f's value, and what pulls a cotangent back to args; both have None for leaves that are not floats."""

    def floats_and_all(floats: list[Any]) -> tuple[list[Any], PyTree]:
        value = f(*with_floats(args, floats))
        return floats_of(value), value

    _, pull, value = jax.vjp(floats_and_all, floats_of(args), has_aux=True)

    def pull_to_args(cotangent: PyTree) -> tuple[PyTree, ...]:
        gradients = iter(pull(floats_of(cotangent))[0])
        return jax.tree.map(lambda leaf: next(gradients) if is_float(leaf) else None, args)

    return value, pull_to_args


def gradient(f: Function, args: tuple[PyTree, ...], cotangent: PyTree) -> tuple[PyTree, ...]:
    """f's vector-Jacobian product: itself a function, to be checked like one."""
    return vjp(f, args)[1](cotangent)


def value_and_gradient(f: Function, args: tuple[PyTree, ...], cotangent: PyTree) -> tuple[PyTree, tuple[PyTree, ...]]:
    """Both."""
    value, pull = vjp(f, args)
    return value, pull(cotangent)
