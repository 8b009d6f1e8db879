"""What each op keeps for its backward pass, to the byte."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import residuals

from jaxcnn import ops

X, KERNEL = jnp.ones((2, 6, 6, 4), np.float32), jnp.ones((3, 3, 4, 5), np.float32)
Z, CLASSES = jnp.zeros((3, 10), np.float32), jnp.zeros(3, np.int32)
FLOAT, BYTE, BOOL = np.dtype(np.float32), np.dtype(np.uint8), np.dtype(bool)


@pytest.mark.parametrize(
    ("f", "args", "kept"),
    [
        (ops.conv, (X, KERNEL, jnp.ones(5, np.float32)), [(FLOAT, X.shape), (FLOAT, KERNEL.shape)]),
        (ops.relu, (X,), [(BOOL, X.shape)]),
        (partial(ops.max_pool, window=2), (X,), [(BYTE, (2, 3, 3, 4))]),
        (partial(ops.max_pool, window=2, ties="all"), (X,), [(BOOL, (2, 3, 3, 4))] * 4),
        (partial(ops.max_pool, window=2, ties="split"), (X,), [(BOOL, (2, 3, 3, 4))] * 4),
        (partial(ops.avg_pool, window=2), (X,), []),
        (partial(ops.avg_pool, window=2, padding=1, count_include_pad=False), (X,), []),
        (ops.global_avg_pool, (X,), []),
        (ops.dense, (Z, jnp.ones((10, 2), np.float32), jnp.ones(2, np.float32)), [(FLOAT, (3, 10)), (FLOAT, (10, 2))]),
        (ops.softmax, (Z,), [(FLOAT, Z.shape)]),
        (lambda z: ops.softmax_cross_entropy(z, CLASSES), (Z,), [(FLOAT, Z.shape), (CLASSES.dtype, CLASSES.shape)]),
        (ops.softmax_cross_entropy, (Z, jnp.ones((3, 10), np.float32)), [(FLOAT, Z.shape), (FLOAT, Z.shape)]),
        (lambda p: ops.cross_entropy(p, CLASSES), (Z,), [(FLOAT, Z.shape), (CLASSES.dtype, CLASSES.shape)]),
        (
            ops.layer_norm,
            (Z, jnp.ones(10, np.float32), jnp.ones(10, np.float32)),
            [(FLOAT, Z.shape), (FLOAT, (10,)), (FLOAT, (3, 1)), (FLOAT, (3, 1))],
        ),
        (partial(ops.unfold, window=2), (X,), []),
        (partial(ops.fold, shape=(2, 7, 7, 1), window=2), (X,), []),
        (ops.flatten, (X,), []),
    ],
    ids=lambda value: None,
)
def test_residuals(f: object, args: tuple[jax.Array, ...], kept: list[tuple[np.dtype, tuple[int, ...]]]) -> None:
    assert callable(f)
    found = residuals(jax.jit(f), *args)
    assert sorted(found, key=str) == sorted(kept, key=str)


def test_a_network_keeps_one_byte_for_each_rectified_and_each_pooled() -> None:
    def block(x: jax.Array) -> jax.Array:
        return ops.max_pool(ops.relu(x), 2)

    kept = residuals(block, X)
    assert sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in kept) == X.size + X.size // 4
