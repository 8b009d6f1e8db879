"""Symbolic sizes (`jax.export.symbolic_shape`) of the ops that are neither convolutions nor pools: traced and run.

Those of convolution are in test_conv_accepts.py, of the pools and the pointwise ops in test_pools_accept.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_equal_trees, integers
from jax import export

from jaxcnn import ops, reference

Function = Callable[..., Any]
SIZES = {"n": 3, "h": 5, "w": 6, "f": 8, "k": 4, "c": 2}

# each with the shapes of what it is differentiated in
FORMS: dict[str, tuple[Function, tuple[str, ...]]] = {
    "dense": (lambda m, x, k, b: m.dense(x, k, b), ("n, f", "f, k", "k")),
    "dense of places": (lambda m, x, k: m.dense(x, k), ("n, h, w, f", "f, k")),
    "softmax": (lambda m, z: m.softmax(z), ("n, k",)),
    "cross_entropy": (lambda m, z, y: m.cross_entropy(jax.nn.softmax(z), y), ("n, k", "n, k")),
    "softmax_cross_entropy": (lambda m, z: m.softmax_cross_entropy(z, zero_labels(z)), ("n, k",)),
    "softmax_cross_entropy of places": (lambda m, z: m.softmax_cross_entropy(z, zero_labels(z)), ("n, h, w, k",)),
    "softmax_cross_entropy, soft and smooth": (
        lambda m, z, y: m.softmax_cross_entropy(z, y, label_smoothing=0.25),
        ("n, k", "n, k"),
    ),
    "softmax_cross_entropy of some": (
        lambda m, z: m.softmax_cross_entropy(z, zero_labels(z), where=zero_labels(z) == 0),
        ("n, k",),
    ),
    "layer_norm": (lambda m, x, s, b: m.layer_norm(x, s, b), ("n, f", "f", "f")),
    "layer_norm of places": (lambda m, x, s, b: m.layer_norm(x, s, b), ("n, h, w, f", "f", "f")),
    "one_hot_prediction": (lambda m, p: m.one_hot_prediction(p), ("n, k",)),
    "fold": (lambda m, p: m.fold(p, (p.shape[0], p.shape[1] + 1, 2), 2), ("n, h, 4",)),
    "kernel_gradient": (
        lambda m, x, dy: m.kernel_gradient(x, dy, (3, 3, 2, 4), padding="SAME"),
        ("n, h, w, 2", "n, h, w, 4"),
    ),
    "input_gradient": (
        lambda m, dy: m.input_gradient(dy, integers((3, 3, 2, 2), np.float32), dy.shape, padding="SAME"),
        ("n, h, w, 2",),
    ),
    "conv, windows before x": (
        lambda m, x: m.conv(x, integers((3, 3, 2, 4), np.float32), stride=2, padding=((5, 0), (0, 0))),
        ("n, h, w, 2",),
    ),
    "conv, windows before x, cropped after it": (
        lambda m, x: m.conv(x, integers((3, 3, 2, 4), np.float32), padding=((3, -1), (0, 2))),
        ("n, h, w, 2",),
    ),
    "conv, cropped before x, windows after it": (
        lambda m, x: m.conv(x, integers((3, 3, 2, 4), np.float32), padding=((-1, 5), (0, 3))),
        ("n, h, w, 2",),
    ),
    "conv_relu_max_pool": (
        lambda m, x: m.conv_relu_max_pool(x, integers((3, 3, 2, 4), np.float32), None, 2, padding="SAME"),
        ("n, 2*h, 2*w, 2",),
    ),
    "conv_transpose": (
        lambda m, x, k, b: m.conv_transpose(x, k, b, stride=2, padding="SAME"),
        ("n, h, w, 2", "3, 3, 4, 2", "4"),
    ),
    "conv_transpose, cropped, with more at the end": (
        lambda m, x: m.conv_transpose(
            x, integers((4, 3, 4, 2), np.float32), stride=(2, 1), padding=1, output_padding=(3, 0)
        ),
        ("n, h, w, 2",),
    ),
    "conv_transpose in groups, places of x that reach nothing": (
        lambda m, x: m.conv_transpose(x, integers((2, 2, 3, 2), np.float32), padding=((2, 0), (0, -1)), groups=2),
        ("n, h + 2, w, 2",),
    ),
    "conv_general_dilated": (
        lambda m, x: m.conv_general_dilated(x, integers((4, 2, 3, 3), np.float32), (1, 1), "SAME"),
        ("n, 2, h, w",),
    ),
}


# of windows, where nothing is known of the sizes: there may be none at all
K = integers((3, 3, 2, 4), np.float32)
WINDOWS: dict[str, Function] = {
    "max_pool": lambda m, x: m.max_pool(x, 3),
    "max_pool, far apart": lambda m, x: m.max_pool(x, 2, 3),
    "max_pool of 81 taps": lambda m, x: m.max_pool(x, 9, 2),
    "max_pool, dilated": lambda m, x: m.max_pool(x, 3, 2, dilation=2, padding=1, ties="split"),
    "avg_pool": lambda m, x: m.avg_pool(x, 3),
    "avg_pool, SAME": lambda m, x: m.avg_pool(x, 3, 2, padding="SAME", count_include_pad=False),
    "avg_pool of 70 taps": lambda m, x: m.avg_pool(x, (1, 70), 3, padding=(0, 40)),
    "unfold": lambda m, x: m.unfold(x, 3, stride=2),
    "unfold of 81 taps": lambda m, x: m.unfold(x, 9, stride=2, padding=4),
    "conv": lambda m, x: m.conv(x, K),
    "conv, strided": lambda m, x: m.conv(x, K, stride=2),
    "conv, strided and dilated": lambda m, x: m.conv(x, K, stride=(3, 5), padding=1, dilation=2),
    "conv, SAME_LOWER": lambda m, x: m.conv(x, K, stride=2, padding="SAME_LOWER"),
    "conv, edge": lambda m, x: m.conv(x, K, padding=1, padding_mode="edge"),
    "conv, reflect": lambda m, x: m.conv(x, K, padding=4, padding_mode="reflect", stride=2),
    "conv, circular": lambda m, x: m.conv(x, K, padding=((2, -1), (3, 0)), padding_mode="circular"),
    "conv_relu_max_pool": lambda m, x: m.conv_relu_max_pool(x, K, None, 2, stride=2),
}


@pytest.mark.long
@pytest.mark.parametrize("call", WINDOWS.values(), ids=WINDOWS.keys())
def test_windows_over_sizes_of_which_nothing_is_known(call: Function) -> None:
    symbolic = jax.ShapeDtypeStruct(export.symbolic_shape("n, h, w, 2"), np.float32)
    stored = export.deserialize(export.export(jax.jit(partial(pulled, call, ops)))(symbolic).serialize())
    for size in ((2, 12, 45, 2), (1, 9, 11, 2)):
        x = integers(size, np.float32)
        assert_equal_trees(stored.call(x), jax.jit(partial(pulled, call, reference))(x), roundings=16)


def test_ceil_of_an_unknown_size_is_refused() -> None:
    symbolic = jax.ShapeDtypeStruct(export.symbolic_shape("n, h, w, 2"), np.float32)
    with pytest.raises(ValueError, match="^max_pool: ceil needs spatial sizes that are known"):
        export.export(jax.jit(lambda x: ops.max_pool(x, 3, 2, ceil=True)))(symbolic)


def test_padding_that_may_leave_nothing_of_an_unknown_size_is_refused() -> None:
    symbolic = jax.ShapeDtypeStruct(export.symbolic_shape("n, h, 2"), np.float32)
    with pytest.raises(
        ValueError, match=r"^conv_transpose: .* gives y of spatial size \(h - 2,\), which may be below 0"
    ):
        export.export(jax.jit(lambda x: ops.conv_transpose(x, jnp.ones((3, 4, 2), np.float32), padding=2)))(symbolic)


def zero_labels(z: jax.Array) -> jax.Array:
    return jnp.zeros(z.shape[:-1], jnp.int32)


def pulled(call: Function, module: Any, *args: jax.Array) -> Any:
    y, pull = jax.vjp(partial(call, module), *args)
    return y, pull(2 * y)


def known(shape: str) -> tuple[int, ...]:
    return tuple(eval(size, {}, SIZES) for size in shape.split(","))


@pytest.mark.parametrize(("call", "shapes"), FORMS.values(), ids=FORMS.keys())
def test_values_and_gradients(call: Function, shapes: tuple[str, ...]) -> None:
    scope = export.SymbolicScope()
    symbolic = [jax.ShapeDtypeStruct(export.symbolic_shape(shape, scope=scope), np.float32) for shape in shapes]
    stored = export.export(jax.jit(partial(pulled, call, ops)))(*symbolic).serialize()
    args = [integers(known(shape), np.float32, seed=seed) for seed, shape in enumerate(shapes)]
    found, expected = export.deserialize(stored).call(*args), jax.jit(partial(pulled, call, reference))(*args)
    assert_equal_trees(found, expected, roundings=16)
