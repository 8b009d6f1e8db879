"""Wrong backward rules, planted one mistake at a time, and the right rules that they were made from.

Each op here is a function of floating arrays alone, at points drawn from a key with shapes that never change. A mutant
is the plain forward with a backward rule that is right but for one argument's gradient, and is wrong at every point
that its op draws. Argument names as in `jaxcnn.ops`: x, k (kernel), b (bias), dy, p, y, z.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn import examples, ops, reference
from jaxcnn.check import distinct, integers
from jaxcnn.examples import records

Args = tuple[jax.Array, ...]
Draw = Callable[..., Args]  # of a key, and of what draws an array from a key and a shape
Function = Callable[..., jax.Array]


@dataclass(frozen=True, eq=False)
class Op:
    """One op with its options.

    Attributes:
        name: unique; up to the comma, the function's in `jaxcnn.ops`.
        call: the op of a module, `ops` or `reference`, as a function of floating arrays.
        draw: the point for a key, away from every kink and tie unless `at_ties`.
        is_exact: whether whole numbers have gradients without rounding, for the checker's exact mode.
        at_ties: whether the points lie at a kink or a tie, where differences say nothing.
    """

    name: str
    call: Callable[..., jax.Array]
    draw: Draw
    is_exact: bool = False
    at_ties: bool = False

    @property
    def function(self) -> str:
        return self.name.partition(",")[0]

    @cached_property
    def ours(self) -> Function:
        """The hand-derived rule, compiled."""
        return jax.jit(partial(self.call, ops))

    @cached_property
    def plain(self) -> Function:
        """The reference, compiled."""
        return jax.jit(partial(self.call, reference))

    def whole(self, key: jax.Array) -> Args:
        """The point for a key in whole numbers."""
        return self.draw(key, integers)


@dataclass(frozen=True, eq=False)
class Mutant:
    """One wrong rule.

    Attributes:
        mistake: what is wrong, in words.
        op: the op that it is a rule for.
        wrong: the function with the rule, compiled.
        where: the argument whose gradient is wrong, as a `Comparison` has it.
        order: the derivative that is wrong; those before it are right.
    """

    mistake: str
    op: Op
    wrong: Function
    where: str
    order: int = 1

    @property
    def name(self) -> str:
        return f"{self.op.name}: {self.mistake}"


def drawn(
    *shapes: tuple[int, ...],
    by: Callable[..., jax.Array] = jax.random.normal,
    first: Callable[[jax.Array], jax.Array] = lambda array: array,
) -> Draw:
    """Arrays of those shapes, each from a key of its own; the first then changed."""

    def draw(key: jax.Array, by: Callable[..., jax.Array] = by) -> Args:
        array, *others = (by(k, shape) for k, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True))
        return first(array), *others

    return draw


def planted(op: Op, mistake: str, formula: Function, argument: int = 0, *, where: str = "", order: int = 1) -> Mutant:
    """The mutant whose gradient of one argument is `formula(dy, *args)`."""

    @jax.custom_vjp
    def wrong(*args: jax.Array) -> jax.Array:
        return op.plain(*args)

    def backward(args: Args, dy: jax.Array) -> Args:
        gradients = list(autodiff(op, dy, *args))
        gradients[argument] = formula(dy, *args)
        return tuple(gradients)

    wrong.defvjp(lambda *args: (wrong(*args), args), backward)
    return Mutant(mistake, op, jax.jit(wrong), where or f"args[{argument}]", order)


def spoilt(op: Op, mistake: str, spoil: Callable[[jax.Array], jax.Array], argument: int = 0) -> Mutant:
    """The mutant whose gradient of one argument is the right one, spoilt."""
    return planted(op, mistake, lambda dy, *args: spoil(autodiff(op, dy, *args)[argument]), argument)


def autodiff(op: Op, dy: jax.Array, *args: jax.Array) -> Args:
    """The right gradients."""
    return jax.vjp(op.plain, *args)[1](dy)


def without_derivative(argument: str) -> dict[str, Any]:
    """Of a rule that is right once, and whose own gradient loses an argument: "args[1]" is dy, "args[0][i]" args[i]."""
    return {"where": argument, "order": 2}


def exchange(array: jax.Array, one: tuple[int, ...], other: tuple[int, ...]) -> jax.Array:
    """The array with two elements exchanged."""
    return array.at[one].set(array[other]).at[other].set(array[one])


def through(dtype: Any) -> Callable[[jax.Array], jax.Array]:
    """Rounds to a dtype and back."""
    return lambda array: array.astype(dtype).astype(array.dtype)


def flip(kernel: jax.Array) -> jax.Array:
    """The kernel turned by half a turn."""
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2)))


def transpose(kernel: jax.Array) -> jax.Array:
    """The kernel with its channels exchanged."""
    return jnp.swapaxes(kernel, -1, -2)


# --- convolution ---------------------------------------------------------------------------------------------------

LOPSIDED: dict[str, Any] = {"stride": (1, 2), "padding": ((1, 0), (0, 1))}
SHIFTED: dict[str, Any] = {"stride": (1, 2), "padding": ((0, 1), (1, 0))}
DILATED: dict[str, Any] = {"stride": (1, 2), "dilation": (2, 1)}
SWAPPED: dict[str, Any] = {"stride": (2, 1), "dilation": (1, 2)}

CONV = Op(
    "conv", lambda m, x, k, b: m.conv(x, k, b, **LOPSIDED), drawn((3, 5, 6, 2), (3, 2, 2, 4), (4,)), is_exact=True
)
CONV_SAME = Op(
    "conv, 3 by 3", lambda m, x, k: m.conv(x, k, padding=1), drawn((2, 5, 5, 2), (3, 3, 2, 2)), is_exact=True
)
CONV_DILATED = Op(
    "conv, dilated", lambda m, x, k: m.conv(x, k, **DILATED), drawn((2, 7, 7, 2), (3, 3, 2, 3)), is_exact=True
)
CONV_GROUPS = Op(
    "conv, 2 groups", lambda m, x, k: m.conv(x, k, groups=2), drawn((2, 4, 4, 4), (2, 2, 2, 4)), is_exact=True
)
CONV_TRAILING = Op(
    "conv, trailing row", lambda m, x, k: m.conv(x, k, stride=2), drawn((2, 5, 5, 1), (2, 2, 1, 3)), is_exact=True
)
CORRELATE = Op(
    "correlate", lambda m, x, k: m.correlate(x, k, stride=2), drawn((2, 9, 2), (3, 2, 3)), is_exact=True
)  # one axis
LEFT: dict[str, Any] = {"padding": ((1, 0), (1, 0))}
RIGHT: dict[str, Any] = {"padding": ((0, 1), (0, 1))}
INPUT_GRADIENT = Op(
    "input_gradient",
    lambda m, dy, k: m.input_gradient(dy, k, (2, 4, 4, 2), **LEFT),
    drawn((2, 4, 4, 3), (2, 2, 2, 3)),
    is_exact=True,
)
UPWARD: dict[str, Any] = {"stride": 2, "padding": ((1, 0), (0, 1))}
SHIFTED_UP: dict[str, Any] = {"stride": 2, "padding": ((0, 1), (1, 0))}
CONV_TRANSPOSE = Op(
    "conv_transpose",
    lambda m, x, k, b: m.conv_transpose(x, k, b, output_padding=(1, 0), **UPWARD),
    drawn((2, 3, 3, 2), (3, 3, 2, 2), (2,)),
    is_exact=True,
)
UPWARD_GROUPS: dict[str, Any] = {"stride": (1, 2), "dilation": (2, 1), "groups": 2}
CONV_TRANSPOSE_GROUPS = Op(
    "conv_transpose, 2 groups, dilated",
    lambda m, x, k: m.conv_transpose(x, k, **UPWARD_GROUPS),
    drawn((2, 3, 3, 4), (2, 2, 2, 4)),
    is_exact=True,
)
KERNEL_GRADIENT = Op(
    "kernel_gradient",
    lambda m, x, dy: m.kernel_gradient(x, dy, (2, 2, 2, 3)),
    drawn((3, 4, 4, 2), (3, 3, 3, 3)),
    is_exact=True,
)


def one_element_times(factor: float) -> Callable[[jax.Array], jax.Array]:
    """Scales one element of CONV's input gradient."""
    return lambda dx: dx.at[1, 2, 3, 1].multiply(factor)


