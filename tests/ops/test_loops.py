"""Third derivatives through a loop over gradients, where jax takes apart what is not in one piece (`_pieces`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from agreement import mostly_long, normals
from jax import lax

from jaxcnn import ops, reference

IMAGES, KERNELS = (2, 6, 6, 2), (3, 3, 2, 4)
Net = Callable[[Any, jax.Array, jax.Array], jax.Array]


def features(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.einsum("nhwc,uvcd->nhwd", x, kernel)


NETS: dict[str, Net] = {
    "conv": lambda m, x, k: m.conv(x, k),
    "conv, strided": lambda m, x, k: m.conv(x, k, stride=2),
    "conv, grouped": lambda m, x, k: m.conv(x, k[:, :, :1], groups=2),
    "conv, one channel": lambda m, x, k: m.conv(x[..., :1], k[:, :, :1, :2]),
    "conv_transpose": lambda m, x, k: m.conv_transpose(x, jnp.swapaxes(k, -1, -2), stride=2),
    "max_pool": lambda m, x, k: m.max_pool(features(x, k), 2),
    "max_pool, ties split": lambda m, x, k: m.max_pool(features(x, k), 2, ties="split"),
    "avg_pool": lambda m, x, k: m.avg_pool(features(x, k), 2),
    "conv_relu_max_pool": lambda m, x, k: m.conv_relu_max_pool(x, k, None, 2),
    "softmax": lambda m, x, k: m.softmax(features(x, k)),
    "dense": lambda m, x, k: m.dense(features(x, k).reshape(2, -1), jnp.tile(k.reshape(-1, 4), (8, 1))),
}


@pytest.mark.parametrize("name", mostly_long(NETS, ("conv",)))
def test_third_derivatives_are_the_plain_ones_without_a_loop(name: str) -> None:
    x, kernel = normals(IMAGES), normals(KERNELS, seed=1)

    def third(module: Any, loop: Callable[..., jax.Array]) -> jax.Array:
        def loss(kernel: jax.Array) -> jax.Array:
            return jnp.sum(jnp.tanh(NETS[name](module, x, kernel)) ** 2)

        def trained(kernel: jax.Array) -> jax.Array:
            return loss(loop(lambda kernel: kernel - 0.1 * jax.grad(loss)(kernel), kernel))

        def along(f: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
            return lambda kernel: jnp.vdot(jax.grad(f)(kernel), jnp.cos(kernel))

        return jax.jit(jax.grad(along(along(trained))))(kernel)

    in_a_loop = third(ops, lambda step, kernel: lax.scan(lambda k, _: (step(k), None), kernel, None, length=2)[0])
    expected = third(reference, lambda step, kernel: step(step(kernel)))
    assert jnp.any(expected != 0)
    # relative to the greatest number: sums of both signs
    assert jnp.all(jnp.abs(in_a_loop - expected) <= 1e-11 * jnp.max(jnp.abs(expected)))
