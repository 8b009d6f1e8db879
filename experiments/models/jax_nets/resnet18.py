"""ResNet-18 for pictures of 32x32, in Flax's nnx: a 3x3 stem, four stages of two blocks, batch normalization."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from experiments.models.model import Batch, Model, PyTree, cast, cross_entropy, pictures


class Block(nnx.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(c_in, c_out, (3, 3), strides=stride, padding=1, use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(c_out, rngs=rngs)
        self.conv2 = nnx.Conv(c_out, c_out, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(c_out, rngs=rngs)
        self.is_changed = stride > 1 or c_in != c_out
        if self.is_changed:
            self.project = nnx.Conv(c_in, c_out, (1, 1), strides=stride, padding=0, use_bias=False, rngs=rngs)
            self.norm3 = nnx.BatchNorm(c_out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + (self.norm3(self.project(x)) if self.is_changed else x))


class ResNet18(nnx.Module):
    def __init__(self, classes: int, *, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 64, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(64, rngs=rngs)
        blocks, c_in = [], 64
        for c_out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [Block(c_in, c_out, stride, rngs=rngs), Block(c_out, c_out, 1, rngs=rngs)]
            c_in = c_out
        self.blocks = nnx.Sequential(*blocks)
        self.head = nnx.Linear(512, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.stem(x)))
        return self.head(self.blocks(x).mean((1, 2)))


def make(*, images: int = 16, dtype: str = "float32") -> Model:
    apart: Any = nnx.split(ResNet18(10, rngs=nnx.Rngs(0)), nnx.Param, nnx.BatchStat)
    graph, params, state = apart

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        model = nnx.merge(graph, params, state, copy=True)
        value = cross_entropy(model(batch["image"]), batch["label"])
        return value, nnx.state(model, nnx.BatchStat)

    return Model(
        f"ResNet-18, {images} of 32x32",
        "nnx",
        cast(params, dtype),
        cast(state, dtype),
        loss,
        pictures((images, 32, 32, 3), 10, dtype),
        optimizer="sgd",
        rate=0.01,
    )
