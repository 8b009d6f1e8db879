"""From a gradient that is off to the one cotangent element that shows it: the wrong entry of the Jacobian."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check._points import on_device
from jaxcnn.check._pull import Function, PyTree, vjp


def smallest_cotangent(
    f: Function, reference: Function, args: tuple[PyTree, ...], cotangent: PyTree, path: Any, index: tuple[int, ...]
) -> str:
    """The error at a path and an index, the cotangent halved until one element is left, in words and code.

    A gradient is linear in its cotangent, so one half shows at least half of the error; a rule that is not linear may
    lose it on the way, and then the answer says so.
    """
    leaves, structure = jax.tree.flatten(cotangent)
    sizes = [int(np.size(leaf)) for leaf in leaves]
    flat = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves]) if leaves else np.zeros(0)
    (_, pull), (_, plain_pull) = vjp(f, args), vjp(reference, args)

    def tree_of(values: np.ndarray) -> PyTree:
        parts = np.split(values, np.cumsum(sizes)[:-1])
        return jax.tree.unflatten(
            structure,
            [
                on_device(part.reshape(np.shape(leaf)), jnp.result_type(leaf))
                for part, leaf in zip(parts, leaves, strict=True)
            ],
        )

    def both(values: np.ndarray) -> tuple[float, float]:
        tree = tree_of(values)
        return _at(pull(tree), path, index), _at(plain_pull(tree), path, index)

    def error(values: np.ndarray) -> float:
        found, expected = both(values)
        return (
            0.0 if np.isnan(found) and np.isnan(expected) else float(np.nan_to_num(abs(found - expected), nan=np.inf))
        )

    if not flat.size:
        return ""
    kept = np.arange(flat.size)
    while kept.size > 1:
        halves = np.array_split(kept, 2)
        errors = [error(np.where(np.isin(np.arange(flat.size), half), flat, 0)) for half in halves]
        kept = halves[int(errors[1] > errors[0])]
    one = np.zeros_like(flat)
    for size in (1.0, float(flat[kept[0]])):  # a clipped element may show only at its own size
        one[kept] = size
        found, expected = both(one)
        if not (found == expected or np.isnan(found) and np.isnan(expected)):
            break
    else:
        return "no one element of the cotangent shows it: the rule is not linear in it, or the error is of rounding"
    leaf_number = int(np.searchsorted(np.cumsum(sizes), kept[0], side="right"))
    place = np.unravel_index(int(kept[0]) - sum(sizes[:leaf_number]), np.shape(leaves[leaf_number]))
    name = jax.tree_util.keystr(jax.tree_util.tree_leaves_with_path(cotangent)[leaf_number][0])
    where, gradient_where = _subscript(place), f"{jax.tree_util.keystr(path)}{_subscript(index)}"
    return (
        f"reproduce: pull = jax.vjp(f, *args)[1]; pull(c){gradient_where} is {found:.17g}, autodiff of the reference "
        f"has {expected:.17g}, where c is zeros of the value's shape but {size:.17g} at c{name}{where}"
    )


def _at(tree: PyTree, path: Any, index: tuple[int, ...]) -> float:
    for other, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if other == path:
            return float(np.asarray(leaf, np.float64)[index])
    raise LookupError(jax.tree_util.keystr(path))


def _subscript(index: Any) -> str:
    return "[" + ", ".join(str(int(i)) for i in index) + "]" if len(index) else "[()]"
