"""What every model of this study is, and where each is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import optax

PyTree = Any
Batch = dict[str, jax.Array]
Loss = Callable[[PyTree, PyTree, Batch], tuple[jax.Array, PyTree]]

NAMES = (
    "resnet18",
    "resnet50_stem",
    "mobilenet_v2",
    "efficientnet",
    "convnext",
    "unet",
    "dcgan",
    "wavenet",
    "voxnet",
    "densenet",
    "dqn",
    "impala",
)
AGAIN = "plain again"  # a second program of the plain way, which differs by noise
ENGINE = "onednn"  # a way that is there where the engine is
OPTIMIZERS = {"sgd": lambda rate: optax.sgd(rate, momentum=0.9), "adam": optax.adam}


@dataclass(frozen=True)
class Model:
    """A model as a user of its framework has it, ready to be trained.

    Attributes:
        name: in words, with its size.
        framework: the package that it is written in.
        params: what is trained.
        state: what a step hands to the next beside it, as batch statistics; () where there is nothing.
        loss: `loss(params, state, batch) -> (loss, state)`.
        draw: a batch by its key.
        optimizer: the name of one of `OPTIMIZERS`.
        rate: its learning rate.
        is_double: whether all is computed in float64 where that is asked for.
    """

    name: str
    framework: str
    params: PyTree
    state: PyTree
    loss: Loss
    draw: Callable[[jax.Array], Batch]
    optimizer: str = "adam"
    rate: float = 1e-3
    is_double: bool = True


def make(name: str, **options: Any) -> Model:
    """One of `NAMES`.

    Args:
        name: of the model.
        options: `images`, how many a batch has; `dtype`, "float32" or "float64" (where `jax_enable_x64` is set), of the
            parameters, the state and the batches.
    """
    model: Model = import_module(f"experiments.models.jax_nets.{name}").make(**options)
    return model


def cast(tree: PyTree, dtype: str) -> PyTree:
    """The tree with all that is floating in one dtype."""

    def of(leaf: jax.Array) -> jax.Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(of, tree)


def pictures(shape: tuple[int, ...], classes: int, dtype: str) -> Callable[[jax.Array], Batch]:
    """Draws batches of pictures of that shape, the batch's axis first, and their labels."""

    def draw(key: jax.Array) -> Batch:
        image, label = jax.random.split(key)
        return {
            "image": jax.random.normal(image, shape, "float32").astype(dtype),
            "label": jax.random.randint(label, shape[:1], 0, classes, "int32"),
        }

    return draw


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean over the examples."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def training_step(model: Model, loss: Loss) -> Callable[..., tuple[PyTree, PyTree, PyTree, jax.Array]]:
    """`step(params, state, opt_state, batch) -> (params, state, opt_state, loss)`, not yet compiled."""
    optimizer = OPTIMIZERS[model.optimizer](model.rate)
    gradients = jax.value_and_grad(loss, has_aux=True)

    def step(params: PyTree, state: PyTree, opt_state: PyTree, batch: Batch) -> tuple[PyTree, ...]:
        (value, state), grads = gradients(params, state, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, value

    return step


def first_arguments(model: Model, batch: Batch) -> tuple[PyTree, PyTree, PyTree, Batch]:
    """What the first training step is called with."""
    return model.params, model.state, OPTIMIZERS[model.optimizer](model.rate).init(model.params), batch
