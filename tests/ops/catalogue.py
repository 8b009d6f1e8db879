"""Every op at one small point, from its record: as a function of its floating arguments, with its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from agreement import integers, normals

from jaxcnn import ops, reference
from jaxcnn.ops._lib._record import Example, records


@dataclass(frozen=True, eq=False)
class Op:
    """An example at its arguments: whole numbers where nothing is rounded.

    The first `batched` args have the batch axis; so have `held`, which are not differentiated in, and are long enough
    for any batch; and so has the result where `result_is_batched`.
    """

    example: Example
    args: tuple[jax.Array, ...]
    has_rule: bool

    @property
    def held(self) -> tuple[Any, ...]:
        return self.example.held

    @property
    def batched(self) -> int:
        return self.example.batched

    @property
    def result_is_batched(self) -> bool:
        return self.example.result_is_batched

    def call(self, module: Any, *arrays: Any) -> Any:
        return self.example.call(module, *arrays)

    def ours(self, *arrays: jax.Array) -> jax.Array:
        """Of args, or of args and held."""
        return self.call(ops, *arrays, *self.held_for(arrays))

    def plain(self, *arrays: jax.Array) -> jax.Array:
        """Of args, or of args and held."""
        return self.call(reference, *arrays, *self.held_for(arrays))

    def of_module(self, module: Any, *arrays: jax.Array) -> jax.Array:
        """Of `ops` or of `reference`."""
        return self.call(module, *arrays, *self.held_for(arrays))

    def held_for(self, arrays: tuple[jax.Array, ...]) -> list[jax.Array]:
        """What is held, as long as the batch."""
        return [jnp.asarray(array[: arrays[0].shape[0]]) for array in self.held[len(arrays) - len(self.args) :]]


def drawn(example: Example) -> tuple[jax.Array, ...]:
    draw = integers if example.is_exact else normals
    return tuple(example.into_domain(draw(like.shape, seed=seed)) for seed, like in enumerate(example.like))


OPS: dict[str, Op] = {
    f"{op.name} {words}".rstrip(): Op(example, drawn(example), op.has_rule)
    for op in records().values()
    for words, example in op.examples.items()
}
