"""A gradient for each example, and a model for each of several kernels: convolutions under vmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from experiments.reports.record import Report, normal, per_example_gradients


def depthwise_loss(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Of one image, after a depthwise convolution."""
    y = lax.conv_general_dilated(
        x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[2]
    )
    return jnp.sum(jnp.sin(y))


def tiny_network(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Of one small lattice, which is closed to a ring along both axes, as physicists have them."""
    ring = jnp.pad(x, ((0, 1), (0, 1)), mode="wrap")
    y = lax.conv(ring[None, None], kernel, (1, 1), "VALID")
    return jnp.sum(jnp.log(jnp.cosh(y)))


def one_model(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A layer of `flax.linen.Conv(64, 3)` over images: rows are convolved, columns are a batch of them."""
    rows = x.reshape(-1, *x.shape[2:])
    y = lax.conv_general_dilated(rows, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
    return jax.nn.relu(y)


REPORTS = (
    Report(
        id="jax-mps#160",
        title="per-example gradients of a depthwise convolution",
        reported="a call per example on Apple's GPUs; by JAX's own rule a convolution in groups of the batch",
        shape="64 examples of 14x14x64, 3x3",
        scaled="a shape of ours: the report names none",
        f=depthwise_loss,
        args=normal((3, 3, 1, 64), (64, 14, 14, 64)),
        around=per_example_gradients,
    ),
    Report(
        id="jax#1606",
        title="per-example gradients of a tiny network",
        reported="compiling took minutes from 300 examples on; this is the time to run it",
        shape="1,000 examples of 4x4 in a ring, 2x2, one channel, float64",
        f=tiny_network,
        args=normal((1, 1, 2, 2), (1000, 4, 4), dtype="float64"),
        around=per_example_gradients,
        tolerance=1e-10,
        needs_float64=True,
    ),
    Report(
        id="jax#26568",
        title="ten models at once, by vmap over kernels and images",
        reported="slower on a GPU than one model after the other by lax.map",
        shape="10 models, 16x32x32x3 each, 3 taps along rows, 3 to 64 channels",
        scaled="16 images for 256: it was a GPU's",
        f=one_model,
        args=normal((10, 16, 32, 32, 3), (10, 3, 3, 64)),
        around=jax.vmap,
    ),
)
