"""Convolutions of one group: windows as large as their input or set side by side, far taps, and a small network."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from experiments.reports.pytorch import Conv
from experiments.reports.record import Report, kernel_gradients, normal, value_and_gradients


def conv(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: str = "SAME", dilation: int = 1) -> jax.Array:
    """Images with their channels last."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, rhs_dilation=(dilation, dilation), dimension_numbers=numbers
    )


def whole_series(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """One window, as long as the series."""
    return lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=("NCW", "OIW", "NCW"))


def conv_loss(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Of a convolution, for its kernel's gradient."""
    return jnp.sum(jnp.sin(conv(x, kernel)))


def mnist_loss(params: dict[str, jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
    """Of the network of Flax's first example."""
    x = images
    for layer in ("first", "second"):
        x = jax.nn.relu(conv(x, params[layer]) + params[f"{layer} bias"])
        x = lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
    x = jax.nn.relu(x.reshape(len(x), -1) @ params["third"])
    logits = x @ params["fourth"]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))


def _mnist(key: jax.Array) -> tuple[Any, ...]:
    shapes = {
        "first": (3, 3, 1, 32),
        "first bias": (32,),
        "second": (3, 3, 32, 64),
        "second bias": (64,),
        "third": (3136, 256),
        "fourth": (256, 10),
    }
    *keys, of_images, of_labels = jax.random.split(key, len(shapes) + 2)
    params = {name: jax.random.normal(k, shape) / 20 for k, (name, shape) in zip(keys, shapes.items(), strict=True)}
    return params, jax.random.normal(of_images, (32, 28, 28, 1)), jax.random.randint(of_labels, (32,), 0, 10)


REPORTS = (
    Report(
        id="jax#23085",
        title="patches of 16x16 for a vision transformer, with the image's gradient",
        reported="far slower on TPUs and GPUs once the image's gradient is asked for, too",
        shape="NHWC, 4x224x224x3, 16x16/16, 3 to 768 channels",
        scaled="4 images for a large batch: it was an accelerator's",
        f=partial(conv, stride=16, padding="VALID"),
        args=normal((4, 224, 224, 3), (16, 16, 3, 768)),
        around=value_and_gradients,
        in_pytorch=Conv(x=(0, 3, 1, 2), kernel=(3, 2, 0, 1), stride=16, gradients=True),
    ),
    Report(
        id="equinox#1166",
        title="a window as long as its input",
        reported="slower than the matrix product that it is",
        shape="NCW, 8x16x1000, 1,000 taps, 16 to 32 channels",
        scaled="a shape of ours",
        f=whole_series,
        args=normal((8, 16, 1000), (32, 16, 1000)),
        in_pytorch=Conv(x=(0, 1, 2), kernel=(0, 1, 2)),
    ),
    Report(
        id="tensorflow#54279",
        title="a convolution with far taps, with its gradients",
        reported="the gradients up to 100 times slower on a CPU at a large dilation than at a small one",
        shape="NHWC, 4x32x32x32, 3x3, dilation 12, 32 to 32 channels",
        scaled="a shape of ours: the report's is in a notebook",
        f=partial(conv, dilation=12),
        args=normal((4, 32, 32, 32), (3, 3, 32, 32)),
        around=value_and_gradients,
        in_pytorch=Conv(x=(0, 3, 1, 2), kernel=(3, 2, 0, 1), padding=12, dilation=12, gradients=True),
    ),
    Report(
        id="jax-mps#100",
        title="the kernel's gradient of a convolution of large images",
        reported="XLA writes it as a convolution with windows as large as the images",
        shape="NHWC, 16x64x64x16, 3x3, 16 to 32 channels",
        scaled="a shape of ours, in the manner of the report's 64x64",
        f=conv_loss,
        args=normal((3, 3, 16, 32), (16, 64, 64, 16)),
        around=kernel_gradients,
    ),
    Report(
        id="flax#3551",
        title="a step of Flax's first example, digits by two convolutions",
        reported="5 times slower than PyTorch",
        shape="32x28x28x1, 3x3 to 32, 3x3 to 64, average pools, two dense layers; the gradients of all",
        f=mnist_loss,
        args=_mnist,
        around=jax.value_and_grad,
    ),
)
