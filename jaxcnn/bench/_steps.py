"""Whole training steps: forward, loss, gradients and optimizer, alone and inside `lax.scan`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn import nets, ops, reference, train
from jaxcnn.bench._frameworks import cross_entropy, equinox_step, flax_applies
from jaxcnn.bench._run import Case
from jaxcnn.bench._torch import torch_step

SCANNED = 8


def idiomatic() -> ModuleType:
    """What Flax and Equinox users run: `reference` with `lax.reduce_window` for pools, and `jax.nn.relu`."""

    def max_pool(x: jax.Array, window: int, **options: Any) -> jax.Array:
        sizes = (1, *(window,) * (x.ndim - 2), 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, sizes, sizes, "VALID")

    def block(x: jax.Array, kernel: jax.Array, bias: jax.Array, window: int, **options: Any) -> jax.Array:
        return max_pool(jax.nn.relu(reference.conv(x, kernel, bias, **options)), window)

    module = ModuleType("idiomatic")
    vars(module).update({name: getattr(reference, name) for name in reference.__all__})
    vars(module).update(max_pool=max_pool, relu=jax.nn.relu, conv_relu_max_pool=block)
    return module


# net, batch, optimizer
STEPS: tuple[tuple[str, int, str], ...] = (
    ("single_filter", 1, "sgd"),
    ("single_filter", 1024, "sgd"),
    ("lenet", 128, "adam"),
    ("gap_cnn", 128, "adam"),
)
LEARNING_RATE = 1e-3


def steps_cases(*, quick: bool = False) -> Iterator[Case]:
    """Each network's step, and the same in a scan: "ours", "autodiff" of the idiomatic forward, "rewrite" of slices."""
    for name, batch, optimizer in STEPS:
        for scanned in (0, SCANNED if batch > 1 else 100):
            if not (quick and scanned):
                yield _step_case(name, batch, train.OPTIMIZERS[optimizer](LEARNING_RATE), scanned)


def step_program(name: str, batch: int, optimizer: Any, module: ModuleType) -> Any:
    """A step as XLA compiles it: of a net by name, computed with a namespace, as `jaxcnn.ops` or `idiomatic()`."""
    step = train.make_train_step(nets.NETS[name].apply, optimizer, ops=module)
    arguments = step_arguments(name, batch, optimizer, np.random.default_rng(0))
    return jax.jit(partial(_params_after, step)).lower(*arguments).compile()


def _step_case(name: str, batch: int, optimizer: Any, scanned: int) -> Case:
    ways = {"ours": ops, "autodiff": idiomatic(), "rewrite": reference}
    after = _params_after_all if scanned else _params_after
    apply = nets.NETS[name].apply
    steps = {way: train.make_train_step(apply, optimizer, ops=module) for way, module in ways.items()}
    if not scanned:
        applies = flax_applies(name).items()
        steps |= {way: train.make_train_step(of, optimizer, loss=cross_entropy) for way, of in applies}
    makers = {} if scanned else {"equinox": equinox_step(name, apply, optimizer), "pytorch": torch_step(name, apply)}
    return Case(
        name=f"{name}, batch {batch}" + (f", {scanned} steps in lax.scan" if scanned else ""),
        group="steps",
        ways={way: partial(after, step) for way, step in steps.items()},
        draw=lambda random: step_arguments(name, batch, optimizer, random, *([scanned] if scanned else [])),
        tolerance=0.05,
        steps=scanned or 1,
        foreign={way: make for way, make in makers.items() if make},
    )


def _params_after(step: train.Step, state: train.TrainState, images: jax.Array, labels: jax.Array) -> Any:
    return step(state, {"image": images, "label": labels})[0].params


def _params_after_all(step: train.Step, state: train.TrainState, images: jax.Array, labels: jax.Array) -> Any:
    rows = {"image": images, "label": labels}
    return lax.scan(lambda state, row: (step(state, row)[0], None), state, rows)[0].params


def step_arguments(name: str, batch: int, optimizer: Any, random: np.random.Generator, *steps: int) -> tuple[Any, ...]:
    """What a step's program takes: a fresh state, images and labels; of several batches where `steps` says how many."""
    key = jax.random.key(int(random.integers(2**31)))
    state = train.init_state(nets.NETS[name].init(key), optimizer, key)
    images = random.integers(0, 256, (*steps, batch, 28, 28, 1), np.uint8)
    return state, jnp.asarray(images), jnp.asarray(random.integers(0, 10, (*steps, batch), np.int32))
