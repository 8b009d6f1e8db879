"""What a function keeps between its forward and its backward pass."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.check._pull import Function, PyTree, floats_of, with_floats


class Residual(NamedTuple):
    """One array that is kept.

    Attributes:
        name: the argument's, such as "args[0]", or the primitive that made it, such as "tanh".
        shape: its shape.
        dtype: its dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def is_argument(self) -> bool:
        """Whether it is one of the arguments, which exists anyway."""
        return self.name.startswith("args[")


def residuals(f: Function, *args: PyTree) -> tuple[Residual, ...]:
    """Every array that the backward pass of f needs, each once.

    Args:
        f: a function of arrays or pytrees of them.
        args: arrays, or `jax.ShapeDtypeStruct`s: nothing is executed.

    Returns:
        a `Residual` for each, in the program's order; XLA may then fuse some away or recompute them.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.ones(3, "float32")
        >>> [(kept.name, kept.shape, kept.bytes) for kept in residuals(jnp.multiply, x, x)]
        [('args[0]', (3,), 12), ('args[1]', (3,), 12)]
    """
    names = ["args" + jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(args)]

    def kept(*args: PyTree) -> list[Any]:
        return jax.tree.leaves(jax.vjp(lambda floats: f(*with_floats(args, floats)), floats_of(args))[1])

    program = jax.make_jaxpr(kept)(*args).jaxpr
    argument = dict(zip(program.invars, names, strict=True))
    seen: dict[Any, Residual] = {}
    for variable in program.outvars:
        if not _is_literal(variable) and variable not in seen:
            name = _origin(program, variable, argument)
            seen[variable] = Residual(name, variable.aval.shape, np.dtype(variable.aval.dtype))
    return tuple(seen.values())


def _origin(program: Any, variable: Any, argument: dict[Any, str]) -> str:
    """The argument that a variable of a jaxpr is, or the primitive that made it, inside calls too."""
    if variable in argument:
        return argument[variable]
    made_by = [equation for equation in program.eqns if variable in equation.outvars]
    if not made_by:
        return "constant"
    (equation,) = made_by
    body = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if body is None:
        return equation.primitive.name
    body = getattr(body, "jaxpr", body)
    given = [
        (inner, outer) for inner, outer in zip(body.invars, equation.invars, strict=True) if not _is_literal(outer)
    ]
    result = body.outvars[equation.outvars.index(variable)]
    if _is_literal(result):
        return "constant"
    return _origin(body, result, {inner: _origin(program, outer, argument) for inner, outer in given})


def _is_literal(variable: Any) -> bool:
    return hasattr(variable, "val")
