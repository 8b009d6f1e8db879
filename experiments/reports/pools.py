"""Pools."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from experiments.reports.pytorch import max_pool_2x2
from experiments.reports.record import Report, normal, value_and_gradients


def max_pool(x: jax.Array, *, window: int, stride: int) -> jax.Array:
    """As Flax and Haiku write it."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), "VALID")


def running_sum(x: jax.Array) -> jax.Array:
    """A sum over a window that reaches from the beginning to each place."""
    return lax.reduce_window(x, 0.0, lax.add, x.shape, (1,), [(x.shape[0] - 1, 0)])


def mean_over(x: jax.Array) -> jax.Array:
    """An average pool that does not count its padding, as Haiku writes it: divided by a pool of ones."""
    window, steps = (1, 4, 4, 1), (1, 2, 2, 1)
    sums, counts = (lax.reduce_window(y, 0.0, lax.add, window, steps, "SAME") for y in (x, jnp.ones_like(x)))
    return sums / counts


REPORTS = (
    Report(
        id="tensorflow#57828",
        title="a max pool without overlap",
        reported="3 times slower on a CPU than a maximum over an axis, which computes the same",
        shape="NHWC, 8x256x256x16, 2x2/2",
        scaled="a shape of ours: the report's is in a notebook",
        f=partial(max_pool, window=2, stride=2),
        args=normal((8, 256, 256, 16)),
        tolerance=0,
        in_pytorch=max_pool_2x2,
    ),
    Report(
        id="tensorflow#57828-gradients",
        title="a max pool without overlap, with its gradient",
        reported="as before: the report is of the forward pass",
        shape="NHWC, 8x128x128x16, 2x2/2",
        scaled="a shape of ours: the report's is in a notebook",
        f=partial(max_pool, window=2, stride=2),
        args=normal((8, 128, 128, 16)),
        around=value_and_gradients,
        tolerance=0,
    ),
    Report(
        id="nx#887",
        title="a sum over a window as long as the series",
        reported="200 s for a series of 200,000",
        shape="20,000 places, a window of 20,000",
        scaled="20,000 places for 200,000",
        f=running_sum,
        args=normal((20000,)),
    ),
    Report(
        id="haiku#539",
        title="compiling an average pool whose padding does not count",
        reported="19 s for the counts, a constant that the compiler computes in advance",
        shape="NHWC, 4x64x64x16, 4x4/2, SAME",
        scaled="a shape of ours: the larger, the longer",
        f=mean_over,
        args=normal((4, 64, 64, 16)),
        measured="compile",
    ),
)