SMALL = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)


def dk_of_images(*chunks: slice) -> Function:
    """CONV's kernel gradient over chunks of the batch."""

    def formula(dy: jax.Array, x: jax.Array, k: jax.Array, b: jax.Array) -> jax.Array:
        return sum(
            (reference.kernel_gradient(x[chunk], dy[chunk], k.shape, **LOPSIDED) for chunk in chunks),
            start=jnp.zeros_like(k),
        )

    return formula


def dk_through(dtype: Any) -> Function:
    """CONV's kernel gradient computed in a narrow dtype."""
    return lambda dy, x, k, b: reference.kernel_gradient(x.astype(dtype), dy.astype(dtype), k.shape, **LOPSIDED).astype(
        k.dtype
    )


def dx_after_the_update(dy: jax.Array, x: jax.Array, k: jax.Array, b: jax.Array) -> jax.Array:
    """CONV's input gradient by the kernel that [V 39]'s step has already changed."""
    moved = k - 0.001 * reference.kernel_gradient(x, dy, k.shape, **LOPSIDED)
    return reference.input_gradient(dy, moved, x.shape, **LOPSIDED)


def dx_of_mixed_groups(dy: jax.Array, x: jax.Array, k: jax.Array) -> jax.Array:
    """CONV_GROUPS' input gradient with channel c of group g at place c 2 + g for g 2 + c."""
    dx = reference.input_gradient(dy, k, x.shape, groups=2)
    return jnp.swapaxes(dx.reshape(*x.shape[:-1], 2, 2), -1, -2).reshape(x.shape)


def dk_of_mixed_groups(dy: jax.Array, x: jax.Array, k: jax.Array) -> jax.Array:
    """CONV_GROUPS' kernel gradient with each group's x for the other."""
    return reference.kernel_gradient(jnp.roll(x, 2, axis=-1), dy, k.shape, groups=2)


def dx_of_mixed_transposed_groups(dy: jax.Array, x: jax.Array, k: jax.Array) -> jax.Array:
    """CONV_TRANSPOSE_GROUPS' dx with channel c of group g at place c 2 + g for g 2 + c."""
    dx = reference.correlate(dy, k, **UPWARD_GROUPS)
    return jnp.swapaxes(dx.reshape(*x.shape[:-1], 2, 2), -1, -2).reshape(x.shape)


