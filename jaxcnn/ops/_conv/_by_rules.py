"""A convolution of lax, as its equation in a program has it, by the rules of `_rule`; or why it is left to lax.

Legend, per spatial axis
    lhs     (N, *H, C_in)            s, L, d  the window's stride, the dilation of lhs and of rhs
    rhs     (*k, C_in/groups, C_out)       lo, hi   lax's padding, which crops below 0
    y       (N, *A, C_out)                 r        d (k - 1) + 1

Forward     terms of which the place is no index of lhs being zero,

                y[n, a, c] = sum_(u, c') rhs[u, c', c] lhs[n, (a s + u d - lo) / L, c']                        (B11)

            in any order of axes, which permutations bring into this one and back. Two cases are maps of `_rule`:

    conv        L = 1 on every axis: `correlate`                                                               [R 1]

    transposed  s = 1 on every axis: `input_gradient` of a problem whose places are those of y, A, and whose windows
                are those of lhs, H. Of its stride s', padding (lo', hi') and kernel k' it is                  [R 6]

                    dx[n, a, c] = sum_(v, c') k'[v, c, c'] lhs[n, (a + lo' - v d) / s', c']

                With s' = L, k' the kernel flipped, its channels in and out exchanged within each group,
                k'[v, c, c'] = rhs[k - 1 - v, c', c], and u = k - 1 - v, so that v d = r - 1 - u d,

                    dx[n, a, c] = sum_(u, c') rhs[u, c', c] lhs[n, (a + lo' - (r - 1) + u d) / L, c']

                which is (B11) where lo' = r - 1 - lo. The windows are as many as lhs has places where
                (H - 1) L + r = A + lo' + hi'; as lax's A is (H - 1) L + 1 + lo + hi - (r - 1), hi' = r - 1 - hi.
                So for every padding: where it is longer than r - 1 the problem crops its x, in which y has zeros; where
                it crops lhs, the first or last windows see padding alone (`_core`).

    batch_group_count g > 1 is either case again: channel c of y, of group j = c // (C_out/g), is of the images
    j N/g + n alone. With j moved from the images to the channels, lhs is (N/g, *H, g C_in), rhs what it was, and the
    groups are groups of channels.

Backward    a permutation's gradient is its inverse; the rest is the trilinear form's                             (B1)
Residuals   lhs and rhs, once, as their map takes them
Conventions left to lax is what no map is: both s > 1 and L > 1, no spatial axis, other dtypes than the four floats,
            results without places. There its own error, or its value, and autodiff's gradients.
Sources     [R] 1.2-1.4; `jax.lax.conv_general_dilated`, `jax.lax.conv_transpose`
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from jaxcnn.ops._conv import _rule
from jaxcnn.ops._conv._algorithms._direct import flip_and_transpose
from jaxcnn.ops._conv._plan import Algorithms, asked_for
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._arguments import FLOATS
from jaxcnn.ops._lib._dtypes import Dtypes
from jaxcnn.ops._lib._meshes import varying_alike
from jaxcnn.ops._lib._window import GREATEST_OPTION, Window, at_least, is_symbolic

GREATEST_RANK = 9 + 2  # as many letters as there are for spatial axes


class NotOurs(Exception):
    """Why a convolution is left to lax, in one line."""


@dataclass(frozen=True)
class Ours:
    """A convolution that is one of the maps of `_rule`.

    Attributes:
        way: "conv", whose value is the problem's `correlate`, or "transposed", whose value is its `input_gradient`.
        problem: what the map computes.
        numbers: where the axes of lhs, rhs and y lie.
        batch_groups: how many groups of images become groups of channels.
    """

    way: str
    problem: Problem
    numbers: lax.ConvDimensionNumbers
    batch_groups: int


def by_rules(
    lhs: jax.Array, rhs: jax.Array, *, op: str = "conv_general_dilated", algorithm: Algorithms = "auto", **params: Any
) -> jax.Array:
    """A convolution that lax accepts, by the rules.

    Args:
        lhs, rhs: its arguments.
        op: whose error it is, where the algorithm cannot compute it.
        algorithm: as in `conv`, of the problem's three maps.
        params: those of lax's equation, as `way` takes them.

    Returns:
        the convolution, in the layout and dtype that lax gives it.

    Raises:
        NotOurs: where it is left to lax.
        ValueError: an algorithm that there is not, or that cannot compute it.
    """
    ours = way(jax.typeof(lhs), jax.typeof(rhs), **params)
    if isinstance(ours, str):
        raise NotOurs(ours)
    planned = asked_for(op, ours.problem, algorithm)
    batch, feature, *spatial = ours.numbers.lhs_spec
    outward, inward, *taps = ours.numbers.rhs_spec
    x = _of_one_batch(jnp.transpose(lhs, (batch, *spatial, feature)), ours.batch_groups)
    x, kernel = varying_alike(x, jnp.transpose(rhs, (*taps, inward, outward)))
    if ours.way == "conv":
        y = _rule.correlate(planned, x, kernel)
    else:
        y = _rule.input_gradient(planned, x, flip_and_transpose(kernel, ours.problem.groups))
    batch, feature, *spatial = ours.numbers.out_spec
    return jnp.moveaxis(y, range(y.ndim), (batch, *spatial, feature))


def way(
    lhs: Any,
    rhs: Any,
    *,
    window_strides: tuple[int, ...],
    padding: tuple[tuple[Any, Any], ...],
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
    precision: Any,
    preferred_element_type: Any,
    out_sharding: Any = None,
) -> Ours | str:
    """How the rules compute a convolution that lax accepts, or in one line why not; nothing is computed.

    Args:
        lhs, rhs: types of arrays, as `jax.typeof` gives them, or `jax.ShapeDtypeStruct`s.
        window_strides, ...: the parameters of lax's equation in a jaxpr, by their names there.
    """
    y_dtype = lhs.dtype if preferred_element_type is None else np.dtype(preferred_element_type)
    if why := _other_numbers(lhs, rhs, y_dtype, precision):
        return why
    if why := _other_places(lhs, rhs, dimension_numbers, out_sharding, batch_group_count):
        return why
    counts = (*window_strides, *lhs_dilation, *rhs_dilation, feature_group_count, batch_group_count)
    if not all(isinstance(count, int | np.integer) and 1 <= count <= GREATEST_OPTION for count in counts):
        return f"strides, dilations and groups are not all positive ints below 2**31: {counts}"
    is_conv = set(lhs_dilation) == {1}
    if not is_conv and set(window_strides) != {1}:
        return f"window_strides {tuple(window_strides)} and lhs_dilation {tuple(lhs_dilation)} are both over 1"

    images, c_in, *places = (lhs.shape[axis] for axis in dimension_numbers.lhs_spec)
    c_out, _, *size = (rhs.shape[axis] for axis in dimension_numbers.rhs_spec)
    images, c_in = images // batch_group_count, c_in * batch_group_count
    groups = int(feature_group_count * batch_group_count)  # one of them is 1
    if is_conv:
        window = _window(places, size, window_strides, padding, rhs_dilation)
        channels, dtypes = (c_in, c_out), Dtypes(lhs.dtype, rhs.dtype, y_dtype)
    else:
        if any(not is_symbolic(h) and h < 1 for h in places):
            return "lhs has no places"
        spans = [d * (k - 1) + 1 for k, d in zip(size, rhs_dilation, strict=True)]
        around = [(r - 1 - lo, r - 1 - hi) for r, (lo, hi) in zip(spans, padding, strict=True)]
        axes = zip(places, lhs_dilation, spans, around, strict=True)
        window = _window(
            [(h - 1) * s + r - sum(pair) for h, s, r, pair in axes], size, lhs_dilation, around, rhs_dilation
        )
        channels, dtypes = (c_out, c_in), Dtypes(y_dtype, rhs.dtype, lhs.dtype)
    if why := _no_window(window):
        return why
    problem = Problem(window, *channels, groups, dtypes, precision, None if is_symbolic(images) else int(images))
    return Ours("conv" if is_conv else "transposed", problem, dimension_numbers, int(batch_group_count))


def _other_numbers(lhs: Any, rhs: Any, y_dtype: np.dtype, precision: Any) -> str | None:
    """Why these numbers are none that the maps multiply."""
    floats = ", ".join(sorted(str(dtype) for dtype in FLOATS))
    if lhs.dtype not in FLOATS or rhs.dtype != lhs.dtype:
        return f"lhs is {lhs.dtype} and rhs {rhs.dtype}, not both one of {floats}"
    if y_dtype not in FLOATS or y_dtype.itemsize < lhs.dtype.itemsize:
        return f"preferred_element_type is {y_dtype}, not one of {floats} that is as wide as {lhs.dtype}"
    if not (precision is None or isinstance(precision, lax.Precision | tuple)):
        return f"precision is {precision!r}, neither None nor of lax.Precision"
    return None


def _other_places(
    lhs: Any, rhs: Any, numbers: lax.ConvDimensionNumbers, out_sharding: Any, batch_groups: int
) -> str | None:
    """Why these arrays are none that the maps take."""
    if not 3 <= lhs.ndim <= GREATEST_RANK:
        return "there is no spatial axis" if lhs.ndim == 2 else f"there are {lhs.ndim - 2} spatial axes, over 9"
    if any(sorted(spec) != [*range(lhs.ndim)] for spec in numbers):
        return f"dimension_numbers {tuple(numbers)} are no orders of {lhs.ndim} axes"
    if out_sharding is not None:
        return "out_sharding says where the result lies"
    if any(map(is_symbolic, (*rhs.shape, lhs.shape[numbers.lhs_spec[1]]))):
        return "a size of the kernel is known only when the program runs"
    if batch_groups > 1 and (is_symbolic(lhs.shape[numbers.lhs_spec[0]]) or _is_on_an_explicit_mesh(lhs)):
        return "the batch is in groups, and symbolic or on an explicit mesh"
    return None


def _is_on_an_explicit_mesh(type_: Any) -> bool:
    return isinstance(type_.sharding, NamedSharding) and bool(type_.sharding.mesh.explicit_axes)


def _window(places: Any, size: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    """The window, its numbers Python's own where they are known."""

    def known(numbers: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(number if is_symbolic(number) else int(number) for number in numbers)

    return Window(known(places), known(size), known(stride), tuple(map(known, padding)), known(dilation))


def _no_window(window: Window) -> str | None:
    """Why there are no such windows."""
    edges = [edge for pair in window.padding for edge in pair]
    if any(not is_symbolic(edge) and abs(edge) > GREATEST_OPTION for edge in edges):
        return f"padding {window.padding} is over 2**31"
    if 0 in window.size:
        return f"the kernel has no taps: {window.size}"
    if any(not is_symbolic(size) and size < 0 for size in window.shape):
        return "the result has no places"
    if any(is_symbolic(left) and at_least(left, 0) != left for left in _left_by_crops(window)):
        return "whether padding below 0 leaves anything of x depends on its size, which is symbolic"
    return window.misfit


def _left_by_crops(window: Window) -> list[Any]:
    """Per axis what padding below 0 leaves of x."""
    axes = zip(window.shape, window.padding, strict=True)
    return [h + sum(edge for edge in pair if not is_symbolic(edge) and edge < 0) for h, pair in axes]


def _of_one_batch(x: jax.Array, groups: int) -> jax.Array:
    """(groups N, *spatial, C) -> (N, *spatial, groups C), the images of each group beside the others'."""
    if groups == 1:
        return x
    images, *spatial, channels = x.shape
    apart = x.reshape(groups, images // groups, *spatial, channels)
    return jnp.moveaxis(apart, 0, -2).reshape(images // groups, *spatial, groups * channels)
