"""Transposed convolution: by hand, against autodiff of the plain forward, and as other libraries have it."""

from __future__ import annotations

import re
from functools import partial
from itertools import product
from typing import Any

import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import (
    assert_agree,
    assert_equal_trees,
    check,
    drawn,
    integers,
    mostly_long,
    normals,
    value_and_gradients,
)
from hypothesis import strategies as st
from jax import lax
from test_reach import assert_reach

from jaxcnn import ops, reference
from jaxcnn.ops._conv._algorithms import ALGORITHMS


def images(*rows: Any) -> jax.Array:
    """One image of one channel."""
    return jnp.asarray(rows, jnp.float64)[None, ..., None]


def taps(*rows: Any) -> jax.Array:
    """A kernel of one channel in and out."""
    return jnp.asarray(rows, jnp.float64)[..., None, None]


# x, kernel, options, y, dy, dx, dk
GOLDEN: dict[str, tuple[Any, ...]] = {
    "1-D": (
        images(1, 2, 3),
        taps(1, 10),
        {},
        images(1, 10 + 2, 20 + 3, 30),
        images(1, 2, 3, 4),
        images(1 + 20, 2 + 30, 3 + 40),
        taps(1 * 1 + 2 * 2 + 3 * 3, 1 * 2 + 2 * 3 + 3 * 4),
    ),
    "stride": (
        images(1, 2),
        taps(1, 10, 100),
        {"stride": 2},
        images(1, 10, 100 + 2, 20, 200),
        images(1, 2, 3, 4, 5),
        images(1 + 20 + 300, 3 + 40 + 500),
        taps(1 * 1 + 2 * 3, 1 * 2 + 2 * 4, 1 * 3 + 2 * 5),
    ),
    "a place left out on each side, and one more at the end": (
        images(1, 2),
        taps(1, 10, 100),
        {"stride": 2, "padding": 1, "output_padding": 1},
        images(10, 100 + 2, 20, 200),
        images(1, 2, 3, 4),
        images(0 + 10 + 200, 2 + 30 + 400),
        taps(1 * 0 + 2 * 2, 1 * 1 + 2 * 3, 1 * 2 + 2 * 4),
    ),
    "more at the end than a stride": (
        images(1, 2),
        taps(1, 10),
        {"output_padding": 3},
        images(1, 10 + 2, 20, 0, 0, 0),
        images(1, 2, 3, 4, 5, 6),
        images(1 + 20, 2 + 30),
        taps(1 * 1 + 2 * 2, 1 * 2 + 2 * 3),
    ),
    "SAME: the last place left out": (
        images(1, 2),
        taps(1, 10, 100),
        {"stride": 2, "padding": "SAME"},
        images(1, 10, 100 + 2, 20),
        images(1, 2, 3, 4),
        images(1 + 20 + 300, 3 + 40),
        taps(1 * 1 + 2 * 3, 1 * 2 + 2 * 4, 1 * 3),
    ),
    "SAME_LOWER: the first": (
        images(1, 2),
        taps(1, 10, 100),
        {"stride": 2, "padding": "SAME_LOWER"},
        images(10, 100 + 2, 20, 200),
        images(1, 2, 3, 4),
        images(10 + 200, 2 + 30 + 400),
        taps(2 * 2, 1 * 1 + 2 * 3, 1 * 2 + 2 * 4),
    ),
    "VALID: a stride that is longer than the kernel": (
        images(1, 2),
        taps(1, 10),
        {"stride": 3, "padding": "VALID"},
        images(1, 10, 0, 2, 20, 0),
        images(1, 2, 3, 4, 5, 6),
        images(1 + 20, 4 + 50),
        taps(1 * 1 + 2 * 4, 1 * 2 + 2 * 5),
    ),
    "dilation": (
        images(1, 2, 3),
        taps(1, 10),
        {"dilation": 2},
        images(1, 2, 10 + 3, 20, 30),
        images(1, 2, 3, 4, 5),
        images(1 + 30, 2 + 40, 3 + 50),
        taps(1 * 1 + 2 * 2 + 3 * 3, 1 * 3 + 2 * 4 + 3 * 5),
    ),
    "padding below 0": (
        images(1, 2),
        taps(1),
        {"padding": ((-1, -2),)},
        images(0, 1, 2, 0, 0),
        images(1, 2, 3, 4, 5),
        images(2, 3),
        taps(1 * 2 + 2 * 3),
    ),
    "a place of x that reaches nothing": (
        images(1, 2, 3),
        taps(1),
        {"padding": ((1, 0),)},
        images(2, 3),
        images(1, 2),
        images(0, 1, 2),
        taps(2 * 1 + 3 * 2),
    ),
    "two groups of two channels": (
        jnp.array([[[1.0, 2, 3, 4], [5, 6, 7, 8]]]),
        jnp.array([[[1.0, 10, 100, 1000]]]),
        {"groups": 2},
        jnp.array([[[1.0 + 20, 300 + 4000], [5 + 60, 700 + 8000]]]),
        jnp.array([[[1.0, 2], [3, 4]]]),
        jnp.array([[[1.0, 10, 200, 2000], [3, 30, 400, 4000]]]),
        jnp.array([[[1.0 * 1 + 5 * 3, 2 * 1 + 6 * 3, 3 * 2 + 7 * 4, 4 * 2 + 8 * 4]]]),
    ),
    "2-D": (
        images([1, 2]),
        taps([1, 10], [100, 1000]),
        {},
        images([1, 10 + 2, 20], [100, 1000 + 200, 2000]),
        images([1, 2, 3], [4, 5, 6]),
        images([1 + 20 + 400 + 5000, 2 + 30 + 500 + 6000]),
        taps([1 * 1 + 2 * 2, 1 * 2 + 2 * 3], [1 * 4 + 2 * 5, 1 * 5 + 2 * 6]),
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
    for module in (ops, reference):
        found = value_and_gradients(partial(module.conv_transpose, **options), dy, x, kernel)
        assert_equal_trees(found, (y, dx, dk))


def test_bias_by_hand() -> None:
    x, kernel, bias = jnp.array([[[1.0], [2]], [[3], [4]]]), jnp.array([[[1.0], [-1]]]), jnp.array([10.0, 20])
    dy = jnp.array([[[1.0, 10], [2, 20], [5, 50]], [[3, 30], [4, 40], [6, 60]]])
    y, _, _, db = value_and_gradients(partial(ops.conv_transpose, output_padding=1), dy, x, kernel, bias)
    assert y.tolist() == [[[11, 19], [12, 18], [10, 20]], [[13, 17], [14, 16], [10, 20]]]
    assert db.tolist() == [1 + 2 + 3 + 4 + 5 + 6, 10 + 20 + 30 + 40 + 50 + 60]


# spatial, kernel, options
GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1-D, all options": (
        (4,),
        (2, 2, 4),
        {"stride": 2, "padding": ((2, 1),), "dilation": 3, "output_padding": 2, "groups": 2},
    ),
    "2-D, SAME": ((3, 2), (3, 2, 2, 3), {"stride": (2, 3), "padding": "SAME"}),
    "2-D, 4x4 by 2": ((3, 3), (4, 4, 1, 2), {"stride": 2, "padding": 1}),
    "3-D": ((2, 2, 3), (2, 1, 2, 2, 2), {"stride": (1, 2, 1), "padding": ((0, 1), (0, 0), (-1, 0))}),
}


