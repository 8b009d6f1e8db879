"""The operations of `jaxcnn.ops` as plain forwards: the same names and signatures, no custom rule, no checks.

`jax.grad` of these is what the hand-derived gradients are held to, and forward-mode autodiff (`jax.jvp`,
`jax.hessian`), which a `custom_vjp` refuses, works on them. Each is the `reference` of its op's record.
"""

from __future__ import annotations

from typing import Any

import jaxcnn.ops
from jaxcnn.ops._lib import _record


def __getattr__(name: str) -> Any:
    """An op that was exported later."""
    if not name.startswith("_") and name in vars(jaxcnn.ops) and name in _record.records():
        return _record.records()[name].reference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = sorted(_record.records())
globals().update({name: op.reference for name, op in _record.records().items()})
