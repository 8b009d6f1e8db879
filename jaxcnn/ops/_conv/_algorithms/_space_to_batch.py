"""`space_to_batch`: the kernel gradient of a dilated convolution as that of a dense one, of d times as many images.

Along one axis of stride 1, tap u of window i stands at i + u d of the padded x: in the same class modulo d as i. With
i = j d + p, each class p is an image of its own, and

    dk[u] = sum_(n, i) x_pad[n, i + u d] dy[n, i] = sum_(n, p, j) x_p[n, j + u] dy_p[n, j]                 [R 5, 9]

where x_p[j] = x_pad[j d + p], and dy_p likewise; zeros after dy's end fill the last rows of some classes. XLA:GPU gives
dense kernel gradients to cuDNN's own, which cuts the long sum over places into parts, and dilated ones to its forward
convolution, with all of dy as a kernel, which does not.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm
from jaxcnn.ops._conv._algorithms import _direct
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._types import Kernel, X, Y


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    stride, dilation = problem.window.stride, problem.window.dilation
    return None if max(stride) == 1 < max(dilation) else "stride must be 1, and dilation over 1 on some axis"


def kernel_gradient(problem: Problem, x: X, dy: Y) -> Kernel:
    """dk of the dense convolution that the classes make [R 5, 9]."""
    window = problem.window
    rows = [-(-out // d) for out, d in zip(window.out, window.dilation, strict=True)]  # of a class
    seen = [n + k - 1 for n, k in zip(rows, window.size, strict=True)]
    classes = [
        _classes(array, [lo for lo, _ in pads], lengths, window.dilation)
        for array, pads, lengths in ((x, window.padding, seen), (dy, [(0, 0)] * len(rows), rows))
    ]
    ones, zeros = (1,) * len(rows), ((0, 0),) * len(rows)
    dense = replace(window, shape=tuple(seen), padding=zeros, dilation=ones)
    return _direct.kernel_gradient(replace(problem, window=dense), *classes)


def _classes(array: jax.Array, before: list[int], lengths: list[int], dilation: tuple[int, ...]) -> jax.Array:
    """(N, *spatial, C), padded or cut to (N, *(d length), C) -> (prod(d) N, *length, C)."""
    axes = zip(array.shape[1:-1], before, lengths, dilation, strict=True)
    edges = [(0, 0, 0), *((lo, n * d - h - lo, 0) for h, lo, n, d in axes), (0, 0, 0)]
    padded = lax.pad(array, jnp.zeros((), array.dtype), edges)
    apart = [part for n, d in zip(lengths, dilation, strict=True) for part in (n, d)]
    split = padded.reshape(array.shape[0], *apart, array.shape[-1])
    places, classes = range(1, split.ndim - 1, 2), range(2, split.ndim - 1, 2)
    batch = array.shape[0] * prod(dilation)
    return split.transpose(*classes, 0, *places, split.ndim - 1).reshape(batch, *lengths, array.shape[-1])


SPACE_TO_BATCH = Algorithm("space_to_batch", {"kernel_gradient": kernel_gradient}, unsupported=unsupported)
