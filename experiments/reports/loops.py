"""Convolutions inside of loops: there XLA computes on a CPU by a naive path what outside of them a library does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from experiments.reports.record import Report, kernel_gradients


def twice(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution over its own result, in a loop."""
    return lax.fori_loop(0, 2, lambda _, y: lax.conv(y, kernel, (1,), "VALID"), x)


def loss_of_batches(kernel: jax.Array, batches: jax.Array) -> jax.Array:
    """The sum of a loss over batches, in a scan, as a training program accumulates it."""

    def add(total: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
        y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return total + jnp.sum(jnp.square(y)), None

    return lax.scan(add, jnp.float32(0), batches)[0]


def _channels_alike(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of a kernel that leaves the size of what it is applied to."""
    x, kernel = jax.random.split(key)
    return jax.random.normal(x, (1, 400, 1024)), jax.random.normal(kernel, (400, 400, 1)) / 20


def _kernel_and_batches(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = jax.random.split(key)
    return jax.random.normal(kernel, (3, 3, 16, 32)) / 12, jax.random.normal(x, (4, 8, 28, 28, 16))


REPORTS = (
    Report(
        id="jax#12868",
        title="a convolution with channels first, in a fori_loop",
        reported="16 s on a CPU for what takes 3 ms outside of the loop",
        shape="NCW, 1x400x1024, 1 tap, 400 to 400 channels, twice",
        scaled="400 channels for 1,000: 16 s per call",
        f=twice,
        args=_channels_alike,
    ),
    Report(
        id="jax#12868-gradient",
        title="the kernel's gradient of a loss that is summed in a scan",
        reported="the same slowness, in the loop in which a network is trained",
        shape="NHWC, 4 batches of 8x28x28x16, 3x3, 16 to 32 channels",
        scaled="a shape of ours: the report names none for gradients",
        f=loss_of_batches,
        args=_kernel_and_batches,
        around=kernel_gradients,
    ),
)