@pytest.mark.parametrize(("spatial", "kernel_shape", "options"), GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_gradients_to_second_order(
    spatial: tuple[int, ...], kernel_shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    """Against autodiff of the plain forward, and against differences."""
    check(
        partial(ops.conv_transpose, **options),
        partial(reference.conv_transpose, **options),
        normals((2, *spatial, kernel_shape[-1])),
        normals(kernel_shape),
        normals((kernel_shape[-2] * options.get("groups", 1),)),
    )


@st.composite
def transposed(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any], tuple[int, ...]]:
    """The shapes of x and kernel, options, and the shape of y."""
    axes = draw(st.integers(1, 3))

    def per_axis(least: int, greatest: int) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(least, greatest)] * axes))

    spatial, size = per_axis(1, 4 if axes < 3 else 3), per_axis(1, 4 if axes < 3 else 2)
    stride, dilation, more = per_axis(1, 3), per_axis(1, 3 if axes < 3 else 2), per_axis(0, 4)
    pairs = tuple(zip(per_axis(-1, 3), per_axis(-1, 3), strict=True))
    padding: Any = draw(st.sampled_from(["SAME", "SAME_LOWER", "VALID", pairs, pairs, pairs]))
    groups, c_in, c_out = (draw(st.integers(1, 2)) for _ in range(3))
    reached = [(h - 1) * s + d * (k - 1) + 1 for h, s, d, k in zip(spatial, stride, dilation, size, strict=True)]
    if padding == pairs:
        out = [r - lo - hi + o for r, (lo, hi), o in zip(reached, pairs, more, strict=True)]
    elif padding == "VALID":
        out = [max(r, h * s) + o for r, h, s, o in zip(reached, spatial, stride, more, strict=True)]
    else:
        out = [h * s + o for h, s, o in zip(spatial, stride, more, strict=True)]
    hypothesis.assume(min(out) > 0)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": more, "groups": groups}
    return (2, *spatial, groups * c_in), (*size, c_out, groups * c_in), options, (2, *out, groups * c_out)


