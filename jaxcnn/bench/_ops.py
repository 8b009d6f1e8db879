"""The grid: convolution's three maps over kernel sizes, strides, dilations, groups, channels and axes; and pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from math import prod
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn import ops, reference
from jaxcnn.bench._run import Case
from jaxcnn.ops._conv._algorithm import MAPS
from jaxcnn.ops._conv._algorithms import ALGORITHMS
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._dtypes import Dtypes

MULTIPLY_ADDS = 1.2e8  # of a call: the batch is made to fit
GREATEST_BATCH = 128
GREATEST_ELEMENTS = 2**22  # of x, so that inputs stay small beside the work


class Geometry(NamedTuple):
    """A convolution: spatial size, kernel size, channels, options; images where not as many as fit `MULTIPLY_ADDS`."""

    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    c_in: int
    c_out: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    images: int | None = None

    @property
    def name(self) -> str:
        parts = ["x".join(map(str, self.kernel)), f"{self.c_in} to {self.c_out}", "x".join(map(str, self.spatial))]
        parts += [f"{word} {n}" for word, n in self._extra if n > 1]
        return ", ".join(parts)

    @property
    def kind(self) -> str:
        """The word for its row in a summary."""
        if self.groups > 1:
            return "depthwise" if self.groups == self.c_in == self.c_out else "grouped"
        if len(self.kernel) != 2:
            return f"{len(self.kernel)}-D"
        if self.stride > 1:
            return f"{'1x1' if max(self.kernel) == 1 else 'dense'}, stride {self.stride}"
        if self.dilation > 1:
            return "dilated"
        if self.c_in <= 4:
            return "few channels in"
        return {1: "1x1", 3: "dense 3x3"}.get(max(self.kernel), "dense, other sizes")

    @property
    def _extra(self) -> list[tuple[str, int]]:
        extra = [("stride", self.stride), ("dilation", self.dilation), ("groups", self.groups)]
        return [*extra, ("images", self.images or 0)]

    @property
    def options(self) -> dict[str, Any]:
        return {"stride": self.stride, "dilation": self.dilation, "groups": self.groups, "padding": "SAME"}

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        return (*self.kernel, self.c_in // self.groups, self.c_out)

    @property
    def problem(self) -> Problem:
        """What the chooser sees of it."""
        x_shape, kernel_shape, _ = self.shapes
        dtypes = Dtypes(*[np.dtype(np.float32)] * 3)
        return Problem.of("bench", x_shape, kernel_shape, dtypes, precision=None, **self.options)

    @property
    def places(self) -> int:
        return prod(-(-n // self.stride) for n in self.spatial)

    @property
    def batch(self) -> int:
        if self.images:
            return self.images
        each = self.places * prod(self.kernel_shape)
        fitting = min(MULTIPLY_ADDS / each, GREATEST_ELEMENTS / (prod(self.spatial) * max(self.c_in, self.c_out)))
        return max(1, min(GREATEST_BATCH, round(fitting)))

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Of x, kernel and y."""
        out = tuple(-(-n // self.stride) for n in self.spatial)
        return (self.batch, *self.spatial, self.c_in), self.kernel_shape, (self.batch, *out, self.c_out)


SQUARES = ((28, 1, 32), (32, 3, 16), (28, 8, 8), (32, 16, 16), (14, 32, 64), (32, 64, 64), (8, 128, 128), (4, 256, 256))


def geometries() -> list[Geometry]:
    """Over 100 convolutions, each of three maps."""

    def squares(sizes: tuple[int, ...], **options: int) -> list[Geometry]:
        return [Geometry((n, n), (k, k), c, d, **options) for k in sizes for n, c, d in SQUARES if k <= n]

    grouped = [
        Geometry((n, n), (k, k), c, c, groups=groups, stride=stride)
        for n, c in ((28, 64), (14, 128), (32, 32))
        for k in (3, 5)
        for groups, stride in ((4, 1), (8, 1), (c, 1), (c, 2))
    ]
    lines = [Geometry((n,), (k,), c, d) for n, c, d in ((64, 1, 16), (64, 32, 64), (64, 128, 128)) for k in (1, 3, 9)]
    volumes = [Geometry((n,) * 3, (k,) * 3, c, d) for n, c, d in ((8, 16, 32), (16, 1, 8)) for k in (1, 3)]
    few = [
        Geometry((n, n), (k, k), c, d, stride=stride, images=128)
        for n, k, c, d, stride in (
            (28, 6, 1, 1, 1),
            (28, 3, 1, 2, 1),
            (28, 6, 1, 2, 1),
            (28, 3, 2, 4, 1),
            (28, 5, 2, 4, 1),
            (28, 3, 1, 4, 2),
            (64, 3, 1, 4, 1),
            (64, 3, 1, 1, 1),
        )
    ]
    oblong = [Geometry((28, 28), (1, 7), 16, 16), Geometry((28, 28), (7, 1), 16, 16), Geometry((23, 23), (6, 6), 1, 1)]
    in_training = [
        Geometry((32, 32), (1, 1), 64, 128, images=64),
        Geometry((32, 32), (3, 3), 64, 64, images=64),
        Geometry((16, 16), (3, 3), 128, 128, images=64),
        Geometry((8, 8), (3, 3), 256, 256, images=64),
        Geometry((32, 32), (3, 3), 64, 128, stride=2, images=64),
        Geometry((28, 28), (3, 3), 64, 64, groups=4, images=32),
        Geometry((28, 28), (3, 3), 64, 64, groups=16, images=32),
        Geometry((32, 32), (3, 3), 64, 64, groups=64, images=64),
    ]
    return [
        *squares((1, 2, 3, 5, 7, 11)),
        *squares((1, 3, 5), stride=2),
        *squares((3,), stride=3),
        *squares((3, 5), dilation=2),
        *grouped,
        *lines,
        *volumes,
        *few,
        *oblong,
        *in_training,
    ]


def ops_cases(*, quick: bool = False, tune: bool = False) -> Iterator[Case]:
    """Every map of every geometry, and the pools.

    Args:
        quick: a tenth of the grid.
        tune: each supporting algorithm as a way of its own, instead of the rewrite.
    """
    for geometry in geometries()[:: 10 if quick else 1]:
        for which in MAPS:
            yield map_case(geometry, which, tune)
    if not tune:
        yield from _pool_cases(quick)


def map_case(geometry: Geometry, which: str, tune: bool = False) -> Case:
    x_shape, kernel_shape, y_shape = geometry.shapes
    shapes = {
        "correlate": (x_shape, kernel_shape),
        "input_gradient": (y_shape, kernel_shape),
        "kernel_gradient": (x_shape, y_shape),
    }[which]
    ways: dict[str, Callable[..., Any]] = {
        "ours": partial(_by, ops, which, geometry),
        "autodiff": partial(_by, reference, which, geometry),
    }
    if tune:
        for name, algorithm in ALGORITHMS.items():
            if algorithm.cannot(which, geometry.problem) is None:
                ways[name] = partial(_by, ops, which, geometry, algorithm=name)
    elif geometry.groups == 1 and which != "correlate":
        ways["rewrite"] = partial(_by_rewrite, which, geometry)
    return Case(
        name=f"{which}: {geometry.name}",
        group=f"{geometry.kind}: {which}",
        ways=ways,
        draw=lambda random: tuple(jnp.asarray(random.standard_normal(shape, np.float32)) for shape in shapes),
        flops=2.0 * geometry.batch * geometry.places * prod(kernel_shape),
        hopeless=3.0 if tune else 10.0,  # of a dozen ways most are; a chooser asks for the fastest
    )


def _by(module: ModuleType, which: str, geometry: Geometry, left: Any, right: Any, **how: Any) -> jax.Array:
    x_shape, kernel_shape, _ = geometry.shapes
    if which == "correlate":
        return module.correlate(left, right, **geometry.options, **how)
    if which == "input_gradient":
        return module.input_gradient(left, right, x_shape, **geometry.options, **how)
    return module.kernel_gradient(left, right, kernel_shape, **geometry.options, **how)


def _by_rewrite(which: str, geometry: Geometry, left: jax.Array, right: jax.Array) -> jax.Array:
    """Autodiff of the forward as slices and one matrix product."""
    x_shape, kernel_shape, y_shape = geometry.shapes

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        span = [geometry.dilation * (k - 1) + 1 for k in geometry.kernel]
        pads = lax.padtype_to_pads(geometry.spatial, span, [geometry.stride] * len(span), "SAME")
        padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        patches = [_strided(padded, tap, y_shape[1:-1], geometry) for tap in np.ndindex(*geometry.kernel)]
        return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])

    if which == "input_gradient":
        return jax.vjp(lambda x: forward(x, right), jnp.zeros(x_shape, left.dtype))[1](left)[0]
    return jax.vjp(lambda kernel: forward(left, kernel), jnp.zeros(kernel_shape, left.dtype))[1](right)[0]


