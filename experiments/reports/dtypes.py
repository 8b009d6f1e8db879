"""Other types than float32."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from experiments.reports.record import Report, bytes_, normal, value_and_gradients

HALF = 2e-3  # a rounding or two of float16


def conv(x: jax.Array, kernel: jax.Array, *, into: Any = None) -> jax.Array:
    """Images with their channels last."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, preferred_element_type=into)


def with_bias(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """A layer over series."""
    return lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")) + bias


def of_bytes(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Channels first, summed in int32."""
    return lax.conv(x, kernel, (1, 1), "SAME", preferred_element_type=jnp.int32)


REPORTS = (
    Report(
        id="jax#11143",
        title="a convolution of series in float16, with a bias",
        reported="half as fast on a GPU as in bfloat16",
        shape="NWC, 4x128x256, 3 taps, 256 to 256 channels",
        scaled="4x128 for 16x512, 256 channels for 2,048, one layer for ten: it was a GPU's",
        f=with_bias,
        args=normal((4, 128, 256), (3, 256, 256), (1, 1, 256), dtype="float16"),
        tolerance=HALF,
    ),
    Report(
        id="jax#30548",
        title="a convolution of images in float16",
        reported="slower on a GPU of AMD's than in float32",
        shape="NHWC, 2x64x64x64, 3x3, 64 to 64 channels",
        scaled="2x64x64 for 32x256x256: it was a GPU's",
        f=conv,
        args=normal((2, 64, 64, 64), (3, 3, 64, 64), dtype="float16"),
        tolerance=HALF,
    ),
    Report(
        id="jax#14585",
        title="a convolution of int8 summed in int32, three channels",
        reported="not to be had on a GPU",
        shape="NHWC, 2x128x128x3, 3x3, 3 to 64 channels",
        scaled="2x128x128 for 32x1024x1024: it was a GPU's",
        f=partial(conv, into=jnp.int32),
        args=bytes_((2, 128, 128, 3), (3, 3, 3, 64)),
        tolerance=0,
    ),
    Report(
        id="jax#7637",
        title="a convolution of int8 summed in int32, channels first",
        reported="not to be had on a GPU",
        shape="NCHW, 2x4x128x128, 3x3, 4 to 64 channels",
        scaled="2x128x128 for 8x256x256: it was a GPU's",
        f=of_bytes,
        args=bytes_((2, 4, 128, 128), (64, 4, 3, 3)),
        tolerance=0,
    ),
    Report(
        id="jax#940",
        title="a convolution in float64, with its gradients",
        reported="a slow reference path on a CPU, as a maintainer says",
        shape="NHWC, 8x28x28x32, 3x3, 32 to 32 channels",
        scaled="a shape of ours: the report names none",
        f=conv,
        args=normal((8, 28, 28, 32), (3, 3, 32, 32), dtype="float64"),
        around=value_and_gradients,
        tolerance=1e-10,
        needs_float64=True,
    ),
)
