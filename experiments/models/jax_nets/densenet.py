"""A network like DenseNet for pictures of 32x32, in Keras on JAX: each unit joined to all before it."""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is first imported

import jax
import keras
from keras import layers

from experiments.models.model import Batch, Model, PyTree, cross_entropy, pictures

GROWTH, UNITS, BLOCKS = 24, 4, 3


def activated(x: Any) -> Any:
    return layers.Activation("relu")(layers.BatchNormalization(epsilon=1.001e-5)(x))


def unit(x: Any) -> Any:
    y = layers.Conv2D(4 * GROWTH, 1, use_bias=False)(activated(x))
    y = layers.Conv2D(GROWTH, 3, padding="same", use_bias=False)(activated(y))
    return layers.Concatenate()([x, y])


def densenet(classes: int) -> Any:
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(2 * GROWTH, 3, padding="same", use_bias=False)(inputs)
    for block in range(BLOCKS):
        if block:
            x = layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False)(activated(x))
            x = layers.AveragePooling2D(2)(x)
        for _ in range(UNITS):
            x = unit(x)
    x = layers.GlobalAveragePooling2D()(activated(x))
    return keras.Model(inputs, layers.Dense(classes)(x))


def make(*, images: int = 16, dtype: str = "float32") -> Model:
    keras.config.set_dtype_policy(dtype)
    keras.utils.set_random_seed(0)
    model = densenet(10)

    def loss(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, PyTree]:
        logits, state = model.stateless_call(params, state, batch["image"], training=True)
        return cross_entropy(logits, batch["label"]), state

    return Model(
        f"like DenseNet, {images} of 32x32",
        "keras",
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
        loss,
        pictures((images, 32, 32, 3), 10, dtype),
        optimizer="sgd",
        rate=0.01,
        is_double=False,  # Keras on JAX promotes to float32 at most, and its normalization promotes
    )
