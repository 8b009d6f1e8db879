"""`taps`: each map as a sum over the kernel's taps, a product of few channels each.

With x_u what tap u sees of x at every window (`Window.take`), and put_u its adjoint (`Window.put`):

    correlate        y    = sum_u x_u k_u                                                                        [R 1]
    input_gradient   dx   = sum_u put_u(dy k_u^T)                                                                [R 6]
    kernel_gradient  dk_u = x_u^T dy                                                                             [R 5]

A product has a factor per group of channels; where a group has one channel in and one out (depthwise), or x has one
channel, it is elementwise, and XLA makes one loop of the whole sum. More taps than `UNROLLED_SUM` of a sum, `FEW_SUMS`
of a depthwise kernel gradient or `UNROLLED` of the others are counted by a loop. XLA:CPU makes the sums of a depthwise
kernel gradient one by one, so that 25 take a second or two to compile, and nine a third of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm
from jaxcnn.ops._conv._chunks import summed
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._bounds import UNROLLED
from jaxcnn.ops._lib._types import Kernel, X, Y
from jaxcnn.ops._lib._window import Window

VECTOR = 8  # numbers that XLA:CPU computes at once, where the length of an array is a multiple of it
FEW_CHANNELS = 16
UNROLLED_SUM = 32  # taps: XLA computes what is spelled out in each of its readers again, and a loop's result once
FEW_SUMS = 25
MANY_ELEMENTS = 2**19  # of x, whose sums take so long that it pays to compile each
TAPS_PER_TURN = 8  # of a loop, so that XLA makes one pass of them


def correlate(problem: Problem, x: X, kernel: Kernel) -> Y:
    """y = sum_u x_u k_u [R 1]."""
    rows = _rows(problem, kernel.astype(problem.dtypes.x))
    return _sum_of_taps(problem, problem.window, x, rows).astype(problem.dtypes.y)


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """dx = sum_u put_u(dy k_u^T) [R 6]; without a stride, the same sum over what each tap of a window over dy sees."""
    if {*problem.window.stride} != {1}:
        return put_together(problem, dy, kernel)
    dy, rows = _of_gradients(problem, dy, kernel)
    return _sum_of_taps(problem, _window_over_dy(problem), dy, rows[::-1]).astype(problem.dtypes.x)


def kernel_gradient(problem: Problem, x: X, dy: Y) -> Kernel:
    """dk_u = x_u^T dy [R 5]."""
    return summed(_kernel_gradient, problem, x, dy)


def _kernel_gradient(problem: Problem, x: jax.Array, dy: jax.Array) -> jax.Array:
    window, padded = problem.window, problem.window.pad(x)
    if window.tap_count <= (_spelled_out_sums(problem) if _is_elementwise(problem, x, dy) else UNROLLED):
        rows = jnp.stack([_transposed_times(problem, window.take(padded, tap), dy) for tap in window.taps])
    else:
        numbers = jnp.arange(window.tap_count, dtype=jnp.int32)
        rows = lax.map(lambda number: _transposed_times(problem, window.take_numbered(padded, number), dy), numbers)
    return rows.reshape(*window.size, x.shape[-1] // problem.groups, dy.shape[-1])


def kernel_gradient_of_seen(problem: Problem, x: X, dy: Y) -> Kernel:
    """dk_u = x_u^T dy [R 5], without the places of dy of which x_u is padding: no product has a zero that x does not.

    Always in a loop: what unrolled taps would lay out is allocated, and costs time, even where this never runs.
    """
    return summed(_kernel_gradient_of_seen, problem, x, dy)


def _kernel_gradient_of_seen(problem: Problem, x: jax.Array, dy: jax.Array) -> jax.Array:
    window, padded = problem.window, problem.window.pad(x)
    in_x = window.pad(jnp.ones((1, *x.shape[1:-1], 1), bool))

    def row(number: jax.Array) -> jax.Array:
        seen = jnp.where(window.take_numbered(in_x, number), dy, jnp.zeros((), dy.dtype))
        return _transposed_times(problem, window.take_numbered(padded, number), seen)

    rows = lax.map(row, jnp.arange(window.tap_count, dtype=jnp.int32))
    return rows.reshape(*window.size, x.shape[-1] // problem.groups, dy.shape[-1])


def put_together(problem: Problem, dy: Y, kernel: Kernel, *, unrolled: int = UNROLLED) -> X:
    """dx = sum_u put_u(dy k_u^T) [R 6], with a stride or without: no product has a zero that dy does not."""
    window = problem.window
    dy, rows = _of_gradients(problem, dy, kernel)
    if window.tap_count <= unrolled:
        puts = [window.put(_times(problem, dy, row), tap) for tap, row in zip(window.taps, rows, strict=True)]
        return reduce(jnp.add, puts).astype(problem.dtypes.x)

    def with_tap(number: jax.Array, padded: jax.Array) -> jax.Array:
        return window.add_numbered(padded, _times(problem, dy, _row(rows, number)), number)

    first = window.over_padding.put(_times(problem, dy, rows[0]), (0,) * len(window.size))
    return window.unpad(_counted(window, with_tap, first, min(TAPS_PER_TURN, unrolled))).astype(problem.dtypes.x)


def _of_gradients(problem: Problem, dy: Y, kernel: Kernel) -> tuple[jax.Array, jax.Array]:
    """dy and every k_u^T, in the dtype that products with dy are computed in."""
    dtype = problem.dtypes.of_gradients
    rows = _rows(problem, kernel.astype(problem.dtypes.x).astype(dtype))
    return dy.astype(dtype), jnp.swapaxes(rows, -1, -2)


def _sum_of_taps(problem: Problem, window: Window, array: jax.Array, rows: jax.Array) -> jax.Array:
    """sum_u x_u rows_u; of many taps, over a row of windows so long that XLA:CPU computes several at a time."""
    is_counted = _is_counted(problem) and not window.is_symbolic
    more = -window.out[-1] % VECTOR if is_counted and rows.shape[1] * rows.shape[-1] % VECTOR else 0
    if not more:
        return _sum_as_it_is(problem, window, array, rows)
    lo, hi = window.padding[-1]
    longer = replace(window, padding=(*window.padding[:-1], (lo, hi + more * window.stride[-1])))
    y = _sum_as_it_is(problem, longer, array, rows)
    return lax.slice_in_dim(y, 0, window.out[-1], axis=y.ndim - 2)


def _sum_as_it_is(problem: Problem, window: Window, array: jax.Array, rows: jax.Array) -> jax.Array:
    padded = window.pad(array)
    if not _is_counted(problem):
        products = [_times(problem, window.take(padded, tap), row) for tap, row in zip(window.taps, rows, strict=True)]
        return reduce(jnp.add, products)

    def with_tap(number: jax.Array, y: jax.Array) -> jax.Array:
        return y + _times(problem, window.take_numbered(padded, number), _row(rows, number))

    first = _times(problem, window.take(padded, (0,) * len(window.size)), rows[0])
    return _counted(window, with_tap, first)


def _is_counted(problem: Problem) -> bool:
    """Whether a loop counts the taps of a sum; of 2 to 15 channels, each with its own kernel, it would be slower."""
    few = 1 < problem.groups < FEW_CHANNELS
    return problem.window.tap_count > (UNROLLED if few else UNROLLED_SUM)


def _counted(
    window: Window,
    with_tap: Callable[[jax.Array, jax.Array], jax.Array],
    first: jax.Array,
    per_turn: int = TAPS_PER_TURN,
) -> jax.Array:
    """What a loop over all taps makes of the first's share; it starts from that, whose type has the mesh's axes."""
    return lax.fori_loop(1, window.tap_count, with_tap, first, unroll=per_turn)


def _row(rows: jax.Array, number: jax.Array) -> jax.Array:
    return lax.dynamic_index_in_dim(rows, number, keepdims=False)


def _window_over_dy(problem: Problem) -> Window:
    """The window of the full convolution: dy padded so that it gives every pixel of x."""
    window = problem.window
    axes = zip(window.shape, window.out, window.span, window.padding, strict=True)
    padding = tuple((r - 1 - lo, h - out + lo) for h, out, r, (lo, _) in axes)
    return Window(window.out, window.size, window.stride, padding, window.dilation)


def _rows(problem: Problem, kernel: jax.Array) -> jax.Array:
    """k_u by groups: (taps, groups, C_in/groups, C_out/groups)."""
    *_, c_in, c_out = kernel.shape
    by_group = kernel.reshape(problem.window.tap_count, c_in, problem.groups, c_out // problem.groups)
    return jnp.swapaxes(by_group, 1, 2)


def _times(problem: Problem, seen: jax.Array, row: jax.Array) -> jax.Array:
    """seen (N, *places, C) times row (groups, C/groups, D/groups): (N, *places, D)."""
    groups, inner, outer = row.shape
    if inner == 1:
        wide, factor = seen.astype(problem.dtypes.of_sums)[..., None], row[:, 0].astype(problem.dtypes.of_sums)
        return (wide * jnp.broadcast_to(factor, (*wide.shape[:-1], outer))).reshape(*seen.shape[:-1], groups * outer)
    if groups == 1:
        return lax.dot_general(
            seen,
            row[0],
            (((seen.ndim - 1,), (0,)), ((), ())),
            precision=problem.precision,
            preferred_element_type=problem.dtypes.of_sums,
        )
    product = lax.dot_general(
        _by_group(problem, seen),
        row,
        (((seen.ndim,), (1,)), ((seen.ndim - 1,), (0,))),
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )  # (groups, N, *places, D/groups)
    return jnp.moveaxis(product, 0, -2).reshape(*seen.shape[:-1], groups * outer)


def _transposed_times(problem: Problem, seen: jax.Array, dy: jax.Array) -> jax.Array:
    """seen^T dy, summed over images and places: (C_in/groups, C_out)."""
    places = tuple(range(dy.ndim - 1))
    if _is_elementwise(problem, seen, dy):
        wide = problem.dtypes.of_sums  # before the product: a narrow one would be rounded, or overflow
        return jnp.sum(seen.astype(wide) * dy.astype(wide), axis=places)[None]
    if problem.groups == 1:  # as matrices: XLA:CPU's product over several axes is slower
        return lax.dot_general(
            lax.collapse(seen, 0, -1),
            lax.collapse(dy, 0, -1),
            (((0,), (0,)), ((), ())),
            precision=problem.precision,
            preferred_element_type=problem.dtypes.of_sums,
        )
    product = lax.dot_general(
        _by_group(problem, seen),
        _by_group(problem, dy),
        ((places, places), ((dy.ndim - 1,), (dy.ndim - 1,))),
        precision=problem.precision,
        preferred_element_type=problem.dtypes.of_sums,
    )  # (groups, C_in/groups, C_out/groups)
    return jnp.swapaxes(product, 0, 1).reshape(product.shape[1], dy.shape[-1])


def _is_elementwise(problem: Problem, x: jax.Array, dy: jax.Array) -> bool:
    """Whether a channel of x meets one of dy: depthwise."""
    return x.shape[-1] == dy.shape[-1] == problem.groups


def _spelled_out_sums(problem: Problem) -> int:
    """How many sums of a depthwise kernel gradient are spelled out."""
    return FEW_SUMS if problem.elements[0] >= MANY_ELEMENTS else 0


def _by_group(problem: Problem, array: jax.Array) -> jax.Array:
    return array.reshape(*array.shape[:-1], problem.groups, array.shape[-1] // problem.groups)


TAPS = Algorithm("taps", {"correlate": correlate, "input_gradient": input_gradient, "kernel_gradient": kernel_gradient})
