"""What is held: a step's temporaries as compiled, and the bytes that a VJP keeps, ours against autodiff's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn import nets, ops, train
from jaxcnn.bench._steps import LEARNING_RATE, STEPS, idiomatic, step_program
from jaxcnn.check import residuals


def memory_rows() -> Iterator[dict[str, Any]]:
    """A row for each step and each loss: bytes by way."""
    ways = {"ours": ops, "autodiff": idiomatic()}
    for name, batch, optimizer in STEPS:
        programs = {
            way: step_program(name, batch, train.OPTIMIZERS[optimizer](LEARNING_RATE), module)
            for way, module in ways.items()
        }
        yield _row(f"{name}, batch {batch}: temporaries of a step", {w: _temporaries(p) for w, p in programs.items()})
        yield _row(
            f"{name}, batch {batch}: kept by the loss beside parameters and images",
            {way: _kept(partial(_loss, nets.NETS[name], module), *_point(name, batch)) for way, module in ways.items()},
        )
    x, kernel, bias = (jnp.zeros(s, jnp.float32) for s in ((128, 28, 28, 32), (3, 3, 32, 64), (64,)))
    block = {way: partial(_block, module) for way, module in ways.items()}
    yield _row(
        "conv 3x3, 32 to 64, ReLU, max-pool 2, 128x28x28: kept beside its arguments",
        {way: _kept(f, x, kernel, bias) for way, f in block.items()},
    )


def _row(name: str, bytes_by_way: dict[str, int]) -> dict[str, Any]:
    return {"name": name, "bytes": bytes_by_way}


def _temporaries(program: Any) -> int:
    return int(program.memory_analysis().temp_size_in_bytes)


def _kept(f: Callable[..., Any], *args: Any) -> int:
    return sum(array.bytes for array in residuals(jax.jit(f), *args) if not array.is_argument)


def _loss(net: ModuleType, module: ModuleType, params: Any, x: jax.Array) -> jax.Array:
    logits, _ = net.apply(params, x, ops=module)
    return module.softmax_cross_entropy(logits, jnp.zeros(x.shape[0], jnp.int32)).sum()


def _block(module: ModuleType, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return module.conv_relu_max_pool(x, kernel, bias, 2, padding="SAME")


def _point(name: str, batch: int) -> tuple[Any, jax.Array]:
    return nets.NETS[name].init(jax.random.key(0)), jnp.zeros((batch, 28, 28, 1), jnp.float32)
