"""The options of a check, which `check_vjp` and `comparisons` share: held and checked in one place."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxcnn.check._around import AROUND
from jaxcnn.check._pull import Function, PyTree, floats_of


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `check_vjp` takes beside f and args; its docstring explains them.

    Raises:
        ValueError: an option that is not as described there.
    """

    reference: Function | None = None
    order: int = 1
    exact: bool = False
    dtypes: Sequence[DTypeLike] | None = None
    around: Sequence[str] = ()
    tolerance: float = 4.0
    directions: int | None = None
    key: jax.Array | None = None

    def __post_init__(self) -> None:
        if not (self.reference is None or callable(self.reference)):
            refuse(f"reference must be None or a function, got {self.reference!r}")
        if not isinstance(self.order, int) or self.order < 1:
            refuse(f"order must be at least 1, for gradients, got {self.order!r}")
        least = 0 if self.reference else 1
        if self.directions is not None and (not isinstance(self.directions, int) or self.directions < least):
            limit = " at least 1 where there is no reference to check against," if least else ""
            refuse(f"directions must be None or a number of directions,{limit} got {self.directions!r}")
        if not isinstance(self.tolerance, int | float) or not 0 < self.tolerance < inf:
            refuse(f"tolerance must be a positive number of ulps, got {self.tolerance!r}")
        if not _is_sequence(self.around) or not all(name in [*AROUND] for name in self.around):
            refuse(f"around must be a sequence of {', '.join(AROUND)}, got {self.around!r}")
        if self.key is not None and not _is_key(self.key):
            given = f"{type(self.key).__name__} of shape {np.shape(self.key)}"
            refuse(f"key must be one random key, as of jax.random.key(0), got {given}")
        _refuse_dtypes(self.dtypes)
        if self.exact and self.reference is None:
            refuse("exact=True compares with a reference; give one")

    def refuse_point(self, f: Any, args: Any) -> None:
        """Raise `ValueError` where f cannot be checked at args with these options."""
        if not callable(f):
            refuse(f"f must be a function, got {f!r}")
        if not isinstance(args, tuple):
            refuse(f"args must be a tuple of f's arguments, as in (x,), got {type(args).__name__}")
        try:
            inspect.signature(f).bind(*args)
        except TypeError as error:
            refuse(f"args must be a tuple of all of f's arguments, got {len(args)} of them: {error}")
        except ValueError:  # built in, without a signature
            pass
        refuse_complex(
            "args", args, "give real and imaginary parts as arguments of their own, lambda re, im: f(re + 1j * im)"
        )
        floats = floats_of(args)
        if not floats:
            refuse("args must hold at least one floating array, to differentiate in")
        for leaf in map(np.asarray, floats if self.exact else []):
            if leaf.dtype != np.float64 or not np.array_equal(leaf, np.round(leaf)):
                fault = f"{leaf.dtype}{leaf.shape}" + (" with fractions" if leaf.dtype == np.float64 else "")
                refuse(
                    f"exact=True needs whole numbers in float64, got {fault}; "
                    "draw them with jaxcnn.check.integers(key, shape, 'float64')"
                )


def refuse(message: str) -> NoReturn:
    """Raise `ValueError`, in the name of the check."""
    raise ValueError(f"check_vjp: {message}")


def refuse_complex(what: str, tree: PyTree, way_out: str) -> None:
    """Raise `ValueError` over complex numbers."""
    for leaf in jax.tree.leaves(tree):
        if np.iscomplexobj(leaf):
            refuse(f"{what} must be real, got {jnp.result_type(leaf)}{jnp.shape(leaf)}; {way_out}")


def _refuse_dtypes(dtypes: Any) -> None:
    expected = "dtypes must be None or a sequence of floating dtypes from bfloat16's precision up"
    if dtypes is not None and not _is_sequence(dtypes):
        refuse(f"{expected}, got {dtypes!r}")
    for given in dtypes or ():
        try:
            dtype = jnp.dtype(given)
        except TypeError:
            refuse(f"{expected}, got {given!r}")
        if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).eps > jnp.finfo(jnp.bfloat16).eps:
            refuse(f"{expected}, got {given!r}")
        if dtype == np.float64 and not jax.config.read("jax_enable_x64"):
            refuse("dtypes holds float64, which needs jax.config.update('jax_enable_x64', True) first")


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_key(key: Any) -> bool:
    if not isinstance(key, jax.Array):
        return False
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return key.shape == () if is_typed else key.dtype == np.uint32 and key.ndim == 1
