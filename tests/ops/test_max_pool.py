"""Max pooling: who wins a window, and who gets its gradient."""

from __future__ import annotations

import itertools
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
from jaxcnn.ops._lib._window import Window
from jaxcnn.ops._pool import _max_pool_on_tpu
from jaxcnn.ops._pool._max_pool import TIES, gather, route, select

NAN, INF = np.nan, np.inf


def line(*values: float) -> jax.Array:
    """One row of one channel of one image."""
    return jnp.asarray(values, jnp.float64)[None, :, None]


def image(*rows: Any) -> jax.Array:
    return jnp.asarray(rows, jnp.float64)[None, ..., None]


def assert_pools(
    x: jax.Array, window: Any, ties: str, y: jax.Array, dy: jax.Array, dx: jax.Array, **options: Any
) -> None:
    for module in (ops, reference):
        pool = partial(module.max_pool, window=window, ties=ties, **options)
        assert_equal_trees(value_and_gradients(pool, dy, x), (y, dx))


def test_virdees_example() -> None:
    """[V 3.3.1]: patch [[1, 5], [2, 3]], gradient 0.8, mask [[0, 1], [0, 0]]."""
    patch = image([1, 5], [2, 3])
    assert_pools(patch, 2, "first", image([5]), image([0.8]), image([0, 0.8], [0, 0]))


def test_side_by_side_with_a_row_and_a_column_that_no_window_reaches() -> None:
    x = image([1, 2, 9, 0, 9], [3, 4, 8, 7, 9], [0, -1, -5, -6, 9], [-2, -3, -8, -7, 9], [9, 9, 9, 9, 9])
    y, dy = image([4, 9], [0, -5]), image([1, 2], [3, 4])
    dx = image([0, 0, 2, 0, 0], [0, 1, 0, 0, 0], [3, 0, 4, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0])
    assert_pools(x, 2, "first", y, dy, dx)


@pytest.mark.parametrize(
    ("ties", "dx"),
    [
        ("first", image([6, 0], [0, 0])),
        ("all", image([6, 6], [6, 0])),
        ("split", image([6 / 3, 6 / 3], [6 / 3, 0])),
    ],
)
def test_three_maxima_in_one_window(ties: str, dx: jax.Array) -> None:
    assert_pools(image([5, 5], [5, 1]), 2, ties, image([5]), image([6]), dx)


@pytest.mark.parametrize(
    ("ties", "dx"),
    [
        ("first", line(0, 1 + 10, 100, 0)),
        ("all", line(0, 1 + 10, 10 + 100, 0)),
        ("split", line(0, 1 + 10 / 2, 10 / 2 + 100, 0)),
    ],
)
def test_a_pixel_collects_from_every_window_that_selects_it(ties: str, dx: jax.Array) -> None:
    # windows (1, 3), (3, 3), (3, 2)
    assert_pools(line(1, 3, 3, 2), 2, ties, line(3, 3, 3), line(1, 10, 100), dx, stride=1)


def test_an_equal_value_outside_the_window_gets_nothing() -> None:
    """[R 1.5]'s indicator with the condition that it leaves out: windows (7, 1), (2, 7), each keeps its own."""
    assert_pools(line(7, 1, 2, 7), 2, "all", line(7, 7), line(1, 10), line(1, 0, 0, 10))


@pytest.mark.parametrize(
    ("ties", "dx"),
    [("first", line(0, 8, 0, 0)), ("all", line(0, 8, 0, 8)), ("split", line(0, 4, 0, 4))],
)
def test_nan_is_the_maximum(ties: str, dx: jax.Array) -> None:
    found = value_and_gradients(partial(ops.max_pool, window=4, ties=ties), line(8), line(INF, NAN, 2, NAN))
    assert_equal_trees(found, (line(NAN), dx))


@pytest.mark.parametrize(
    ("ties", "dx"),
    [("first", line(1 + 10, 0)), ("all", line(1 + 10, 1 + 10)), ("split", line(11 / 2, 11 / 2))],
)
def test_padding_never_wins_over_minus_infinity(ties: str, dx: jax.Array) -> None:
    # windows (padding, -inf, -inf), (-inf, -inf, padding)
    options: dict[str, Any] = {"window": 3, "stride": 1, "padding": 1, "ties": ties}
    found = value_and_gradients(partial(ops.max_pool, **options), line(1, 10), line(-INF, -INF))
    assert_equal_trees(found, (line(-INF, -INF), dx))


