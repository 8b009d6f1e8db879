"""A network like MobileNetV2, in Flax's linen: inverted residuals of 1x1, depthwise 3x3 and 1x1."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from flax import linen as nn

from experiments.models.model import Batch, Model, PyTree, cast, cross_entropy, pictures

conv: Any = partial(nn.Conv, use_bias=False)
norm: Any = partial(nn.BatchNorm, use_running_average=False)
BLOCKS = (  # expansion, channels, repeats, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    expansion: int
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y, hidden = x, x.shape[-1] * self.expansion
        if self.expansion > 1:
            y = nn.relu6(norm()(conv(hidden, (1, 1))(y)))
        y = conv(hidden, (3, 3), strides=self.stride, padding=1, feature_group_count=hidden)(y)
        y = nn.relu6(norm()(y))
        y = norm()(conv(self.channels, (1, 1))(y))
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu6(norm()(conv(32, (3, 3), strides=2, padding=1)(x)))
        for expansion, channels, repeats, stride in BLOCKS:
            for repeat in range(repeats):
                x = InvertedResidual(expansion, channels, 1 if repeat else stride)(x)
        x = nn.relu6(norm()(conv(1280, (1, 1))(x)))
        return nn.Dense(self.classes)(x.mean((1, 2)))


def make(*, images: int = 8, dtype: str = "float32") -> Model:
    net, draw = MobileNetV2(100), pictures((images, 64, 64, 3), 100, dtype)
    variables = jax.jit(net.init)(jax.random.key(0), draw(jax.random.key(0))["image"][:1].astype("float32"))

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        logits: Any
        logits, updated = net.apply({"params": params, **state}, batch["image"], mutable=["batch_stats"])
        return cross_entropy(logits, batch["label"]), updated

    return Model(
        f"like MobileNetV2, {images} of 64x64",
        "linen",
        cast(variables["params"], dtype),
        cast({"batch_stats": variables["batch_stats"]}, dtype),
        loss,
        draw,
        optimizer="sgd",
        rate=0.01,
    )
