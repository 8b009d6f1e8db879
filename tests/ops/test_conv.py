"""Convolution and its three maps; its algorithms are in `test_conv_algorithms`."""

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
from hypothesis import strategies as st

from jaxcnn import ops, reference


def images(*rows: Any) -> jax.Array:
    """One image of one channel."""
    return jnp.asarray(rows, jnp.float64)[None, ..., None]


def taps(*rows: Any) -> jax.Array:
    """A kernel of one channel in and out."""
    return jnp.asarray(rows, jnp.float64)[..., None, None]


GOLDEN: dict[str, tuple[Any, ...]] = {
    "1-D": (
        images(1, 2, 3, 4, 5),
        taps(1, 10),
        {},
        images(1 + 20, 2 + 30, 3 + 40, 4 + 50),
        images(1, 2, 3, 4),
        images(1 * 1, 1 * 2 + 10 * 1, 1 * 3 + 10 * 2, 1 * 4 + 10 * 3, 10 * 4),
        taps(1 * 1 + 2 * 2 + 3 * 3 + 4 * 4, 1 * 2 + 2 * 3 + 3 * 4 + 4 * 5),
    ),
    "stride, and a last row that no window reaches": (
        images(1, 2, 3, 4, 5, 6),
        taps(1, 10, 100),
        {"stride": 2},
        images(1 + 20 + 300, 3 + 40 + 500),
        images(1, 2),
        images(1 * 1, 10 * 1, 100 * 1 + 1 * 2, 10 * 2, 100 * 2, 0),
        taps(1 * 1 + 2 * 3, 1 * 2 + 2 * 4, 1 * 3 + 2 * 5),
    ),
    "padding on one side": (
        images(1, 2, 3),
        taps(1, 10),
        {"padding": ((1, 0),)},
        images(0 + 10, 1 + 20, 2 + 30),
        images(1, 2, 3),
        images(10 * 1 + 1 * 2, 10 * 2 + 1 * 3, 10 * 3),
        taps(1 * 0 + 2 * 1 + 3 * 2, 1 * 1 + 2 * 2 + 3 * 3),
    ),
    "SAME: two rows of padding, the odd one below": (
        images(1, 2, 3, 4),
        taps(1, 10, 100),
        {"padding": "SAME", "stride": 2},
        images(1 + 20 + 300, 3 + 40 + 0),
        images(1, 2),
        images(1 * 1, 10 * 1, 100 * 1 + 1 * 2, 10 * 2),
        taps(1 * 1 + 2 * 3, 1 * 2 + 2 * 4, 1 * 3 + 2 * 0),
    ),
    "dilation": (
        images(1, 2, 3, 4, 5, 6),
        taps(1, 10, 100),
        {"dilation": 2},
        images(1 + 30 + 500, 2 + 40 + 600),
        images(1, 2),
        images(1 * 1, 1 * 2, 10 * 1, 10 * 2, 100 * 1, 100 * 2),
        taps(1 * 1 + 2 * 2, 1 * 3 + 2 * 4, 1 * 5 + 2 * 6),
    ),
    "two groups of two channels": (
        jnp.array([[[1.0, 2, 3, 4], [5, 6, 7, 8]]]),
        jnp.array([[[1.0, 100], [10, 1000]]]),
        {"groups": 2},
        jnp.array([[[1.0 + 20, 300 + 4000], [5 + 60, 700 + 8000]]]),
        jnp.array([[[1.0, 2], [3, 4]]]),
        jnp.array([[[1.0 * 1, 10 * 1, 100 * 2, 1000 * 2], [1 * 3, 10 * 3, 100 * 4, 1000 * 4]]]),
        jnp.array([[[1.0 * 1 + 3 * 5, 2 * 3 + 4 * 7], [1 * 2 + 3 * 6, 2 * 4 + 4 * 8]]]),
    ),
    "2-D": (
        images([1, 2, 3], [4, 5, 6], [7, 8, 9]),
        taps([1, 10], [100, 1000]),
        {},
        images(
            [1 + 20 + 400 + 5000, 2 + 30 + 500 + 6000],
            [4 + 50 + 700 + 8000, 5 + 60 + 800 + 9000],
        ),
        images([1, 2], [3, 4]),
        images(
            [1 * 1, 1 * 2 + 10 * 1, 10 * 2],
            [100 * 1 + 1 * 3, 100 * 2 + 1000 * 1 + 1 * 4 + 10 * 3, 1000 * 2 + 10 * 4],
            [100 * 3, 100 * 4 + 1000 * 3, 1000 * 4],
        ),
        taps(
            [1 * 1 + 2 * 2 + 3 * 4 + 4 * 5, 1 * 2 + 2 * 3 + 3 * 5 + 4 * 6],
            [1 * 4 + 2 * 5 + 3 * 7 + 4 * 8, 1 * 5 + 2 * 6 + 3 * 8 + 4 * 9],
        ),
    ),
    "2-D, an option an axis: stride 2 down, dilation 2 and a column of padding across": (
        images([1, 2], [3, 4], [5, 6]),
        taps([1, 10]),
        {"stride": (2, 1), "dilation": (1, 2), "padding": (0, 1)},
        images([0 + 20, 1 + 0], [0 + 60, 5 + 0]),
        images([1, 2], [3, 4]),
        images([1 * 2, 10 * 1], [0, 0], [1 * 4, 10 * 3]),
        taps([1 * 0 + 2 * 1 + 3 * 0 + 4 * 5, 1 * 2 + 2 * 0 + 3 * 6 + 4 * 0]),
    ),
    "3-D": (
        images([[1, 2, 3]], [[4, 5, 6]]),
        taps([[1, 10]], [[100, 1000]]),
        {},
        images([[1 + 20 + 400 + 5000, 2 + 30 + 500 + 6000]]),
        images([[1, 2]]),
        images([[1 * 1, 1 * 2 + 10 * 1, 10 * 2]], [[100 * 1, 100 * 2 + 1000 * 1, 1000 * 2]]),
        taps([[1 * 1 + 2 * 2, 1 * 2 + 2 * 3]], [[1 * 4 + 2 * 5, 1 * 5 + 2 * 6]]),
    ),
}