CONV_MUTANTS = (
    planted(
        CONV_SAME,
        "kernel not flipped, [V 38] read literally",
        lambda dy, x, k: reference.conv(dy, transpose(k), padding=1),
    ),
    planted(CONV_SAME, "flipped along one axis", lambda dy, x, k: reference.conv(dy, transpose(k)[::-1], padding=1)),
    planted(CONV_SAME, "channels not transposed", lambda dy, x, k: reference.conv(dy, flip(k), padding=1)),
    spoilt(CONV_SAME, "kernel gradient flipped", flip, 1),
    spoilt(CONV_SAME, "kernel gradient with height for width", lambda dk: jnp.swapaxes(dk, 0, 1), 1),
    spoilt(CONV_SAME, "last tap left out", lambda dk: dk.at[-1, -1].set(0), 1),
    planted(CONV, "padding off by one in dx", lambda dy, x, k, b: reference.input_gradient(dy, k, x.shape, **SHIFTED)),
    planted(
        CONV,
        "padding off by one in dk",
        lambda dy, x, k, b: reference.kernel_gradient(x, dy, k.shape, **SHIFTED),
        1,
    ),
    planted(
        CONV_DILATED,
        "stride and dilation swapped in dx",
        lambda dy, x, k: reference.input_gradient(dy, k, x.shape, **SWAPPED),
    ),
    planted(
        CONV_DILATED,
        "stride and dilation swapped in dk",
        lambda dy, x, k: reference.kernel_gradient(x, dy, k.shape, **SWAPPED),
        1,
    ),
    planted(CONV_GROUPS, "groups mixed up in dx", dx_of_mixed_groups),
    planted(CONV_GROUPS, "groups mixed up in dk", dk_of_mixed_groups, 1),
    spoilt(CONV_TRAILING, "gradient in the row that no window reaches", lambda dx: dx.at[:, -1].set(dx[:, -2])),
    planted(CONV, "mean for sum in db", lambda dy, x, k, b: dy.mean((0, 1, 2)), 2),
    planted(CONV, "db of the first column", lambda dy, x, k, b: dy[:, :, 0].sum((0, 1)), 2),
    planted(CONV, "db of all channels", lambda dy, x, k, b: jnp.full_like(b, dy.sum()), 2),
    planted(CONV, "db over width and channels", lambda dy, x, k, b: dy.sum((0, 2, 3)), 2),
    planted(CONV, "last images dropped, which the chunk does not divide", dk_of_images(slice(0, 2)), 1),
    planted(CONV, "images of two chunks counted twice", dk_of_images(slice(0, 2), slice(1, 3)), 1),
    spoilt(CONV, "dx of the last image left at zero", lambda dx: dx.at[-1].set(0)),
    planted(CONV, "kernel already updated", dx_after_the_update),
    planted(CONV, "computed in bfloat16", dk_through(jnp.bfloat16), 1),
    planted(CONV, "computed in float32", dk_through(jnp.float32), 1),
    spoilt(CONV, "one element zeroed", lambda dx: dx.at[1, 2, 3, 1].set(0)),
    spoilt(CONV, "one element's sign", lambda dk: dk.at[2, 1, 0, 3].multiply(-1), 1),
    spoilt(CONV, "sign", jnp.negative, 1),
    spoilt(CONV, "one pixel moved", lambda dx: exchange(dx, (0, 2, 2, 0), (0, 2, 3, 0))),
    spoilt(CONV, "all moved by one pixel", lambda dx: jnp.roll(dx, 1, axis=2)),
    spoilt(CONV, "a channel dropped", lambda dx: dx.at[..., 1].set(0)),
    spoilt(CONV, "channels swapped", lambda db: exchange(db, (0,), (1,)), 2),
    spoilt(CONV, "scale 1.002", lambda dk: 1.002 * dk, 1),
    *(spoilt(CONV, f"scale 1 + {error:.0e}", partial(jnp.multiply, 1 + error)) for error in SMALL),
    *(spoilt(CONV, f"scale 1 + {error:.0e} in one element", one_element_times(1 + error)) for error in SMALL),
    spoilt(CONV, "NaN in one element", lambda dk: dk.at[0, 1, 1, 2].set(jnp.nan), 1),
    spoilt(CONV, "infinity in one element", lambda dx: dx.at[2, 0, 5, 0].set(jnp.inf)),
    planted(CONV, "cotangent ignored", lambda dy, x, k, b: autodiff(CONV, jnp.ones_like(dy), x, k, b)[0]),
    planted(
        CONV,
        "kernel a constant of dx",
        lambda dy, x, k, b: reference.input_gradient(dy, lax.stop_gradient(k), x.shape, **LOPSIDED),
        **without_derivative("args[0][1]"),
    ),
    planted(
        CONV,
        "x a constant of dk",
        lambda dy, x, k, b: reference.kernel_gradient(lax.stop_gradient(x), dy, k.shape, **LOPSIDED),
        1,
        **without_derivative("args[0][0]"),
    ),
    planted(
        CORRELATE,
        "stride forgotten in dk",
        lambda dy, x, k: reference.kernel_gradient(x[:, : dy.shape[1] + 2], dy, k.shape),
        1,
    ),
    spoilt(CORRELATE, "one pixel moved", lambda dx: exchange(dx, (1, 3, 0), (1, 4, 0))),
    spoilt(CORRELATE, "images in reverse order", lambda dx: dx[::-1]),
    planted(INPUT_GRADIENT, "padding off by one in ddy", lambda dx, dy, k: reference.correlate(dx, k, **RIGHT)),
    planted(INPUT_GRADIENT, "kernel flipped in ddy", lambda dx, dy, k: reference.correlate(dx, flip(k), **LEFT)),
    spoilt(INPUT_GRADIENT, "dk flipped", flip, 1),
    planted(
        KERNEL_GRADIENT,
        "kernel not flipped in dx",
        lambda dk, x, dy: reference.conv(dy, transpose(dk), padding=1),
    ),
    planted(
        KERNEL_GRADIENT,
        "last images dropped in ddy",
        lambda dk, x, dy: reference.correlate(x, dk).at[2:].set(0),
        1,
    ),
    planted(CONV_TRANSPOSE, "kernel flipped in dx", lambda dy, x, k, b: reference.correlate(dy, flip(k), **UPWARD)),
    planted(
        CONV_TRANSPOSE,
        "channels exchanged in dx",
        lambda dy, x, k, b: reference.correlate(dy, transpose(k), **UPWARD),
    ),
    planted(CONV_TRANSPOSE, "padding off by one in dx", lambda dy, x, k, b: reference.correlate(dy, k, **SHIFTED_UP)),
    spoilt(CONV_TRANSPOSE, "dk flipped", flip, 1),
    planted(
        CONV_TRANSPOSE,
        "padding off by one in dk",
        lambda dy, x, k, b: reference.kernel_gradient(dy, x, k.shape, **SHIFTED_UP),
        1,
    ),
    planted(CONV_TRANSPOSE, "db of the rows that x reaches", lambda dy, x, k, b: dy[:, :-1].sum((0, 1, 2)), 2),
    planted(
        CONV_TRANSPOSE,
        "kernel a constant of dx",
        lambda dy, x, k, b: reference.correlate(dy, lax.stop_gradient(k), **UPWARD),
        **without_derivative("args[0][1]"),
    ),
    planted(
        CONV_TRANSPOSE,
        "x a constant of dk",
        lambda dy, x, k, b: reference.kernel_gradient(dy, lax.stop_gradient(x), k.shape, **UPWARD),
        1,
        **without_derivative("args[0][0]"),
    ),
    planted(CONV_TRANSPOSE_GROUPS, "groups mixed up in dx", dx_of_mixed_transposed_groups),
    planted(
        CONV_TRANSPOSE_GROUPS,
        "each group's x for the other in dk",
        lambda dy, x, k: reference.kernel_gradient(dy, jnp.roll(x, 2, axis=-1), k.shape, **UPWARD_GROUPS),
        1,
    ),
    spoilt(CONV_TRANSPOSE_GROUPS, "dk as if stride and dilation changed places", lambda dk: jnp.swapaxes(dk, 0, 1), 1),
)

# --- pooling -------------------------------------------------------------------------------------------------------

TILES: dict[str, Any] = {"window": 2, "stride": 2}
STEPS: dict[str, Any] = {"window": 2, "stride": 1}
PADDED: dict[str, Any] = {"window": 2, "stride": 2, "padding": 1}
HOLES: dict[str, Any] = {"window": 2, "stride": 1, "dilation": 2}


def with_peak(x: jax.Array) -> jax.Array:
    """x with a maximum that is inside and wins every window it lies in."""
    return x.at[0, 1, 1].add(10)


def repeated(x: jax.Array) -> jax.Array:
    """x twice, one above the other: every window's maximum stands in another window too."""
    return jnp.concatenate([x, x], axis=1)


def with_tie(x: jax.Array) -> jax.Array:
    """x with two equal maxima in its first tile."""
    return x.at[0, 0, 0].set(3).at[0, 1, 1].set(3)


def max_pool_op(name: str, options: dict[str, Any], draw: Draw, at_ties: bool = False) -> Op:
    return Op(name, lambda m, x: m.max_pool(x, **options), draw, is_exact=True, at_ties=at_ties)


