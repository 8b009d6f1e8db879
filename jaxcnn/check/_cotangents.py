"""Cotangents of other sizes: a rule that clips, flushes or thresholds them is not linear, and shows it at one of these.

A gradient is linear in its cotangent, and a float's rounding does not change with a power of two: along 2^17 c and
2^-40 c a right rule is as near to its witness as along c. In a narrow range, as float16's, both keep away from where
the numbers themselves overflow or lose bits:

    large = min(2^17, max(dtype) / 64 g),   tiny = max(2^-40, 64 tiny(dtype) / l)                                (C5)

with g = max(1, args, gradient) and l = min(1, gradient), each by its greatest magnitude, the gradient along a cotangent
of about 1.
"""

from __future__ import annotations

from math import floor, log2
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check._points import on_device
from jaxcnn.check._pull import PyTree, floats_of

_LARGE, _TINY = 2.0**17, 2.0**-40
_MARGIN = 64


def sizes(args: PyTree, cotangent: PyTree, gradient: PyTree) -> tuple[float, float]:
    """(C5): what a cotangent of about 1 may be multiplied by, a power of two above 1 and one below."""
    ranges = [jnp.finfo(jnp.result_type(leaf)) for leaf in floats_of((args, cotangent))]
    longest = greatest(gradient) / (greatest(cotangent) or 1.0)
    room = min(float(each.max) for each in ranges) / _MARGIN / max(1.0, greatest(args), longest)
    least = max(float(each.tiny) for each in ranges) * _MARGIN / min(1.0, longest or 1.0)
    return max(2.0, 2.0 ** floor(log2(min(_LARGE, room)))), min(0.5, max(_TINY, least))


def times(factor: float, cotangent: PyTree) -> PyTree:
    """By NumPy: XLA would compile a program per shape."""
    return jax.tree.map(lambda leaf: on_device(factor * np.asarray(leaf, np.float64), leaf.dtype), cotangent)


def opposite(cotangent: PyTree, size: float, *, exact: bool) -> PyTree:
    """The negative, with `size` as its greatest magnitude; if `exact`, `size` times the negative."""

    def turned(leaf: Any) -> jax.Array:
        numbers = np.asarray(leaf, np.float64)
        greatest = 1.0 if exact else float(np.max(np.abs(numbers), initial=0.0)) or 1.0
        return on_device(-size * numbers / greatest, leaf.dtype)

    return jax.tree.map(turned, cotangent)


def greatest(tree: PyTree) -> float:
    """The greatest finite magnitude among the floating leaves."""
    leaves = [np.abs(np.asarray(leaf, np.float64)) for leaf in floats_of(tree)]
    return max([float(np.max(leaf, initial=0.0, where=np.isfinite(leaf))) for leaf in leaves], default=0.0)
