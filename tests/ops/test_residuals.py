"""What each op keeps for its backward pass: which of its arguments, and what of its own, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.check import residuals

X, KERNEL, DY = (jnp.ones(shape, np.float32) for shape in [(2, 6, 6, 4), (3, 3, 4, 5), (2, 4, 4, 5)])
Z, FEATURES, BIAS = (jnp.zeros(shape, np.float32) for shape in [(3, 10), (10,), (5,)])
WEIGHTS, CLASSES = jnp.ones((10, 5), np.float32), jnp.zeros(3, np.int32)

Own = tuple[str, tuple[int, ...]]
TWO: dict[str, Any] = {"window": 2}
TIED: list[Own] = [("bool", (2, 3, 3, 4))] * 4
PROBABILITIES: Own = ("float32", Z.shape)
MOMENT: Own = ("float32", (3, 1))

# of each op: its arguments, those that it keeps by number, once each, and dtype and shape of each array of its own
KEEPS: dict[str, tuple[Callable[..., Any], tuple[jax.Array, ...], list[int], list[Own]]] = {
    "conv": (ops.conv, (X, KERNEL, BIAS), [0, 1], []),
    "conv_general_dilated": (
        partial(
            ops.conv_general_dilated,
            window_strides=(1, 1),
            padding="VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
        (X, KERNEL),
        [0, 1],
        [],
    ),
    "conv_relu_max_pool": (
        partial(ops.conv_relu_max_pool, window=2),
        (X, KERNEL, BIAS),
        [0, 1],
        [("uint8", (2, 2, 2, 5))],
    ),
    "conv_transpose": (partial(ops.conv_transpose, stride=2, padding=1), (DY, KERNEL, BIAS[:4]), [0, 1], []),
    "correlate": (ops.correlate, (X, KERNEL), [0, 1], []),
    "input_gradient": (partial(ops.input_gradient, x_shape=X.shape), (DY, KERNEL), [0, 1], []),
    "kernel_gradient": (partial(ops.kernel_gradient, kernel_shape=KERNEL.shape), (X, DY), [0, 1], []),
    "relu": (ops.relu, (X,), [], [("bool", X.shape)]),
    "max_pool first": (partial(ops.max_pool, **TWO), (X,), [], [("uint8", (2, 3, 3, 4))]),
    "max_pool all": (partial(ops.max_pool, ties="all", **TWO), (X,), [], TIED),
    "max_pool split": (partial(ops.max_pool, ties="split", **TWO), (X,), [], TIED),
    "avg_pool": (partial(ops.avg_pool, **TWO), (X,), [], []),
    "avg_pool in padding": (partial(ops.avg_pool, padding=1, count_include_pad=False, **TWO), (X,), [], []),
    "global_avg_pool": (ops.global_avg_pool, (X,), [], []),
    "dense": (ops.dense, (Z, WEIGHTS, BIAS), [0, 1], []),
    "flatten": (ops.flatten, (X,), [], []),
    "softmax": (ops.softmax, (Z,), [], [PROBABILITIES]),
    "softmax in bfloat16": (ops.softmax, (Z.astype(jnp.bfloat16),), [], [PROBABILITIES]),
    "cross_entropy": (ops.cross_entropy, (Z, CLASSES), [0, 1], []),
    "cross_entropy of distributions": (ops.cross_entropy, (Z, Z), [0, 1], []),
    "softmax_cross_entropy": (ops.softmax_cross_entropy, (Z, CLASSES), [1], [PROBABILITIES]),
    "softmax_cross_entropy of distributions": (ops.softmax_cross_entropy, (Z, Z), [1], [PROBABILITIES]),
    "layer_norm": (ops.layer_norm, (Z, FEATURES, FEATURES), [0, 1], [MOMENT] * 5),
    "one_hot_prediction": (ops.one_hot_prediction, (Z,), [], []),
    "unfold": (partial(ops.unfold, **TWO), (X,), [], []),
    "fold": (partial(ops.fold, shape=(2, 7, 7, 1), **TWO), (X,), [], []),
}


@pytest.mark.parametrize("name", KEEPS)
def test_residuals(name: str) -> None:
    f, args, arguments, own = KEEPS[name]
    for program in (f, jax.jit(f)):
        found = residuals(program, *args)
        assert sorted(array.name for array in found if array.is_argument) == [f"args[{n}]" for n in arguments]
        assert [(array.dtype.name, array.shape) for array in found if not array.is_argument] == own


def test_a_network_keeps_one_byte_for_each_rectified_and_each_pooled() -> None:
    def block(x: jax.Array) -> jax.Array:
        return ops.max_pool(ops.relu(x), 2)

    assert sum(array.bytes for array in residuals(block, X)) == X.size + X.size // 4