def of_x_put_apart(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    out: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Any,
    output_padding: tuple[int, ...],
    **options: Any,
) -> jax.Array:
    """The plain forward of stride 1, of x with zeros between its places: over second derivatives of the strided one,
    lax's own, the compiler of jax 0.10 may end the process."""
    spans = [d * (k - 1) + 1 for k, d in zip(kernel.shape[:-2], options["dilation"], strict=True)]
    edges = []
    for number, (h, r, s, more) in enumerate(zip(x.shape[1:-1], spans, stride, output_padding, strict=True)):
        odd, half = max(r - s, 0) % 2, max(r - s, 0) // 2
        lo = (
            {"SAME": half, "SAME_LOWER": half + odd, "VALID": 0}[padding]
            if isinstance(padding, str)
            else padding[number][0]
        )
        edges.append((lo, (h - 1) * s + r - lo + more - out[number]))
    apart = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((0, 0, s - 1) for s in stride), (0, 0, 0)])
    return reference.conv_transpose(apart, kernel, bias, padding=edges, output_padding=output_padding, **options)


@pytest.mark.long
@drawn(max_examples=15)
@hypothesis.given(transposed())
def test_any_geometry(drawn: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any], tuple[int, ...]]) -> None:
    x_shape, kernel_shape, options, y_shape = drawn
    x, kernel, bias = integers(x_shape), integers(kernel_shape, seed=1), integers(y_shape[-1:])
    ours = partial(ops.conv_transpose, **options)
    assert jax.eval_shape(ours, x, kernel).shape == y_shape
    assert_agree(ours, partial(reference.conv_transpose, **options), x, kernel, bias, order=1)
    assert_agree(ours, partial(of_x_put_apart, out=y_shape[1:-1], **options), x, kernel, bias)


def test_it_is_the_input_gradient_and_its_gradients_are_the_other_maps() -> None:
    options: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2), "groups": 2}
    x, kernel = integers((3, 3, 4, 6), seed=2), integers((3, 2, 2, 6), seed=1)
    y, pull = jax.vjp(partial(ops.conv_transpose, output_padding=(1, 0), **options), x, kernel)
    dy = integers(y.shape)
    assert_equal_trees(y, ops.input_gradient(x, kernel, y.shape, **options))
    assert_equal_trees(
        pull(dy), (ops.correlate(dy, kernel, **options), ops.kernel_gradient(dy, x, kernel.shape, **options))
    )
    back = ops.conv(y, kernel, **options)
    assert back.shape == x.shape and jnp.vdot(back, x) == jnp.vdot(y, y)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "onednn"])  # which test_onednn.py is for
def test_by_each_algorithm(name: str) -> None:
    """For those of the three maps that it has."""
    options: dict[str, Any] = {"stride": 2 if name in ("phases", "canonical") else 1, "padding": 1}
    options |= {"groups": 2} if name == "split" else {"dilation": 2} if name == "space_to_batch" else {}
    groups = options.get("groups", 1)
    args = integers((2, 5, 4, 2), seed=3), integers((3, 3, 2, 2), seed=1), integers((2 * groups,))
    ours = partial(ops.conv_transpose, algorithm=name, **options)
    exact = name not in ("fft", "winograd2", "winograd4")
    assert_agree(ours, partial(reference.conv_transpose, **options), *args, exact=exact)