APART = partial(drawn, (2, 4, 4, 2), by=distinct)
TIED = drawn((2, 4, 4, 1), by=integers, first=with_tie)
MAX = max_pool_op("max_pool, tiles", TILES, APART())
MAX_STEPS = max_pool_op("max_pool, overlapping", STEPS, APART(first=with_peak))
MAX_PADDED = max_pool_op("max_pool, padded", PADDED, APART(first=lambda x: x - 3))
MAX_HOLES = max_pool_op("max_pool, dilated", HOLES, drawn((2, 5, 5, 1), by=distinct))
MAX_REPEATED = max_pool_op("max_pool, equal maxima apart", TILES, drawn((2, 2, 4, 1), by=distinct, first=repeated))
MAX_TRAILING = max_pool_op("max_pool, trailing row", TILES, drawn((2, 5, 4, 1), by=distinct))
MAX_FIRST = max_pool_op("max_pool, ties to the first", TILES, TIED, at_ties=True)
MAX_ALL = max_pool_op("max_pool, ties to all", TILES | {"ties": "all"}, TIED, at_ties=True)
MAX_SPLIT = max_pool_op("max_pool, ties split", TILES | {"ties": "split"}, TIED, at_ties=True)

COUNTED: dict[str, Any] = {"window": 2, "stride": 1, "padding": ((1, 0), (0, 1))}
AVG = Op(
    "avg_pool",
    lambda m, x: m.avg_pool(x, count_include_pad=False, **COUNTED),
    drawn((2, 4, 4, 2)),
    is_exact=True,
)
AVG_TRAILING = Op("avg_pool, trailing row", lambda m, x: m.avg_pool(x, 2), drawn((2, 5, 4, 2)), is_exact=True)
GLOBAL = Op("global_avg_pool", lambda m, x: m.global_avg_pool(x), drawn((2, 4, 2, 3)), is_exact=True)


def one_of(number: jax.Array) -> jax.Array:
    """Weight 1 for one of a window's four taps."""
    return jax.nn.one_hot(number, 4, axis=-2)


def routed(
    choose: Callable[[jax.Array], jax.Array], seen: dict[str, Any], put: dict[str, Any] | None = None
) -> Function:
    """A max-pool gradient: each dy to its window's taps by weights chosen from what the taps see."""

    def formula(dy: jax.Array, x: jax.Array) -> jax.Array:
        taps = reference.unfold(x, **seen).reshape(*dy.shape[:-1], 4, x.shape[-1])
        shares = choose(taps) * dy[..., None, :]
        return reference.fold(shares.reshape(*dy.shape[:-1], -1), x.shape, **(put or seen))

    return formula


def first_of(taps: jax.Array) -> jax.Array:
    return one_of(jnp.argmax(taps, -2))


def last_of(taps: jax.Array) -> jax.Array:
    return one_of(3 - jnp.argmax(taps[..., ::-1, :], -2))


def all_of(taps: jax.Array) -> jax.Array:
    return (taps == taps.max(-2, keepdims=True)).astype(taps.dtype)


def split_among(taps: jax.Array) -> jax.Array:
    return all_of(taps) / all_of(taps).sum(-2, keepdims=True)


def column_first(taps: jax.Array) -> jax.Array:
    """The winner's row-major number read as a column-major one."""
    return first_of(taps)[..., jnp.array([0, 2, 1, 3]), :]


def of_any_window(dy: jax.Array, x: jax.Array) -> jax.Array:
    """[R 1.5]'s indicator without its condition: a pixel collects from every window whose maximum it equals."""
    y = reference.max_pool(x, **TILES)
    equal = x[:, :, :, None, None] == y[:, None, None]
    return jnp.sum(jnp.where(equal, dy[:, None, None], 0), axis=(3, 4))


def last_window_alone(dy: jax.Array, x: jax.Array) -> jax.Array:
    """Every pixel's last share put over those before it, not added to them."""
    size = dy.shape[1]
    taps = reference.unfold(x, **STEPS).reshape(*dy.shape[:-1], 4, x.shape[-1])
    shares = first_of(taps) * dy[..., None, :]
    dx = jnp.zeros_like(x)
    for number in range(4):
        row, column = divmod(number, 2)
        place = (slice(None), slice(row, row + size), slice(column, column + size))
        share = shares[..., number, :]
        dx = dx.at[place].set(jnp.where(share != 0, share, dx[place]))
    return dx


def stepped_by_tiles(dy: jax.Array, x: jax.Array) -> jax.Array:
    """MAX_STEPS' gradient with the window's size for the stride: four of nine windows, apart."""
    return routed(first_of, TILES)(dy[:, :2, :2], x)


POOL_MUTANTS = (
    planted(MAX, "gradient to the least", routed(lambda taps: one_of(jnp.argmin(taps, -2)), TILES)),
    planted(MAX, "gradient to every tap", routed(lambda taps: jnp.full_like(taps, 0.25), TILES)),
    planted(MAX, "gradient by softmax", routed(partial(jax.nn.softmax, axis=-2), TILES)),
    planted(MAX, "winner's number read column by column", routed(column_first, TILES)),
    planted(
        MAX,
        "dy a constant",
        lambda dy, x: routed(first_of, TILES)(lax.stop_gradient(dy), x),
        **without_derivative("args[1]"),
    ),
    spoilt(MAX, "the last image's maps swapped", lambda dx: dx.at[-1].set(dx[-1, ..., ::-1])),
    planted(MAX_STEPS, "a pixel that won twice paid once", last_window_alone),
    planted(MAX_STEPS, "window for stride", stepped_by_tiles),
    spoilt(MAX_STEPS, "the peak's element zeroed", lambda dx: dx.at[0, 1, 1].set(0)),
    planted(MAX_PADDED, "padding wins over negative numbers", routed(first_of, PADDED)),
    planted(MAX_HOLES, "stride and dilation swapped", routed(first_of, HOLES, TILES | {"padding": ((0, 1), (0, 1))})),
    planted(MAX_REPEATED, "a pixel collects from windows it is not in, [R 1.5]", of_any_window),
    spoilt(
        MAX_TRAILING, "gradient in the row that no window reaches", lambda dx: dx.at[:, -1].set(dx[:, 2] + dx[:, 3])
    ),
    planted(MAX_FIRST, "to the last", routed(last_of, TILES)),
    planted(MAX_FIRST, "split", routed(split_among, TILES)),
    planted(MAX_FIRST, "to all", routed(all_of, TILES)),
    planted(MAX_ALL, "to the first", routed(first_of, TILES)),
    planted(MAX_ALL, "split", routed(split_among, TILES)),
    planted(MAX_ALL, "from windows it is not in, [R 1.5]", of_any_window),
    planted(MAX_SPLIT, "to the first", routed(first_of, TILES)),
    planted(MAX_SPLIT, "to all", routed(all_of, TILES)),
    planted(
        AVG,
        "padding counted in the backward",
        lambda dy, x: jax.vjp(partial(reference.avg_pool, **COUNTED), x)[1](dy)[0],
    ),
    planted(
        AVG,
        "padding off by one",
        lambda dy, x: reference.fold(jnp.tile(dy / 4, 4), x.shape, **STEPS, padding=((0, 1), (1, 0))),
    ),
    spoilt(AVG, "sum for mean", lambda dx: 4 * dx),
    spoilt(AVG, "one column moved", lambda dx: jnp.roll(dx, 1, axis=2)),
    planted(
        AVG,
        "its adjoint's gradient doubled",
        lambda dy, x: 2 * autodiff(AVG, dy, x)[0] - lax.stop_gradient(autodiff(AVG, dy, x)[0]),
        **without_derivative("args[1]"),
    ),
    spoilt(AVG_TRAILING, "gradient in the row that no window reaches", lambda dx: dx.at[:, -1].set(dx[:, -2])),
    spoilt(GLOBAL, "sum for mean", lambda dx: 8 * dx),
    spoilt(GLOBAL, "mean over the batch too", lambda dx: dx / 2),
    spoilt(GLOBAL, "divided by the height alone", lambda dx: 2 * dx),
    spoilt(GLOBAL, "first row alone", lambda dx: dx.at[:, 1:].set(0)),
    spoilt(GLOBAL, "1e-9 added", lambda dx: dx + 1e-9),
)

