"""A U-Net, in Flax's nnx: pairs of 3x3, 2x2 pools, transposed 2x2/2, pictures joined by their channels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.models.model import Batch, Model, PyTree, cast, cross_entropy

CHANNELS = (32, 64, 128)
CLASSES = 3


class Pair(nnx.Module):
    def __init__(self, c_in: int, c_out: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(c_in, c_out, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(c_out, c_out, (3, 3), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.conv2(nnx.relu(self.conv1(x))))


class Level(nnx.Module):
    """Down, all that is below, and up again."""

    def __init__(self, c_in: int, channels: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        here, *below = channels
        self.down = Pair(c_in, here, rngs=rngs)
        is_last = len(below) == 1
        self.below: Any = Pair(here, below[0], rngs=rngs) if is_last else Level(here, tuple(below), rngs=rngs)
        self.up = nnx.ConvTranspose(below[0], here, (2, 2), strides=(2, 2), rngs=rngs)
        self.joined = Pair(2 * here, here, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.down(x)
        y = self.up(self.below(nnx.max_pool(x, (2, 2), (2, 2))))
        return self.joined(jnp.concatenate([x, y], -1))


class UNet(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.body = Level(3, (*CHANNELS, 2 * CHANNELS[-1]), rngs=rngs)
        self.head = nnx.Conv(CHANNELS[0], CLASSES, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.body(x))


def make(*, images: int = 4, dtype: str = "float32") -> Model:
    apart: Any = nnx.split(UNet(rngs=nnx.Rngs(0)), nnx.Param)
    graph, params = apart
    shape = (images, 64, 64)

    def draw(key: jax.Array) -> Batch:
        image, label = jax.random.split(key)
        return {
            "image": jax.random.normal(image, (*shape, 3), "float32").astype(dtype),
            "label": jax.random.randint(label, shape, 0, CLASSES, "int32"),
        }

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        model = nnx.merge(graph, params)
        return cross_entropy(model(batch["image"]), batch["label"]), state

    return Model(f"U-Net, {images} of 64x64", "nnx", cast(params, dtype), (), loss, draw)
