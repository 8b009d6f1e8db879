"""NumPy arrays that vmap maps over inside jit: jax 0.10 to 0.12 refuse every custom rule there."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_equal_trees, mostly_long
from catalogue import OPS

from jaxcnn import ops
from jaxcnn.ops._lib._numpy import mapped_too


@pytest.mark.parametrize("name", mostly_long(OPS, ("conv", "max_pool", "softmax_cross_entropy", "dense")))
def test_mapped_numpy_arrays_inside_jit(name: str) -> None:
    """Value and gradients over two points, as jax's own arrays give them."""
    op = OPS[name]
    both: list[Any] = [np.stack([np.asarray(arg), np.flip(arg)]) for arg in op.args]

    def value_and_gradients(*args: jax.Array) -> Any:
        y, pull = jax.vjp(op.ours, *args)
        return op.ours(*args), y, pull(jnp.ones_like(y))

    found = jax.jit(lambda: jax.vmap(value_and_gradients)(*both))()
    expected = jax.jit(jax.vmap(value_and_gradients))(*both)
    assert_equal_trees(found, expected, roundings=4)


@pytest.mark.parametrize(
    "around",
    [
        lambda f, x: jax.vmap(jax.vmap(f))(x),
        lambda f, x: jax.vmap(jax.grad(lambda x: f(x).sum()))(x),
        lambda f, x: jax.grad(lambda scale: jax.vmap(lambda x: scale * f(x))(x).sum())(2.0),
        lambda f, x: jax.vmap(jax.checkpoint(f))(x),
        lambda f, x: jax.vmap(lambda x, y: f(x) + y, in_axes=(0, None))(x, x[0]),
        lambda f, x: jax.lax.map(f, x),
    ],
    ids=["vmap of vmap", "gradient inside", "gradient outside", "checkpoint", "one mapped", "map"],
)
def test_however_they_are_mapped(around: Callable[..., Any]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3))
    found = jax.jit(lambda: around(ops.relu, x))()
    np.testing.assert_array_equal(found, around(lambda x: jnp.where(x > 0, x, 0), jnp.asarray(x)))


def test_another_assertion_is_passed_on() -> None:
    def fails(x: Any) -> Any:
        raise AssertionError("another")

    with pytest.raises(AssertionError, match="another"):
        mapped_too(fails)(1)


def test_every_op_has_it() -> None:
    for name, op in vars(ops).items():
        assert not inspect.isfunction(op) or op is not getattr(sys.modules[op.__module__], name), name


def test_options_that_are_mapped() -> None:
    z, weights = np.zeros((3, 5), np.float32), np.arange(20, dtype=np.float32).reshape(4, 5)

    def weighted(w: Any) -> jax.Array:
        return ops.softmax_cross_entropy(z, np.arange(3), weights=w)

    np.testing.assert_allclose(jax.jit(lambda: jax.vmap(weighted)(weights))(), weights[:, :3] * np.log(5), rtol=1e-6)
