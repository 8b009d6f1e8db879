"""Every op under every transformation of jax."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_equal_trees, integers
from catalogue import OPS, Op
from jax import lax

from jaxcnn import ops

every_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
every_rule = pytest.mark.parametrize(
    "op", [op for op in OPS.values() if op.has_rule], ids=[name for name, op in OPS.items() if op.has_rule]
)


def value_and_gradients(f: Callable[..., jax.Array], *args: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    y, pull = jax.vjp(f, *args)
    return y, pull(integers(y.shape, y.dtype, seed=3))


@functools.cache
def compiled(f: Callable[..., jax.Array]) -> Callable[..., Any]:
    """f's value and gradients, compiled once for all the tests that compare something with them."""
    return jax.jit(partial(value_and_gradients, f))


@every_op
def test_jit_is_eager(op: Op) -> None:
    """The values; the docstrings' examples take their gradients eagerly."""
    value, _ = compiled(op.ours)(*op.args)
    assert_equal_trees(op.ours(*op.args), value, roundings=4)


@every_op
def test_vmap_over_each_argument_is_a_loop(op: Op) -> None:
    one = compiled(op.ours)
    for argument in range(len(op.args)):
        stacked = [
            jnp.stack([arg, jnp.roll(arg, 1)]) if number == argument else arg for number, arg in enumerate(op.args)
        ]
        axes = [0 if number == argument else None for number in range(len(op.args))]
        together = jax.jit(jax.vmap(partial(value_and_gradients, op.ours), axes))(*stacked)
        apart = [one(*[arg[i] if number == argument else arg for number, arg in enumerate(stacked)]) for i in range(2)]
        assert_equal_trees(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *apart), roundings=8)


@every_op
def test_a_hessian_vector_product_is_the_references_forward_over_reverse(op: Op) -> None:
    directions = tuple(integers(arg.shape, arg.dtype, seed=4) for arg in op.args)
    argnums = tuple(range(len(op.args)))

    def scalar(f: Callable[..., jax.Array], *args: jax.Array) -> jax.Array:
        y = f(*args)
        return jnp.vdot(jnp.square(y), integers(y.shape, y.dtype, seed=3))

    def along(*args: jax.Array) -> jax.Array:
        gradient = jax.grad(partial(scalar, op.ours), argnums)(*args)
        return jnp.sum(jnp.stack([jnp.vdot(g, v) for g, v in zip(gradient, directions, strict=True)]))

    def forward_over_reverse(*args: jax.Array) -> Any:
        return jax.jvp(jax.grad(partial(scalar, op.plain), argnums), args, directions)[1]

    found, expected = jax.jit(jax.grad(along, argnums))(*op.args), jax.jit(forward_over_reverse)(*op.args)
    assert_equal_trees(found, expected, roundings=64)


@every_op
def test_checkpoint_changes_nothing(op: Op) -> None:
    found = jax.jit(partial(value_and_gradients, jax.checkpoint(op.ours)))(*op.args)
    assert_equal_trees(found, compiled(op.ours)(*op.args), roundings=4)


@every_op
def test_in_a_scan_as_outside(op: Op) -> None:
    stacked = [jnp.stack([arg, jnp.roll(arg, 1)]) for arg in op.args]

    def scan(*stacked: jax.Array) -> Any:
        return lax.scan(lambda carry, args: (carry, value_and_gradients(op.ours, *args)), 0, stacked)[1]

    apart = [compiled(op.ours)(*[arg[i] for arg in stacked]) for i in range(2)]
    assert_equal_trees(jax.jit(scan)(*stacked), jax.tree.map(lambda *leaves: jnp.stack(leaves), *apart), roundings=8)


@every_op
def test_an_empty_batch(op: Op) -> None:
    args = [arg[:0] if number < op.batched else arg for number, arg in enumerate(op.args)]
    y, gradients = compiled(op.ours)(*args)
    like = jax.eval_shape(compiled(op.plain), *args)
    assert jax.tree.map(lambda array: (array.shape, array.dtype), (y, gradients)) == jax.tree.map(
        lambda array: (array.shape, array.dtype), like
    )
    assert not any(jnp.any(gradient) for gradient in gradients)


@every_op
def test_a_batch_of_one_is_one_of_the_batch(op: Op) -> None:
    args = [arg[1:2] if number < op.batched else arg for number, arg in enumerate(op.args)]
    assert_equal_trees(
        compiled(op.ours)(*args),
        compiled(op.plain)(*args),
        roundings=16,
    )


@every_rule
def test_forward_mode_is_for_the_reference(op: Op) -> None:
    tangents = tuple(integers(arg.shape, arg.dtype) for arg in op.args)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(op.ours, op.args, tangents)
    _, dy = jax.jit(lambda args, tangents: jax.jvp(op.plain, args, tangents))(op.args, tangents)
    assert jnp.isfinite(dy).all()


def network(x: jax.Array, kernel: jax.Array, weights: jax.Array) -> jax.Array:
    y = ops.max_pool(ops.relu(ops.conv(x, kernel, padding=1)), 2)
    return ops.dense(ops.flatten(y), weights)


def test_export_to_every_platform_with_any_batch() -> None:
    """Forward and gradient lower for CPU, GPU and TPU, and the CPU's runs at a batch that was not named."""
    (batch,) = jax.export.symbolic_shape("batch")
    kernel, weights = integers((3, 3, 1, 2), np.float32), integers((2 * 4 * 4, 3), np.float32)
    gradient = jax.grad(lambda kernel, x, weights: network(x, kernel, weights).sum())
    x_spec = jax.ShapeDtypeStruct((batch, 8, 8, 1), np.float32)
    specs = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in (kernel, weights)]
    platforms = ("cpu", "cuda", "tpu")
    forward = jax.export.export(jax.jit(network), platforms=platforms)(x_spec, *specs)
    backward = jax.export.export(jax.jit(gradient), platforms=platforms)(specs[0], x_spec, specs[1])
    assert set(forward.platforms) == set(backward.platforms) == set(platforms)
    x = integers((3, 8, 8, 1), np.float32)
    assert_equal_trees(forward.call(x, kernel, weights), jax.jit(network)(x, kernel, weights))
    assert_equal_trees(backward.call(kernel, x, weights), jax.jit(gradient)(kernel, x, weights))