def test_an_algorithm_that_cannot_is_refused() -> None:
    with pytest.raises(ValueError, match="^conv_transpose: algorithm 'winograd4' cannot compute .*input_gradient"):
        ops.conv_transpose(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), stride=2, algorithm="winograd4")


# Other libraries, as docs/conv_transpose.md says


def from_flax(kernel: jax.Array) -> jax.Array:
    return jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)


def paddings(axes: int) -> list[Any]:
    return ["SAME", "VALID", 1, tuple((n, 2 - n) for n in range(axes))]


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize(
    ("size", "strides", "dilation"),
    [
        ((3,), (1,), (1,)),
        ((2,), (3,), (1,)),
        ((4, 3), (2, 1), (1, 2)),
        ((2, 3), (3, 2), (1, 1)),
        ((2, 1, 3), (2,) * 3, (1,) * 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("number", mostly_long(range(4), (0, 3)), ids=["SAME", "VALID", "an int", "pairs"])
def test_flax(
    number: int, size: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...], transpose_kernel: bool
) -> None:
    axes = len(size)
    padding = paddings(axes)[number]
    x = integers((2, *(5, 4, 3)[:axes], 2))
    layer = nn.ConvTranspose(
        3,
        size,
        strides=strides,
        padding=padding,
        kernel_dilation=dilation,
        transpose_kernel=transpose_kernel,
        param_dtype=jnp.float64,
    )
    kernel, bias = integers((*size, 3, 2) if transpose_kernel else (*size, 2, 3), seed=1), integers((3,))

    def theirs(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        y: Any = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
        return y

    def ours(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        left_out = padding
        if not isinstance(padding, str):
            pairs = [(padding, padding)] * axes if isinstance(padding, int) else padding
            spans = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
            left_out = [(r - 1 - lo, r - 1 - hi) for r, (lo, hi) in zip(spans, pairs, strict=True)]
        kernel = kernel if transpose_kernel else from_flax(kernel)
        return ops.conv_transpose(x, kernel, bias, stride=strides, padding=left_out, dilation=dilation)

    assert_agree(ours, theirs, x, kernel, bias, order=1)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 0), (2, 1))], ids=str)
def test_laxs_consistent_padding(padding: Any) -> None:
    x, kernel = integers((2, 4, 3, 2)), integers((3, 4, 2, 3), seed=1)
    theirs = partial(lax.conv_transpose, strides=(2, 3), padding=padding, use_consistent_padding=True)
    ours = partial(ops.conv_transpose, stride=(2, 3), padding=padding)
    assert_equal_trees(ours(x, from_flax(kernel)), theirs(x, kernel))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("k", "s", "d"), [(3, 2, 1), (4, 2, 1), (2, 3, 1), (3, 1, 2), (5, 3, 1)])
def test_keras(padding: str, k: int, s: int, d: int) -> None:
    """Conv1DTranspose is TensorFlow's gradient of a convolution of that padding, y of Keras's size."""
    x, kernel = integers((2, 4, 2)), integers((k, 3, 2), seed=1)
    size = 4 * s if padding == "same" else 3 * s + max(d * (k - 1) + 1, s)

    def convolution(y: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            y, kernel, (s,), padding.upper(), rhs_dilation=(d,), dimension_numbers=("NWC", "WIO", "NWC")
        )

    (expected,) = jax.vjp(convolution, jnp.zeros((2, size, 3)))[1](x)
    assert_equal_trees(ops.conv_transpose(x, kernel, stride=s, padding=padding, dilation=d), expected)


