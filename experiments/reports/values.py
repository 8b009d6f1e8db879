"""Wrong values: what is right is computed by NumPy from the words of the report."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.reports.record import Report, normal

LAST = ("NHWC", "HWIO", "NHWC")
ONE_SPREAD = (0, 0, 1)  # of an axis of one element: it changes nothing, and keeps XLA from making a slice of the cut


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 without overlap."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _with_a_nan(key: jax.Array) -> tuple[jax.Array]:
    return (jax.random.normal(key, (8, 28, 28, 32)).at[0, 3, 4].set(jnp.nan),)


def _pooled(x: np.ndarray) -> np.ndarray:
    return np.max(x.reshape(8, 14, 2, 14, 2, 32), axis=(2, 4))


def pool_of_spread(x: jax.Array) -> jax.Array:
    """Pairs of rows, and between the columns nothing."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (2, 1), "VALID", base_dilation=(1, 2))


def _pooled_spread(x: np.ndarray) -> np.ndarray:
    y = np.full((x.shape[0] // 2, 2 * x.shape[1] - 1), -np.inf, x.dtype)
    y[:, ::2] = np.maximum(x[::2], x[1::2])
    return y


def cut_and_padded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Five columns cut off on one side, one of zeros put on the other."""
    return lax.conv_general_dilated(x, kernel, (1, 1), [(0, 0), (-5, 1)], dimension_numbers=LAST)


def _cut_and_padded(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.pad(x[:, :, 5:], [(0, 0), (0, 0), (0, 1), (0, 0)]) @ kernel[0, 0]


def cut_then_summed(x: jax.Array) -> jax.Array:
    """The first column cut off, then sums of neighbours with a zero in its place."""
    kept = lax.pad(x, jnp.float32(0), [ONE_SPREAD, (-1, 0, 0)])
    return lax.reduce_window(kept, 0.0, lax.add, (1, 2), (1, 1), [(0, 0), (1, 0)])


def _cut_then_summed(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x[:, 1:], [(0, 0), (1, 0)])
    return padded[:, :-1] + padded[:, 1:]


def cut_then_convolved(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The first column cut off, then a convolution with a zero in its place."""
    kept = lax.pad(x, jnp.float32(0), [ONE_SPREAD, (0, 0, 0), (-1, 0, 0), (0, 0, 0)])
    return lax.conv_general_dilated(kept, kernel, (1, 1), [(0, 0), (1, 0)], dimension_numbers=LAST)


def _cut_then_convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    padded = np.pad(x[:, :, 1:], [(0, 0), (0, 0), (1, 0), (0, 0)])
    return padded[:, :, :-1] @ kernel[0, 0] + padded[:, :, 1:] @ kernel[0, 1]


def cut_alone(x: jax.Array) -> jax.Array:
    """Windows of one element, and a row less."""
    return lax.reduce_window(x, 0.0, lax.add, (1, 1), (1, 1), [(-1, 0), (0, 0)])


REPORTS = (
    Report(
        id="tensorflow#125965",
        title="NaN in a max pool",
        reported="of identical channels some keep the NaN and some lose it; XLA's reductions lose it in other ways",
        also=("xla#21461",),
        shape="NHWC, 8x28x28x32, 2x2/2, a pixel of NaN",
        f=max_pool,
        args=_with_a_nan,
        measured="value",
        tolerance=0,
        truth=_pooled,
    ),
    Report(
        id="xla#48714",
        title="a max pool with base_dilation along an axis of windows of one",
        reported="the holes are forgotten on a CPU where the input is large",
        shape="64x128, windows of 2x1, base_dilation 1x2",
        f=pool_of_spread,
        args=normal((64, 128)),
        measured="value",
        tolerance=0,
        truth=_pooled_spread,
    ),
    Report(
        id="xla#48713",
        title="a convolution with negative padding on one side and positive on the other",
        reported="reads beyond the input on a CPU: the next row where zeros belong",
        shape="NHWC, 1x15x6x8, 1x1, padding (-5, 1)",
        f=cut_and_padded,
        args=normal((1, 15, 6, 8), (1, 1, 8, 8)),
        measured="value",
        truth=_cut_and_padded,
    ),
    Report(
        id="xla#48715",
        title="a window's sum over what was cut",
        reported="compiled, what was cut off comes back where padding belongs",
        shape="1x2, the first column cut, windows of 1x2 padded by one",
        f=cut_then_summed,
        args=normal((1, 2)),
        measured="value",
        truth=_cut_then_summed,
    ),
    Report(
        id="xla#48715-convolution",
        title="a convolution of what was cut",
        reported="the same of a convolution",
        shape="NHWC, 1x4x6x3, the first column cut, 1x2 padded by one",
        f=cut_then_convolved,
        args=normal((1, 4, 6, 3), (1, 2, 3, 2)),
        measured="value",
        truth=_cut_then_convolved,
    ),
    Report(
        id="xla#48719",
        title="windows of one element with negative padding",
        reported="compiling ends the process",
        shape="8x4, windows of 1x1, padding ((-1, 0), (0, 0))",
        f=cut_alone,
        args=normal((8, 4)),
        measured="value",
        tolerance=0,
        truth=lambda x: x[1:],
    ),
)
