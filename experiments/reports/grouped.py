"""Convolutions in some groups."""

from __future__ import annotations

from functools import partial

import jax
from jax import lax

from experiments.reports.pytorch import Conv
from experiments.reports.record import Report, normal, value_and_gradients


def grouped(x: jax.Array, kernel: jax.Array, *, groups: int) -> jax.Array:
    """Channels last, in groups that do not see each other."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups)


REPORTS = (
    Report(
        id="keras#20471",
        title="a 1x1 convolution in two groups",
        reported="slower on a GPU than in one group, with TensorFlow and with JAX",
        shape="NHWC, 8x64x64x512, 1x1, 512 to 128 channels, 2 groups",
        scaled="8 images for 32: it was a GPU's",
        f=partial(grouped, groups=2),
        args=normal((8, 64, 64, 512), (1, 1, 256, 128)),
        in_pytorch=Conv(x=(0, 3, 1, 2), kernel=(3, 2, 0, 1), padding=0, groups=2),
    ),
    Report(
        id="pytorch#70954",
        title="a 3x3 convolution in groups, with its gradients",
        reported="training is slower in groups than in one",
        shape="NHWC, 4x56x56x64, 3x3, 64 to 64 channels, 8 groups",
        scaled="4 images of 56x56 for 16 of 224x224, one layer for ten: it was a GPU's",
        f=partial(grouped, groups=8),
        args=normal((4, 56, 56, 64), (3, 3, 8, 64)),
        around=value_and_gradients,
        in_pytorch=Conv(x=(0, 3, 1, 2), kernel=(3, 2, 0, 1), padding=1, groups=8, gradients=True),
    ),
)
