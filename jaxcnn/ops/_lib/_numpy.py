"""A workaround for a fault of jax 0.10 to 0.12: NumPy arrays that `jax.vmap` maps over inside `jax.jit`.

    jax.jit(lambda: jax.vmap(jax.nn.relu)(np.ones((2, 3), np.float32)))()       AssertionError: non-canonical constant

Under vmap a custom rule is handed on to jit without the conversion that every other operation's arguments get, so that
the NumPy array itself arrives where only jax's may (docs/numpy.md). `jnp.asarray` of the mapped array changes nothing,
for it counts as an array of jax's already; `jax.device_put` is an operation, and converts it. Calling it always would
copy what a rule keeps, so the op is called again with it only if jax has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax


def mapped_too(op: Callable[..., Any]) -> Callable[..., Any]:
    """`op`, for mapped NumPy arrays too."""

    @wraps(op)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return op(*args, **options)
        except AssertionError as error:
            if "non-canonical constant" not in str(error):
                raise
        args, options = jax.tree.map(_canonical, (args, options))
        return op(*args, **options)

    return call


def _canonical(value: Any) -> Any:
    return jax.device_put(value) if isinstance(value, jax.core.Tracer) else value
