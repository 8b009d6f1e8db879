"""The geometry of a sliding window, shared by convolution, pooling and unfolding.

Along each spatial axis, with H the size of x, k of the window, s the stride, (lo, hi) the padding, d the dilation:

    r     = d (k - 1) + 1                        the receptive field                  [R 1.2]
    out   = floor((H + lo + hi - r) / s) + 1     the number of windows                [R 1.2]
    tap u of window i stands at i s + u d - lo   in x's own coordinates               [R 1]

Padding below 0 crops. A `Window` is a static, hashable tuple of these numbers, so it may be a static argument of
`jax.jit` and `jax.custom_vjp`; H may be symbolic, as in a program that is exported for any size. Two main functions,
each the adjoint of the other:

    take(x, tap)  -> y     the strided slice of padded x that one tap sees, for every window at once
    put(y, tap)   -> x     those values back at their places, zeros elsewhere, the padding cropped
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._lib._arguments import refuse

Count = int | np.integer[Any] | jax.Array
Size = Any  # an int, or symbolic: the batch and spatial axes of a program that is exported for any
Shape = Sequence[Size]
PerAxis = int | np.integer[Any] | Sequence[int] | np.ndarray | jax.Array
Padding = int | np.integer[Any] | str | Sequence[int | Sequence[int]] | np.ndarray | jax.Array
Tap = tuple[int, ...]

GREATEST_OPTION = 2**31 - 1  # of a size, stride, padding or dilation
GREATEST_RESULT = 2**62  # elements, which no machine holds; beyond, XLA's own numbers overflow
NAMES = ("SAME", "SAME_LOWER", "VALID")


@dataclass(frozen=True)
class Window:
    """A window of `size` sliding over `shape`: one entry per spatial axis everywhere."""

    shape: tuple[Size, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[Size, Size], ...]
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
        *,
        ceil: bool = False,
        may_see_nothing: bool = False,
    ) -> Window:
        """The window over x of shape (N, *spatial, C), or a `ValueError` that names `op` and the argument.

        `stride=None` means the window's own size. `ceil` rounds the number of windows up: the last begins in x or in
        the padding before it, and hangs over the end. A window that lies wholly in padding is refused unless it
        `may_see_nothing`.
        """
        shape = tuple(x_shape[1:-1])
        size = per_axis(op, "window", size, len(shape))
        stride = size if stride is None else per_axis(op, "stride", stride, len(shape))
        dilation = per_axis(op, "dilation", dilation, len(shape))
        window = cls(shape, size, stride, padding_pairs(op, padding, shape, size, stride, dilation), dilation)
        window = window._rounded_up(op) if ceil else window
        if misfit := window.misfit:
            refuse(op, misfit)
        if not may_see_nothing:
            window._refuse_blind(op)
        return window

    @cached_property
    def span(self) -> tuple[int, ...]:
        """The receptive field r, per axis."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True))

    @cached_property
    def out(self) -> tuple[Size, ...]:
        """The number of windows, per axis."""
        return tuple(
            at_least((h + lo + hi - r) // s + 1, 0)
            for h, (lo, hi), r, s in zip(self.shape, self.padding, self.span, self.stride, strict=True)
        )

    @property
    def taps(self) -> Iterator[Tap]:
        """The window's taps in row-major order, the order in which a kernel flattens."""
        return itertools.product(*map(range, self.size))

    @property
    def tap_count(self) -> int:
        """The number of taps of one window."""
        return prod(self.size)

    @property
    def is_padded(self) -> bool:
        """Whether any window reaches into padding."""
        return any(is_symbolic(entry) or entry > 0 for pair in self.padding for entry in pair)

    @property
    def is_symbolic(self) -> bool:
        """Whether a spatial size is known only when the program runs."""
        return any(map(is_symbolic, (*self.shape, *itertools.chain.from_iterable(self.padding))))

    def pad(self, x: jax.Array) -> jax.Array:
        """x (N, *shape, C) with zeros around it, or cropped where padding is negative."""
        edges = self.edges
        if all(pair == (0, 0) for pair in edges):
            return x
        return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((lo, hi, 0) for lo, hi in edges), (0, 0, 0)))

    def take(self, padded: jax.Array, tap: Tap) -> jax.Array:
        """What `tap` sees of padded x: (N, *out, C)."""
        start = [u * d for u, d in zip(tap, self.dilation, strict=True)]
        stop = [a + reach for a, reach in zip(start, self.reach, strict=True)]
        return lax.slice(padded, (0, *start, 0), (padded.shape[0], *stop, padded.shape[-1]), (1, *self.stride, 1))

    def take_numbered(self, padded: jax.Array, number: jax.Array) -> jax.Array:
        """`take` of the tap with that row-major number, for loops over taps."""
        seen = lax.dynamic_slice(padded, self._start(number), (padded.shape[0], *self.reach, padded.shape[-1]))
        return lax.slice(seen, (0,) * seen.ndim, seen.shape, (1, *self.stride, 1))

    def add_numbered(self, padded: jax.Array, y: jax.Array, number: jax.Array) -> jax.Array:
        """padded x (N, *padded, C) with y (N, *out, C) added at the places that the tap with that number saw."""
        apart, start = self.apart(y), self._start(number)
        seen = lax.dynamic_slice(padded, start, apart.shape)
        return lax.dynamic_update_slice(padded, seen + apart, start)

    @property
    def over_padding(self) -> Window:
        """The same windows over what `pad` gives."""
        shape = tuple(h + lo + hi for h, (lo, hi) in zip(self.shape, self.edges, strict=True))
        return Window(shape, self.size, self.stride, ((0, 0),) * len(shape), self.dilation)

    def unpad(self, padded: jax.Array) -> jax.Array:
        """x of padded x: the adjoint of `pad`."""
        around = ((0, 0, 0), *((-lo, -hi, 0) for lo, hi in self.edges), (0, 0, 0))
        return lax.pad(padded, jnp.zeros((), padded.dtype), around)

    @property
    def edges(self) -> tuple[tuple[Size, Size], ...]:
        """The padding; where sizes are symbolic, extended so that the last window fits, even if there is none.

        jax can then prove that every slice lies within the padded input.
        """
        if not self.is_symbolic:
            return self.padding
        axes = zip(self.shape, self.padding, self.reach, self.span, strict=True)
        return tuple((lo, reach + r - 1 - h - lo) for h, (lo, _), reach, r in axes)

    @property
    def reach(self) -> tuple[Size, ...]:
        """From the first window's first place through the last's; where sizes are symbolic, up to the next one's."""
        is_symbolic = self.is_symbolic
        return tuple(o * s if is_symbolic else (o - 1) * s + 1 for o, s in zip(self.out, self.stride, strict=True))

    def apart(self, y: jax.Array) -> jax.Array:
        """y (N, *out, C) with s - 1 zeros between its places: as long as `reach`."""
        if not self.is_symbolic:
            between = ((0, 0, 0), *((0, 0, s - 1) for s in self.stride), (0, 0, 0))
            return lax.pad(y, jnp.zeros((), y.dtype), between)
        for axis, s in enumerate(self.stride, start=1):  # by reshape: lax.pad's symbolic length would be another term
            around = [(0, s - 1 if other == axis + 1 else 0, 0) for other in range(y.ndim + 1)]
            stretched = lax.pad(jnp.expand_dims(y, axis + 1), jnp.zeros((), y.dtype), around)
            y = stretched.reshape(*y.shape[:axis], y.shape[axis] * s, *y.shape[axis + 1 :])
        return y

    def _start(self, number: jax.Array) -> list[jax.Array]:
        """Where the tap with that number begins in padded x (N, *padded, C)."""
        places, zero = [], jnp.zeros_like(number)
        for k, d in zip(reversed(self.size), reversed(self.dilation), strict=True):
            places.append(lax.rem(number, jnp.full_like(number, k)) * jnp.full_like(number, d))
            number = lax.div(number, jnp.full_like(number, k))
        return [zero, *reversed(places), zero]

    def put(self, y: jax.Array, tap: Tap) -> jax.Array:
        """y (N, *out, C) back at the places in x (N, *shape, C) that `tap` saw, zeros elsewhere: take's adjoint."""
        around = []
        axes = zip(tap, self.shape, self.reach, self.stride, self.padding, self.dilation, strict=True)
        for u, h, reach, s, (lo, _), d in axes:
            before = u * d - lo  # negative where the tap's first places lie in the padding, which lax.pad then crops
            around.append((before, h - before - reach, 0 if self.is_symbolic else s - 1))
        y = self.apart(y) if self.is_symbolic else y
        return lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), *around, (0, 0, 0)))

    def in_input(self, tap: Tap) -> jax.Array:
        """Whether `tap` of each window stands in x rather than in padding: bool (1, *out, 1)."""
        inside = jnp.ones((), bool)
        axes = zip(tap, self.shape, self.out, self.stride, self.padding, self.dilation, strict=True)
        for axis, (u, h, o, s, (lo, _), d) in enumerate(axes):
            # 0 <= i s + u d - lo < h, as bounds of i: the place itself may be more than an int32 holds
            dtype = jnp.uint32 if not is_symbolic(o) and o >= 2**31 else jnp.int32
            i = lax.broadcasted_iota(dtype, (1, *self.out, 1), axis + 1)
            first, end = -(-(lo - u * d) // s), -(-(h + lo - u * d) // s)
            if is_symbolic(first) or first > 0:
                inside = inside & (
                    i >= constant(first if is_symbolic(first) or is_symbolic(o) else min(first, o), dtype)
                )
            if is_symbolic(end) or is_symbolic(o) or end < o:
                inside = inside & (i < constant(end if is_symbolic(end) else max(end, 0), dtype))
        return jnp.broadcast_to(inside, (1, *self.out, 1))

    def _rounded_up(self, op: str) -> Window:
        """One window more where rows are left, if it begins in x or the padding before: as PyTorch's ceil_mode."""
        if self.is_symbolic:
            refuse(op, f"ceil needs spatial sizes that are known, got {self.shape}; give padding instead")
        padding = []
        for h, (lo, hi), r, s in zip(self.shape, self.padding, self.span, self.stride, strict=True):
            left = (h + lo + hi - r) % s
            begins_in_time = left > 0 and ((h + lo + hi - r) // s + 1) * s < h + lo
            padding.append((lo, hi + (s - left) * begins_in_time))
        return Window(self.shape, self.size, self.stride, tuple(padding), self.dilation)

    @property
    def misfit(self) -> str | None:
        """Why there is no such window over x: it spans more than x with its padding, or that is absurdly large."""
        for axis, (h, (lo, hi), r) in enumerate(zip(self.shape, self.padding, self.span, strict=True)):
            if not is_symbolic(h + lo + hi) and r > h + lo + hi:
                return (
                    f"the window spans {r} on spatial axis {axis}, more than the padded input's {h + lo + hi} "
                    f"(x spatial {self.shape}, window {self.size}, padding {self.padding}, dilation {self.dilation}); "
                    "use a smaller window or dilation, or more padding"
                )
        padded = tuple(h + lo + hi for h, (lo, hi) in zip(self.shape, self.padding, strict=True))
        if not self.is_symbolic and prod(padded) >= GREATEST_RESULT:
            return f"the padded input would have spatial axes {padded}, which no memory holds; use less padding"
        return None

    def _refuse_blind(self, op: str) -> None:
        for axis, place in enumerate(self._first_blind()):
            if place is not None:
                refuse(
                    op,
                    f"window {place} on spatial axis {axis} lies wholly in padding "
                    f"(x spatial {self.shape}, window {self.size}, stride {self.stride}, padding {self.padding}, "
                    f"dilation {self.dilation}); use less padding",
                )

    def _first_blind(self) -> Iterator[int | None]:
        """Per axis the first window without a tap in x, if there is one.

        It ends before x begins, begins after x ends, or has x between two of its taps, where d is more than x's
        size: its first tap at 0 or later stands at (i s - lo) mod d, past x's end.
        """
        axes = zip(self.shape, self.out, self.size, self.stride, self.padding, self.dilation, strict=True)
        for h, o, k, s, (lo, hi), d in axes:
            if is_symbolic(lo) or is_symbolic(h):  # "SAME" pads less than a window; else what is certain
                yield 0 if not is_symbolic(lo) and lo > (k - 1) * d else None
                continue
            h, lo = h + min(lo, 0) + min(hi, 0), max(lo, 0)  # cropped, where padding is negative
            after = max(0, -(-(h + lo) // s))
            before_x = min(o, -(-lo // s), d // gcd(s, d)) if d > h else 0  # of all that begin before x, one period
            candidates: Iterable[int] = (
                *((0,) if o and lo > (k - 1) * d else ()),
                *itertools.islice((i for i in range(before_x) if (i * s - lo) % d >= h), 1),
                *((after,) if after < o else ()),
            )
            yield min(candidates, default=None)


def cropped(x: jax.Array, window: Window) -> tuple[jax.Array, tuple[tuple[Size, Size], ...]]:
    """x cropped where padding is below 0, and the padding that is left, which may then be rounded up."""
    cuts = [tuple(0 if is_symbolic(edge) else max(0, -edge) for edge in pair) for pair in window.padding]
    if not any(map(any, cuts)):
        return x, window.padding
    starts, stops = zip(*((lo, max(lo, h - hi)) for h, (lo, hi) in zip(window.shape, cuts, strict=True)), strict=True)
    left = tuple((lo + cut_lo, hi + cut_hi) for (lo, hi), (cut_lo, cut_hi) in zip(window.padding, cuts, strict=True))
    return lax.slice(x, (0, *starts, 0), (x.shape[0], *stops, x.shape[-1])), left


def is_symbolic(size: object) -> bool:
    """Whether a size is known only when the program runs (`jax.export.symbolic_shape`)."""
    return not isinstance(size, (int, np.integer))


def at_least(size: Size, least: int) -> Size:
    return jax.core.max_dim(size, least) if is_symbolic(size) else max(size, least)


def constant(size: Size, dtype: Any) -> Any:
    """A size as a number of an array's dtype: `jnp.asarray` takes no int of more than 31 bits as it is."""
    return jnp.asarray(size, dtype) if is_symbolic(size) else np.asarray(size, dtype)


def per_axis(op: str, name: str, value: PerAxis, axes: int, *, least: int = 1) -> tuple[int, ...]:
    """`value` as one int per spatial axis, each at least 1, or 0."""
    number = "a positive int" if least else "an int of 0 or more"
    expected = f"{name} must be {number} or one per spatial axis ({axes})"
    try:
        entries = tuple(map(as_int, value)) if _is_sequence(value) else (as_int(value),) * axes
    except TypeError:
        refuse(op, f"{expected}, got {value!r}")
    if len(entries) != axes or any(entry < least for entry in entries):
        hint = "; if x is one image without its batch axis, give x[None]" if len(entries) == axes + 1 else ""
        refuse(op, f"{expected}, got {value!r}{hint}")
    _refuse_absurd(op, name, value, entries)
    return entries


def padding_pairs(
    op: str,
    padding: Padding,
    shape: tuple[Size, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[Size, Size], ...]:
    """`padding` as one (lo, hi) per spatial axis."""
    names = ", ".join(map(repr, NAMES[:-1])) + f" or {NAMES[-1]!r}"
    expected = f"padding must be an int, one per spatial axis ({len(shape)}), (lo, hi) pairs, {names}"
    if isinstance(padding, str):
        if padding.upper() not in NAMES:
            refuse(op, f"{expected}, got {padding!r}")
        if padding.upper() == "VALID":
            return ((0, 0),) * len(shape)
        # out = ceil(H / s), and the odd row of padding goes below, or with "SAME_LOWER" above
        halves = []
        for h, k, s, d in zip(shape, size, stride, dilation, strict=True):
            total = (-(-h // s) - 1) * s + d * (k - 1) + 1 - h
            total = at_least(total, 0)
            halves.append((total // 2, total - total // 2))
        return tuple(halves) if padding.upper() == "SAME" else tuple((hi, lo) for lo, hi in halves)
    try:
        pairs = tuple(map(_pair, padding)) if _is_sequence(padding) else (_pair(padding),) * len(shape)
    except TypeError:
        refuse(op, f"{expected}, got {padding!r}")
    if len(pairs) != len(shape):
        refuse(op, f"{expected}, got {padding!r}")
    _refuse_absurd(op, "padding", padding, itertools.chain.from_iterable(pairs))
    return pairs


def _refuse_absurd(op: str, name: str, value: object, entries: Iterable[int]) -> None:
    if any(abs(entry) > GREATEST_OPTION for entry in entries):
        refuse(op, f"{name} must be below 2**31, got {value!r}")


def _pair(entry: Any) -> tuple[int, int]:
    """One axis' padding as (lo, hi); a `TypeError` where it is neither an int nor two of them."""
    if not _is_sequence(entry):
        return (as_int(entry),) * 2
    lo, hi = entry if len(entry) == 2 else (None, None)
    return as_int(lo), as_int(hi)


def as_int(entry: Any) -> int:
    """An int, of Python's, NumPy's or jax's; a `TypeError` for what is not whole, and for True and False."""
    if isinstance(entry, bool | np.bool_) or (isinstance(entry, jax.Array) and entry.dtype == bool):
        raise TypeError
    return operator.index(entry)


def _is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    return (isinstance(value, Sequence) and not isinstance(value, str)) or (
        isinstance(value, np.ndarray | jax.Array) and value.ndim > 0
    )
