"""How far a pixel reaches: what is not finite, or far greater than all else, touches the windows that see it alone.

NaN, infinity and 1e30 are planted in each quarter of each argument of every op, and of its cotangent. By "auto" the
value and the gradients that then differ are among those of the plain reference that do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from agreement import normals, value_and_gradients
from catalogue import OPS

from jaxcnn import ops, reference

# x, kernel, options: what every algorithm that "auto" chooses is for, and problems that were once another's
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "one channel": ((2, 12, 12, 1), (3, 3, 1, 2), {"padding": 1}),
    "one channel, causal": ((2, 12, 1), (3, 1, 1), {"padding": ((2, 0),)}),
    "one channel, wide": ((2, 8, 64, 1), (3, 3, 1, 1), {}),
    "one channel, more taps than are spelled out": ((1, 30, 30, 1), (12, 12, 1, 1), {}),
    "two channels, strided": ((2, 12, 12, 2), (3, 3, 2, 4), {"stride": 2, "padding": "SAME"}),
    "groups": ((2, 8, 8, 8), (3, 3, 2, 8), {"padding": 1, "groups": 4}),
    "groups, strided": ((2, 9, 9, 8), (3, 3, 2, 8), {"padding": 1, "groups": 4, "stride": 2}),
    "depthwise": ((2, 8, 8, 4), (3, 3, 1, 4), {"padding": 1, "groups": 4}),
    "depthwise, 25 taps, strided": ((2, 9, 9, 4), (5, 5, 1, 4), {"groups": 4, "stride": 2}),
    "thin, 25 taps": ((4, 12, 12, 8), (5, 5, 8, 8), {"padding": 2}),
    "dense": ((2, 8, 8, 16), (3, 3, 16, 32), {"padding": 1}),
    "dense, strided": ((2, 9, 9, 16), (3, 3, 16, 8), {"stride": 2}),
    "dense, dilated": ((2, 9, 9, 8), (3, 3, 8, 8), {"dilation": 2}),
    "1x1": ((2, 8, 8, 32), (1, 1, 32, 8), {}),
    "three channels": ((2, 14, 14, 3), (7, 7, 3, 8), {"stride": 2}),
    "three axes": ((2, 5, 5, 5, 4), (2, 2, 2, 4, 4), {}),
}
# x, kernel, options; by "direct" a number beyond y's edge reaches taps that put it nowhere on y
TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "SAME": ((2, 5, 6, 8), (3, 3, 4, 8), {"stride": 2, "padding": "SAME"}),
    "four taps": ((2, 5, 5, 4), (4, 4, 8, 4), {"stride": 2, "padding": 1}),
    "one step": ((2, 6, 6, 8), (3, 3, 8, 8), {"padding": 1}),
    "cut on one side": ((3, 7, 2), (3, 4, 2), {"stride": 2, "padding": ((2, 0),), "output_padding": 1}),
    "dilated, groups": ((2, 6, 5, 4), (2, 3, 3, 4), {"stride": (1, 2), "padding": 2, "dilation": 2, "groups": 2}),
    "depthwise": ((2, 5, 5, 4), (3, 3, 1, 4), {"stride": 2, "padding": "SAME", "groups": 4}),
    "one channel, 36 taps": ((1, 9, 9, 1), (6, 6, 1, 1), {"stride": 3, "padding": 2}),
    "three axes": ((1, 3, 3, 3, 2), (3, 3, 3, 2, 2), {"stride": 2, "padding": 1}),
    "wide padding": ((2, 9, 2), (3, 2, 2), {"stride": 2, "padding": 4}),
}
VALUES = {"NaN": np.nan, "infinity": np.inf, "1e30": 1e30}


@pytest.mark.parametrize(("x", "kernel", "options"), CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_a_pixel_reaches_the_windows_that_see_it_in_a_convolution(x: Any, kernel: Any, options: Any) -> None:
    args = normals(x, np.float32), normals(kernel, np.float32, seed=1)
    assert_reach(partial(ops.conv, **options), partial(reference.conv, **options), args)


@pytest.mark.parametrize(("x", "kernel", "options"), TRANSPOSED.values(), ids=TRANSPOSED.keys())
def test_a_pixel_reaches_what_it_is_put_on_in_a_transposed_convolution(x: Any, kernel: Any, options: Any) -> None:
    args = normals(x, np.float32), normals(kernel, np.float32, seed=1)
    assert_reach(partial(ops.conv_transpose, **options), partial(reference.conv_transpose, **options), args)


@pytest.mark.parametrize("name", OPS)
def test_a_number_reaches_what_depends_on_it(name: str) -> None:
    op = OPS[name]
    assert_reach(op.ours, op.plain, tuple(arg.astype(np.float32) for arg in op.args))


def assert_reach(
    ours: Callable[..., Any],
    plain: Callable[..., Any],
    args: tuple[jax.Array, ...],
) -> None:
    dy = normals(jax.eval_shape(ours, *args).shape, np.float32, seed=2)
    given = [np.asarray(array) for array in (dy, *args)]
    runs = [jax.jit(partial(value_and_gradients, f)) for f in (ours, plain)]
    before = [run(*given) for run in runs]
    for number, array in enumerate(given):
        for place in {*quarters(array.shape), *corners(array.shape)}:
            for name, value in VALUES.items():
                planted = array.copy()
                planted[place] = value
                after = [run(*given[:number], planted, *given[number + 1 :]) for run in runs]
                ours_touched, plain_touched = (touched(*both) for both in zip(before, after, strict=True))
                for leaf, (found, allowed) in enumerate(zip(ours_touched, plain_touched, strict=True)):
                    beyond = np.argwhere(found & ~allowed)
                    assert not len(beyond), f"{name} at {place} of array {number} reaches {beyond[0]} of result {leaf}"


def quarters(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """A place in each quarter of an array's two axes after its batch, or in each half of what it has."""
    first = [size // 3 for size in shape]
    axes = range(1, 3) if len(shape) > 2 else range(1)
    return [
        tuple(size - 1 - at if axis in moved else at for axis, (size, at) in enumerate(zip(shape, first, strict=True)))
        for moved in [set(), {axes[0]}, {axes[-1]}, {*axes}]
    ]


def corners(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """An array's first and last place, which padding may cut."""
    return [(0,) * len(shape), tuple(size - 1 for size in shape)]


def touched(before: Any, after: Any) -> list[np.ndarray]:
    """Of each leaf, which elements are not what they were, to the rounding of another order of a sum."""
    masks = []
    for leaves in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        a, b = (np.asarray(leaf, np.float64) for leaf in leaves)
        rounding = 64 * np.finfo(np.float32).eps * np.max(np.abs(a), initial=1.0)
        with np.errstate(invalid="ignore"):
            masks.append(~(np.abs(a - b) <= rounding))
    return masks
