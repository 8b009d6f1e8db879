"""Transposed convolutions: those whose image is spread out before it is convolved."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from experiments.reports.pytorch import Conv
from experiments.reports.record import Report, kernel_gradients, normal, value_and_gradients


def spread(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: tuple[int, int], layout: tuple[str, str, str]
) -> jax.Array:
    """A transposed convolution as Equinox writes it: zeros between the pixels, then a convolution of stride 1."""
    axes = x.ndim - 2
    return lax.conv_general_dilated(
        x, kernel, (1,) * axes, [padding] * axes, lhs_dilation=(stride,) * axes, dimension_numbers=layout
    )


def mean_of_spread(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Upsampling of a volume to twice its sides, averaged."""
    return jnp.mean(spread(x, kernel, stride=2, padding=(1, 2), layout=("NCDHW", "OIDHW", "NCDHW")))


def transposed(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """A transposed convolution as Flax and Haiku write it."""
    return lax.conv_transpose(x, kernel, (stride,) * (x.ndim - 2), "SAME")


REPORTS = (
    Report(
        id="jax#31662",
        title="the kernel's gradient of a transposed convolution of volumes",
        reported="32 times slower on a GPU than PyTorch, and slower than on a CPU",
        also=("xla#34273", "equinox#1259"),
        shape="NCDHW, 1x64x64x64x32, 3x3x3, stride 2, 64 channels to one, bfloat16",
        f=mean_of_spread,
        args=normal((1, 64, 3, 3, 3), (1, 64, 64, 64, 32), dtype="bfloat16"),
        around=kernel_gradients,
        tolerance=2e-2,
    ),
    Report(
        id="jax#23783",
        title="a transposed convolution of a series, with long steps",
        reported="13 s on a CPU for what took 3 ms the other way round, and 2 ms in PyTorch",
        shape="NCW, 1x256x128, 512 taps, stride 64, 256 channels to one",
        scaled="a shape of ours: the report's is in a notebook",
        f=partial(spread, stride=64, padding=(511, 511), layout=("NCW", "OIW", "NCW")),
        args=normal((1, 256, 128), (1, 256, 512)),
        in_pytorch=Conv(x=(0, 1, 2), kernel=(1, 0, 2), stride=64, transposed=True),
    ),
    Report(
        id="jax#23783-gradients",
        title="a transposed convolution of a series, with its gradients",
        reported="as before: the report is of the forward pass",
        shape="NCW, 1x256x128, 512 taps, stride 64, 256 channels to one",
        scaled="a shape of ours: the report's is in a notebook",
        f=partial(spread, stride=64, padding=(511, 511), layout=("NCW", "OIW", "NCW")),
        args=normal((1, 256, 128), (1, 256, 512)),
        around=value_and_gradients,
        in_pytorch=Conv(x=(0, 1, 2), kernel=(1, 0, 2), stride=64, transposed=True, gradients=True),
    ),
    Report(
        id="equinox#1041",
        title="upsampling of images by a transposed convolution, with its gradients",
        reported="a transposed convolution of Equinox is slow",
        shape="NCHW, 4x32x32x32, 4x4, stride 2, 32 to 16 channels",
        scaled="a shape of ours",
        f=partial(spread, stride=2, padding=(2, 2), layout=("NCHW", "OIHW", "NCHW")),
        args=normal((4, 32, 32, 32), (16, 32, 4, 4)),
        around=value_and_gradients,
        in_pytorch=Conv(x=(0, 1, 2, 3), kernel=(1, 0, 2, 3), stride=2, padding=1, transposed=True, gradients=True),
    ),
    Report(
        id="jax#8537",
        title="a transposed convolution of volumes, channels last",
        reported="4 to 5 times slower on a GPU than the convolution beside it",
        shape="NDHWC, 1x16x16x16x32, 3x3x3, stride 2, 32 to 32 channels",
        scaled="a shape of ours: the report's is in a notebook, and was a GPU's",
        f=partial(transposed, stride=2),
        args=normal((1, 16, 16, 16, 32), (3, 3, 3, 32, 32)),
        in_pytorch=Conv(x=(0, 4, 1, 2, 3), kernel=(3, 4, 0, 1, 2), stride=2, transposed=True, cut=1),
    ),
    Report(
        id="pytorch#194496",
        title="volumes to twice their sides, 2x2x2 with stride 2, as in a 3-D U-Net",
        reported="slow on a CPU in PyTorch, up to 1.8 times what it could be",
        shape="NDHWC, 1x16x16x16x32, 2x2x2, stride 2, 32 to 32 channels",
        scaled="a shape of ours",
        f=partial(transposed, stride=2),
        args=normal((1, 16, 16, 16, 32), (2, 2, 2, 32, 32)),
        in_pytorch=Conv(x=(0, 4, 1, 2, 3), kernel=(3, 4, 0, 1, 2), stride=2, transposed=True),
    ),
    Report(
        id="jax#17464",
        title="a transposed convolution with wide windows and long steps",
        reported="compiling took over 4 minutes on a GPU; this is the time to run it",
        also=("haiku#724", "xla#5541"),
        shape="NHWC, 1x8x8x128, 32x32, stride 16, 128 to 32 channels",
        f=partial(transposed, stride=16),
        args=normal((1, 8, 8, 128), (32, 32, 128, 32)),
    ),
)
