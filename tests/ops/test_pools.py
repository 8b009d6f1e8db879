"""The pools that average: over windows and over all places."""

from __future__ import annotations

from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import (
    Geometry,
    assert_agree,
    assert_equal_trees,
    check,
    drawn,
    geometries,
    integers,
    normals,
    value_and_gradients,
)

from jaxcnn import ops, reference
from jaxcnn.ops._lib import _blocks
from jaxcnn.ops._lib._window import Window
from jaxcnn.ops._pool import _avg_pool


def line(*values: float) -> jax.Array:
    return jnp.asarray(values, jnp.float64)[None, :, None]


def image(*rows: Any) -> jax.Array:
    return jnp.asarray(rows, jnp.float64)[None, ..., None]


AVERAGES = {
    "side by side, and a last value that no window reaches": (
        line(1, 3, 5, 7, 9),
        {"window": 2},
        line((1 + 3) / 2, (5 + 7) / 2),
        line(2, 4),
        line(2 / 2, 2 / 2, 4 / 2, 4 / 2, 0),
    ),
    "overlapping": (
        line(1, 3, 5, 7),
        {"window": 2, "stride": 1},
        line((1 + 3) / 2, (3 + 5) / 2, (5 + 7) / 2),
        line(2, 4, 6),
        line(2 / 2, 2 / 2 + 4 / 2, 4 / 2 + 6 / 2, 6 / 2),
    ),
    "padding counts": (
        line(4, 8),
        {"window": 2, "stride": 1, "padding": 1},
        line((0 + 4) / 2, (4 + 8) / 2, (8 + 0) / 2),
        line(2, 4, 6),
        line(2 / 2 + 4 / 2, 4 / 2 + 6 / 2),
    ),
    "padding does not count": (
        line(4, 8),
        {"window": 2, "stride": 1, "padding": 1, "count_include_pad": False},
        line(4 / 1, (4 + 8) / 2, 8 / 1),
        line(2, 4, 6),
        line(2 / 1 + 4 / 2, 4 / 2 + 6 / 1),
    ),
    "2-D": (
        image([1, 2, 3], [5, 6, 7]),
        {"window": 2, "stride": 1},
        image([(1 + 2 + 5 + 6) / 4, (2 + 3 + 6 + 7) / 4]),
        image([4, 8]),
        image([4 / 4, 4 / 4 + 8 / 4, 8 / 4], [4 / 4, 4 / 4 + 8 / 4, 8 / 4]),
    ),
    "2-D corners see one pixel of four": (
        image([8, 16]),
        {"window": 2, "padding": ((1, 0), (1, 1)), "count_include_pad": False},
        image([8 / 1, 16 / 1]),
        image([1, 2]),
        image([1 / 1, 2 / 1]),
    ),
    "3-D": (
        image([[1, 2], [3, 4]], [[5, 6], [7, 8]]),
        {"window": 2},
        image([[(1 + 2 + 3 + 4 + 5 + 6 + 7 + 8) / 8]]),
        image([[16]]),
        image([[2, 2], [2, 2]], [[2, 2], [2, 2]]),
    ),
}


@pytest.mark.parametrize(("x", "options", "y", "dy", "dx"), AVERAGES.values(), ids=AVERAGES.keys())
def test_averages_by_hand(x: jax.Array, options: dict[str, Any], y: jax.Array, dy: jax.Array, dx: jax.Array) -> None:
    assert_equal_trees(value_and_gradients(partial(ops.avg_pool, **options), dy, x), (y, dx))


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_gradients_to_second_order(count_include_pad: bool) -> None:
    options: dict[str, Any] = {"window": (3, 2), "stride": (2, 1), "padding": ((1, 2), (0, 1))}
    options["count_include_pad"] = count_include_pad
    check(partial(ops.avg_pool, **options), partial(reference.avg_pool, **options), normals((2, 5, 4, 2)))


@pytest.mark.parametrize("count_include_pad", [True, False])
@drawn(max_examples=5)
@hypothesis.given(geometry=geometries(dilated=False))
def test_any_geometry(count_include_pad: bool, geometry: Geometry) -> None:
    options: dict[str, Any] = {
        "window": geometry.window,
        "stride": geometry.stride,
        "padding": geometry.padding,
        "count_include_pad": count_include_pad,
    }
    x = integers((2, *geometry.spatial, 2), greatest=9)
    assert jax.eval_shape(partial(ops.avg_pool, **options), x).shape == (2, *geometry.out, 2)
    assert_agree(partial(ops.avg_pool, **options), partial(reference.avg_pool, **options), x, exact=False)


def test_sums_are_kept_in_float32() -> None:
    """256 + 1 + 1 = 258 = 3 * 86; bfloat16, whose spacing there is 2, would stay at 256."""
    x = jnp.array([[[256], [1], [1]]], jnp.bfloat16)
    assert ops.avg_pool(x, 3).item() == ops.global_avg_pool(x).item() == 86


def test_global_average_by_hand() -> None:
    x = jnp.array([[[[1.0, 10], [2, 20]], [[3, 30], [6, 60]]]])
    y, pull = jax.vjp(ops.global_avg_pool, x)
    assert y.tolist() == [[(1 + 2 + 3 + 6) / 4, (10 + 20 + 30 + 60) / 4]]
    assert pull(jnp.array([[4.0, 8]]))[0].tolist() == [[[[4 / 4, 8 / 4]] * 2] * 2]


@pytest.mark.parametrize("spatial", [(4,), (3, 2), (2, 1, 3)], ids=str)
def test_global_average_to_second_order(spatial: tuple[int, ...]) -> None:
    assert_agree(ops.global_avg_pool, reference.global_avg_pool, normals((2, *spatial, 2)), exact=False)


def test_global_average_against_differences() -> None:
    check(ops.global_avg_pool, reference.global_avg_pool, normals((2, 5, 4, 2)))


def test_numpy_arrays_are_welcome() -> None:
    x = np.arange(4.0).reshape(1, 4, 1)
    assert ops.avg_pool(x, 2).ravel().tolist() == [0.5, 2.5]
    assert ops.global_avg_pool(x).ravel().tolist() == [1.5]


@pytest.mark.long
@drawn(max_examples=8)
@hypothesis.given(geometry=geometries(dilated=False))
def test_sums_and_their_adjoints_are_the_same_on_every_platform(geometry: Geometry) -> None:
    shape = (2, *geometry.spatial, 2)
    window = Window.of("test", shape, geometry.window, geometry.stride, geometry.padding, 1)
    x, dy = integers(shape), integers((2, *window.out, 2), seed=1)
    assert_equal_trees(_avg_pool._sum_by_lax(window, x), _avg_pool._sum_by_axis(window, x))
    by_axis = _avg_pool._spread_by_axis(window, dy)
    assert_equal_trees(_avg_pool._spread_by_lax(window, dy), by_axis)
    if _blocks.supports(window):
        assert_equal_trees(_avg_pool._spread_in_blocks(window, dy), by_axis)