@pytest.mark.parametrize(("x", "kernel", "options", "y", "dy", "dx", "dk"), GOLDEN.values(), ids=GOLDEN.keys())
def test_integers_by_hand(
    x: jax.Array,
    kernel: jax.Array,
    options: dict[str, Any],
    y: jax.Array,
    dy: jax.Array,
    dx: jax.Array,
    dk: jax.Array,
) -> None:
    assert_equal_trees(value_and_gradients(partial(ops.conv, **options), dy, x, kernel), (y, dx, dk))

    def maps(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> tuple[jax.Array, ...]:
        return (
            ops.correlate(x, kernel, **options),
            ops.input_gradient(dy, kernel, x.shape, **options),
            ops.kernel_gradient(x, dy, kernel.shape, **options),
        )

    assert_equal_trees(jax.jit(maps)(x, kernel, dy), (y, dx, dk))


def test_bias_by_hand() -> None:
    x, kernel, bias = jnp.array([[[1.0], [2]], [[3], [4]]]), jnp.array([[[1.0, -1]]]), jnp.array([10.0, 20])
    dy = jnp.array([[[1.0, 10], [2, 20]], [[3, 30], [4, 40]]])
    y, _, _, db = value_and_gradients(ops.conv, dy, x, kernel, bias)
    assert y.tolist() == [[[10 + 1, 20 - 1], [10 + 2, 20 - 2]], [[10 + 3, 20 - 3], [10 + 4, 20 - 4]]]
    assert db.tolist() == [1 + 2 + 3 + 4, 10 + 20 + 30 + 40]


# name: spatial, kernel, options
GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1-D, all options": ((9,), (2, 1, 4), {"stride": 2, "padding": ((2, 1),), "dilation": 3, "groups": 2}),
    "2-D, SAME": ((5, 4), (3, 2, 2, 2), {"stride": 2, "padding": "SAME"}),
    "2-D, two out of each of two groups": ((4, 5), (2, 2, 1, 4), {"dilation": 2, "groups": 2}),
    "3-D": ((3, 4, 3), (2, 1, 2, 2, 2), {"stride": (1, 2, 1), "padding": ((0, 1), (0, 0), (1, 0))}),
}