# --- relu and dense ------------------------------------------------------------------------------------------------


def shaded(key: jax.Array, by: Callable[..., jax.Array] = jax.random.normal) -> Args:
    """A bias so low that some windows are all below zero."""
    x, k, b = drawn((2, 4, 4, 2), (3, 3, 2, 3), (3,))(key, by)
    return x, k, b - 4


BLOCK = Op("conv_relu_max_pool", lambda m, x, k, b: m.conv_relu_max_pool(x, k, b, 2, padding=1), shaded, is_exact=True)


def dz_without_relu(dy: jax.Array, x: jax.Array, k: jax.Array, b: jax.Array) -> jax.Array:
    """BLOCK's gradient in z with dy for every window's maximum, above zero or not."""
    z = reference.conv(x, k, b, padding=1)
    return jax.vjp(lambda z: reference.max_pool(z, 2), z)[1](dy)[0]


BLOCK_MUTANTS = (
    planted(
        BLOCK,
        "ReLU's zeros pass dy on in dx",
        lambda dy, *args: reference.input_gradient(dz_without_relu(dy, *args), args[1], args[0].shape, padding=1),
    ),
    planted(
        BLOCK,
        "ReLU's zeros pass dy on in dk",
        lambda dy, *args: reference.kernel_gradient(args[0], dz_without_relu(dy, *args), args[1].shape, padding=1),
        1,
    ),
    planted(BLOCK, "ReLU's zeros pass dy on in db", lambda dy, *args: dz_without_relu(dy, *args).sum((0, 1, 2)), 2),
    spoilt(BLOCK, "the last image's winners lost", lambda dx: dx.at[-1].set(0)),
    spoilt(BLOCK, "scale 1 + 1e-05", partial(jnp.multiply, 1 + 1e-5), 1),
    spoilt(BLOCK, "mean over the images in db", lambda db: db / 2, 2),
)

RELU = Op("relu", lambda m, x: m.relu(x), drawn((6, 5), by=distinct), is_exact=True)
RELU_KINK = Op(
    "relu, at zero",
    lambda m, x: m.relu(x),
    drawn((6, 5), by=integers, first=lambda x: x.at[2, 3].set(0)),
    is_exact=True,
    at_ties=True,
)
DENSE = Op("dense", lambda m, x, k, b: m.dense(x, k, b), drawn((3, 4), (4, 2), (2,)), is_exact=True)
DENSE_SQUARE = Op("dense, square", lambda m, x, k: m.dense(x, k), drawn((4, 4), (4, 4)), is_exact=True)
DENSE_MORE = Op("dense, more axes", lambda m, x, k, b: m.dense(x, k, b), drawn((3, 5, 4), (4, 2), (2,)), is_exact=True)

LAYER_MUTANTS = (
    planted(RELU, "by dy's sign", lambda dy, x: jnp.where(dy > 0, dy, 0)),
    planted(RELU, "by both signs", lambda dy, x: jnp.where((dy > 0) & (x > 0), dy, 0)),
    planted(RELU, "straight through", lambda dy, x: dy),
    planted(RELU, "leaky", lambda dy, x: jnp.where(x > 0, dy, 0.01 * dy)),
    planted(RELU, "by the other sign", lambda dy, x: jnp.where(x < 0, dy, 0)),
    planted(RELU, "times y", lambda dy, x: dy * jnp.where(x > 0, x, 0)),
    planted(
        RELU,
        "dy a constant",
        lambda dy, x: jnp.where(x > 0, lax.stop_gradient(dy), 0),
        **without_derivative("args[1]"),
    ),
    planted(RELU_KINK, "derivative 1", lambda dy, x: jnp.where(x >= 0, dy, 0)),
    planted(RELU_KINK, "derivative 1/2", lambda dy, x: dy * (x > 0) + dy * (x == 0) / 2),
    planted(DENSE_SQUARE, "kernel not transposed in dx", lambda dy, x, k: dy @ k),
    spoilt(DENSE_SQUARE, "dk transposed", jnp.transpose, 1),
    planted(DENSE_SQUARE, "dk for dx", lambda dy, x, k: x.T @ dy),
    spoilt(DENSE, "mean over the batch in dk", lambda dk: dk / 3, 1),
    planted(DENSE, "last example dropped", lambda dy, x, k, b: x[:2].T @ dy[:2], 1),
    planted(DENSE, "mean for sum in db", lambda dy, x, k, b: dy.mean(0), 2),
    spoilt(DENSE, "db dropped", jnp.zeros_like, 2),
    spoilt(DENSE, "rounded to bfloat16", through(jnp.bfloat16)),
    spoilt(DENSE, "rounded to float32", through(jnp.float32), 1),
    spoilt(DENSE, "one element zeroed", lambda dk: dk.at[3, 1].set(0), 1),
    spoilt(DENSE, "clipped", lambda dk: jnp.clip(dk, -0.01, 0.01), 1),
    planted(DENSE_MORE, "db over one axis too few", lambda dy, x, k, b: dy[:, 0].sum(0), 2),
    planted(DENSE_MORE, "dk of the first step", lambda dy, x, k, b: x[:, 0].T @ dy[:, 0], 1),
    planted(
        DENSE,
        "kernel a constant of dx",
        lambda dy, x, k, b: dy @ lax.stop_gradient(k).T,
        **without_derivative("args[0][1]"),
    ),
)

