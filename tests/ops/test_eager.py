"""Outside of `jax.jit`, as in a notebook: a second call compiles nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from agreement import mostly_long, normals
from catalogue import OPS

from jaxcnn import ops

# what runs in loops: guarded algorithms, chunks, and one tap at a time
LOOPS: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...]]] = {
    "grouped": (partial(ops.conv, groups=2), (2, 6, 6, 4), (3, 3, 2, 4)),
    "one channel": (ops.conv, (2, 6, 6, 1), (3, 3, 1, 2)),
    "strided, few channels": (partial(ops.conv, stride=2), (2, 9, 9, 8), (3, 3, 8, 8)),
    "large kernel": (ops.conv, (1, 45, 45, 1), (40, 40, 1, 1)),
    "in chunks": (partial(ops.conv, algorithm="im2col"), (200, 16, 16, 4), (5, 5, 4, 4)),
    "transposed": (partial(ops.conv_transpose, stride=2), (2, 6, 6, 4), (3, 3, 2, 4)),
    "of lax": (
        lambda x, k: ops.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), batch_group_count=2
        ),
        (4, 6, 6, 2),
        (3, 3, 2, 4),
    ),
    "block": (lambda x, k: ops.conv_relu_max_pool(x, k, None, 2), (200, 16, 16, 4), (5, 5, 4, 4)),
    "large pooling window": (lambda x, k: ops.max_pool(x, 40) * k[0], (1, 45, 45, 1), (1,)),
    "large patches": (lambda x, k: ops.unfold(x, (40, 40)) * k[0], (1, 45, 45, 1), (1,)),
}


@contextmanager
def counted() -> Iterator[list[str]]:
    """What is compiled meanwhile."""
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **more: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(str(more.get("fun_name", event)))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def value_and_gradients(f: Callable[..., jax.Array], *arrays: jax.Array) -> Any:
    y, pull = jax.vjp(f, *arrays)
    return y, pull(jnp.ones_like(y))


def test_what_is_compiled_is_counted() -> None:
    with counted() as compiled:
        jax.jit(lambda x: x * 5 + 3)(jnp.ones(7))
    assert compiled


@pytest.mark.parametrize("name", mostly_long(OPS, ("conv", "max_pool", "dense", "layer_norm")))
def test_an_op_compiles_nothing_the_second_time(name: str) -> None:
    op = OPS[name]
    value_and_gradients(op.ours, *op.args)
    with counted() as compiled:
        value_and_gradients(op.ours, *op.args)
    assert not compiled


@pytest.mark.parametrize("name", mostly_long(LOOPS, ("grouped", "block", "transposed")))
def test_nor_does_what_runs_in_a_loop(name: str) -> None:
    f, x_shape, kernel_shape = LOOPS[name]
    arrays = normals(x_shape), normals(kernel_shape, seed=1)
    value_and_gradients(f, *arrays)
    with counted() as compiled:
        value_and_gradients(f, *arrays)
    assert not compiled