@pytest.mark.parametrize(("spatial", "kernel_shape", "options"), GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_gradients_to_second_order(
    spatial: tuple[int, ...], kernel_shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    check(
        partial(ops.conv, **options),
        partial(reference.conv, **options),
        normals((2, *spatial, kernel_shape[-2] * options.get("groups", 1))),
        normals(kernel_shape),
        normals(kernel_shape[-1:]),
    )


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """The shapes of x, kernel and y, and the options."""
    geometry: Geometry = draw(geometries())
    groups, c_in, c_out = (draw(st.integers(1, 2)) for _ in range(3))
    options = {
        "stride": geometry.stride,
        "padding": geometry.padding,
        "dilation": geometry.dilation,
        "groups": groups,
    }
    x = (2, *geometry.spatial, groups * c_in)
    return x, (*geometry.window, c_in, groups * c_out), (2, *geometry.out, groups * c_out), options


@pytest.mark.long
@drawn(max_examples=7)
@hypothesis.given(convolutions())
def test_any_geometry(drawn: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]) -> None:
    x_shape, kernel_shape, y_shape, options = drawn
    x, kernel, bias = integers(x_shape), integers(kernel_shape, seed=1), integers(kernel_shape[-1:])
    assert jax.eval_shape(partial(ops.conv, **options), x, kernel).shape == y_shape
    assert_agree(partial(ops.conv, **options), partial(reference.conv, **options), x, kernel, bias)


MAPS = {
    "correlate": lambda module, options: lambda x, kernel, dy: module.correlate(x, kernel, **options),
    "input_gradient": lambda module, options: (
        lambda x, kernel, dy: module.input_gradient(dy, kernel, x.shape, **options)
    ),
    "kernel_gradient": lambda module, options: (
        lambda x, kernel, dy: module.kernel_gradient(x, dy, kernel.shape, **options)
    ),
}


@pytest.mark.parametrize("which", MAPS)
def test_each_map_to_second_order(which: str) -> None:
    options = {"stride": 2, "padding": ((1, 0), (0, 2)), "dilation": (1, 2), "groups": 2}
    args = integers((2, 5, 6, 4)), integers((2, 3, 2, 2), seed=1), integers((2, 3, 2, 2), seed=2)
    assert_agree(MAPS[which](ops, options), MAPS[which](reference, options), *args)


def brute_kernel_gradient(x: jax.Array, dy: jax.Array, kernel_shape: tuple[int, ...], groups: int) -> jax.Array:
    """[R 5] read literally, in one spatial axis with stride 1."""
    (k, c_in, c_out), xs, dys = kernel_shape, np.asarray(x), np.asarray(dy)
    dk = np.zeros(kernel_shape, xs.dtype)
    for u in range(k):
        for inner in range(c_in):
            for c in range(c_out):
                seen = xs[:, u : u + dys.shape[1], c // (c_out // groups) * c_in + inner]
                dk[u, inner, c] = np.sum(seen * dys[:, :, c])
    return jnp.asarray(dk)


def assert_not_rounded_to_bfloat16(array: jax.Array) -> None:
    assert array.dtype == jnp.float32
    assert np.any(np.asarray(array) != np.asarray(array.astype(jnp.bfloat16).astype(jnp.float32)))


def test_float32_kernel_gets_a_float32_gradient_from_bfloat16_images() -> None:
    x, kernel, bias = normals((4, 6, 4), jnp.bfloat16), normals((3, 4, 2), np.float32), normals((2,), np.float32)
    y, pull = jax.vjp(ops.conv, x, kernel, bias)
    dy = normals(y.shape, y.dtype, seed=1)
    dx, dk, db = pull(dy)
    assert (y.dtype, dx.dtype, db.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)
    assert_not_rounded_to_bfloat16(dk)
    assert_not_rounded_to_bfloat16(db)
    exact = brute_kernel_gradient(x.astype(float), dy.astype(float), (3, 4, 2), 1)
    assert_equal_trees(dk, exact.astype(np.float32), roundings=8)


def test_the_kernel_is_rounded_to_the_dtype_of_the_images() -> None:
    finer_than_bfloat16 = jnp.full((1, 1, 1), 1 + 2.0**-10, np.float32)
    assert ops.conv(jnp.ones((1, 1, 1), jnp.bfloat16), finer_than_bfloat16, preferred_element_type=np.float32) == 1


@pytest.mark.parametrize("module", [ops, reference], ids=["ops", "reference"])
def test_preferred_element_type_is_the_results_dtype_and_no_gradients(module: Any) -> None:
    x, kernel = normals((2, 5, 3), jnp.bfloat16), normals((2, 3, 2), jnp.bfloat16)
    y, pull = jax.vjp(partial(module.conv, preferred_element_type=np.float32), x, kernel)
    assert_not_rounded_to_bfloat16(y)
    assert [gradient.dtype for gradient in pull(y)] == [jnp.bfloat16, jnp.bfloat16]


def test_preferred_element_type_of_the_gradient_maps() -> None:
    x, dy, kernel = (normals(shape, jnp.bfloat16) for shape in [(2, 5, 3), (2, 4, 2), (2, 3, 2)])
    assert_not_rounded_to_bfloat16(ops.input_gradient(dy, kernel, x.shape, preferred_element_type=np.float32))
    assert_not_rounded_to_bfloat16(ops.kernel_gradient(x, dy, kernel.shape, preferred_element_type=np.float32))
    assert ops.input_gradient(dy, kernel, x.shape).dtype == jnp.bfloat16
    assert ops.kernel_gradient(x, dy, kernel.shape).dtype == jnp.bfloat16


def test_the_three_maps_are_one_trilinear_form() -> None:
    """<conv(x, k), g> = <x, input_gradient(g, k)> = <k, kernel_gradient(x, g)>, exactly in integers."""
    options: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2), "groups": 2}
    x, kernel = integers((3, 6, 5, 4)), integers((3, 2, 2, 6), seed=1)
    y = ops.correlate(x, kernel, **options)
    g = integers(y.shape, seed=2)
    assert jnp.vdot(y, g) == jnp.vdot(x, ops.input_gradient(g, kernel, x.shape, **options))
    assert jnp.vdot(y, g) == jnp.vdot(kernel, ops.kernel_gradient(x, g, kernel.shape, **options))


