"""A network like WaveNet, in Haiku: causal 1-D convolutions dilated by 1 to 512, gates, skips, 256 levels of sound."""

from __future__ import annotations

from typing import Any

import haiku as hk
import jax

from experiments.models.model import Batch, Model, PyTree, cast, cross_entropy

LEVELS, CHANNELS, SKIPPED = 256, 32, 128
DILATIONS = tuple(2**power for power in range(10))


def wavenet(x: jax.Array) -> jax.Array:
    x = hk.Conv1D(CHANNELS, 2, padding=hk.pad.causal)(x)
    skips = []
    for layer, dilation in enumerate(DILATIONS):
        filtered = hk.Conv1D(CHANNELS, 2, rate=dilation, padding=hk.pad.causal)(x)
        gate = hk.Conv1D(CHANNELS, 2, rate=dilation, padding=hk.pad.causal)(x)
        y = jax.nn.tanh(filtered) * jax.nn.sigmoid(gate)
        skips.append(hk.Conv1D(SKIPPED, 1)(y))
        if layer + 1 < len(DILATIONS):
            x = x + hk.Conv1D(CHANNELS, 1)(y)
    y = jax.nn.relu(sum(skips[1:], skips[0]))
    y = jax.nn.relu(hk.Conv1D(SKIPPED, 1)(y))
    return hk.Conv1D(LEVELS, 1)(y)


def make(*, images: int = 4, dtype: str = "float32") -> Model:
    net: Any = hk.without_apply_rng(hk.transform(wavenet))

    def draw(key: jax.Array) -> Batch:
        return {"sound": jax.random.randint(key, (images, 2049), 0, LEVELS, "int32")}

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        sound = batch["sound"]
        logits = net.apply(params, jax.nn.one_hot(sound[:, :-1], LEVELS, dtype=dtype))
        return cross_entropy(logits, sound[:, 1:]), state

    first = jax.nn.one_hot(draw(jax.random.key(0))["sound"][:1], LEVELS, dtype="float32")
    params = jax.jit(net.init)(jax.random.key(0), first)
    return Model(f"like WaveNet, {images} of 2,048 samples", "haiku", cast(params, dtype), (), loss, draw)
