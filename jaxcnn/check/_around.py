"""A rule inside jax's transformations: its value and gradient there, at several points at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.check._points import on_device
from jaxcnn.check._pull import Function, PyTree, floats_of, value_and_gradient, with_floats

Points = list[jax.Array]  # every array with a leading axis: which point
Transformed = Callable[[Points, PyTree], Any]


def at_points(f: Function, args: tuple[PyTree, ...]) -> Callable[[Points, PyTree], Any]:
    """f's value alone, and its value and gradient in args' floating leaves, given one point and one cotangent."""

    def at(floats: Points, cotangent: PyTree) -> Any:
        own = with_floats(args, floats)
        return f(*own), *value_and_gradient(f, own, cotangent)

    return at


def stacked_points(args: tuple[PyTree, ...]) -> Points:
    """Two points: args, and args with every floating leaf reversed: the same numbers in other places."""
    return [on_device(np.stack([leaf, np.flip(leaf)]), jnp.result_type(leaf)) for leaf in floats_of(args)]


def one_by_one(f: Function, args: tuple[PyTree, ...], points: Points, cotangents: PyTree) -> Any:
    """The plain loop that every transformation is held to."""
    at = jax.jit(at_points(f, args))
    each = [at(*jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], (points, cotangents))) for i in range(2)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def _jit(f: Function, args: tuple[PyTree, ...]) -> Transformed:
    return lambda points, cotangents: one_by_one(_transformed(jax.jit, f, args), args, points, cotangents)


def _vmap(f: Function, args: tuple[PyTree, ...]) -> Transformed:
    return jax.jit(jax.vmap(at_points(f, args)))


def _scan(f: Function, args: tuple[PyTree, ...]) -> Transformed:
    at = at_points(f, args)

    def over(points: Points, cotangents: PyTree) -> Any:
        return lax.scan(lambda carry, point: (carry, at(*point)), 0, (points, cotangents))[1]

    return jax.jit(over)


def _checkpoint(f: Function, args: tuple[PyTree, ...]) -> Transformed:
    return lambda points, cotangents: one_by_one(_transformed(jax.checkpoint, f, args), args, points, cotangents)


def _transformed(transform: Callable[[Function], Function], f: Function, args: tuple[PyTree, ...]) -> Function:
    """f in a transformation of its floating leaves; the others stay what they are, static if they were."""
    inside = transform(lambda floats: f(*with_floats(args, floats)))
    return lambda *own: inside(floats_of(own))


AROUND: dict[str, Callable[[Function, tuple[PyTree, ...]], Transformed]] = {
    "jit": _jit,
    "vmap": _vmap,
    "scan": _scan,
    "checkpoint": _checkpoint,
}
