"""The geometry of a sliding window, shared by convolution, pooling and unfolding.

Along each spatial axis, with H the size of x, k of the window, s the stride, (lo, hi) the padding, d the dilation:

    r     = d (k - 1) + 1                        the receptive field                  [R 1.2]
    out   = floor((H + lo + hi - r) / s) + 1     the number of windows                [R 1.2]
    tap u of window i stands at i s + u d - lo   in x's own coordinates               [R 1]

A `Window` is a static, hashable tuple of these numbers, so it may be a static argument of `jax.jit` and
`jax.custom_vjp`. It has two maps, each the adjoint of the other, which is all that the ops build on:

    take(x, tap)  -> y     the strided slice of padded x that one tap sees, for every window at once
    put(y, tap)   -> x     those values back at their places, zeros elsewhere, the padding cropped
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._arguments import refuse

Shape = Sequence[Any]  # ints; the batch of an exported program may be symbolic
PerAxis = int | Sequence[int]
Padding = int | str | Sequence[int | Sequence[int]]
Tap = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window of `size` sliding over `shape`: one entry per spatial axis everywhere."""

    shape: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(
        cls,
        op: str,
        x_shape: Shape,
        size: PerAxis,
        stride: PerAxis | None = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
    ) -> Window:
        """The window over x of shape (N, *spatial, C), or a `ValueError` that names `op` and the argument.

        `stride=None` means the window's own size.
        """
        shape = tuple(x_shape[1:-1])
        size = _per_axis(op, "window", size, len(shape))
        stride = size if stride is None else _per_axis(op, "stride", stride, len(shape))
        dilation = _per_axis(op, "dilation", dilation, len(shape))
        window = cls(shape, size, stride, _pairs(op, padding, shape, size, stride, dilation), dilation)
        window._refuse_misfits(op)
        return window

    @cached_property
    def span(self) -> tuple[int, ...]:
        """The receptive field r, per axis."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True))

    @cached_property
    def out(self) -> tuple[int, ...]:
        """The number of windows, per axis."""
        return tuple(
            (h + lo + hi - r) // s + 1
            for h, (lo, hi), r, s in zip(self.shape, self.padding, self.span, self.stride, strict=True)
        )

    @property
    def taps(self) -> Iterator[Tap]:
        """The window's positions in row-major order, the order in which a kernel flattens."""
        return itertools.product(*map(range, self.size))

    @property
    def tap_count(self) -> int:
        """The number of taps of one window."""
        return prod(self.size)

    @property
    def is_padded(self) -> bool:
        """Whether any window reaches into padding."""
        return any(lo or hi for lo, hi in self.padding)

    def pad(self, x: jax.Array) -> jax.Array:
        """x (N, *shape, C) with zeros around it."""
        return jnp.pad(x, ((0, 0), *self.padding, (0, 0))) if self.is_padded else x

    def take(self, padded: jax.Array, tap: Tap) -> jax.Array:
        """What `tap` sees of padded x: (N, *out, C)."""
        start = [u * d for u, d in zip(tap, self.dilation, strict=True)]
        stop = [a + (o - 1) * s + 1 for a, o, s in zip(start, self.out, self.stride, strict=True)]
        return lax.slice(padded, (0, *start, 0), (padded.shape[0], *stop, padded.shape[-1]), (1, *self.stride, 1))

    def put(self, y: jax.Array, tap: Tap) -> jax.Array:
        """y (N, *out, C) back at the places in x (N, *shape, C) that `tap` saw, zeros elsewhere: take's adjoint."""
        around = []
        axes = zip(tap, self.shape, self.out, self.stride, self.padding, self.dilation, strict=True)
        for u, h, o, s, (lo, _), d in axes:
            before = u * d - lo  # negative where the tap's first places lie in the padding, which lax.pad then crops
            around.append((before, h - before - ((o - 1) * s + 1), s - 1))
        return lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), *around, (0, 0, 0)))

    def in_input(self, tap: Tap) -> jax.Array:
        """Whether `tap` of each window stands in x rather than in padding: bool (1, *out, 1)."""
        inside = jnp.ones((), bool)
        axes = zip(tap, self.shape, self.stride, self.padding, self.dilation, strict=True)
        for axis, (u, h, s, (lo, _), d) in enumerate(axes):
            place = lax.broadcasted_iota(jnp.int32, (1, *self.out, 1), axis + 1) * s + (u * d - lo)
            inside = inside & (place >= 0) & (place < h)
        return inside

    def _refuse_misfits(self, op: str) -> None:
        for axis, (h, (lo, hi), r) in enumerate(zip(self.shape, self.padding, self.span, strict=True)):
            if r > h + lo + hi:
                refuse(
                    op,
                    f"the window spans {r} on spatial axis {axis}, more than the padded input's {h + lo + hi} "
                    f"(x spatial {self.shape}, window {self.size}, padding {self.padding}, dilation {self.dilation}); "
                    "use a smaller window or dilation, or more padding",
                )
        for axis, (h, o, s, (lo, _), k, d) in enumerate(
            zip(self.shape, self.out, self.stride, self.padding, self.size, self.dilation, strict=True)
        ):
            places = np.arange(o)[:, None] * s + np.arange(k) * d - lo
            blind = ~((places >= 0) & (places < h)).any(axis=1)
            if blind.any():
                refuse(
                    op,
                    f"window {int(blind.argmax())} on spatial axis {axis} lies wholly in padding "
                    f"(x spatial {self.shape}, window {self.size}, stride {self.stride}, padding {self.padding}, "
                    f"dilation {self.dilation}); use less padding",
                )


def _per_axis(op: str, name: str, value: PerAxis, axes: int) -> tuple[int, ...]:
    """`value` as one positive int per spatial axis."""
    expected = f"{name} must be a positive int or one per spatial axis ({axes})"
    try:
        entries = (operator.index(value),) * axes if not isinstance(value, Sequence) else tuple(value)
        entries = tuple(map(operator.index, entries))
    except TypeError:
        refuse(op, f"{expected}, got {value!r}")
    if len(entries) != axes or any(entry < 1 for entry in entries):
        refuse(op, f"{expected}, got {value!r}")
    return entries


def _pairs(
    op: str,
    padding: Padding,
    shape: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """`padding` as one (lo, hi) per spatial axis."""
    expected = f"padding must be an int >= 0, one per spatial axis ({len(shape)}), (lo, hi) pairs, 'SAME' or 'VALID'"
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return ((0, 0),) * len(shape)
        if padding.upper() != "SAME":
            refuse(op, f"{expected}, got {padding!r}")
        # out = ceil(H / s), and the odd row of padding goes below
        totals = [
            max((-(-h // s) - 1) * s + d * (k - 1) + 1 - h, 0)
            for h, k, s, d in zip(shape, size, stride, dilation, strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)
    try:
        entries = tuple(padding) if isinstance(padding, Sequence) else (operator.index(padding),) * len(shape)
        pairs = tuple(_pair(entry) for entry in entries)
    except TypeError:
        refuse(op, f"{expected}, got {padding!r}")
    if len(pairs) != len(shape) or any(lo < 0 or hi < 0 for lo, hi in pairs):
        refuse(op, f"{expected}, got {padding!r}")
    return pairs


def _pair(entry: int | str | Sequence[int]) -> tuple[int, int]:
    """One axis' padding as (lo, hi); a `TypeError` where it is neither an int nor two of them."""
    if not isinstance(entry, Sequence):
        return (operator.index(entry),) * 2
    if isinstance(entry, str) or len(entry) != 2:
        raise TypeError
    return operator.index(entry[0]), operator.index(entry[1])
