"""Depthwise convolutions: one kernel per channel."""

from __future__ import annotations

from functools import partial

import jax
from jax import lax

from experiments.reports.pytorch import Conv
from experiments.reports.record import Report, normal, value_and_gradients

NHWC, NCHW, NCW = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("NCW", "OIW", "NCW")


def depthwise(x: jax.Array, kernel: jax.Array, *, layout: tuple[str, str, str], step: int = 1) -> jax.Array:
    """A kernel for each channel, whichever axis has them."""
    axis = layout[0].index("C")
    steps = (step,) * (x.ndim - 2)
    return lax.conv_general_dilated(
        x, kernel, steps, "SAME", dimension_numbers=layout, feature_group_count=x.shape[axis]
    )


def dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A kernel for each channel of a series, whose taps lie 64 steps apart."""
    numbers = ("NWC", "WIO", "NWC")
    return lax.conv_general_dilated(
        x, kernel, (1,), "SAME", rhs_dilation=(64,), dimension_numbers=numbers, feature_group_count=x.shape[2]
    )


def causal(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A short kernel for each channel of a series, which sees what was before alone."""
    padding = [(kernel.shape[2] - 1, 0)]
    return lax.conv_general_dilated(x, kernel, (1,), padding, dimension_numbers=NCW, feature_group_count=x.shape[1])


REPORTS = (
    Report(
        id="jax#23713",
        title="nnx.Conv, depthwise",
        reported="several times slower on a CPU than TensorFlow and PyTorch",
        also=("flax#4207",),
        shape="NHWC, 1x124x124x256, 3x3",
        f=partial(depthwise, layout=NHWC),
        args=normal((1, 124, 124, 256), (3, 3, 1, 256)),
        in_pytorch=Conv(x=(0, 3, 1, 2), kernel=(3, 2, 0, 1), padding=1, groups=256),
    ),
    Report(
        id="jax#23713-gradients",
        title="nnx.Conv, depthwise, with its gradients",
        reported="as before: the report is of the forward pass",
        shape="NHWC, 1x124x124x256, 3x3",
        f=partial(depthwise, layout=NHWC),
        args=normal((1, 124, 124, 256), (3, 3, 1, 256)),
        around=value_and_gradients,
        in_pytorch=Conv(x=(0, 3, 1, 2), kernel=(3, 2, 0, 1), padding=1, groups=256, gradients=True),
    ),
    Report(
        id="equinox#970",
        title="eqx.nn.Conv2d, depthwise, channels first",
        reported="3 to 5 times slower on a CPU than PyTorch",
        shape="NCHW, 1x512x124x124, 3x3",
        f=partial(depthwise, layout=NCHW),
        args=normal((1, 512, 124, 124), (512, 1, 3, 3)),
        in_pytorch=Conv(x=(0, 1, 2, 3), kernel=(0, 1, 2, 3), padding=1, groups=512),
    ),
    Report(
        id="jax#13800",
        title="a depthwise convolution of a series, with its gradients",
        reported="the backward pass on a GPU as slow as that of one group, far slower than PyTorch's",
        shape="NCW, 8x512x1024, 5 taps",
        scaled="8 series for 32 and one layer for 12: it was a GPU's",
        f=partial(depthwise, layout=NCW),
        args=normal((8, 512, 1024), (512, 1, 5)),
        around=value_and_gradients,
        in_pytorch=Conv(x=(0, 1, 2), kernel=(0, 1, 2), padding=2, groups=512, gradients=True),
    ),
    Report(
        id="jax#26266",
        title="a depthwise convolution of a series, its taps far apart",
        reported="slower on GPUs than one of all channels, the more so the farther the taps lie apart",
        shape="NWC, 8x1024x256, 8 taps, dilation 64",
        scaled="8 series for 32: it was a GPU's",
        f=dilated,
        args=normal((8, 1024, 256), (8, 1, 256)),
        in_pytorch=Conv(x=(0, 2, 1), kernel=(2, 1, 0), padding="same", dilation=64, groups=256),
    ),
    Report(
        id="keras#23041",
        title="a depthwise convolution of Keras, channels first",
        reported="its own backend cannot compute it on a CPU, and lays it out anew",
        also=("keras#23031",),
        shape="NCHW, 16x32x64x64, 3x3",
        scaled="a shape of ours: the report names a tiny one",
        f=partial(depthwise, layout=NCHW),
        args=normal((16, 32, 64, 64), (32, 1, 3, 3)),
        in_pytorch=Conv(x=(0, 1, 2, 3), kernel=(0, 1, 2, 3), padding=1, groups=32),
    ),
    Report(
        id="tensorflow#60312",
        title="a depthwise convolution of stride 2",
        reported="slower with XLA than without",
        shape="NHWC, 8x112x112x64, 3x3/2",
        scaled="a shape of ours: the report's is in a notebook",
        f=partial(depthwise, layout=NHWC, step=2),
        args=normal((8, 112, 112, 64), (3, 3, 1, 64)),
    ),
    Report(
        id="tensorflow#60312-gradients",
        title="a depthwise convolution of stride 2, with its gradients",
        reported="as before: the report is of the forward pass",
        shape="NHWC, 4x112x112x32, 3x3/2",
        scaled="a shape of ours: the report's is in a notebook",
        f=partial(depthwise, layout=NHWC, step=2),
        args=normal((4, 112, 112, 32), (3, 3, 1, 32)),
        around=value_and_gradients,
    ),
    Report(
        id="pytorch#192902",
        title="a short causal convolution of many channels, with its gradients",
        reported="PyTorch's own is far from what a GPU's memory allows",
        shape="NCW, 1x1536x2048, 4 taps",
        scaled="1,536 channels for 12,288 and 2,048 steps for 16,384: it was a GPU's",
        f=causal,
        args=normal((1, 1536, 2048), (1536, 1, 4)),
        around=value_and_gradients,
        in_pytorch=Conv(x=(0, 1, 2), kernel=(0, 1, 2), padding=3, groups=1536, cut=3, gradients=True),
    ),
)
