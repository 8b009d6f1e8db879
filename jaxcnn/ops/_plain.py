"""How the plain references read their options: apart from `_window`, so that the two cannot share a mistake."""

from __future__ import annotations

import numpy as np
from jax import lax

from jaxcnn.ops._window import Padding, PerAxis


def per_axis(value: PerAxis, axes: int) -> tuple[int, ...]:
    """`value`, or one of it per spatial axis."""
    return tuple(int(entry) for entry in np.broadcast_to(np.asarray(value), axes))


def lax_padding(padding: Padding, axes: int) -> str | list[tuple[int, int]]:
    """`padding` as lax takes it: a name, or a (lo, hi) per spatial axis."""
    if isinstance(padding, str):
        return padding
    entries = [padding] * axes if isinstance(padding, (int, np.integer)) else list(padding)
    return [(int(lo), int(hi)) for lo, hi in (np.broadcast_to(np.asarray(entry), 2) for entry in entries)]


def pairs(
    padding: Padding, shape: tuple[int, ...], span: tuple[int, ...], stride: tuple[int, ...]
) -> list[tuple[int, int]]:
    """`padding` as a (lo, hi) per spatial axis, names resolved by lax."""
    resolved = lax_padding(padding, len(shape))
    if isinstance(resolved, str):
        return [(lo, hi) for lo, hi in lax.padtype_to_pads(shape, span, stride, resolved)]
    return resolved
