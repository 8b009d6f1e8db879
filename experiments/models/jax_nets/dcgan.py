"""DCGAN for pictures of 32x32, in Flax's linen: transposed 4x4/2 on one side, 4x4/2 and leaky ReLU on the other.

Both players in one loss: neither's gradient reaches the other's parameters.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from flax import linen as nn
from jax.lax import stop_gradient

from experiments.models.model import Batch, Model, PyTree, cast

LATENT = 64
norm: Any = partial(nn.BatchNorm, use_running_average=False)
up: Any = partial(nn.ConvTranspose, kernel_size=(4, 4), strides=(2, 2), use_bias=False)
down: Any = partial(nn.Conv, kernel_size=(4, 4), strides=(2, 2), padding=1, use_bias=False)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        x = nn.Dense(4 * 4 * 256, use_bias=False)(z).reshape(-1, 4, 4, 256)
        x = nn.relu(norm()(x))
        x = nn.relu(norm()(up(128)(x)))
        x = nn.relu(norm()(up(64)(x)))
        return nn.tanh(up(3)(x))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.leaky_relu(down(64)(x), 0.2)
        x = nn.leaky_relu(norm()(down(128)(x)), 0.2)
        x = nn.leaky_relu(norm()(down(256)(x)), 0.2)
        return nn.Conv(1, (4, 4), padding="VALID", use_bias=False)(x).reshape(-1)


def make(*, images: int = 16, dtype: str = "float32") -> Model:
    generator, discriminator = Generator(), Discriminator()

    def draw(key: jax.Array) -> Batch:
        image, latent = jax.random.split(key)
        return {
            "image": jax.random.uniform(image, (images, 32, 32, 3), "float32", -1, 1).astype(dtype),
            "latent": jax.random.normal(latent, (images, LATENT), "float32").astype(dtype),
        }

    first = cast(draw(jax.random.key(0)), "float32")
    variables = {
        "generator": jax.jit(generator.init)(jax.random.key(1), first["latent"][:1]),
        "discriminator": jax.jit(discriminator.init)(jax.random.key(2), first["image"][:1]),
    }

    def played(net: nn.Module, params: PyTree, stats: PyTree, x: jax.Array) -> tuple[Any, PyTree]:
        y, updated = net.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
        return y, updated["batch_stats"]

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        judge = partial(played, discriminator)
        fake, stats = played(generator, params["generator"], state["generator"], batch["latent"])
        of_real, judged = judge(params["discriminator"], state["discriminator"], batch["image"])
        of_fake, judged = judge(params["discriminator"], judged, stop_gradient(fake))
        fooled, _ = judge(stop_gradient(params["discriminator"]), judged, fake)
        value = nn.softplus(-of_real).mean() + nn.softplus(of_fake).mean() + nn.softplus(-fooled).mean()
        return value, {"generator": stats, "discriminator": judged}

    return Model(
        f"DCGAN, {images} of 32x32",
        "linen",
        cast({player: of["params"] for player, of in variables.items()}, dtype),
        cast({player: of["batch_stats"] for player, of in variables.items()}, dtype),
        loss,
        draw,
        rate=2e-4,
    )