# --- softmax and the losses ----------------------------------------------------------------------------------------

CLASSES = jnp.array([2, 0, 1, 4])
HOT = np.eye(5)[np.asarray(CLASSES)]
CLIP = 0.1


def probabilities(logits: jax.Array) -> jax.Array:
    """Rows that sum to one, the first label's far below CLIP and all others well above it."""
    of_label = np.array([[-4.0], [1.0], [1.0], [1.0]])
    return jax.nn.softmax(jnp.where(HOT == 1, of_label, jnp.tanh(logits) / 5))


SOFTMAX = Op("softmax", lambda m, z: m.softmax(z), drawn((4, 4)))
CLIPPED = Op(
    "cross_entropy",
    lambda m, p: m.cross_entropy(p, CLASSES, epsilon=CLIP),
    drawn((4, 5), first=probabilities),
)
CLIPPED_DISTRIBUTIONS = Op(
    "cross_entropy, distributions",
    lambda m, p, y: m.cross_entropy(p, y, epsilon=CLIP),
    drawn((4, 5), (4, 5), first=probabilities),
)
LOSS = Op("softmax_cross_entropy", lambda m, z: m.softmax_cross_entropy(z, CLASSES), drawn((4, 5)))
LOSS_DISTRIBUTIONS = Op(
    "softmax_cross_entropy, distributions", lambda m, z, y: m.softmax_cross_entropy(z, y), drawn((4, 5), (4, 5))
)


def softmax_rule(dp: jax.Array, p: jax.Array) -> jax.Array:
    return p * (dp - jnp.sum(dp * p, axis=-1, keepdims=True))


LOSS_MUTANTS = (
    planted(SOFTMAX, "without the mean subtracted", lambda dp, z: dp * jax.nn.softmax(z)),
    planted(
        SOFTMAX,
        "an unweighted mean subtracted",
        lambda dp, z: jax.nn.softmax(z) * (dp - dp.mean(-1, keepdims=True)),
    ),
    planted(
        SOFTMAX,
        "the mean of the other axis subtracted",
        lambda dp, z: jax.nn.softmax(z) * (dp - jnp.sum(dp * jax.nn.softmax(z), axis=0)),
    ),
    planted(
        SOFTMAX,
        "the matrix's diagonal alone",
        lambda dp, z: dp * jax.nn.softmax(z) * (1 - jax.nn.softmax(z)),
    ),
    planted(
        SOFTMAX,
        "p a constant",
        lambda dp, z: softmax_rule(dp, lax.stop_gradient(jax.nn.softmax(z))),
        **without_derivative("args[0][0]"),
    ),
    planted(CLIPPED, "the clipped's gradient not zero", lambda dL, p: -dL[:, None] * HOT / p),
    spoilt(CLIPPED, "sign", jnp.negative),
    spoilt(CLIPPED, "mean for sum", lambda dp: dp / 4),
    planted(CLIPPED, "as if of logits", lambda dL, p: dL[:, None] * (p - HOT)),
    planted(
        CLIPPED,
        "p a constant",
        lambda dL, p: jnp.where(p > CLIP, -dL[:, None] * HOT / lax.stop_gradient(p), 0),
        **without_derivative("args[0][0]"),
    ),
    planted(CLIPPED_DISTRIBUTIONS, "the clipped's gradient not zero", lambda dL, p, y: -dL[:, None] * y / p),
    planted(CLIPPED_DISTRIBUTIONS, "logarithm not clipped in dy", lambda dL, p, y: -dL[:, None] * jnp.log(p), 1),
    spoilt(CLIPPED_DISTRIBUTIONS, "dy left at zero", jnp.zeros_like, 1),
    planted(LOSS, "p, not p - y", lambda dL, z: dL[:, None] * jax.nn.softmax(z)),
    planted(LOSS, "y - p", lambda dL, z: dL[:, None] * (HOT - jax.nn.softmax(z))),
    spoilt(LOSS, "mean for sum", lambda dz: dz / 4),
    planted(LOSS, "label off by one", lambda dL, z: dL[:, None] * (jax.nn.softmax(z) - jnp.roll(HOT, 1, axis=1))),
    planted(LOSS, "another example's dL", lambda dL, z: dL[::-1, None] * (jax.nn.softmax(z) - HOT)),
    planted(
        LOSS,
        "p a constant",
        lambda dL, z: dL[:, None] * (lax.stop_gradient(jax.nn.softmax(z)) - HOT),
        **without_derivative("args[0][0]"),
    ),
    planted(
        LOSS_DISTRIBUTIONS,
        "p - y though y does not sum to one, [V 17]",
        lambda dL, z, y: dL[:, None] * (jax.nn.softmax(z) - y),
    ),
    planted(
        LOSS_DISTRIBUTIONS, "probabilities for logarithms in dy", lambda dL, z, y: -dL[:, None] * jax.nn.softmax(z), 1
    ),
    planted(LOSS_DISTRIBUTIONS, "logits for logarithms in dy", lambda dL, z, y: -dL[:, None] * z, 1),
)

# --- layer_norm, unfold, fold --------------------------------------------------------------------------------------

LAYER_NORM = Op("layer_norm", lambda m, x, s, b: m.layer_norm(x, s, b), drawn((4, 6), (6,), (6,)))
LAYER_NORM_MORE = Op("layer_norm, more axes", lambda m, x, s, b: m.layer_norm(x, s, b), drawn((2, 3, 5), (5,), (5,)))


def mean(t: jax.Array) -> jax.Array:
    return t.mean(-1, keepdims=True)


def normalized(x: jax.Array, *, count: int = 6, epsilon: float = 1e-5) -> tuple[jax.Array, jax.Array]:
    """h and r."""
    square = jnp.sum((x - mean(x)) ** 2, axis=-1, keepdims=True)
    r = (square / count + epsilon) ** -0.5
    return (x - mean(x)) * r, r


def dx_of(h: jax.Array, r: jax.Array, t: jax.Array) -> jax.Array:
    return r * (t - mean(t) - h * mean(t * h))


def without_mean(dy: jax.Array, x: jax.Array, s: jax.Array, b: jax.Array) -> jax.Array:
    h, r = normalized(x)
    return r * (dy * s - h * mean(dy * s * h))


def without_variance(dy: jax.Array, x: jax.Array, s: jax.Array, b: jax.Array) -> jax.Array:
    _, r = normalized(x)
    return r * (dy * s - mean(dy * s))


