"""Pools over any axes, by our rules, or left with a reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from programs import assert_accelerates, assert_alike

import jaxcnn

POOLS: dict[str, Callable[..., Any]] = {
    "max": partial(lax.reduce_window, init_value=-np.inf, computation=lax.max),
    "min": partial(lax.reduce_window, init_value=np.inf, computation=lax.min),
    "sum": partial(lax.reduce_window, init_value=0.0, computation=lax.add),
}
WINDOWS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Any]] = {
    "NHWC": ((1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    "NCHW": ((1, 1, 2, 3), (1, 1, 1, 2), "SAME"),
    "one axis": ((1, 3, 1, 1), (1, 1, 1, 1), ((0, 0), (1, 0), (0, 0), (0, 0))),
    "all axes": ((2, 2, 2, 2), (1, 2, 2, 1), "VALID"),
    "first and last": ((2, 1, 1, 2), (1, 1, 1, 1), "VALID"),
    "strides alone": ((1, 1, 1, 1), (1, 2, 2, 1), "VALID"),
}


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("name", WINDOWS)
def test_windows_along_any_axes(kind: str, name: str) -> None:
    size, stride, padding = WINDOWS[name]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6, 4, 5)))
    f = partial(POOLS[kind], window_dimensions=size, window_strides=stride, padding=padding)
    assert_accelerates(f, x, replaced=1)


def test_a_vector_and_no_axis_left_over() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=7))
    for pool in POOLS.values():
        assert_accelerates(partial(pool, window_dimensions=(3,), window_strides=(2,), padding="VALID"), x, replaced=1)


@pytest.mark.parametrize("include", [True, False])
def test_an_average_pool_that_counts_or_does_not(include: bool) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 3)))

    def f(x: jax.Array) -> jax.Array:
        sums = partial(lax.reduce_window, init_value=0.0, computation=lax.add)
        y = sums(x, window_dimensions=(1, 3, 3, 1), window_strides=(1, 1, 1, 1), padding="SAME")
        if include:
            return y / 9
        return y / sums(jnp.ones_like(x), window_dimensions=(1, 3, 3, 1), window_strides=(1,) * 4, padding="SAME")

    assert_accelerates(f, x, replaced=1 if include else 2)


def test_ties_go_to_the_first_as_in_lax() -> None:
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 6, 6, 2)).astype(float))
    for kind in ("max", "min"):
        f = partial(POOLS[kind], window_dimensions=(1, 3, 3, 1), window_strides=(1, 2, 2, 1), padding="SAME")
        assert_accelerates(f, x, replaced=1)


def test_nan_is_propagated() -> None:
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(jnp.nan)
    f = partial(POOLS["max"], window_dimensions=(1, 2, 2, 1), window_strides=(1, 2, 2, 1), padding="VALID")
    assert jnp.isnan(jaxcnn.accelerate(f)(x)).ravel().tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("kind", "options", "dtype", "reason"),
    [
        ("max", {}, jnp.int32, "of dtype int32"),
        ("sum", {"window_dilation": (1, 2, 2, 1)}, jnp.float32, "no sum over dilated windows"),
        ("max", {"base_dilation": (1, 2, 2, 1)}, jnp.float32, "base_dilation (1, 2, 2, 1)"),
        ("max", {"init_value": np.float32(0)}, jnp.float32, "an initial value"),
        ("max", {"padding": ((0, 0), (2, 0), (0, 0), (0, 0))}, jnp.float32, "padding"),
        ("max", {"window_dimensions": (1,) * 4, "window_strides": (1,) * 4}, jnp.float32, "no window"),
    ],
)
def test_what_is_left_and_why(kind: str, options: dict[str, Any], dtype: Any, reason: str) -> None:
    x = jnp.ones((1, 6, 6, 2), dtype)
    given: dict[str, Any] = {"window_dimensions": (1, 2, 2, 1), "window_strides": (1, 2, 2, 1), "padding": "VALID"}
    if dtype == jnp.int32:
        given["init_value"] = np.int32(jnp.iinfo(dtype).min)
    f = partial(POOLS[kind], **{**given, **options})
    (site,) = jaxcnn.sites(f, x)
    assert site.left is not None and reason in site.left, site.left
    assert_alike(jnp.nan_to_num(jaxcnn.accelerate(f)(x)), jnp.nan_to_num(f(x)))


def test_dilated_max_pools() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 9, 9, 2)))
    f = partial(
        POOLS["max"],
        window_dimensions=(1, 2, 2, 1),
        window_strides=(1, 1, 1, 1),
        padding="VALID",
        window_dilation=(1, 2, 3, 1),
    )
    assert jaxcnn.sites(f, x)[0].left is None
    assert_alike(jaxcnn.accelerate(f)(x), f(x))
    dx = jax.grad(lambda x: jaxcnn.accelerate(f)(x).sum())(x)
    assert float(dx.sum()) == 8 * 7 * 2 - 8 * 7 * 2 + f(x).size
