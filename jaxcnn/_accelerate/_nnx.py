"""Flax nnx's objects among arguments and results: taken apart into arrays, and brought up to date in place.

Flax is not loaded for this: where it is not loaded, nothing is of nnx.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax


def is_nnx(value: Any) -> bool:
    """Whether a value is a module, an optimizer, random streams or a variable of nnx."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(value, nnx.Pytree | nnx.Variable)


@dataclass(frozen=True)
class Static:
    """What is static in some objects of nnx: their graph, and the tree of their state."""

    graph: Any
    tree: Any

    @property
    def count(self) -> int:
        """How many arrays they have."""
        return self.tree.num_leaves

    def together(self, arrays: Sequence[Any]) -> list[Any]:
        """New objects with these arrays."""
        return list(sys.modules["flax.nnx"].merge(self.graph, jax.tree.unflatten(self.tree, arrays)))

    def update(self, objects: Sequence[Any], arrays: Sequence[Any], has_changed: Sequence[bool]) -> None:
        """Bring those variables up to date that changed; no other one is touched."""
        nnx = sys.modules["flax.nnx"]
        flags = dict(nnx.to_flat_state(jax.tree.unflatten(self.tree, has_changed)))
        state = nnx.to_flat_state(jax.tree.unflatten(self.tree, arrays))
        changed = [(path, variable) for path, variable in state if any(jax.tree.leaves(flags[path]))]
        if changed:
            nnx.update(list(objects), nnx.from_flat_state(changed))


def apart(objects: Sequence[Any]) -> tuple[Static, list[Any]]:
    """What is static in them, and their arrays; what two of them share, once."""
    graph, state = sys.modules["flax.nnx"].split(list(objects))
    arrays, tree = jax.tree.flatten(state)
    return Static(graph, tree), arrays
