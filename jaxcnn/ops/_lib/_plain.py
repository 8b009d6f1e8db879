"""How the plain references read their options: apart from `_window`, so that the two cannot share a mistake."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._lib._window import Padding, PerAxis


def per_axis(value: PerAxis, axes: int) -> tuple[int, ...]:
    """`value` as one int per spatial axis."""
    return tuple(int(entry) for entry in np.broadcast_to(np.asarray(value), axes))


def lax_padding(padding: Padding, axes: int) -> str | list[tuple[int, int]]:
    """`padding` as lax takes it: a name, or a (lo, hi) per spatial axis."""
    if isinstance(padding, str):
        return padding
    entries = [padding] * axes if isinstance(padding, (int, np.integer)) else list(padding)
    return [(int(lo), int(hi)) for lo, hi in (np.broadcast_to(np.asarray(entry), 2) for entry in entries)]


def pairs(
    padding: Padding, shape: tuple[int, ...], span: tuple[int, ...], stride: tuple[int, ...], ceil: bool = False
) -> list[tuple[int, int]]:
    """`padding` as a (lo, hi) per spatial axis, names resolved by lax, with what PyTorch's ceil_mode adds after it."""
    resolved = lax_padding(padding, len(shape))
    if isinstance(resolved, str):
        resolved = [(lo, hi) for lo, hi in lax.padtype_to_pads(shape, span, stride, resolved.upper())]
    if not ceil:
        return resolved
    found = []
    for h, r, s, (lo, hi) in zip(shape, span, stride, resolved, strict=True):
        windows = -(-(h + lo + hi - r) // s) + 1
        windows -= (windows - 1) * s >= h + lo  # the last begins in x or before it
        found.append((lo, max(hi, (windows - 1) * s + r - h - lo)))
    return found


def cropped(x: jax.Array, edges: list[tuple[int, int]]) -> tuple[jax.Array, list[tuple[int, int]]]:
    """x cropped where padding is below 0, and the padding that is left."""
    return pad(x, [(min(0, lo), min(0, hi)) for lo, hi in edges]), [(max(0, lo), max(0, hi)) for lo, hi in edges]


def pad(x: jax.Array, padding: list[tuple[int, int]], value: bool | float = 0) -> jax.Array:
    """x (N, *spatial, C) in so many places of that value, or cropped where padding is below 0."""
    return lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in padding), (0, 0, 0)])
