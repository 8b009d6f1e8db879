"""Chains of convolution, bias, ReLU and max pool, which `ops.conv_relu_max_pool` computes as one.

Legend
    z       what the convolution gives, its axes (N, *spatial, C) in any order; then z + b, then relu(z)
    axes    where N, each spatial axis and C lie in an array; None of an axis of size 1 that is not there

A chain     convolution, [z + b,] relu(z), max pool, in this order, and between any two of them
                transpose, squeeze, and reshape or broadcast_in_dim that adds or drops axes of size 1
            b is a vector along C: an array of size 1 along every other axis, or one that was broadcast from such
            relu is jax.nn.relu, told by its program and by that of its derivative, under jit or not. max(., 0) alone is
            another function: its derivative at 0 is 1/2, the op's is 0
            the pool slides along spatial axes alone, which lie in the order of the convolution's, or else the first of
            tied maxima would be another one
            nobody but the next in the chain reads a result

Where it is not taken, each site is decided by itself: the convolution is one that `_conv` leaves to jax.lax, or a
transposed one, or has groups of images; dtypes differ; the op refuses the pool's window; its three parts are faster
(`_pays`); inside a user's custom rule, which computes the gradients itself. Nor is max pool before ReLU, of which the
single sites keep as little.

Gradients   those of the sequence at ties, at kinks and in windows without anything above 0, as the op derives them
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxcnn._accelerate import _conv, _pools
from jaxcnn._accelerate._equations import bind, bodies_of, opened
from jaxcnn._accelerate._replacement import Replacement, compiled, not_ours
from jaxcnn._accelerate._source import is_already_a_gradient
from jaxcnn.ops._conv._by_rules import way
from jaxcnn.ops._conv._conv_relu_max_pool import by_plan
from jaxcnn.ops._conv._plan import Algorithms, Planned
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._window import Window

Axes = tuple[int | None, ...]

FEWEST_CHANNELS = 16  # of z


class Chain(NamedTuple):
    """Some equations that one op computes.

    Attributes:
        conv, pool: the first and the last of them.
        skipped: the ids of those before the pool.
        arrays: what it takes: the convolution's two, and the bias if there is one.
        replacement: the op.
    """

    conv: Any
    pool: Any
    skipped: frozenset[int]
    arrays: tuple[Any, ...]
    replacement: Replacement

    @property
    def what(self) -> str:
        """What it computes, in words."""
        return "convolution, bias, ReLU, max pool" if len(self.arrays) == 3 else "convolution, ReLU, max pool"


class _Followed(NamedTuple):
    """What lies between a convolution and its pool."""

    passed: list[Any]  # the equations
    bias: Any  # what is a vector along C, None without
    axes: Axes  # of what the pool takes


class _Program:
    """Who makes and who reads each variable of a program."""

    def __init__(self, jaxpr: Any) -> None:
        self.makers = {variable: eqn for eqn in jaxpr.eqns for variable in eqn.outvars}
        self._readers: dict[Any, list[Any]] = defaultdict(list)
        for eqn in jaxpr.eqns:
            for atom in eqn.invars:
                if not isinstance(atom, core.Literal):
                    self._readers[atom].append(eqn)
        self._results = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}

    def reader(self, eqn: Any) -> Any:
        """The one equation that reads the result of another, None where none or several do."""
        (result,) = eqn.outvars
        readers = self._readers[result]
        return readers[0] if len(readers) == 1 and result not in self._results else None


def chains_in(jaxpr: Any, plan: Algorithms) -> list[Chain]:
    """The chains of a program, those in its bodies aside."""
    program = _Program(jaxpr)
    convs = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "conv_general_dilated"]
    return [chain for conv in convs if (chain := _chain(program, conv, plan)) is not None]


def _chain(program: _Program, conv: Any, plan: Algorithms) -> Chain | None:
    """The chain that a convolution begins."""
    batch, feature, *spatial = conv.params["dimension_numbers"].out_spec
    followed = _followed(program, conv, (batch, *spatial, feature))
    if followed is None or not_ours(conv) or is_already_a_gradient(conv.source_info):
        return None
    if conv.invars[0].aval.dtype != conv.outvars[0].aval.dtype:
        return None
    ours = way(*(variable.aval for variable in conv.invars), **conv.params)
    if isinstance(ours, str) or ours.way != "conv" or ours.batch_groups > 1:
        return None
    pool = program.reader(followed.passed[-1])
    window = _window(pool, followed.axes, (1, *ours.problem.window.out, ours.problem.c_out))
    if window is None or not _pays(ours.problem, window):
        return None
    planned = _conv.planned_for(ours.problem, plan)
    run = compiled("conv_relu_max_pool", _run, planned, window, ours.numbers, followed.axes, pool.outvars[0].aval.shape)
    runs = {**_conv.runs_of(planned, "conv"), "max_pool": "first"}
    arrays = (*conv.invars, *([] if followed.bias is None else [followed.bias]))
    skipped = frozenset(map(id, (conv, *followed.passed)))
    return Chain(conv, pool, skipped, arrays, Replacement(run, runs))


def _pays(problem: Problem, pool: Window) -> bool:
    """Whether the op keeps up with its three parts, for which it keeps a byte per pooled element and not z.

    Time of the parts over the op's, value and gradients on a CPU with jax 0.10.2: windows that overlap 1.25; LeNet's
    whole step 0.99, that of a network of 3 to 64 channels 1.03; single sites of 16 to 64 channels 0.93 to 1.11. With
    fewer XLA:CPU computes dz again for each reader: 8 channels 0.92 to 0.97, one channel 0.83 to 0.90.
    """
    overlaps = any(size > stride for size, stride in zip(pool.size, pool.stride, strict=True))
    return overlaps or problem.c_out >= FEWEST_CHANNELS


def _followed(program: _Program, conv: Any, axes: Axes) -> _Followed | None:
    """From a convolution up to its pool, or None where something else is on the way."""
    passed: list[Any] = []
    before, bias, has_relu = conv, None, False
    while (eqn := program.reader(before)) is not None:
        name = eqn.primitive.name
        if name == "reduce_window_max":
            return _Followed(passed, bias, axes) if has_relu else None
        if name in _MOVED:
            moved = _MOVED[name](eqn, axes)
            if moved is None:
                return None
            axes = moved
        elif name == "add" and bias is None and not has_relu:
            bias, broadcast = _vector(program, eqn, before, axes[-1])
            if bias is None:
                return None
            passed += broadcast
        elif not has_relu and _is_relu(eqn):
            has_relu = True
        else:
            return None
        passed.append(eqn)
        before = eqn
    return None


def _vector(program: _Program, add: Any, before: Any, channels: int | None) -> tuple[Any, list[Any]]:
    """What is added to a result, if it is a vector along the channels, else None; and what broadcasts it for this."""
    (z,), (one, other) = before.outvars, add.invars
    atom = other if one is z else one
    shape = z.aval.shape
    if isinstance(atom, core.Literal) or add.outvars[0].aval.shape != shape:
        return None, []
    vector = tuple(size if axis == channels else 1 for axis, size in enumerate(shape))
    if atom.aval.shape == vector:
        return atom, []
    maker = program.makers.get(atom)
    if maker is None or maker.primitive.name != "broadcast_in_dim" or isinstance(maker.invars[0], core.Literal):
        return None, []
    given, to = maker.invars[0], maker.params["broadcast_dimensions"]
    if channels not in to or given.aval.shape != tuple(vector[axis] for axis in to):
        return None, []
    return given, [maker] if program.reader(maker) is add else []


def _is_relu(eqn: Any) -> bool:
    """Whether its program, and that of its derivative, are those of `jax.nn.relu`."""
    name = eqn.primitive.name
    if name in ("jit", "pjit"):
        body = opened(eqn.params["jaxpr"])
        if len(body.eqns) != 1 or len(eqn.invars) != 1:
            return False
        (inner,) = body.eqns
        return inner.invars == body.invars and inner.outvars == body.outvars and _is_relu(inner)
    if name != "custom_jvp_call" or len(eqn.invars) != 1:
        return False
    type_ = eqn.invars[0].aval

    def programs(f: Any) -> list[Any]:
        derivative = jax.make_jaxpr(lambda x, dx: jax.jvp(f, (x,), (dx,)))
        return [_computed(opened(jax.make_jaxpr(f)(type_))), _computed(opened(derivative(type_, type_)))]

    with eqn.ctx.manager:
        return programs(lambda x: bind(eqn, [x])[0]) == programs(jax.nn.relu)


def _computed(jaxpr: Any) -> list[Any]:
    """What a program computes of what, but for shapes: vmap broadcasts a number in other steps."""
    names: dict[Any, str] = {variable: f"given {index}" for index, variable in enumerate(jaxpr.invars)}
    steps: list[Any] = []

    def name(atom: Any) -> str:
        return f"number {atom.val}" if isinstance(atom, core.Literal) else names.get(atom, "constant")

    for eqn in jaxpr.eqns:
        of = [name(atom) for atom in eqn.invars]
        if eqn.primitive.name == "broadcast_in_dim" and of[0].startswith("number"):
            names[eqn.outvars[0]] = of[0]
            continue
        names |= {variable: f"step {len(steps)}, {index}" for index, variable in enumerate(eqn.outvars)}
        steps.append((eqn.primitive.name, of, [_computed(opened(body)) for body in bodies_of(eqn)]))
    return [*steps, [name(atom) for atom in jaxpr.outvars]]


def _transposed(eqn: Any, axes: Axes) -> Axes:
    to = tuple(eqn.params["permutation"])
    return tuple(None if axis is None else to.index(axis) for axis in axes)


def _squeezed(eqn: Any, axes: Axes) -> Axes:
    gone = set(eqn.params["dimensions"])
    kept = [axis for axis in range(eqn.invars[0].aval.ndim) if axis not in gone]
    return tuple(kept.index(axis) if axis in kept else None for axis in axes)


def _broadcast(eqn: Any, axes: Axes) -> Axes | None:
    """Where it adds axes of size 1 alone."""
    to = [int(axis) for axis in eqn.params["broadcast_dimensions"]]
    before, after = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    is_alone = len(eqn.invars) == 1 and eqn.params.get("sharding") is None
    added = [size for axis, size in enumerate(after) if axis not in to]
    if not is_alone or any(size != 1 for size in added) or tuple(after[axis] for axis in to) != before:
        return None
    return tuple(None if axis is None else to[axis] for axis in axes)


def _reshaped(eqn: Any, axes: Axes) -> Axes | None:
    """Where it adds or drops axes of size 1 alone; none of size 1 is followed."""
    before, after = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    old, new = ([axis for axis, size in enumerate(shape) if size != 1] for shape in (before, after))
    is_alone = eqn.params.get("dimensions") is None and eqn.params.get("sharding") is None
    if not is_alone or [before[axis] for axis in old] != [after[axis] for axis in new]:
        return None
    return tuple(new[old.index(axis)] if axis in old else None for axis in axes)


_MOVED = {"transpose": _transposed, "squeeze": _squeezed, "broadcast_in_dim": _broadcast, "reshape": _reshaped}


def _window(pool: Any, axes: Axes, z_shape: tuple[Any, ...]) -> Window | None:
    """The pool's, along the spatial axes alone, in their own order; None where it is another one, or refused."""
    windows = _pools.windows_of(pool.params)
    spatial = axes[1:-1]
    places = [axis for axis in spatial if axis is not None]
    if isinstance(windows, str) or not set(windows.axes) <= set(places) or places != sorted(places):
        return None

    def along(name: str, otherwise: Any) -> tuple[Any, ...]:
        values = dict(zip(windows.axes, getattr(windows, name), strict=True))
        return tuple(otherwise if axis is None else values.get(axis, otherwise) for axis in spatial)

    try:
        return Window.of(
            "accelerate",
            z_shape,
            along("size", 1),
            along("stride", 1),
            along("padding", (0, 0)),
            along("dilation", 1),
        )
    except ValueError:
        return None


def _run(
    planned: Planned, window: Window, numbers: Any, axes: Axes, shape: tuple[Any, ...], *arrays: jax.Array
) -> jax.Array:
    """The op, its axes brought into its order and back into that of the pool, of which the result has the shape."""
    lhs, rhs, *bias = arrays
    batch, feature, *spatial = numbers.lhs_spec
    outward, inward, *taps = numbers.rhs_spec
    x = jnp.transpose(lhs, (batch, *spatial, feature))
    kernel = jnp.transpose(rhs, (*taps, inward, outward))
    vector = jnp.reshape(bias[0], kernel.shape[-1:]) if bias else jnp.zeros(kernel.shape[-1:], x.dtype)
    y = by_plan(planned, window, x, kernel, vector)
    gone = [own for own, axis in enumerate(axes) if axis is None]
    there = sorted((axis, own) for own, axis in enumerate(axes) if axis is not None)
    y = jnp.squeeze(jnp.transpose(y, (*gone, *(own for _, own in there))), tuple(range(len(gone))))
    return jnp.expand_dims(y, [axis for axis in range(len(shape)) if axis not in dict(there)])