def pytorchs(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> np.ndarray:
    """What the page of torch.nn.ConvTranspose2d says, channels first: each place of x adds the weights, times itself,
    to y; then y is as long as the page's formula, from its place `padding` on."""
    (images, c_in, *spatial), (_, c_out_per_group, *size) = x.shape, weight.shape
    axes = list(zip(spatial, size, stride, padding, output_padding, dilation, strict=True))
    y = np.zeros((images, c_out_per_group * groups, *[(i - 1) * s + d * (k - 1) + 1 + o for i, k, s, _, o, d in axes]))
    for n, c, *place in product(range(images), range(c_in), *map(range, spatial)):
        for out, *tap in product(range(c_out_per_group), *map(range, size)):
            at = [i * s + u * d for i, s, u, d in zip(place, stride, tap, dilation, strict=True)]
            y[n, c // (c_in // groups) * c_out_per_group + out, *at] += x[n, c, *place] * weight[c, out, *tap]
    length = [(i - 1) * s - 2 * p + d * (k - 1) + o + 1 for i, k, s, p, o, d in axes]
    kept = tuple(slice(p, p + n) for p, n in zip(padding, length, strict=True))
    return y[(slice(None), slice(None), *kept)] + bias.reshape(-1, *[1] * len(spatial))


@pytest.mark.parametrize(
    ("spatial", "size", "stride", "padding", "output_padding", "dilation", "groups"),
    [
        ((4,), (3,), (2,), (1,), (1,), (1,), 1),
        ((3,), (2,), (1,), (0,), (1,), (2,), 2),
        ((3, 4), (4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1),
        ((3, 2), (3, 2), (2, 3), (1, 0), (1, 2), (2, 1), 2),
        ((2, 3, 2), (2, 3, 1), (2, 1, 2), (0, 1, 0), (1, 0, 1), (1, 1, 1), 1),
    ],
    ids=str,
)
def test_pytorch(
    spatial: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    x, weight, bias = integers((2, 4, *spatial)), integers((4, 3, *size), seed=1), integers((3 * groups,))
    arrays = np.asarray(x), np.asarray(weight), np.asarray(bias)
    expected = pytorchs(*arrays, stride, padding, output_padding, dilation, groups)
    y = ops.conv_transpose(
        jnp.moveaxis(x, 1, -1),
        jnp.moveaxis(weight, (0, 1), (-1, -2)),
        bias,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
    )
    assert_equal_trees(jnp.moveaxis(y, -1, 1), jnp.asarray(expected))


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1, "output_padding": 1},
        {"padding": ((0, 2), (1, 0)), "dilation": 2},
        {"padding": "SAME"},
        {"padding": "SAME_LOWER"},
    ],
    ids=str,
)
def test_equinox(options: dict[str, Any]) -> None:
    eqx = pytest.importorskip("equinox")
    x = integers((2, 4, 3))
    layer = eqx.nn.ConvTranspose(2, 2, 3, (3, 4), 2, dtype=np.float64, key=jax.random.key(0), **options)
    weight, bias = integers((3, 2, 3, 4), seed=1), integers((3, 1, 1))
    layer = eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weight, bias))
    kernel = jnp.flip(jnp.moveaxis(weight, (0, 1), (-2, -1)), range(weight.ndim - 2))
    y = ops.conv_transpose(jnp.moveaxis(x, 0, -1)[None], kernel, bias.ravel(), stride=2, **options)
    assert_equal_trees(jnp.moveaxis(y[0], -1, 0), layer(x))


# What it takes


