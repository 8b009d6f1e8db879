"""What the tests of `accelerate` share: a small loss, a look into programs, and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

import jaxcnn

LAYOUT = ("NHWC", "HWIO", "NHWC")
LEFT = ("conv_general_dilated", "reduce_window_max", "reduce_window_min", "reduce_window_sum")


def conv(x: jax.Array, kernel: jax.Array, **options: Any) -> jax.Array:
    """A plain convolution."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT, **options)


def max_pool(x: jax.Array) -> jax.Array:
    """A plain max pool, 2 by 2."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def net(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """A convolution, a ReLU and a max pool."""
    return max_pool(jax.nn.relu(conv(x, kernel)))


def point(channels: int = 2) -> tuple[jax.Array, jax.Array]:
    """A kernel that keeps the number of channels, and images, in float64."""
    random = np.random.default_rng(0)
    kernel = jnp.asarray(random.normal(size=(3, 3, channels, channels)))
    return kernel, jnp.asarray(random.normal(size=(2, 6, 6, channels)))


def plain_equations(f: Callable[..., Any], *args: Any) -> list[str]:
    """The names of jax's own convolutions and pools in f, but for those in our ops."""
    return list(_plain(jax.make_jaxpr(f)(*args).jaxpr))


def _plain(jaxpr: Any) -> Iterator[str]:
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in LEFT:
            yield eqn.primitive.name
        if "jaxcnn" in str(eqn.source_info.name_stack):
            continue
        for value in eqn.params.values():
            for each in value if isinstance(value, tuple | list) else (value,):
                if isinstance(each, core.ClosedJaxpr):
                    yield from _plain(each.jaxpr)
                elif isinstance(each, core.Jaxpr):
                    yield from _plain(each)


def assert_same_structure(one: Any, other: Any) -> None:
    """Two pytrees have one structure."""
    structures: list[Any] = [jax.tree.structure(one), jax.tree.structure(other)]
    assert structures[0] == structures[1]


def assert_alike(one: Any, other: Any, rtol: float = 1e-12) -> None:
    """Two pytrees have one structure and, to rounding, the same values, dtypes and weak types."""
    assert_same_structure(one, other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert jnp.asarray(a).dtype == jnp.asarray(b).dtype
        scale = 1 + float(np.max(np.abs(np.asarray(b, float)), initial=0))
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=0, atol=rtol * scale)


def assert_accelerates(f: Callable[..., Any], *args: Any, replaced: int, left: int = 0) -> None:
    """f accelerated gives the same values and gradients, and so many of its sites are replaced and left."""
    found = jaxcnn.sites(f, *args)
    assert (len(found.replaced), len(found.left)) == (replaced, left), str(found)
    by_hand = jaxcnn.accelerate(f)
    assert len(plain_equations(by_hand, *args)) == left
    assert_alike(jax.jit(by_hand)(*args), f(*args))

    def loss(f: Callable[..., Any]) -> Callable[..., jax.Array]:
        return lambda *args: sum((jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(f(*args))), jnp.zeros(()))

    argnums = tuple(range(len(args)))
    gradients = jax.jit(jax.grad(loss(f), argnums))(*args)
    assert_alike(jax.jit(jax.grad(loss(by_hand), argnums))(*args), gradients)
