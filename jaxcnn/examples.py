"""Every op and network at one small point, to hold its hand-derived gradients to autodiff.

An `Example` is a function of arrays, computed with `jaxcnn.ops` or with `jaxcnn.reference`, and a way to draw its
arguments: away from ties and kinks, or at them.

    OPS     one or more examples of every op: padding, strides and groups that divide nothing evenly, each tie rule
    NETS    the loss of each network on a few images, in its parameters and in the images
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxcnn import nets, ops, reference
from jaxcnn.check import distinct, integers

PyTree = Any
Shapes = Any  # a pytree of `jax.ShapeDtypeStruct`s


@dataclass(frozen=True, eq=False)
class Example:
    """A function of arrays and where to evaluate it.

    Attributes:
        call: `call(module, *args)` with module `jaxcnn.ops` or `jaxcnn.reference`.
        like: a pytree of `jax.ShapeDtypeStruct`s for each argument.
        into_domain: takes any finite number, as drawn, into the function's domain.
        is_exact: whether whole numbers give whole numbers, or halves of them: no rounding anywhere.
        has_kinks: whether whole numbers lie at its ties or kinks, where differences mean nothing.
    """

    call: Callable[..., Any]
    like: tuple[Shapes, ...]
    into_domain: Callable[[jax.Array], jax.Array] = field(default=lambda x: x)
    is_exact: bool = False
    has_kinks: bool = False

    def by_hand(self, *args: PyTree) -> Any:
        """The function with hand-derived gradients."""
        return self.call(ops, *args)

    def by_autodiff(self, *args: PyTree) -> Any:
        """The function as a plain forward."""
        return self.call(reference, *args)

    def distinct(self, key: jax.Array, dtype: DTypeLike = float) -> tuple[PyTree, ...]:
        """Arguments without ties or zeros among the elements of an array, before they are rounded to the dtype."""
        return self._drawn(key, lambda key, shape: self.into_domain(distinct(key, shape)).astype(dtype))

    def integers(self, key: jax.Array, dtype: DTypeLike = float) -> tuple[PyTree, ...]:
        """Whole numbers as arguments: ties and zeros everywhere."""
        return self._drawn(key, lambda key, shape: integers(key, shape, dtype))

    def _drawn(self, key: jax.Array, draw: Callable[[jax.Array, tuple[int, ...]], jax.Array]) -> tuple[PyTree, ...]:
        leaves, structure = jax.tree.flatten(self.like)
        keys = jax.random.split(key, len(leaves))
        return jax.tree.unflatten(structure, [draw(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)])


def _shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


_CLASSES = (2, 0, 1)
_WINDOW: dict[str, Any] = {"stride": (1, 2), "padding": ((1, 0), (0, 1))}
_POOL: dict[str, Any] = {"window": 2, "stride": 1, "padding": ((1, 0), (0, 0))}
_BLOCK: dict[str, Any] = {"window": 2, "pool_stride": 1, "pool_padding": ((1, 0), (0, 0)), "groups": 2, **_WINDOW}
_X, _KERNEL, _DY = _shape(3, 3, 4, 4), _shape(2, 2, 2, 2), _shape(3, 3, 2, 2)
_ROWS = _shape(3, 4)


def _exact(call: Callable[..., Any], *like: Shapes, has_kinks: bool = False) -> Example:
    return Example(call, like, is_exact=True, has_kinks=has_kinks)


OPS: dict[str, Example] = {
    "conv": _exact(lambda m, x, k, b: m.conv(x, k, b, groups=2, **_WINDOW), _X, _KERNEL, _shape(2)),
    "conv dilated": _exact(
        lambda m, x, k: m.conv(x, k, dilation=(2, 1), padding="SAME"), _shape(2, 5, 4, 2), _shape(2, 3, 2, 3)
    ),
    "conv in three axes": _exact(lambda m, x, k: m.conv(x, k, stride=2), _shape(2, 4, 3, 5, 2), _shape(2, 1, 2, 2, 2)),
    "correlate": _exact(lambda m, x, k: m.correlate(x, k, groups=2, **_WINDOW), _X, _KERNEL),
    "input_gradient": _exact(
        lambda m, dy, k: m.input_gradient(dy, k, (dy.shape[0], *_X.shape[1:]), groups=2, **_WINDOW), _DY, _KERNEL
    ),
    "kernel_gradient": _exact(lambda m, x, dy: m.kernel_gradient(x, dy, _KERNEL.shape, groups=2, **_WINDOW), _X, _DY),
    "conv_general_dilated": _exact(
        lambda m, x, k: m.conv_general_dilated(x, k, (1, 2), ((1, 0), (0, 1))), _shape(3, 2, 3, 4), _shape(3, 2, 2, 2)
    ),
    "conv_relu_max_pool": _exact(
        lambda m, x, k, b: m.conv_relu_max_pool(x, k, b, **_BLOCK), _X, _KERNEL, _shape(2), has_kinks=True
    ),
    "max_pool first": _exact(lambda m, x: m.max_pool(x, **_POOL), _X, has_kinks=True),
    "max_pool side by side": _exact(lambda m, x: m.max_pool(x, (1, 3)), _X, has_kinks=True),
    "max_pool all": _exact(lambda m, x: m.max_pool(x, ties="all", **_POOL), _X, has_kinks=True),
    "max_pool split": Example(lambda m, x: m.max_pool(x, ties="split", **_POOL), (_X,), has_kinks=True),
    "avg_pool": _exact(lambda m, x: m.avg_pool(x, 2, stride=1, padding=1), _X),
    "avg_pool without padding": Example(lambda m, x: m.avg_pool(x, count_include_pad=False, **_POOL), (_X,)),
    "global_avg_pool": Example(lambda m, x: m.global_avg_pool(x), (_X,)),
    "relu": _exact(lambda m, x: m.relu(x), _X, has_kinks=True),
    "dense": _exact(lambda m, x, k, b: m.dense(x, k, b), _ROWS, _shape(4, 2), _shape(2)),
    "flatten": _exact(lambda m, x: m.flatten(x), _X),
    "softmax": Example(lambda m, z: m.softmax(z), (_ROWS,)),
    "cross_entropy": Example(
        lambda m, p: m.cross_entropy(p, jnp.array(_CLASSES)), (_ROWS,), into_domain=jax.nn.softmax
    ),
    "cross_entropy soft": Example(lambda m, p, y: m.cross_entropy(p, y), (_ROWS, _ROWS), into_domain=jax.nn.softmax),
    "softmax_cross_entropy": Example(lambda m, z: m.softmax_cross_entropy(z, jnp.array(_CLASSES)), (_ROWS,)),
    "softmax_cross_entropy soft": Example(lambda m, z, y: m.softmax_cross_entropy(z, y), (_ROWS, _ROWS)),
    "layer_norm": Example(lambda m, x, s, b: m.layer_norm(x, s, b), (_ROWS, _shape(4), _shape(4))),
    "one_hot_prediction": _exact(lambda m, p: m.one_hot_prediction(p), _ROWS, has_kinks=True),
    "unfold": _exact(lambda m, x: m.unfold(x, **_POOL), _X),
    "fold": _exact(lambda m, p: m.fold(p, (p.shape[0], 3, 4, 1), **_POOL), _shape(3, 3, 3, 4)),
}


def _net(net: ModuleType, count: int = 3) -> Example:
    def loss(module: ModuleType, params: PyTree, x: jax.Array) -> jax.Array:
        return module.softmax_cross_entropy(net.apply(params, x, ops=module), jnp.arange(count))

    like = jax.eval_shape(lambda: net.init(jax.random.key(0))), _shape(count, 28, 28, 1)
    return Example(loss, like, into_domain=lambda x: x / 10)  # so that no softmax saturates


NETS: dict[str, Example] = {
    "single_filter": _net(nets.single_filter),
    "lenet": _net(nets.lenet),
    "gap_cnn": _net(nets.gap_cnn),
}
