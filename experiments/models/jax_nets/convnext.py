"""A network like ConvNeXt, in Equinox: patches of 4x4, depthwise 7x7, layer normalization, GELU, layer scale.

Equinox's layers take one example, channels first; the batch is `jax.vmap`'s.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.models.model import Batch, Model, PyTree, cast, cross_entropy, pictures

CHANNELS, DEPTHS = (64, 128, 256), (2, 2, 3)


class Norm(eqx.Module):
    """Over the channels of each place."""

    norm: eqx.nn.LayerNorm

    def __init__(self, channels: int) -> None:
        self.norm = eqx.nn.LayerNorm(channels)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        return jax.vmap(jax.vmap(self.norm, 1, 1), 1, 1)(x)


class Block(eqx.Module):
    depthwise: eqx.nn.Conv2d
    norm: Norm
    widen: eqx.nn.Conv2d
    narrow: eqx.nn.Conv2d
    scale: jax.Array

    def __init__(self, channels: int, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.depthwise = eqx.nn.Conv2d(channels, channels, 7, padding=3, groups=channels, key=keys[0])
        self.norm = Norm(channels)
        self.widen = eqx.nn.Conv2d(channels, 4 * channels, 1, key=keys[1])
        self.narrow = eqx.nn.Conv2d(4 * channels, channels, 1, key=keys[2])
        self.scale = jnp.full((channels, 1, 1), 1e-6)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        y = self.norm(self.depthwise(x))
        return x + self.scale * self.narrow(jax.nn.gelu(self.widen(y)))


class ConvNeXt(eqx.Module):
    stages: eqx.nn.Sequential
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, classes: int, key: jax.Array) -> None:
        keys = iter(jax.random.split(key, 32))
        layers: list[Any] = []
        for stage, (channels, depth) in enumerate(zip(CHANNELS, DEPTHS, strict=True)):
            if stage == 0:
                layers += [eqx.nn.Conv2d(3, channels, 4, stride=4, key=next(keys)), Norm(channels)]
            else:
                before = CHANNELS[stage - 1]
                layers += [Norm(before), eqx.nn.Conv2d(before, channels, 2, stride=2, key=next(keys))]
            layers += [Block(channels, next(keys)) for _ in range(depth)]
        self.stages = eqx.nn.Sequential(layers)
        self.norm = eqx.nn.LayerNorm(CHANNELS[-1])
        self.head = eqx.nn.Linear(CHANNELS[-1], classes, key=next(keys))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.norm(self.stages(x).mean((1, 2))))


def make(*, images: int = 8, dtype: str = "float32") -> Model:
    params, static = eqx.partition(ConvNeXt(100, jax.random.key(0)), eqx.is_inexact_array)

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        model = eqx.combine(params, static)
        return cross_entropy(jax.vmap(model)(batch["image"]), batch["label"]), state

    return Model(
        f"like ConvNeXt, {images} of 64x64",
        "equinox",
        cast(params, dtype),
        (),
        loss,
        pictures((images, 3, 64, 64), 100, dtype),
    )