def test_padding_never_wins_over_negative_numbers() -> None:
    assert_pools(line(-3, -2), 2, "first", line(-3, -2, -2), line(1, 10, 100), line(1, 110), stride=1, padding=1)


def test_dilated_windows() -> None:
    # windows (5, 1, 4), (2, 6, 3) of 5 2 1 6 4 3
    assert_pools(
        line(5, 2, 1, 6, 4, 3), 3, "first", line(5, 6), line(1, 2), line(1, 0, 0, 2, 0, 0), stride=1, dilation=2
    )


def test_three_axes() -> None:
    x = jnp.arange(8.0).reshape(1, 2, 2, 2, 1)
    assert_pools(
        x,
        2,
        "first",
        jnp.full((1, 1, 1, 1, 1), 7.0),
        jnp.full((1, 1, 1, 1, 1), 3.0),
        x.at[:].set(0).at[0, 1, 1, 1, 0].set(3),
    )


# name: spatial, options
GEOMETRIES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "1-D overlapping, dilated": ((9,), {"window": 3, "stride": 2, "dilation": 2, "padding": ((1, 2),)}),
    "2-D side by side, trailing": ((5, 5), {"window": 2}),
    "2-D SAME": ((5, 4), {"window": (3, 2), "stride": 2, "padding": "SAME"}),
    "3-D": ((4, 3, 4), {"window": (2, 1, 2), "stride": (1, 2, 2), "padding": ((0, 1), (0, 0), (1, 0))}),
}


