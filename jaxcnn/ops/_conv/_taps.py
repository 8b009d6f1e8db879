"""`taps`: each map as a sum over the kernel's taps, a product of few channels each.

With x_u what tap u sees of x at every window (`Window.take`), and put_u its adjoint (`Window.put`):

    correlate        y    = sum_u x_u k_u                                                                        [R 1]
    input_gradient   dx   = sum_u put_u(dy k_u^T)                                                                [R 6]
    kernel_gradient  dk_u = x_u^T dy                                                                             [R 5]

A product has a factor a group of channels; where a group has one channel in and one out (depthwise), or x has one
channel, it is elementwise, and XLA makes one loop of the whole sum.
"""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._chunks import summed
from jaxcnn.ops._conv._form import Form
from jaxcnn.ops._types import Kernel, X, Y
from jaxcnn.ops._window import Window


def unsupported(form: Form) -> str | None:
    """Nothing: it computes every form."""
    return None


def correlate(form: Form, x: X, kernel: Kernel) -> Y:
    """y = sum_u x_u k_u [R 1]."""
    rows = _rows(form, kernel.astype(form.dtypes.x))
    return _sum_of_taps(form, form.window, x, rows).astype(form.dtypes.y)


def input_gradient(form: Form, kernel: Kernel, dy: Y) -> X:
    """dx = sum_u put_u(dy k_u^T) [R 6]; without a stride, the same sum over what each tap of a window over dy sees."""
    dtype = form.dtypes.of_gradients
    dy, rows = dy.astype(dtype), _rows(form, kernel.astype(form.dtypes.x).astype(dtype))
    transposed = jnp.swapaxes(rows, -1, -2)
    if {*form.window.stride} == {1}:
        return _sum_of_taps(form, _window_over_dy(form), dy, transposed[::-1]).astype(form.dtypes.x)
    dx = [form.window.put(_times(form, dy, row), tap) for tap, row in zip(form.window.taps, transposed, strict=True)]
    return reduce(jnp.add, dx).astype(form.dtypes.x)


def kernel_gradient(form: Form, x: X, dy: Y) -> Kernel:
    """dk_u = x_u^T dy [R 5]."""
    return summed(_kernel_gradient, form, x, dy)


def _kernel_gradient(form: Form, x: jax.Array, dy: jax.Array) -> jax.Array:
    window, padded = form.window, form.window.pad(x)
    rows = [_transposed_times(form, window.take(padded, tap), dy) for tap in window.taps]
    return jnp.stack(rows).reshape(*window.size, x.shape[-1] // form.groups, dy.shape[-1])


def _sum_of_taps(form: Form, window: Window, array: jax.Array, rows: jax.Array) -> jax.Array:
    padded = window.pad(array)
    return reduce(jnp.add, [_times(form, window.take(padded, u), k) for u, k in zip(window.taps, rows, strict=True)])


def _window_over_dy(form: Form) -> Window:
    """The window of the full convolution: dy padded so that it gives every pixel of x."""
    window = form.window
    axes = zip(window.shape, window.out, window.span, window.padding, strict=True)
    padding = tuple((r - 1 - lo, h - out + lo) for h, out, r, (lo, _) in axes)
    return Window(window.out, window.size, window.stride, padding, window.dilation)


def _rows(form: Form, kernel: jax.Array) -> jax.Array:
    """k_u by groups: (taps, groups, C_in/groups, C_out/groups)."""
    *_, c_in, c_out = kernel.shape
    by_group = kernel.reshape(form.window.tap_count, c_in, form.groups, c_out // form.groups)
    return jnp.swapaxes(by_group, 1, 2)


def _times(form: Form, seen: jax.Array, row: jax.Array) -> jax.Array:
    """seen (N, *places, C) times row (groups, C/groups, D/groups): (N, *places, D)."""
    groups, inner, outer = row.shape
    if inner == 1:
        wide = seen.astype(form.dtypes.of_sums)
        return (wide[..., None] * row[:, 0].astype(wide.dtype)).reshape(*seen.shape[:-1], groups * outer)
    if groups == 1:
        return lax.dot_general(
            seen,
            row[0],
            (((seen.ndim - 1,), (0,)), ((), ())),
            precision=form.precision,
            preferred_element_type=form.dtypes.of_sums,
        )
    product = lax.dot_general(
        _by_group(form, seen),
        row,
        (((seen.ndim,), (1,)), ((seen.ndim - 1,), (0,))),
        precision=form.precision,
        preferred_element_type=form.dtypes.of_sums,
    )  # (groups, N, *places, D/groups)
    return jnp.moveaxis(product, 0, -2).reshape(*seen.shape[:-1], groups * outer)


def _transposed_times(form: Form, seen: jax.Array, dy: jax.Array) -> jax.Array:
    """seen^T dy, summed over images and places: (C_in/groups, C_out)."""
    places = tuple(range(dy.ndim - 1))
    if seen.shape[-1] == dy.shape[-1] == form.groups:
        return jnp.sum(seen * dy, axis=places, dtype=form.dtypes.of_sums)[None]
    if form.groups == 1:  # as matrices: XLA:CPU's product over several axes is slower
        return lax.dot_general(
            lax.collapse(seen, 0, -1),
            lax.collapse(dy, 0, -1),
            (((0,), (0,)), ((), ())),
            precision=form.precision,
            preferred_element_type=form.dtypes.of_sums,
        )
    product = lax.dot_general(
        _by_group(form, seen),
        _by_group(form, dy),
        ((places, places), ((dy.ndim - 1,), (dy.ndim - 1,))),
        precision=form.precision,
        preferred_element_type=form.dtypes.of_sums,
    )  # (groups, C_in/groups, C_out/groups)
    return jnp.swapaxes(product, 0, 1).reshape(product.shape[1], dy.shape[-1])


def _by_group(form: Form, array: jax.Array) -> jax.Array:
    return array.reshape(*array.shape[:-1], form.groups, array.shape[-1] // form.groups)
