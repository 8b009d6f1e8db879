"""DQN's network for Atari, in Haiku: 8x8/4, 4x4/2 and 3x3 on four frames of 84x84, and its loss, with a target network.

The state is the target network's parameters.
"""

from __future__ import annotations

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import optax

from experiments.models.model import Batch, Model, PyTree, cast

ACTIONS = 18


def torso(frames: jax.Array) -> jax.Array:
    return hk.Sequential(
        [
            hk.Conv2D(32, 8, 4, padding="VALID"),
            jax.nn.relu,
            hk.Conv2D(64, 4, 2, padding="VALID"),
            jax.nn.relu,
            hk.Conv2D(64, 3, 1, padding="VALID"),
            jax.nn.relu,
            hk.Flatten(),
            hk.Linear(512),
            jax.nn.relu,
            hk.Linear(ACTIONS),
        ]
    )(frames)


def make(*, images: int = 32, dtype: str = "float32") -> Model:
    net: Any = hk.without_apply_rng(hk.transform(torso))

    def draw(key: jax.Array) -> Batch:
        keys = jax.random.split(key, 4)
        frames = (images, 84, 84, 4)
        return {
            "image": jax.random.randint(keys[0], frames, 0, 256, "int32").astype("uint8"),
            "next_image": jax.random.randint(keys[1], frames, 0, 256, "int32").astype("uint8"),
            "action": jax.random.randint(keys[2], (images,), 0, ACTIONS, "int32"),
            "reward": jax.random.normal(keys[3], (images,), "float32").astype(dtype),
        }

    def values(params: PyTree, frames: jax.Array) -> jax.Array:
        return net.apply(params, frames.astype(dtype) / 255)

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        taken = jnp.take_along_axis(values(params, batch["image"]), batch["action"][:, None], 1)[:, 0]
        target = batch["reward"] + 0.99 * values(state, batch["next_image"]).max(1)
        return optax.huber_loss(taken, jax.lax.stop_gradient(target)).mean(), state

    params = cast(jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 84, 84, 4), "float32")), dtype)
    return Model(f"DQN's network, {images} of 84x84", "haiku", params, params, loss, draw, rate=2.5e-4)
