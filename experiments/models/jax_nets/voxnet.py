"""VoxNet for voxels of 32x32x32, in Equinox: 3-D convolutions of 5 and 3, a 3-D pool, two dense layers.

Equinox's layers take one example, channels first; the batch is `jax.vmap`'s.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.models.model import Batch, Model, PyTree, cast, cross_entropy, pictures


def voxnet(classes: int, key: jax.Array) -> eqx.nn.Sequential:
    keys = jax.random.split(key, 4)
    leaky = eqx.nn.Lambda(lambda x: jax.nn.leaky_relu(x, 0.1))
    return eqx.nn.Sequential(
        [
            eqx.nn.Conv3d(1, 32, 5, stride=2, key=keys[0]),
            leaky,
            eqx.nn.Conv3d(32, 32, 3, key=keys[1]),
            leaky,
            eqx.nn.MaxPool3d(2, 2),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(32 * 6**3, 128, key=keys[2]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Linear(128, classes, key=keys[3]),
        ]
    )


def make(*, images: int = 8, dtype: str = "float32") -> Model:
    params, static = eqx.partition(voxnet(10, jax.random.key(0)), eqx.is_inexact_array)

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        model = eqx.combine(params, static)
        return cross_entropy(jax.vmap(model)(batch["image"]), batch["label"]), state

    return Model(
        f"VoxNet, {images} of 32x32x32",
        "equinox",
        cast(params, dtype),
        (),
        loss,
        pictures((images, 1, 32, 32, 32), 10, dtype),
    )
