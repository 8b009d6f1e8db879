"""ResNet-50's stem and first stage at 224x224, in Flax's linen: 7x7/2, a 3x3/2 pool, three bottlenecks."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from flax import linen as nn

from experiments.models.model import Batch, Model, PyTree, cast, cross_entropy, pictures

conv: Any = partial(nn.Conv, use_bias=False)
norm: Any = partial(nn.BatchNorm, use_running_average=False)


class Bottleneck(nn.Module):
    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(norm()(conv(self.channels, (1, 1))(x)))
        y = nn.relu(norm()(conv(self.channels, (3, 3), padding=1)(y)))
        y = norm()(conv(4 * self.channels, (1, 1))(y))
        if x.shape != y.shape:
            x = norm()(conv(4 * self.channels, (1, 1))(x))
        return nn.relu(x + y)


class Stem(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(norm()(conv(64, (7, 7), strides=2, padding=3)(x)))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for _ in range(3):
            x = Bottleneck(64)(x)
        return nn.Dense(self.classes)(x.mean((1, 2)))


def make(*, images: int = 4, dtype: str = "float32") -> Model:
    net, draw = Stem(100), pictures((images, 224, 224, 3), 100, dtype)
    variables = jax.jit(net.init)(jax.random.key(0), draw(jax.random.key(0))["image"][:1].astype("float32"))

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        logits: Any
        logits, updated = net.apply({"params": params, **state}, batch["image"], mutable=["batch_stats"])
        return cross_entropy(logits, batch["label"]), updated

    return Model(
        f"ResNet-50's stem and first stage, {images} of 224x224",
        "linen",
        cast(variables["params"], dtype),
        cast({"batch_stats": variables["batch_stats"]}, dtype),
        loss,
        draw,
        optimizer="sgd",
        rate=0.01,
    )
