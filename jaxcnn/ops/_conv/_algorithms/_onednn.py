"""`onednn`: the three maps by Intel's oneDNN, through XLA's foreign function interface, on a CPU.

XLA:CPU's convolution is a product of patches by a kernel; oneDNN compiles one for each geometry, for the processor at
hand, whose loops run over blocks of channels that stay in registers [R 1.8 names such libraries]:

    correlate        y  = x * k                                                                                  [R 1]
    input_gradient   dx = sum_u put_u(dy k_u^T)                                                                  [R 6]
    kernel_gradient  dk_u = x_u^T dy                                                                             [R 5]

Images are spread over XLA's own threads, and rows of an image where there are fewer images than threads (`onednn.cc`).
Sums are in float32, in an order that depends on the number of threads only.

float32; bfloat16 and float16 where the processor multiplies them, and in float32 otherwise. Many examples (`jax.vmap`)
become one batch where they share the kernel, and come one after another where they do not.

On other platforms the map is what "auto" takes there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from jaxcnn.ops._conv._algorithm import Algorithm
from jaxcnn.ops._conv._native import _engine
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._meshes import varying_as
from jaxcnn.ops._lib._types import Kernel, X, Y
from jaxcnn.ops._lib._window import Shape

AXES = 3
WIDE = np.dtype(np.float32)


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    window, dtypes = problem.window, problem.dtypes
    if len(window.shape) > AXES:
        return f"it has 1 to {AXES} spatial axes, not {len(window.shape)}"
    if window.is_symbolic:
        return "the spatial sizes must be known"
    if wide := {dtype.name for dtype in (dtypes.x, dtypes.kernel, dtypes.y) if dtype.itemsize > WIDE.itemsize}:
        return f"it computes in float32 and narrower, not {', '.join(sorted(wide))}"
    if reason := _engine.why_not():
        return f"oneDNN is not here: {reason}"
    return None


def correlate(problem: Problem, x: X, kernel: Kernel) -> Y:
    """y[n, i, c] = sum_(u, c') k[u, c', c] x_pad[n, i s + u d, c'] [R 1]."""
    dtype, shape = _products_in(problem.dtypes.x), (*problem.window.out, problem.c_out)
    kernel = kernel.astype(problem.dtypes.x)
    y = _per_image("correlate", problem, shape, _result(dtype, problem.dtypes.y), x.astype(dtype), kernel.astype(dtype))
    return y.astype(problem.dtypes.y)


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """dx = sum_u put_u(dy k_u^T) [R 6]."""
    dtype, shape = _products_in(problem.dtypes.of_gradients), (*problem.window.shape, problem.c_in)
    kernel = kernel.astype(problem.dtypes.x)
    result = _result(dtype, problem.dtypes.x)
    dx = _per_image("input_gradient", problem, shape, result, dy.astype(dtype), kernel.astype(dtype))
    return dx.astype(problem.dtypes.x)


def kernel_gradient(problem: Problem, x: X, dy: Y) -> Kernel:
    """dk_u = x_u^T dy, in float32 [R 5]."""
    dtype = _products_in(problem.dtypes.of_gradients)
    shape = (*problem.window.size, problem.c_in // problem.groups, problem.c_out)
    of_one = partial(_call, "kernel_gradient", problem, shape, WIDE)
    dk = _in_turns(of_one)(x.astype(dtype), dy.astype(dtype))
    return dk.astype(problem.dtypes.kernel)


def _products_in(dtype: np.dtype) -> np.dtype:
    return dtype if dtype in _engine.engine().narrow else WIDE


def _result(products: np.dtype, wanted: np.dtype) -> np.dtype:
    """Of what is wanted, rounded once by oneDNN if it can."""
    return wanted if wanted == products else WIDE


def _call(
    which: str, problem: Problem, shape: Shape, dtype: np.dtype, first: jax.Array, second: jax.Array
) -> jax.Array:
    window = problem.window
    return jax.ffi.ffi_call(_engine.target(which), varying_as(first, shape, dtype))(
        first,
        second,
        strides=np.array(window.stride, np.int64),
        lo=np.array([lo for lo, _ in window.padding], np.int64),
        dilation=np.array(window.dilation, np.int64),
        groups=np.int64(problem.groups),
    )


def _per_image(
    which: str, problem: Problem, shape: Shape, dtype: np.dtype, images: jax.Array, kernel: jax.Array
) -> jax.Array:
    """A map whose result has an image for each of its first argument's."""

    def of_batch(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return _call(which, problem, (images.shape[0], *shape), dtype, images, kernel)

    def of_examples(
        examples: int, mapped: Sequence[bool], images: jax.Array, kernel: jax.Array
    ) -> tuple[jax.Array, bool]:
        if mapped[1]:
            return _one_by_one(of_batch, mapped, images, kernel), True
        found = again(lax.collapse(images, 0, 2), kernel)
        return found.reshape(images.shape[:2] + found.shape[1:]), True

    again = custom_vmap(of_batch)
    again.def_vmap(of_examples)
    return again(images, kernel)


def _in_turns(of_one: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    def of_examples(examples: int, mapped: Sequence[bool], *args: jax.Array) -> tuple[jax.Array, bool]:
        return _one_by_one(of_one, mapped, *args), True

    one = custom_vmap(of_one)
    one.def_vmap(of_examples)
    return one


def _one_by_one(of_one: Callable[..., jax.Array], mapped: Sequence[bool], *args: jax.Array) -> jax.Array:
    """Of each example, what is not mapped held: XLA's threads share each of them."""
    examples = [arg for arg, maps in zip(args, mapped, strict=True) if maps]

    def of(own: list[jax.Array]) -> jax.Array:
        each = iter(own)
        return of_one(*(next(each) if maps else arg for arg, maps in zip(args, mapped, strict=True)))

    return lax.map(of, examples)


ONEDNN = Algorithm(
    "onednn",
    {"correlate": correlate, "input_gradient": input_gradient, "kernel_gradient": kernel_gradient},
    unsupported=unsupported,
    platforms=("cpu",),
)
