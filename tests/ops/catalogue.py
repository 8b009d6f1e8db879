"""Every op at one small point: as a function of its floating arguments, with its reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from agreement import integers, normals

from jaxcnn import ops, reference

CLASSES = jnp.array([2, 0, 1, 3, 3, 0, 2, 1])
KERNEL: dict[str, Any] = {"stride": (1, 2), "padding": ((1, 0), (0, 1)), "groups": 2}
POOL: dict[str, Any] = {"window": 2, "stride": 1, "padding": ((1, 0), (0, 0))}


@dataclass(frozen=True, eq=False)
class Op:
    """`call(module, *args, *held)` for a module that is `ops` or `reference`.

    The first `batched` args have the batch axis; so have `held`, which are not differentiated in, and are long enough
    for any batch; and so has the result where `result_is_batched`.
    """

    call: Callable[..., Any]
    args: tuple[jax.Array, ...]
    held: tuple[jax.Array, ...] = ()
    batched: int = 1
    result_is_batched: bool = True
    has_rule: bool = True

    def ours(self, *arrays: jax.Array) -> jax.Array:
        """Of args, or of args and held."""
        return self.call(ops, *arrays, *self._held_for(arrays))

    def plain(self, *arrays: jax.Array) -> jax.Array:
        """Of args, or of args and held."""
        return self.call(reference, *arrays, *self._held_for(arrays))

    def _held_for(self, arrays: tuple[jax.Array, ...]) -> list[jax.Array]:
        return [array[: arrays[0].shape[0]] for array in self.held[len(arrays) - len(self.args) :]]


X, K, DY = integers((3, 3, 4, 4)), integers((2, 2, 2, 2), seed=1), integers((3, 3, 2, 2), seed=2)
ROWS = normals((3, 4))

OPS: dict[str, Op] = {
    "conv": Op(lambda m, x, k, b: m.conv(x, k, b, **KERNEL), (X, K, integers((2,)))),
    "correlate": Op(lambda m, x, k: m.correlate(x, k, **KERNEL), (X, K)),
    "input_gradient": Op(lambda m, dy, k: m.input_gradient(dy, k, (dy.shape[0], 3, 4, 4), **KERNEL), (DY, K)),
    "kernel_gradient": Op(
        lambda m, x, dy: m.kernel_gradient(x, dy, K.shape, **KERNEL), (X, DY), batched=2, result_is_batched=False
    ),
    "conv_general_dilated": Op(
        lambda m, x, k: m.conv_general_dilated(x, k, (1, 2), ((1, 0), (0, 1)), rhs_dilation=(2, 1)),
        (integers((3, 2, 3, 4)), integers((2, 2, 2, 2), seed=1)),
    ),
    "conv_relu_max_pool": Op(
        lambda m, x, k, b: m.conv_relu_max_pool(x, k, b, 2, padding=1, pool_stride=1, groups=2), (X, K, integers((2,)))
    ),
    "max_pool first": Op(lambda m, x: m.max_pool(x, **POOL), (X,)),
    "max_pool side by side": Op(lambda m, x: m.max_pool(x, 2), (integers((3, 5, 4, 2)),)),
    "max_pool all": Op(lambda m, x: m.max_pool(x, ties="all", **POOL), (X,)),
    "max_pool split": Op(lambda m, x: m.max_pool(x, ties="split", **POOL), (X,)),
    "avg_pool": Op(lambda m, x: m.avg_pool(x, count_include_pad=False, **POOL), (X,)),
    "global_avg_pool": Op(lambda m, x: m.global_avg_pool(x), (X,)),
    "relu": Op(lambda m, x: m.relu(x), (X,)),
    "dense": Op(lambda m, x, k, b: m.dense(x, k, b), (ROWS, normals((4, 2)), normals((2,)))),
    "flatten": Op(lambda m, x: m.flatten(x), (X,), has_rule=False),
    "softmax": Op(lambda m, z: m.softmax(z), (ROWS,)),
    "cross_entropy": Op(lambda m, p, classes: m.cross_entropy(p, classes), (jax.nn.softmax(ROWS),), (CLASSES,)),
    "cross_entropy of distributions": Op(
        lambda m, p, y: m.cross_entropy(p, y), (jax.nn.softmax(ROWS), normals((3, 4), seed=1)), batched=2
    ),
    "softmax_cross_entropy": Op(lambda m, z, classes: m.softmax_cross_entropy(z, classes), (ROWS,), (CLASSES,)),
    "softmax_cross_entropy of distributions": Op(
        lambda m, z, y: m.softmax_cross_entropy(z, y), (ROWS, normals((3, 4), seed=1)), batched=2
    ),
    "layer_norm": Op(lambda m, x, s, b: m.layer_norm(x, s, b), (ROWS, normals((4,)), normals((4,), seed=1))),
    "one_hot_prediction": Op(lambda m, p: m.one_hot_prediction(p), (ROWS,), has_rule=False),
    "unfold": Op(lambda m, x: m.unfold(x, **POOL), (X,)),
    "fold": Op(lambda m, p: m.fold(p, (p.shape[0], 3, 4, 1), **POOL), (integers((3, 3, 3, 4)),)),
}