UNFOLD = Op("unfold", lambda m, x: m.unfold(x, **STEPS), drawn((2, 4, 4, 2)), is_exact=True)
UNFOLD_HOLES = Op("unfold, dilated", lambda m, x: m.unfold(x, **HOLES, padding=1), drawn((2, 4, 4, 2)), is_exact=True)
FOLD = Op("fold", lambda m, patches: m.fold(patches, (2, 4, 4, 2), **STEPS), drawn((2, 3, 3, 8)), is_exact=True)
FOLD_TRAILING = Op(
    "fold, trailing row", lambda m, patches: m.fold(patches, (2, 5, 4, 1), **TILES), drawn((2, 2, 2, 4)), is_exact=True
)


def channels_first(columns: jax.Array) -> jax.Array:
    """Columns (tap, channel) in the order (channel, tap)."""
    return jnp.swapaxes(columns.reshape(*columns.shape[:-1], 4, -1), -1, -2).reshape(columns.shape)


def put_not_added(dpatches: jax.Array, x: jax.Array) -> jax.Array:
    """UNFOLD's gradient where the last tap's patch covers those before it."""
    taps = dpatches.reshape(*dpatches.shape[:-1], 4, x.shape[-1])
    dx = jnp.zeros_like(x)
    for number in range(4):
        row, column = divmod(number, 2)
        dx = dx.at[:, row : row + 3, column : column + 3].set(taps[..., number, :])
    return dx


OTHER_MUTANTS = (
    planted(LAYER_NORM, "without the mean's term", without_mean),
    planted(LAYER_NORM, "without the variance's term", without_variance),
    planted(LAYER_NORM, "variance divided by M - 1", lambda dy, x, s, b: dx_of(*normalized(x, count=5), dy * s)),
    planted(LAYER_NORM, "epsilon left out", lambda dy, x, s, b: dx_of(*normalized(x, epsilon=0), dy * s)),
    planted(LAYER_NORM, "scale left out", lambda dy, x, s, b: dx_of(*normalized(x), dy)),
    planted(LAYER_NORM, "dscale of x, not normalized", lambda dy, x, s, b: jnp.sum(dy * x, axis=0), 1),
    planted(LAYER_NORM, "mean for sum in dbias", lambda dy, x, s, b: dy.mean(0), 2),
    planted(
        LAYER_NORM,
        "h and r constants",
        lambda dy, x, s, b: dx_of(*lax.stop_gradient(normalized(x)), dy * s),
        **without_derivative("args[0][0]"),
    ),
    planted(LAYER_NORM_MORE, "dbias over one axis too few", lambda dy, x, s, b: dy[:, 0].sum(0), 2),
    planted(UNFOLD, "put, not added", put_not_added),
    planted(UNFOLD, "columns in the other order", lambda dy, x: reference.fold(channels_first(dy), x.shape, **STEPS)),
    spoilt(UNFOLD, "infinity in one element", lambda dx: dx.at[1, 3, 0, 1].set(jnp.inf)),
    planted(
        UNFOLD_HOLES,
        "dilation forgotten",
        lambda dy, x: reference.fold(dy, x.shape, **STEPS, padding=((1, 0), (1, 0))),
    ),
    planted(
        UNFOLD_HOLES,
        "padding off by one",
        lambda dy, x: reference.fold(dy, x.shape, **HOLES, padding=((0, 2), (0, 2))),
    ),
    planted(FOLD, "columns in the other order", lambda dx, patches: channels_first(reference.unfold(dx, **STEPS))),
    spoilt(FOLD, "one element's sign", lambda dp: dp.at[0, 2, 1, 5].multiply(-1)),
    spoilt(FOLD, "last window dropped", lambda dp: dp.at[:, -1, -1].set(0)),
    planted(
        FOLD_TRAILING,
        "counted from the trailing row",
        lambda dx, patches: reference.unfold(dx[:, 1:], **TILES),
    ),
)

# --- faults that were met in use -----------------------------------------------------------------------------------
# In a narrow dtype differences, which are taken in float64, say nothing of what is lost there, and whole numbers
# lose nothing: these ops are `at_ties`, for the reference alone.


def narrow(dtype: Any, *shapes: tuple[int, ...], by: Callable[..., jax.Array] = jax.random.normal) -> Draw:
    """`drawn` in another dtype."""

    def draw(key: jax.Array, by: Callable[..., jax.Array] = by) -> Args:
        return tuple(array.astype(dtype) for array in drawn(*shapes)(key, by))

    return draw


def nan_in(*where: Any) -> Callable[[jax.Array], jax.Array]:
    return lambda x: x.at[where].set(jnp.nan)


LONG_BIAS = Op(
    "dense, a long bfloat16 sum",
    lambda m, x, k, b: m.dense(x, k, b),
    narrow(jnp.bfloat16, (2**17, 1), (1, 2), (2,)),
    at_ties=True,
)
MANY_TIES = Op(
    "max_pool, bfloat16, 300 ties split",
    lambda m, x: m.max_pool(x, 300, ties="split"),
    narrow(jnp.bfloat16, (1, 300, 2), by=lambda key, shape: jnp.ones(shape)),
    at_ties=True,
)
SATURATED = Op(
    "softmax, saturated, bfloat16",
    lambda m, z: m.softmax(z),
    lambda key, by=jax.random.normal: (jnp.tile(jnp.array([8.0, 0.0], jnp.bfloat16), (16, 1)),),
    at_ties=True,
)
HUNDREDS = jnp.array([7, 299, 43])
MANY_CLASSES = Op(
    "softmax_cross_entropy, 300 classes", lambda m, z: m.softmax_cross_entropy(z, HUNDREDS), drawn((3, 300))
)
BLIND_NAN = Op(
    "conv, NaN where no window reaches",
    lambda m, x, k: m.conv(x, k, stride=2),
    drawn((2, 5, 5, 1), (2, 2, 1, 3), first=nan_in(slice(None), -1)),
    at_ties=True,
)
NAN_GROUP = Op(
    "conv, NaN in one of 2 groups",
    lambda m, x, k: m.conv(x, k, groups=2),
    drawn((2, 4, 4, 4), (2, 2, 2, 4), first=nan_in(0, 1, 1, 3)),
    at_ties=True,
)
NAN_TRANSPOSED = Op(
    "conv_transpose, NaN at a corner of x",
    lambda m, x, k: m.conv_transpose(x, k, **UPWARD),
    drawn((2, 3, 3, 2), (3, 3, 2, 2), first=nan_in(0, 0, 2, 1)),
    at_ties=True,
)
GREAT = Op(
    "layer_norm, of 1e20",
    lambda m, x, s, b: m.layer_norm(x, s, b),
    drawn((4, 6), (6,), (6,), first=lambda x: 1e20 * x),
    at_ties=True,
)
FAR = Op(
    "layer_norm, a mean of 1e8",  # of whole numbers and eight to a mean, so that the right way rounds nothing away
    lambda m, x, s, b: m.layer_norm(x, s, b),
    drawn((4, 8), (8,), (8,), first=lambda x: 2.0**27 + jnp.round(8 * x)),
    at_ties=True,
)