def _strided(padded: jax.Array, tap: tuple[int, ...], out: tuple[int, ...], geometry: Geometry) -> jax.Array:
    starts = [u * geometry.dilation for u in tap]
    places = [slice(a, a + (n - 1) * geometry.stride + 1, geometry.stride) for a, n in zip(starts, out, strict=True)]
    return padded[(slice(None), *places)]


POOLS = ((2, 2), (3, 2), (3, 1), (3, 3), (5, 3), (4, 4))
POOLED = (
    (128, 28, 32),
    (64, 33, 64),
    (256, 24, 32),
    (1024, 23, 1),
    (64, 14, 64),
    (8, 56, 64),
    (32, 8, 256),
    (16, 64, 16),
)


def _pool_cases(quick: bool) -> Iterator[Case]:
    """Forward and backward of max and average pools: 64 of them."""
    for number, (batch, side, channels) in enumerate(POOLED):
        for size, stride in POOLS[: 1 if quick else None]:
            if not quick or number < 2:
                yield pool_case("max_pool", (batch, side, side, channels), size, stride)
        if not quick:
            yield pool_case("avg_pool", (batch, side, side, channels), 2, 2)
            yield pool_case("avg_pool", (batch, side, side, channels), 3, 2)


def pool_case(op: str, shape: tuple[int, ...], size: int, stride: int) -> Case:
    out = tuple((n - size) // stride + 1 for n in shape[1:-1])
    dy_shape = (shape[0], *out, shape[-1])
    window, strides = (1, size, size, 1), (1, stride, stride, 1)

    def ours(x: jax.Array) -> jax.Array:
        return getattr(ops, op)(x, size, stride=stride)

    def idiomatic(x: jax.Array) -> jax.Array:
        if op == "max_pool":
            return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")
        return lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID") / size**2

    def rewritten(x: jax.Array) -> jax.Array:
        seen = [
            x[:, a : a + (out[0] - 1) * stride + 1 : stride, b : b + (out[1] - 1) * stride + 1 : stride]
            for a in range(size)
            for b in range(size)
        ]
        return reduce(jnp.maximum, seen) if op == "max_pool" else reduce(jnp.add, seen) / size**2

    def both(f: Callable[[jax.Array], jax.Array], x: jax.Array, dy: jax.Array) -> Any:
        y, pull = jax.vjp(f, x)
        return y, pull(dy)

    n, side, _, channels = shape
    return Case(
        name=f"{op} {size}x{size}/{stride}: {n}x{side}x{side}x{channels}",
        group=f"{op} {'side by side' if size == stride else 'overlapping'}: forward and backward",
        ways={"ours": partial(both, ours), "autodiff": partial(both, idiomatic), "rewrite": partial(both, rewritten)},
        draw=lambda random: (
            jnp.asarray(random.standard_normal(shape, np.float32)),
            jnp.asarray(random.standard_normal(dy_shape, np.float32)),
        ),
    )
