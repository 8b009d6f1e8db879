"""Convolution, ReLU and max pooling as one op, the block of both papers.

Legend (any number of spatial axes)
    x       (N, *spatial, C_in)         k, b    (*k, C_in/groups, C_out), (C_out,)
    z       (N, *out, C_out), the convolution; never kept
    y, dy   (N, *pooled, C_out)
    winner  (N, *pooled, C_out), the number of the tap of the pooling window that was selected, or `nobody`

Forward     z = correlate(x, k) + b,    y = max(max_u z_u, 0)                                  [R 1, 1.4, 1.5; V 1, 2.2]
            for max(., 0) is monotone, so that  max_u max(z_u, 0) = max(max_u z_u, 0).

Backward    dz is dy at the place of each window's first maximum of relu(z), times relu' there:
                max_u z_u > 0       that is the first maximum of z as well, where relu' = 1: dy goes to winner
                max_u z_u <= 0      every relu(z_u) is 0, tied, with relu'(z_u) = 0: dy goes to nobody
                NaN in the window   the first NaN is selected, where relu' = 0: dy goes to nobody
            so  dz = route(dy, winner)      [V 3.3; R 1.4, 1.5]
                dk = kernel_gradient(x, dz) [R 5, 7; V 33, 37],   dx = input_gradient(dz, k) [R 6, 8; V 34, 38]
                db = sum of dy where there is a winner  [R 4]
            Each of these maps has its own rule, so the whole has one, to any order.
            On a CPU this is done some images at a time, so that dz, as large as z, is never whole and stays in cache.

Residuals   x and k, once, and winner: one byte per pooled element up to 255 taps. The three ops in sequence also
            keep a byte per element of z (ReLU's).
Conventions those of `conv`, `relu` and `max_pool(ties="first")`; b is added, and z rounded to the dtype of x, before
            anything is compared, so that it equals the three ops in sequence, kinks, ties and NaN included
Sources     [R] 1.2-1.5, [V] 2.1, 2.2, 3.3, 3.4.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn.ops._activation import _relu
from jaxcnn.ops._conv import _chunks, _rule
from jaxcnn.ops._conv._plan import Algorithms, Planned, asked_for
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._arguments import float_array, image_array, refuse
from jaxcnn.ops._lib._dtypes import Dtypes, accumulator
from jaxcnn.ops._lib._meshes import dividing, is_explicitly_sharded, laid_out_as, varying_alike
from jaxcnn.ops._lib._pieces import compiled_once, in_one_piece
from jaxcnn.ops._lib._record import (
    IMAGES,
    KERNELS,
    WINDOW,
    Arguments,
    Example,
    Op,
    Shape,
    bytes_of,
    shape,
    terms,
    total,
)
from jaxcnn.ops._lib._types import Bias, Kernel, Pooled, X
from jaxcnn.ops._lib._window import Count, Padding, PerAxis, Window
from jaxcnn.ops._pool import _max_pool
from jaxcnn.ops._pool._max_pool import computed_once, first_maximum, gather, route, winner_bytes

CHUNK_BYTES = 4 * _chunks.CHUNK_BYTES  # of dz and patches, on a CPU: 4 MiB per core, in the last cache

Saved = tuple[jax.Array, jax.Array, jax.Array]


def reference(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    window: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    algorithm: Algorithms = "auto",
    pool_stride: PerAxis | None = None,
    pool_padding: Padding = 0,
    pool_dilation: PerAxis = 1,
) -> jax.Array:
    """The plain forward: the three plain forwards in sequence."""
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    z = _relu.reference(_rule.reference(x, kernel, bias, precision=precision, **options))
    return _max_pool.reference(z, window, stride=pool_stride, padding=pool_padding, dilation=pool_dilation)


def conv_relu_max_pool(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    window: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    algorithm: Algorithms = "auto",
    pool_stride: PerAxis | None = None,
    pool_padding: Padding = 0,
    pool_dilation: PerAxis = 1,
) -> jax.Array:
    """`max_pool(relu(conv(x, kernel, bias)), window)`, keeping one byte for each element of its result.

    Args:
        x: images (N, *spatial, C_in), floating.
        kernel: (*k, C_in/groups, C_out), floating; rounded to the dtype of x.
        bias: (C_out,), floating, or None.
        window: the pooling window's size, an int or one per spatial axis.
        stride, padding, dilation, groups, precision, algorithm: of the convolution, as in `conv`.
        pool_stride, pool_padding, pool_dilation: of the pooling, as in `max_pool`.

    Returns:
        y (N, *pooled, C_out), in the dtype of x.

    Raises:
        ValueError: as `conv` and `max_pool`.

    Source:
        [R] 1.2-1.5, [V] 2.1, 2.2; its gradients [R 4-8], [V 33-38] and 3.3.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, kernel = jnp.array([1.0, 2.0, -3.0, -4.0]).reshape(1, 4, 1), jnp.ones((1, 1, 1))
        >>> conv_relu_max_pool(x, kernel, jnp.array([1.0]), 2).ravel().tolist()
        [3.0, 0.0]
        >>> jax.grad(lambda x: conv_relu_max_pool(x, kernel, None, 2).sum())(x).ravel().tolist()
        [0.0, 1.0, 0.0, 0.0]
    """
    op = "conv_relu_max_pool"
    x, kernel = image_array(op, "x", x), float_array(op, "kernel", kernel)
    bias = jnp.zeros(kernel.shape[-1:], x.dtype) if bias is None else float_array(op, "bias", bias)
    problem = Problem.of(
        op,
        x.shape,
        kernel.shape,
        Dtypes.of(op, x, kernel, None),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        precision=precision,
    )
    planned = asked_for(op, problem, algorithm)
    if bias.shape != (problem.c_out,):
        refuse(
            op, f"bias must be (C_out,) = ({problem.c_out},) for the kernel's output channels, got shape {bias.shape}"
        )
    z_shape = (x.shape[0], *problem.window.out, problem.c_out)
    pool = Window.of(op, z_shape, window, pool_stride, pool_padding, pool_dilation)
    return by_plan(planned, pool, x, kernel, bias)


def by_plan(planned: Planned, pool: Window, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """The same of a problem and a pooling window over its z that are known to be right."""
    return _conv_relu_max_pool(planned, pool, bias.dtype, *varying_alike(x, kernel, bias))


@partial(jax.custom_vjp, nondiff_argnames=("planned", "pool", "bias_dtype"))
def _conv_relu_max_pool(
    planned: Planned, pool: Window, bias_dtype: np.dtype, x: X, kernel: Kernel, bias: Bias
) -> Pooled:
    return _pooled(planned, pool, x, kernel, bias)[0]


def _conv_relu_max_pool_fwd(
    planned: Planned, pool: Window, bias_dtype: np.dtype, x: X, kernel: Kernel, bias: Bias
) -> tuple[jax.Array, Saved]:
    y, winner = _pooled(planned, pool, x, kernel, bias)
    return y, (x, kernel, winner)


def _conv_relu_max_pool_bwd(
    planned: Planned, pool: Window, bias_dtype: np.dtype, saved: Saved, dy: Pooled
) -> tuple[X, Kernel, Bias]:
    x, kernel, winner = saved
    to_somebody = jnp.where(winner < pool.tap_count, dy, 0)
    db = jnp.sum(to_somebody, axis=tuple(range(dy.ndim - 1)), dtype=accumulator(dy.dtype))  # [R 4]
    chunk = _images_per_chunk(planned, x)
    if chunk is None:
        dx, dk = _gradients(planned, pool, x, kernel, winner, dy)
    else:
        dx, dk = _gradients_by_platform(planned, pool, chunk, x, kernel, winner, dy)
    dx, dk = laid_out_as(dx, jax.typeof(x)), laid_out_as(dk.astype(kernel.dtype), jax.typeof(kernel))
    return dx, dk, db.astype(bias_dtype)


_conv_relu_max_pool.defvjp(_conv_relu_max_pool_fwd, _conv_relu_max_pool_bwd)


@partial(compiled_once, statics=2)
def _pooled(planned: Planned, pool: Window, x: X, kernel: Kernel, bias: Bias) -> tuple[jax.Array, jax.Array]:
    """y and winner; `nobody` is the number of taps."""
    z = _rule.correlate(planned.but(dtypes=planned.problem.dtypes.unrounded), x, kernel)
    z = (z + lax.expand_dims(bias.astype(z.dtype), range(z.ndim - 1))).astype(planned.problem.dtypes.y)
    z = lax.optimization_barrier(z)  # or XLA:CPU may compute it again for every tap of the window that reads it
    greatest, winner = first_maximum(pool, dividing(z, (z.shape[0], *pool.out, z.shape[-1])))
    winner = jnp.where(greatest > 0, winner, winner.dtype.type(pool.tap_count))
    # of two arrays, or XLA:CPU computes it from z again for each reader; NaN stays
    return jnp.where(greatest <= 0, 0, greatest), computed_once(winner, greatest=pool.tap_count)


def _gradients(planned: Planned, pool: Window, x: X, kernel: Kernel, winner: jax.Array, dy: Pooled) -> tuple[X, Kernel]:
    """dx, and dk in the dtype of its sums."""
    dz = route(pool, dy, winner)  # [V 3.3], [R 1.4, 1.5]
    dx, dk = _rule.input_gradient(planned, dz, kernel), _rule.kernel_gradient(_summing(planned), x, dz)
    return dx, dk  # [R 6; V 38], [R 5; V 37]


def _summing(planned: Planned) -> Planned:
    """The same with the kernel, and dk, in the dtype of its sums."""
    dtypes = planned.problem.dtypes
    return planned.but(dtypes=replace(dtypes, kernel=dtypes.of_sums))


@partial(jax.custom_vjp, nondiff_argnames=("planned", "pool", "chunk"))
@partial(in_one_piece, statics=3)
def _gradients_by_platform(
    planned: Planned, pool: Window, chunk: int, x: X, kernel: Kernel, winner: jax.Array, dy: Pooled
) -> tuple[X, Kernel]:
    """The same, by chunks on a CPU. Its own gradients take all at once: jax 0.10 mixes up residuals of inner loops."""
    by_chunks = partial(_gradients_by_chunks, planned, pool, chunk)
    return lax.platform_dependent(x, kernel, winner, dy, cpu=by_chunks, default=partial(_gradients, planned, pool))


def _gradients_by_platform_fwd(planned: Planned, pool: Window, chunk: int, *args: jax.Array) -> tuple[Any, Any]:
    return _gradients_by_platform(planned, pool, chunk, *args), args


def _gradients_by_platform_bwd(
    planned: Planned, pool: Window, chunk: int, args: Any, along: tuple[X, Kernel]
) -> tuple[X, Kernel, None, Pooled]:
    """Of <dx, a> + <dk, b> = T(a, k, dz) + T(x, b, dz), with T of (B1) and dz linear in dy."""
    (x, kernel, winner, dy), (a, b) = args, along
    dz, summing = route(pool, dy, winner), _summing(planned)
    of_dz = _rule.correlate(planned, a, kernel) + _rule.correlate(summing, x, b)
    of_x, of_kernel = _rule.input_gradient(summing, dz, b), _rule.kernel_gradient(planned, a, dz)
    return of_x, of_kernel, None, gather(pool, of_dz, winner)


_gradients_by_platform.defvjp(_gradients_by_platform_fwd, _gradients_by_platform_bwd)


def _gradients_by_chunks(
    planned: Planned, pool: Window, chunk: int, x: X, kernel: Kernel, winner: jax.Array, dy: Pooled
) -> tuple[X, Kernel]:
    """The same, of some images at a time: dz is never whole, and both maps find it in the cache."""

    def of(x: jax.Array, winner: jax.Array, dy: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        dx, dk = _gradients(planned.but(images=x.shape[0]), pool, x, kernel, winner, dy)
        return [dx], [dk]

    (dx,), (dk,) = _chunks.in_chunks(of, chunk, x, winner, dy)
    return dx, dk


def _images_per_chunk(planned: Planned, x: X) -> int | None:
    """How many images' dz and patches fill a chunk, or the greatest divisor of the batch below, if over half of that.

    None where all fit, where the batch is not known, or where x lies on an explicit mesh.
    """
    problem = planned.problem
    batch = problem.images
    if not batch or is_explicitly_sharded(x):
        return None
    each = x.dtype.itemsize * prod(problem.window.out) * (problem.c_out + problem.c_in * problem.window.tap_count)
    fitting = max(1, CHUNK_BYTES // max(1, each))
    dividing = max(n for n in range(1, min(fitting, batch) + 1) if batch % n == 0)
    return None if fitting >= batch else dividing if 2 * dividing > fitting else fitting


def _multiply_adds(args: Arguments, y: Shape) -> int:
    """The terms of the convolution, whose result the block never shows."""
    options = {name: args[name] for name in ("stride", "padding", "dilation", "groups")}
    z = jax.eval_shape(lambda x, kernel: _rule.conv(x, kernel, **options), args["x"], args["kernel"])
    return terms("y")(args, z)


OP = Op(
    conv_relu_max_pool,
    reference,
    equations="[R 1.2-1.5], [V 2.1, 2.2, 3.3]",
    kept="x, the kernel, 1 byte per pooled element",
    at_kinks="as the three in sequence",
    elsewhere="three layers in sequence",
    examples={
        "": Example(
            lambda m, x, k, b: m.conv_relu_max_pool(
                x, k, b, 2, pool_stride=1, pool_padding=((1, 0), (0, 0)), groups=2, **WINDOW
            ),
            (IMAGES, KERNELS, shape(2)),
            is_exact=True,
            has_kinks=True,
        )
    },
    multiply_adds=_multiply_adds,
    residual_bytes=total(bytes_of("x", "kernel"), winner_bytes),
)