def test_gradients_of_each_image_by_vmap() -> None:
    x, kernel = integers((5, 6, 2)), integers((3, 2, 3), seed=1)
    g = integers((5, 4, 3), seed=2)

    def loss(kernel: jax.Array, image: jax.Array, g: jax.Array) -> jax.Array:
        return jnp.vdot(ops.conv(image[None], kernel), g)

    found = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(kernel, x, g)
    one_by_one = [brute_kernel_gradient(x[n : n + 1], g[n : n + 1], kernel.shape, 1) for n in range(5)]
    assert_equal_trees(found, jnp.stack(one_by_one))


def test_options_as_an_int_a_tuple_or_pairs_are_one_convolution() -> None:
    x, kernel = integers((1, 5, 5, 1)), integers((2, 2, 1, 1))
    expected = ops.conv(x, kernel, stride=2, padding=1, dilation=2)
    paddings: list[Any] = [(1, 1), [1, 1], ((1, 1), (1, 1)), [[1, 1], 1]]
    for padding in paddings:
        assert_equal_trees(ops.conv(x, kernel, stride=(2, 2), padding=padding, dilation=[2, 2]), expected)
    assert_equal_trees(ops.conv(x, kernel, padding="same"), ops.conv(x, kernel, padding=((0, 1), (0, 1))))
    assert_equal_trees(ops.conv(x, kernel, padding="valid"), ops.conv(x, kernel))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [4, 5, 6, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_named_padding_is_laxs(padding: str, size: int, stride: int) -> None:
    x, kernel = jnp.zeros((1, size, 1)), jnp.zeros((3, 1, 1))
    lax_shape = jax.eval_shape(partial(reference.conv, stride=stride, padding=padding), x, kernel).shape
    assert jax.eval_shape(partial(ops.conv, stride=stride, padding=padding), x, kernel).shape == lax_shape


def test_numpy_arrays_are_welcome() -> None:
    x, kernel, bias = np.arange(4.0).reshape(1, 4, 1), np.ones((2, 1, 1)), np.ones(1)
    assert ops.conv(x, kernel, bias).ravel().tolist() == [1 + 0 + 1, 1 + 1 + 2, 1 + 2 + 3]
    assert ops.kernel_gradient(x, np.ones((1, 3, 1)), kernel.shape).ravel().tolist() == [0 + 1 + 2, 1 + 2 + 3]
    assert ops.input_gradient(np.ones((1, 3, 1)), kernel, x.shape).ravel().tolist() == [1, 2, 2, 1]
