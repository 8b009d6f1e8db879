"""The contract of a network, `apply(params, x, *, ops, state, key, train) -> (logits, state)`, and the call by it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax

import jaxcnn.ops

Apply = Callable[..., tuple[jax.Array, Any]]


def logits_and_state(
    apply: Apply,
    params: Any,
    x: Any,
    *,
    ops: ModuleType = jaxcnn.ops,
    state: Any = (),
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[jax.Array, Any]:
    """What `apply` returns, held to the contract.

    Raises:
        ValueError: it does not take these arguments, or does not return logits and a state.

    Example:
        >>> import jax.numpy as jnp
        >>> logits_and_state(lambda params, x, **_: x, (), jnp.ones((2, 10), "float32"))
        Traceback (most recent call last):
        ValueError: apply must return (logits, state), got float32(2, 10): return the state as it came if it has none
    """
    options = {"ops": ops, "state": state, "key": key, "train": train}
    try:
        inspect.signature(apply).bind(params, x, **options)
    except TypeError as error:
        raise ValueError(f"apply must take (params, x, *, ops, state, key, train), and does not: {error}") from error
    returned: Any = apply(params, x, **options)
    if not isinstance(returned, tuple) or len(returned) != 2 or not hasattr(returned[0], "dtype"):
        raise ValueError(
            f"apply must return (logits, state), got {_in_words(returned)}: return the state as it came if it has none"
        )
    return returned


def refuse_no_network(name: str, apply: Any, ops: Any) -> None:
    """Raise a `ValueError` unless `name`, a function of this package, is given a function and a namespace of ops."""
    if not callable(apply):
        raise ValueError(f"{name}: apply must be a function, as nets.lenet.apply, got {apply!r}")
    if not hasattr(ops, "softmax_cross_entropy"):
        raise ValueError(f"{name}: ops must be jaxcnn.ops or jaxcnn.reference, got {ops!r}")


def refuse_other_state(given: Any, returned: Any) -> None:
    """Raise a `ValueError` unless the state that a network returns has the structure, shapes and dtypes of that given.

    Example:
        >>> import jax.numpy as jnp
        >>> refuse_other_state((), {"mean": jnp.zeros(3, "float32")})
        Traceback (most recent call last):
        ValueError: apply must return a state like the one it is given, got mean float32(3,) for no state: the first one
        is init_state's net_state
    """
    forms = [(jax.tree.structure(state), _leaves_in_words(state)) for state in (given, returned)]
    if forms[0] != forms[1]:
        raise ValueError(
            f"apply must return a state like the one it is given, got {forms[1][1] or 'no state'} for "
            f"{forms[0][1] or 'no state'}: the first one is init_state's net_state"
        )


def _in_words(returned: Any) -> str:
    if hasattr(returned, "dtype"):
        return f"{returned.dtype}{returned.shape}"
    if isinstance(returned, tuple):
        return f"({', '.join(map(_in_words, returned))})"
    return type(returned).__name__


def _leaves_in_words(state: Any) -> str:
    leaves = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), jax.typeof(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    ]
    return ", ".join(f"{name} {kind.dtype}{kind.shape}".lstrip() for name, kind in leaves)