@pytest.mark.parametrize(("spatial", "options"), GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_gradients_to_second_order(spatial: tuple[int, ...], options: dict[str, Any]) -> None:
    check(partial(ops.max_pool, **options), partial(reference.max_pool, **options), normals((2, *spatial, 2)))


@pytest.mark.parametrize("ties", ["all", "split"])
def test_shared_gradients_to_second_order_away_from_ties(ties: str) -> None:
    options: dict[str, Any] = {"window": (3, 2), "stride": 2, "padding": ((1, 0), (0, 1)), "ties": ties}
    check(partial(ops.max_pool, **options), partial(reference.max_pool, **options), normals((2, 5, 4, 2)))


@pytest.mark.parametrize("ties", TIES)
@drawn(max_examples=5)
@hypothesis.given(geometry=geometries())
def test_any_geometry_with_ties_everywhere(ties: str, geometry: Geometry) -> None:
    options: dict[str, Any] = {
        "window": geometry.window,
        "stride": geometry.stride,
        "padding": geometry.padding,
        "dilation": geometry.dilation,
        "ties": ties,
    }
    x = integers((2, *geometry.spatial, 2), greatest=1)
    assert jax.eval_shape(partial(ops.max_pool, **options), x).shape == (2, *geometry.out, 2)
    order = 2 if ties == "first" else 1
    ours, plain = partial(ops.max_pool, **options), partial(reference.max_pool, **options)
    assert_agree(ours, plain, x, order=order, exact=ties != "split")


def brute_max_pool(
    x: np.ndarray, dy: np.ndarray, window: Window, ties: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, the winner and dx, a window at a time in plain loops."""
    y, winner, dx = np.empty(dy.shape), np.empty(dy.shape, int), np.zeros(x.shape)
    for n, c in itertools.product(range(x.shape[0]), range(x.shape[-1])):
        for i in np.ndindex(*window.out):
            seen: dict[int, tuple[int, ...]] = {}
            for number, u in enumerate(np.ndindex(*window.size)):
                place = tuple(
                    a * s + t * d - lo
                    for a, s, t, d, (lo, _) in zip(i, window.stride, u, window.dilation, window.padding, strict=True)
                )
                if all(0 <= p < h for p, h in zip(place, window.shape, strict=True)):
                    seen[number] = (n, *place, c)
            values = {number: x[at] for number, at in seen.items()}
            nans = [number for number, value in values.items() if np.isnan(value)]
            greatest = max(value for value in values.values()) if not nans else NAN
            tied = nans or [number for number, value in values.items() if value == greatest]
            y[n, *i, c], winner[n, *i, c] = greatest, tied[0]
            for number in tied if ties != "first" else tied[:1]:
                dx[seen[number]] += dy[n, *i, c] / (len(tied) if ties == "split" else 1)
    return y, winner, dx


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 9, 3), {"size": 3, "stride": 2, "padding": ((1, 2),), "dilation": 2}),
        ((2, 6, 5, 2), {"size": (2, 3), "stride": (2, 1), "padding": ((0, 1), (1, 1))}),
        ((3, 6, 7, 2), {"size": 2, "stride": 2}),
        ((1, 3, 4, 3, 2), {"size": (2, 1, 2), "padding": (1, 0, 1)}),
    ],
    ids=["1-D", "2-D", "2-D side by side", "3-D"],
)
def test_nans_and_infinities_against_plain_loops(
    optimized: None, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    window = Window.of("test", shape, **options)
    random = np.random.default_rng(0)
    x = random.choice([NAN, -INF, -INF, -INF, -1.0, 0.0, 1.0, INF], shape, p=[0.1, 0.2, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])
    dy = random.integers(-3, 4, (shape[0], *window.out, shape[-1])).astype(float)
    arguments: dict[str, Any] = {
        "window": window.size,
        "stride": window.stride,
        "padding": window.padding,
        "dilation": window.dilation,
    }
    for ties in TIES:
        y, winner, dx = brute_max_pool(x, dy, window, ties)

        def pull(x: jax.Array, dy: jax.Array, ties: str = ties) -> tuple[jax.Array, jax.Array]:
            found, back = jax.vjp(partial(ops.max_pool, ties=ties, **arguments), x)
            return found, back(dy)[0]

        found, gradient = jax.jit(pull)(x, dy)
        np.testing.assert_array_equal(found, y)
        np.testing.assert_allclose(gradient, dx, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(jax.jit(partial(select, window))(jnp.asarray(x))[1], winner)


class TestOnATpu:
    """What is lowered for a TPU, run here: any platform computes it."""

    @pytest.mark.long
    @pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
    @drawn(max_examples=10)
    @hypothesis.given(geometry=geometries())
    def test_the_same_winners_and_gradients_as_elsewhere(self, geometry: Geometry, dtype: Any) -> None:
        shape = (2, *geometry.spatial, 2)
        window = Window.of("test", shape, geometry.window, geometry.stride, geometry.padding, geometry.dilation)
        random = np.random.default_rng(0)
        x = jnp.asarray(random.choice([NAN, -INF, -INF, -1.0, 0.0, 0.0, 1.0, INF], shape), dtype)
        y, winner = jax.jit(partial(select, window))(x)
        found = jax.jit(partial(_max_pool_on_tpu.first_maximum, window))(x)
        np.testing.assert_array_equal(found[0].astype(np.float32), y.astype(np.float32))
        np.testing.assert_array_equal(found[1], winner)
        dy = integers(y.shape, seed=1).astype(dtype)
        to_some = jnp.where(jnp.arange(y.size).reshape(y.shape) % 3 == 0, winner.dtype.type(window.tap_count), winner)
        for to in (winner, to_some):
            expected = jax.jit(partial(route, window))(dy, to)
            assert_equal_trees(jax.jit(partial(_max_pool_on_tpu.route, window))(dy, to), expected)

    @pytest.mark.parametrize("side", [15, 16, 255, 256])
    def test_an_image_of_more_pixels_than_a_byte_or_two_can_number(self, side: int) -> None:
        x = jnp.zeros((1, side, side, 1)).at[0, -1, -1, 0].set(1)
        window = Window.of("test", x.shape, 3, stride=side - 3)
        y, winner = jax.jit(partial(_max_pool_on_tpu.first_maximum, window))(x)
        assert y.ravel().tolist() == [0, 0, 0, 1] and winner.ravel().tolist() == [0, 0, 0, 8]

    def test_is_what_is_lowered_there(self) -> None:
        def pull(x: jax.Array) -> Any:
            return jax.vjp(lambda x: ops.max_pool(x, 3, stride=2), x)[1](jnp.ones((2, 4, 4, 2), x.dtype))

        x = jnp.ones((2, 9, 9, 2), np.float32)
        traced = jax.jit(pull).trace(x)
        texts = {at: traced.lower(lowering_platforms=(at,)).as_text() for at in ("tpu", "cpu", "cuda")}
        assert {at: text.count('"stablehlo.reduce_window"') for at, text in texts.items()} == {
            "tpu": 1,
            "cpu": 0,
            "cuda": 0,
        }


@pytest.mark.parametrize(
    ("size", "dtype"), [((15, 17), np.uint8), ((16, 16), np.uint16), ((2, 2), np.uint8)], ids=["255", "256", "4"]
)
def test_the_winner_is_a_byte_up_to_255_taps(size: tuple[int, ...], dtype: Any) -> None:
    shape = (1, *size, 1)
    _, winner = jax.eval_shape(partial(select, Window.of("test", shape, size, None)), jnp.zeros(shape))
    assert winner.dtype == dtype


def test_the_winner_is_computed_once_for_all_its_readers(optimized: None) -> None:
    """An operation that XLA:CPU thinks cheap would be in each fusion that reads it."""
    x, kernel = normals((4, 16, 16, 8), np.float32), normals((3, 3, 8, 8), np.float32, seed=1)

    def loss(kernel: jax.Array) -> jax.Array:
        y = ops.conv_relu_max_pool(x, kernel, None, 2)
        return jnp.vdot(y, jnp.cos(y))

    text = jax.jit(jax.grad(loss)).lower(kernel).compile().as_text()
    assert str(text).count(" remainder(") == 1


def test_tap_256_can_win() -> None:
    """Which one byte would call tap 0."""
    x = jnp.arange(257, dtype=jnp.float32).reshape(1, 257, 1)
    y, dx = jax.jit(jax.value_and_grad(lambda x: 7 * ops.max_pool(x, 257).sum()))(x)
    assert y == 7 * 256
    assert dx.ravel()[256] == 7 and jnp.count_nonzero(dx) == 1


@drawn(max_examples=5)
@hypothesis.given(geometry=geometries())
def test_route_and_gather_are_adjoint(geometry: Geometry) -> None:
    shape = (2, *geometry.spatial, 2)
    window = Window.of("test", shape, geometry.window, geometry.stride, geometry.padding, geometry.dilation)
    x, t = integers(shape, greatest=1), integers(shape, seed=1)

    def products(x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        y, winner = select(window, x)
        dy = jnp.arange(y.size, dtype=y.dtype).reshape(y.shape)
        routed = route(window, dy, winner)
        return jnp.vdot(gather(window, t, winner), dy), jnp.vdot(t, routed), gather(window, x, winner), y

    gathered, routed, selected, y = jax.jit(products)(x, t)
    assert gathered == routed
    assert_equal_trees(selected, y)


@pytest.mark.parametrize("ties", TIES)
def test_three_axes_under_vmap(ties: str) -> None:
    x = integers((3, 2, 3, 4, 3, 2))
    options: dict[str, Any] = {"window": (2, 1, 2), "stride": 1, "padding": ((1, 0), (0, 0), (0, 1)), "ties": ties}

    def gradient(x: jax.Array) -> jax.Array:
        return jax.grad(lambda x: jnp.sum(jnp.square(ops.max_pool(x, **options))))(x)

    together, apart = jax.jit(jax.vmap(gradient))(x), jax.jit(gradient)
    assert_equal_trees(together, jnp.stack([apart(one) for one in x]), roundings=4)


def test_stride_is_the_windows_size_unless_given() -> None:
    x = line(1, 2, 3, 4, 5, 6)
    assert ops.max_pool(x, 3).ravel().tolist() == [3, 6]
    assert ops.max_pool(x, 3, stride=1).ravel().tolist() == [3, 4, 5, 6]


def test_numpy_arrays_are_welcome() -> None:
    assert ops.max_pool(np.arange(4.0).reshape(1, 4, 1), 2).ravel().tolist() == [1, 3]


@pytest.mark.parametrize("ties", ["first", "all", "split"])
@pytest.mark.parametrize("window", [2, 70])
@pytest.mark.parametrize("shape", [(0, 99, 2), (2, 99, 0)])
def test_no_images_or_no_channels(ties: str, window: int, shape: tuple[int, ...]) -> None:
    y, pull = jax.vjp(lambda x: ops.max_pool(x, window, ties=ties), jnp.ones(shape))
    assert pull(y)[0].shape == shape
