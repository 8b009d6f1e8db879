"""A call of a function, taken apart: its arrays, what is static, and how its result is put together.

Arrays, those of NumPy too, are what a program takes. Whatever else is among the arguments is known while the function
is traced: Python's numbers and booleans, strings, functions; another value is another program.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._accelerate import _nnx


class Static:
    """What is no array, as a key: by value where it has one, else by identity.

    What is told apart by its identity is held weakly, if it can be, or as long as this is, if it `is_kept`.
    """

    def __init__(self, value: Any, is_kept: bool = False) -> None:
        self._get, self._key = _held(value)
        self._kept = value if is_kept else None

    @property
    def value(self) -> Any:
        """Itself, as long as it lives."""
        return self._get()

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static) or self._key != other._key:
            return False
        return not isinstance(self._key, _Identity) or self.value is other.value is not None


class _Identity(int):
    """The id of an object."""


def _held(value: Any) -> tuple[Callable[[], Any], Hashable]:
    if isinstance(value, float | complex):
        return (lambda: value), (type(value), repr(value))  # -0.0 is not 0.0, and nan is itself
    if not callable(value) and _has_a_value(value):
        try:
            hash(value)
        except TypeError:
            pass
        else:
            return (lambda: value), (type(value), value)
    try:
        return weakref.ref(value), _Identity(id(value))
    except TypeError:
        return (lambda: value), _Identity(id(value))


def _has_a_value(value: Any) -> bool:
    """Whether its type compares by more than identity."""
    own: Any = type(value).__hash__
    return own is not object.__hash__


@dataclass(frozen=True)
class Structure:
    """What is static in arguments or a result.

    Attributes:
        tree: the pytree, an object of nnx being a leaf.
        statics: of each leaf; None where that is an array or of nnx.
        is_nnx: of each leaf.
        nnx: what is static in the objects of nnx together, if there are any.
    """

    tree: Any
    statics: tuple[Static | None, ...]
    is_nnx: tuple[bool, ...]
    nnx: _nnx.Static | None

    def together(self, arrays: Sequence[Any]) -> tuple[Any, list[Any]]:
        """The pytree of these arrays, and the objects of nnx in it."""
        plain, of_nnx = self.parted(arrays)
        objects = self.nnx.together(of_nnx) if self.nnx is not None else []
        next_plain, next_object = iter(plain), iter(objects)
        leaves = [
            next(next_object) if is_object else next(next_plain) if static is None else static.value
            for static, is_object in zip(self.statics, self.is_nnx, strict=True)
        ]
        return jax.tree.unflatten(self.tree, leaves), objects

    def parted(self, arrays: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """The arrays that are leaves, and those of the objects of nnx."""
        own = len(arrays) - (self.nnx.count if self.nnx is not None else 0)
        return arrays[:own], arrays[own:]


def apart(
    tree: Any, is_array: Callable[[Any], bool], is_kept: Callable[[Any], bool] = lambda leaf: False
) -> tuple[list[Any], Structure, list[Any]]:
    """The arrays of a pytree, its structure, which keeps what `is_kept`, and its objects of nnx."""
    leaves, treedef = jax.tree.flatten(tree, is_leaf=_nnx.is_nnx)
    arrays: list[Any] = []
    objects: list[Any] = []
    statics: list[Static | None] = []
    for leaf in leaves:
        is_static = False
        if _nnx.is_nnx(leaf):
            objects.append(leaf)
        elif is_array(leaf):
            arrays.append(jnp.asarray(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf)
        else:
            is_static = True
        statics.append(Static(leaf, is_kept(leaf)) if is_static else None)
    static, of_nnx = _nnx.apart(objects) if objects else (None, [])
    structure = Structure(treedef, tuple(statics), tuple(map(_nnx.is_nnx, leaves)), static)
    return [*arrays, *of_nnx], structure, objects


def is_argument(leaf: Any) -> bool:
    """Whether a program takes it: an array, of jax or NumPy, or the type of one."""
    if isinstance(leaf, np.generic | jax.ShapeDtypeStruct):
        return True
    if isinstance(leaf, bool | int | float | complex):
        return False
    try:
        jax.typeof(leaf)
    except (TypeError, ValueError):
        return False
    return True


def is_result(leaf: Any) -> bool:
    """Whether a program gives it; what is not of jax comes back as it is."""
    return is_argument(leaf) and not isinstance(leaf, np.generic | np.ndarray)