def summed_in_bfloat16(dy: jax.Array, x: jax.Array, k: jax.Array, b: jax.Array) -> jax.Array:
    """db term by term, each partial sum rounded."""
    rows = dy.reshape(-1, dy.shape[-1])
    return lax.scan(lambda total, row: (total + row, None), jnp.zeros_like(rows[0]), rows)[0]


def counted_in_bfloat16(dy: jax.Array, x: jax.Array) -> jax.Array:
    """Of 300 equal maxima a count that stops at 256, as bfloat16's does."""
    count = lax.fori_loop(0, x.shape[1], lambda _, count: count + 1, jnp.zeros((), x.dtype))
    return jnp.broadcast_to(dy / count, x.shape)


def through_zeros(dy: jax.Array, x: jax.Array, k: jax.Array) -> jax.Array:
    """NAN_GROUP's dk as the dense one with the other group's parts multiplied by zero before they are added."""
    dense = reference.kernel_gradient(x, dy, (2, 2, 4, 4)).reshape(2, 2, 2, 2, 4)  # (*k, group of x, C_in, C_out)
    mask = jnp.repeat(jnp.eye(2), 2, axis=1)[:, None]  # (group of x, 1, C_out)
    return (dense * mask).sum(2)


def of_float32_squares(dy: jax.Array, x: jax.Array, s: jax.Array, b: jax.Array) -> jax.Array:
    """dx where the variance is computed in float32, which squares of 1e20 overflow."""
    single = x.astype(jnp.float32)
    r = (jnp.mean((single - mean(single)) ** 2, axis=-1, keepdims=True) + 1e-5) ** -0.5
    return dx_of((x - mean(x)) * r, r.astype(x.dtype), dy * s)


def of_a_difference_of_means(dy: jax.Array, x: jax.Array, s: jax.Array, b: jax.Array) -> jax.Array:
    """dx where the variance is mean(x^2) - mean(x)^2, which cancels."""
    r = (jnp.maximum(mean(x * x) - mean(x) ** 2, 0) + 1e-5) ** -0.5
    return dx_of((x - mean(x)) * r, r, dy * s)


def dropped_below(least: float) -> Callable[[jax.Array], jax.Array]:
    return lambda dy: jnp.where(jnp.abs(dy) < least, 0, dy)


def clipped_at(greatest: float) -> Callable[[jax.Array], jax.Array]:
    return lambda dy: jnp.clip(dy, -greatest, greatest)


IN_USE_MUTANTS = (
    planted(LONG_BIAS, "db summed in bfloat16", summed_in_bfloat16, 2),
    planted(MANY_TIES, "ties counted in bfloat16", counted_in_bfloat16),
    planted(
        SATURATED,
        "of rounded probabilities",
        lambda dp, z: softmax_rule(
            dp.astype(jnp.float32), jax.nn.softmax(z.astype(jnp.float32)).astype(z.dtype).astype(jnp.float32)
        ).astype(z.dtype),
    ),
    planted(
        MANY_CLASSES,
        "classes counted in uint8",
        lambda dL, z: dL[:, None] * (jax.nn.softmax(z) - (HUNDREDS[:, None] % 256 == jnp.arange(300) % 256)),
    ),
    planted(
        BLIND_NAN,
        "NaN of the row that no window reaches in dk",
        lambda dy, x, k: reference.kernel_gradient(x[:, :-1], dy, k.shape, stride=2) + 0 * x.sum(),
        1,
    ),
    planted(NAN_GROUP, "NaN of another group in dk", through_zeros, 1),
    planted(
        NAN_TRANSPOSED,
        "NaN of x times the zeros around dy in dk",
        lambda dy, x, k: reference.kernel_gradient(
            jnp.pad(dy, ((0, 0), *UPWARD["padding"], (0, 0))), x, k.shape, stride=2
        ),
        1,
    ),
    planted(GREAT, "squares in float32", of_float32_squares),
    planted(FAR, "variance by a difference of means", of_a_difference_of_means),
    planted(CONV, "cotangent clipped at 100", lambda dy, x, k, b: autodiff(CONV, clipped_at(100)(dy), x, k, b)[0]),
    planted(DENSE, "cotangent clipped at 100", lambda dy, x, k, b: x.T @ clipped_at(100)(dy), 1),
    planted(DENSE, "cotangent clipped at 65504", lambda dy, x, k, b: clipped_at(65504)(dy).sum(0), 2),
    planted(RELU, "cotangent below 1e-3 dropped", lambda dy, x: jnp.where(x > 0, dropped_below(1e-3)(dy), 0)),
    planted(AVG, "cotangent below 1e-6 dropped", lambda dy, x: autodiff(AVG, dropped_below(1e-6)(dy), x)[0]),
    planted(LOSS, "1e-8 added to the cotangent", lambda dL, z: (dL + 1e-8)[:, None] * (jax.nn.softmax(z) - HOT)),
)

DERIVED_BY_HAND = CONV_MUTANTS + POOL_MUTANTS + BLOCK_MUTANTS + LAYER_MUTANTS + LOSS_MUTANTS + OTHER_MUTANTS


def of_a_record(name: str) -> tuple[Mutant, ...]:
    """Mutants of any op with a rule, from its record: none of them knows what it computes."""
    example = next(each for key, each in examples.of_ops().items() if key.split()[0] == name)

    def draw(key: jax.Array, by: Callable[..., jax.Array] = distinct) -> Args:
        return example.integers(key) if by is integers else example.distinct(key)

    op = Op(name, example.call, draw, is_exact=example.is_exact and not example.has_kinks)
    return (
        spoilt(op, "scale 1 + 1e-05", partial(jnp.multiply, 1 + 1e-5)),
        spoilt(op, "the sign turned", jnp.negative),
        planted(op, "cotangent ignored", lambda dy, *args: autodiff(op, jnp.ones_like(dy), *args)[0]),
    )


def without_mutants() -> list[str]:
    """The ops with a rule of their own for which none is planted by hand."""
    planted_in = {mutant.op.function for mutant in DERIVED_BY_HAND} | {"conv_general_dilated"}  # which is conv's
    return [op.name for op in records().values() if op.has_rule and op.name not in planted_in]


MUTANTS: tuple[Mutant, ...] = (
    *DERIVED_BY_HAND,
    *itertools.chain.from_iterable(map(of_a_record, without_mutants())),
    *IN_USE_MUTANTS,
)
OPS: tuple[Op, ...] = tuple(dict.fromkeys(mutant.op for mutant in MUTANTS))
