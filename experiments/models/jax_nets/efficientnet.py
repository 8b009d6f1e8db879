"""A network like EfficientNet, in Haiku: inverted residuals with depthwise 3x3 and 5x5, squeeze and excite, swish."""

from __future__ import annotations

from typing import Any

import haiku as hk
import jax

from experiments.models.model import Batch, Model, PyTree, cast, cross_entropy, pictures

BLOCKS = (  # expansion, channels, repeats, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 2, 2, 3),
    (6, 112, 1, 1, 5),
)


def conv(channels: int, kernel: int, stride: int = 1) -> Any:
    return hk.Conv2D(channels, kernel, stride, padding=[(kernel // 2, kernel // 2)] * 2, with_bias=False)


def depthwise(kernel: int, stride: int) -> Any:
    return hk.DepthwiseConv2D(1, kernel, stride, padding=[(kernel // 2, kernel // 2)] * 2, with_bias=False)


def norm(x: jax.Array) -> jax.Array:
    return hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, is_training=True)


def squeeze_excite(x: jax.Array, squeezed: int) -> jax.Array:
    y = x.mean((1, 2), keepdims=True)
    y = jax.nn.swish(hk.Conv2D(squeezed, 1)(y))
    return x * jax.nn.sigmoid(hk.Conv2D(x.shape[-1], 1)(y))


def block(x: jax.Array, expansion: int, channels: int, stride: int, kernel: int) -> jax.Array:
    y = x
    if expansion > 1:
        y = jax.nn.swish(norm(conv(x.shape[-1] * expansion, 1)(y)))
    y = jax.nn.swish(norm(depthwise(kernel, stride)(y)))
    y = squeeze_excite(y, x.shape[-1] // 4)
    y = norm(conv(channels, 1)(y))
    return x + y if x.shape == y.shape else y


def efficientnet(x: jax.Array) -> jax.Array:
    x = jax.nn.swish(norm(conv(32, 3, 2)(x)))
    for expansion, channels, repeats, stride, kernel in BLOCKS:
        for repeat in range(repeats):
            x = block(x, expansion, channels, 1 if repeat else stride, kernel)
    x = jax.nn.swish(norm(conv(640, 1)(x)))
    return hk.Linear(100)(x.mean((1, 2)))


def make(*, images: int = 8, dtype: str = "float32") -> Model:
    net: Any = hk.without_apply_rng(hk.transform_with_state(efficientnet))
    draw = pictures((images, 64, 64, 3), 100, dtype)
    params, state = jax.jit(net.init)(jax.random.key(0), draw(jax.random.key(0))["image"][:1].astype("float32"))

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        logits, state = net.apply(params, state, batch["image"])
        return cross_entropy(logits, batch["label"]), state

    return Model(
        f"like EfficientNet, {images} of 64x64",
        "haiku",
        cast(params, dtype),
        cast(state, dtype),
        loss,
        draw,
        optimizer="sgd",
        rate=0.01,
    )