@pytest.mark.parametrize(("c_in", "c_out"), [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
def test_no_channels_give_the_bias(c_in: int, c_out: int, algorithm: str) -> None:
    x, kernel, bias = jnp.ones((2, 2, 3, c_in)), jnp.ones((3, 3, c_out, c_in)), jnp.arange(float(c_out))
    transpose = partial(ops.conv_transpose, stride=2, padding=1, algorithm=algorithm)
    y, pull = jax.vjp(transpose, x, kernel, bias)
    assert_equal_trees(y, jnp.broadcast_to(bias, (2, 3, 5, c_out)))
    assert_equal_trees(
        pull(jnp.ones_like(y)), (jnp.zeros_like(x), jnp.zeros_like(kernel), jnp.full((c_out,), 2 * 3 * 5.0))
    )


def test_no_images() -> None:
    y, pull = jax.vjp(partial(ops.conv_transpose, stride=2), jnp.ones((0, 4, 2)), jnp.ones((3, 5, 2)))
    assert y.shape == (0, 9, 5)
    assert_equal_trees(pull(y), (jnp.ones((0, 4, 2)), jnp.zeros((3, 5, 2))))


def test_padding_that_leaves_out_all_that_is_reached() -> None:
    """y has one place, far after x's last."""
    x, kernel, bias = jnp.ones((1, 2, 1)), jnp.ones((2, 1, 1)), jnp.array([7.0])
    y, pull = jax.vjp(partial(ops.conv_transpose, padding=((5, -3),)), x, kernel, bias)
    assert y.tolist() == [[[7.0]]]
    assert_equal_trees(pull(y), (jnp.zeros_like(x), jnp.zeros_like(kernel), bias))


def test_options_from_numpy_and_jax() -> None:
    x, kernel = integers((2, 3, 3, 4)), integers((3, 3, 2, 4), seed=1)
    plain: dict[str, Any] = {
        "stride": (1, 2),
        "padding": ((1, 0), (0, 2)),
        "output_padding": (0, 1),
        "dilation": 1,
        "groups": 2,
    }
    numpy = {name: np.asarray(value) for name, value in plain.items()} | {
        "dilation": np.int32(1),
        "groups": np.int64(2),
    }
    by_jax: dict[str, Any] = {name: jnp.asarray(value) for name, value in plain.items()}
    expected = ops.conv_transpose(x, kernel, **plain)
    assert_equal_trees(ops.conv_transpose(x, kernel, **by_jax), expected)
    for module in (ops, reference):
        assert_equal_trees(module.conv_transpose(x, kernel, **numpy), expected)
    assert_equal_trees(ops.conv_transpose(np.asarray(x), np.asarray(kernel), **plain), expected)


@pytest.mark.parametrize(
    "options",
    [{"stride": 2, "padding": 1}, {"stride": 3, "padding": "SAME"}, {"groups": 2, "stride": 2}, {"stride": 8}],
    ids=str,
)
def test_nan_reaches_the_windows_that_see_it_alone(options: dict[str, Any]) -> None:
    args = normals((2, 5, 5, 4), np.float32), normals((4, 4, 2, 4), np.float32, seed=1)
    plain = partial(reference.conv_transpose, **options)
    assert_reach(partial(ops.conv_transpose, **options), plain, args)


@pytest.mark.parametrize("algorithm", ["auto", "taps", ops.Plan(kernel_gradient="taps")])
def test_nan_whose_window_padding_cuts_reaches_no_tap_that_is_cut(algorithm: Any) -> None:
    """By hand; an algorithm by its name alone multiplies it by the zeros beyond y."""
    x, kernel = jnp.array([jnp.nan, 1.0, 1.0]).reshape(1, 3, 1), jnp.ones((2, 1, 1))
    y, pull = jax.vjp(partial(ops.conv_transpose, stride=2, padding=((1, 0),), algorithm=algorithm), x, kernel)
    dx, dk = pull(jnp.ones_like(y))
    assert jnp.isnan(y).ravel().tolist() == [True, False, False, False, False]
    assert dx.ravel().tolist() == [1, 2, 2] and jnp.isnan(dk).ravel().tolist() == [algorithm == "taps", True]
    assert dk[0] == 2 or algorithm == "taps"


@pytest.mark.parametrize("by", ["vmap", "scan", "export"])
def test_nan_whose_window_padding_cuts_under_transformations(by: str) -> None:
    x, kernel = normals((2, 1, 3, 3, 2), np.float32).at[1, 0, 0, 0, 0].set(jnp.nan), normals((3, 3, 2, 2), np.float32)

    def dk(m: Any, x: jax.Array) -> jax.Array:
        return jax.grad(lambda kernel: m.conv_transpose(x, kernel, stride=2, padding=1).sum())(kernel)

    expected = jnp.stack([dk(reference, x[0]), dk(reference, x[1])])
    if by == "vmap":
        found = jax.vmap(partial(dk, ops))(x)
    elif by == "scan":
        _, found = jax.lax.scan(lambda _, x: (None, dk(ops, x)), None, x)
    else:
        of_any_size = jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, h, w, 2"), np.float32)
        exported = jax.export.export(jax.jit(partial(dk, ops)))(of_any_size)
        found = jnp.stack([exported.call(x[0]), exported.call(x[1])])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert jnp.isnan(found[1]).any() and not jnp.isnan(found[1]).all() and jnp.isfinite(found[0]).all()


class TestDtypes:
    @pytest.mark.parametrize("has_bias", [False, True])
    @pytest.mark.parametrize("preferred", [None, np.float32, jnp.bfloat16, np.float64])
    @pytest.mark.parametrize("of_kernel", [np.float32, jnp.bfloat16, np.float16])
    @pytest.mark.parametrize("of_x", mostly_long([np.float32, jnp.bfloat16, np.float16], (jnp.bfloat16,)))
    def test_rounded_once(self, of_x: Any, of_kernel: Any, preferred: Any, has_bias: bool) -> None:
        """y and the gradients, of the kernel as rounded to the dtype of x, are off by half an ulp of their own."""
        x, kernel = normals((3, 4, 2), of_x), normals((3, 3, 2), of_kernel)
        bias = [normals((3,), np.float32)] * has_bias
        y, pull = jax.vjp(partial(ops.conv_transpose, stride=2, preferred_element_type=preferred), x, kernel, *bias)
        assert y.dtype == (preferred or of_x)
        dy = normals(y.shape, y.dtype, seed=3)
        wide = [array.astype(np.float64) for array in (x, kernel.astype(of_x), *bias)]
        expected, pull_expected = jax.vjp(partial(reference.conv_transpose, stride=2), *wide)
        found, gradients = (y, *pull(dy)), (expected, *pull_expected(dy.astype(np.float64)))
        for ours, right, dtype in zip(found, gradients, (y.dtype, of_x, of_kernel, np.float32), strict=False):
            assert ours.dtype == dtype
            narrow = np.finfo(np.float32) if np.dtype(dtype).itemsize > 4 else jnp.finfo(dtype)
            bound = 0.51 if np.dtype(dtype).itemsize < 4 else 16
            assert_equal_trees(ours.astype(np.float64), right, roundings=bound * float(narrow.eps) / 2.0**-52)

    def test_a_bias_of_zeros_changes_nothing(self) -> None:
        x, kernel = normals((3, 4, 2), jnp.bfloat16), normals((3, 3, 2), np.float32)
        y, pull = jax.vjp(ops.conv_transpose, x, kernel)
        with_bias, pull_with_bias = jax.vjp(lambda x, k: ops.conv_transpose(x, k, jnp.zeros(3, np.float32)), x, kernel)
        assert_equal_trees((with_bias, pull_with_bias(y)), (y, pull(y)))

    @pytest.mark.parametrize("has_bias", [False, True])
    def test_products_are_of_the_dtype_of_x(self, has_bias: bool) -> None:
        """Forward and backward, so that an accelerator has narrow factors to multiply."""
        x, kernel = normals((3, 4, 4, 8), jnp.bfloat16), normals((3, 3, 8, 8), np.float32)
        bias = [jnp.zeros(8, np.float32)] * has_bias

        def gradients(x: jax.Array, kernel: jax.Array) -> Any:
            y, pull = jax.vjp(lambda x, k: ops.conv_transpose(x, k, *bias, algorithm="direct"), x, kernel)
            return pull(y)

        convolutions = re.findall(
            r"stablehlo.convolution\(.*: \((.*)\) ->", jax.jit(gradients).lower(x, kernel).as_text()
        )
        assert len(convolutions) >= 3 and not any("f32" in operands for operands in convolutions)


def test_large_images_are_traced() -> None:
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in [(1, 23171, 23171, 1), (4, 4, 1, 1)])

    def gradients(x: jax.Array, kernel: jax.Array) -> Any:
        up = partial(ops.conv_transpose, stride=2, padding=1)
        return jax.grad(lambda x, k: up(x, k).astype(np.float32).sum(), (0, 1))(x, kernel)

    dx, dk = jax.eval_shape(gradients, x, kernel)
    assert (dx.shape, dk.shape) == (x.shape, kernel.shape)
    jax.jit(gradients).lower(x, kernel)


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (16, 8), (3, 16), (64, 32)])
def test_nothing_is_laid_out_that_is_larger_than_y(size: int, stride: int) -> None:
    """But by its last block's width: no zeros between the places of x, and no patches."""
    x, kernel = jax.ShapeDtypeStruct((2, 16, 16, 8), np.float32), jax.ShapeDtypeStruct((size, size, 8, 8), np.float32)
    forward = jax.jit(partial(ops.conv_transpose, stride=stride))
    y = jax.eval_shape(forward, x, kernel)
    found = [
        np.prod([int(n) for n in dims.split("x")[:-1]])
        for dims in re.findall(r"tensor<([\dx]+f32)>", forward.lower(x, kernel).as_text())
    ]
    assert max(found) <= 1.3 * max(y.size, kernel.size)
