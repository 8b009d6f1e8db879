"""`reduce_window_max`, `reduce_window_min` and `reduce_window_sum` by the pools' rules, over any of their axes.

The axes that no window slides along are put together, all but the last for the batch and the last for the channels,
and taken apart again after.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._accelerate._replacement import Replacement, compiled
from jaxcnn.ops._lib._window import Window
from jaxcnn.ops._pool._window_sum import window_sum


class Windows(NamedTuple):
    """Along the axes that a window slides along: its size, and so on."""

    axes: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]


def decide_max(eqn: Any) -> Replacement | str:
    """`ops.max_pool` with its options, or why the equation is left to jax.lax."""
    windows = windows_of(eqn.params)
    if isinstance(windows, str):
        return windows
    try:
        _geometry(eqn, windows, windows.dilation)
    except ValueError as error:
        return str(error).removeprefix("accelerate: ")
    return Replacement(compiled("max_pool", _max_pool, windows), {"max_pool": "first"})


def decide_min(eqn: Any) -> Replacement | str:
    """The maximum of -x, negative, or why the equation is left to jax.lax."""
    decided = decide_max(eqn)
    if isinstance(decided, str):
        return decided
    return Replacement(compiled("min_pool", _min_pool, windows_of(eqn.params)), decided.runs)


def decide_sum(eqn: Any) -> Replacement | str:
    """The windowed sum with its adjoint, or why the equation is left to jax.lax."""
    windows = windows_of(eqn.params)
    if isinstance(windows, str):
        return windows
    if max(windows.dilation) > 1:
        return f"window_dilation {windows.dilation}: no sum over dilated windows is among the rules"
    try:
        geometry = _geometry(eqn, windows, 1)
    except ValueError as error:
        return str(error).removeprefix("accelerate: ")
    return Replacement(compiled("window_sum", _window_sum, windows, geometry), {"window_sum": "by axis"})


def windows_of(params: dict[str, Any]) -> Windows | str:
    """The windows of a pool's equation, or why it has none that the rules know."""
    steps = zip(
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params["window_dilation"],
        strict=True,
    )
    slides = [k != 1 or s != 1 or tuple(edges) != (0, 0) for k, s, edges, _ in steps]
    if any(step != 1 for step in params["base_dilation"]):
        return f"base_dilation {tuple(params['base_dilation'])}"
    axes = tuple(axis for axis, does in enumerate(slides) if does)
    if not axes:
        return "no window: every element is its own"

    def along(name: str) -> tuple[Any, ...]:
        return tuple(params[name][axis] for axis in axes)

    padding = tuple((lo, hi) for lo, hi in along("padding"))
    return Windows(axes, along("window_dimensions"), along("window_strides"), padding, along("window_dilation"))


def _geometry(eqn: Any, windows: Windows, dilation: Any) -> Window:
    x = eqn.invars[0].aval
    shape = (1, *(x.shape[axis] for axis in windows.axes), 1)
    return Window.of("accelerate", shape, windows.size, windows.stride, windows.padding, dilation)


def _max_pool(windows: Windows, x: jax.Array) -> jax.Array:
    size, stride, padding, dilation = windows[1:]
    return _over(windows, partial(ops.max_pool, window=size, stride=stride, padding=padding, dilation=dilation), x)


def _min_pool(windows: Windows, x: jax.Array) -> jax.Array:
    return -_max_pool(windows, -x)


def _window_sum(windows: Windows, geometry: Window, x: jax.Array) -> jax.Array:
    return _over(windows, partial(window_sum, geometry), x)


def _over(windows: Windows, pool: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """The pool of x laid out as (N, *spatial, C), in the layout of x again."""
    others = [axis for axis in range(x.ndim) if axis not in windows.axes]
    batch, channels = others[:-1], others[-1:]
    order = [*batch, *windows.axes, *channels]
    images, spatial, last = ([x.shape[axis] for axis in axes] for axes in (batch, windows.axes, channels))
    moved = jnp.transpose(x, order)
    is_laid_out = len(batch) == len(channels) == 1
    y = pool(moved if is_laid_out else jnp.reshape(moved, (prod(images), *spatial, *(last or [1]))))
    y = y if is_laid_out else jnp.reshape(y, (*images, *y.shape[1:-1], *last))
    return jnp.moveaxis(y, range(y.ndim), order)
