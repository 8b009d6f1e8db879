"""Every op and network at one small point, to hold its hand-derived gradients to autodiff.

An `Example` is a function of arrays, computed with `jaxcnn.ops` or with `jaxcnn.reference`, and a way to draw its
arguments: away from ties and kinks, or at them.

    OPS     one or more examples of every op, from its record
    NETS    the loss of each network on a few images, in its parameters and in the images

`records()` has what is known of every op, by name: its function and its reference, equations, file, examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxcnn import nets, ops, reference
from jaxcnn.check import distinct, integers
from jaxcnn.ops._lib import _record
from jaxcnn.ops._lib._record import Op as Op
from jaxcnn.ops._lib._record import records as records
from jaxcnn.ops._lib._record import shape

PyTree = Any


@dataclass(frozen=True, eq=False)
class Example(_record.Example):
    """A function of arrays, and where to evaluate it: its attributes are those of an op's record."""

    def by_hand(self, *args: PyTree) -> Any:
        """The function with hand-derived gradients."""
        return self.call(ops, *args, *self._held_for(args))

    def by_autodiff(self, *args: PyTree) -> Any:
        """The function as a plain forward."""
        return self.call(reference, *args, *self._held_for(args))

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

    def _held_for(self, args: tuple[PyTree, ...]) -> list[Any]:
        """The held arrays, as long as the batch; none where they come with the args."""
        return [jnp.asarray(array[: args[0].shape[0]]) for array in self.held[len(args) - len(self.like) :]]


def of_ops() -> dict[str, Example]:
    """The examples of every op that is exported now, by the op's name and what is said of the example."""
    return {
        f"{op.name} {words}".rstrip(): Example(**{each.name: getattr(example, each.name) for each in fields(example)})
        for op in records().values()
        for words, example in op.examples.items()
    }


OPS = of_ops()


def _net(net: ModuleType, count: int = 3) -> Example:
    def loss(module: ModuleType, params: PyTree, x: jax.Array) -> jax.Array:
        return module.softmax_cross_entropy(net.apply(params, x, ops=module)[0], jnp.arange(count))

    like = jax.eval_shape(lambda: net.init(jax.random.key(0))), shape(count, 28, 28, 1)
    return Example(loss, like, into_domain=lambda x: x / 10)  # so that no softmax saturates


NETS: dict[str, Example] = {name: _net(net) for name, net in nets.NETS.items()}
