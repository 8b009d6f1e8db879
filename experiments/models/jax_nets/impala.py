"""IMPALA's deep network for Atari, in Flax's linen: 3x3, 3x3/2 pools, residual blocks; actor and critic."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.models.model import Batch, Model, PyTree, cast

ACTIONS = 18


class Residual(nn.Module):
    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.Conv(self.channels, (3, 3))(nn.relu(x))
        return x + nn.Conv(self.channels, (3, 3))(nn.relu(y))


class Impala(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for channels in (16, 32, 32):
            x = nn.Conv(channels, (3, 3))(x)
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
            x = Residual(channels)(Residual(channels)(x))
        x = nn.relu(nn.Dense(256)(nn.relu(x).reshape(len(x), -1)))
        return nn.Dense(ACTIONS)(x), nn.Dense(1)(x)[:, 0]


def make(*, images: int = 32, dtype: str = "float32") -> Model:
    net = Impala()

    def draw(key: jax.Array) -> Batch:
        keys = jax.random.split(key, 4)
        return {
            "image": jax.random.randint(keys[0], (images, 84, 84, 4), 0, 256, "int32").astype("uint8"),
            "action": jax.random.randint(keys[1], (images,), 0, ACTIONS, "int32"),
            "advantage": jax.random.normal(keys[2], (images,), "float32").astype(dtype),
            "target": jax.random.normal(keys[3], (images,), "float32").astype(dtype),
        }

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        outputs: Any = net.apply({"params": params}, batch["image"].astype(dtype) / 255)
        logits, value = outputs
        log_policy = nn.log_softmax(logits)
        taken = jnp.take_along_axis(log_policy, batch["action"][:, None], 1)[:, 0]
        of_actor = -(batch["advantage"] * taken).mean()
        of_critic = 0.5 * jnp.square(value - batch["target"]).mean()
        entropy = -(jnp.exp(log_policy) * log_policy).sum(1).mean()
        return of_actor + of_critic - 0.01 * entropy, state

    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 84, 84, 4), "float32"))["params"]
    return Model(f"IMPALA's network, {images} of 84x84", "linen", cast(params, dtype), (), loss, draw, rate=2e-4)
