"""Several devices: each has its part of the batch and a copy of the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"
ON_ALL = PartitionSpec()
IN_PARTS = PartitionSpec(AXIS)
EACH_IN_PARTS = PartitionSpec(None, AXIS)  # several batches one upon another

Tree = TypeVar("Tree")


def mesh_of(devices: Sequence[jax.Device]) -> Mesh:
    """A mesh of one axis, "data", over the devices, for `make_train_step` and `fit`.

    Example:
        >>> import jax
        >>> mesh_of(jax.devices()[:1]).shape["data"]
        1
    """
    return jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,))


def replicated(tree: Tree, mesh: Mesh | None) -> Tree:
    """The arrays of the tree copied to every device of the mesh, be they another process's; as they are without one.

    Every process gives the same values.
    """
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, ON_ALL)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _replicated_across_processes(leaf, sharding), tree)


def local_key(key: jax.Array) -> jax.Array:
    """A random key that all processes have, as an array of this process's own."""
    return jax.random.wrap_key_data(jnp.asarray(np.asarray(jax.random.key_data(key))), impl=jax.random.key_impl(key))


def _replicated_across_processes(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _replicated_across_processes(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))
