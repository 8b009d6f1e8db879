"""Hold an op to its reference, and draw the geometries and numbers to do it with."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax import lax

from jaxcnn.check import check_vjp

Function = Callable[..., Any]


def mostly_long(names: Iterable[Any], but: Container[Any]) -> list[Any]:
    """Parameters of a test, all of them marked as long but some."""
    return [name if name in but else pytest.param(name, marks=pytest.mark.long) for name in names]


# the same examples every time, and no clock: most of an example is XLA compiling its geometry
drawn = partial(
    hypothesis.settings,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)


def value_and_gradients(f: Function, dy: jax.Array, *args: jax.Array) -> tuple[jax.Array, ...]:
    """f's value and its gradients along dy, compiled as one program."""

    def pulled(dy: jax.Array, *args: jax.Array) -> tuple[jax.Array, ...]:
        y, pull = jax.vjp(f, *args)
        return y, *pull(dy)

    return jax.jit(pulled)(dy, *args)


def check(op: Function, reference: Function, *args: Any, order: int = 2) -> None:
    """`check_vjp`, differences included, of both compiled whole."""
    check_vjp(jax.jit(op), args, reference=jax.jit(reference), order=order)


def derivatives(f: Function, *args: jax.Array, order: int = 2) -> list[Any]:
    """f's value and its gradients to the given order, each along fixed small integers."""
    found, point = [], args
    for depth in range(order):
        value, pull = jax.vjp(f, *point)
        cotangent = (
            integers(value.shape, value.dtype, seed=depth) if depth == 0 else jax.tree.map(_integers_like, value)
        )
        found += [value, pull(cotangent)]
        f, point = partial(_pull, f, len(point)), (*point, cotangent)
    return found


def assert_agree(op: Function, reference: Function, *args: jax.Array, order: int = 2, exact: bool = True) -> None:
    """Values and gradients to the given order are equal, or to 64 roundings of the greatest magnitude in the array."""
    found = jax.jit(partial(derivatives, op, order=order))(*args)
    expected = jax.jit(partial(derivatives, reference, order=order))(*args)
    assert_equal_trees(found, expected, roundings=0 if exact else 64)


def assert_equal_trees(found: Any, expected: Any, *, roundings: float = 0, dtype: Any = None) -> None:
    """Structure, shape, dtype and NaNs are equal, values to that many eps of the greatest in the array."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (found, expected)]
    assert structures[0] == structures[1]
    for (path, ours), theirs in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        name = jax.tree_util.keystr(path)
        if dtype is None:
            assert ours.dtype == theirs.dtype, name
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        eps = float(jnp.finfo(dtype or ours.dtype).eps)
        scale = max(1.0, np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
        assert a.shape == b.shape, name
        np.testing.assert_allclose(a, b, rtol=0, atol=roundings * eps * scale, err_msg=name)


def integers(shape: tuple[int, ...], dtype: Any = np.float64, *, seed: int = 0, greatest: int = 2) -> jax.Array:
    """Whole numbers in [-greatest, greatest]: ties everywhere, and sums of products of them are exact."""
    numbers = np.random.default_rng([seed, *shape]).integers(-greatest, greatest, shape, endpoint=True)
    return jax.device_put(np.asarray(numbers, dtype))


def normals(shape: tuple[int, ...], dtype: Any = np.float64, *, seed: int = 0) -> jax.Array:
    """Standard normals: no ties, nothing near a kink."""
    return jax.device_put(np.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), dtype))


@dataclass(frozen=True)
class Geometry:
    """A window over spatial axes that every op with a window takes."""

    spatial: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]

    @property
    def out(self) -> tuple[int, ...]:
        """The number of windows, as lax has it."""
        padded = [h + lo + hi for h, (lo, hi) in zip(self.spatial, self._pairs, strict=True)]
        return tuple((h - r) // s + 1 for h, r, s in zip(padded, self._span, self.stride, strict=True))

    @property
    def is_sound(self) -> bool:
        """Whether there is a window, and each sees something of x."""
        for h, k, s, (lo, _), d, out in zip(
            self.spatial, self.window, self.stride, self._pairs, self.dilation, self.out, strict=True
        ):
            seen = [any(0 <= i * s + u * d - lo < h for u in range(k)) for i in range(out)]
            if not seen or not all(seen):
                return False
        return True

    @property
    def _span(self) -> tuple[int, ...]:
        return tuple(d * (k - 1) + 1 for k, d in zip(self.window, self.dilation, strict=True))

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        if isinstance(self.padding, str):
            return [(lo, hi) for lo, hi in lax.padtype_to_pads(self.spatial, self._span, self.stride, self.padding)]
        return list(self.padding)


@st.composite
def geometries(draw: st.DrawFn, *, dilated: bool = True) -> Geometry:
    """1 to 3 axes, stride, dilation, lopsided padding or a name, rows at the end that no window reaches."""
    axes = draw(st.integers(1, 3))

    def per_axis(least: int, greatest: int) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(least, greatest)] * axes))

    edges = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * axes)
    geometry = Geometry(
        spatial=per_axis(2, 7 if axes < 3 else 5),
        window=per_axis(1, 3 if axes < 3 else 2),
        stride=per_axis(1, 3),
        padding=draw(st.sampled_from(["SAME", "VALID"]) | edges),
        dilation=per_axis(1, 2) if dilated else (1,) * axes,
    )
    hypothesis.assume(geometry.is_sound)
    return geometry


def _pull(f: Function, count: int, *args: Any) -> Any:
    return jax.vjp(f, *args[:count])[1](args[count])


def _integers_like(leaf: jax.Array) -> jax.Array:
    return integers(leaf.shape, leaf.dtype, seed=1)
