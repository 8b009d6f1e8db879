"""What is known of an op beside its code: one record at the end of its file.

`jaxcnn.reference`, `jaxcnn.examples` and with them `jaxcnn check`, `jaxcnn.cost`, the tests of every transformation and
the tables of operations in README and docs are made from the records of what `jaxcnn.ops` exports.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arguments = dict[str, Any]
Shape = jax.ShapeDtypeStruct
Shapes = Any  # a pytree of them
Count = Callable[[Arguments, Shape], int]


@dataclass(frozen=True, eq=False)
class Example:
    """A function of arrays and where to evaluate it.

    Attributes:
        call: `call(module, *args, *held)` with module `jaxcnn.ops` or `jaxcnn.reference`.
        like: a pytree of `jax.ShapeDtypeStruct`s for each argument.
        into_domain: takes any finite number, as drawn, into the function's domain.
        is_exact: whether whole numbers give whole numbers, or halves of them: no rounding anywhere.
        has_kinks: whether whole numbers lie at its ties or kinks, where differences mean nothing.
        held: arrays that are not differentiated in, such as classes, long enough for any batch.
        batched: how many of the first arguments have the batch axis; the held ones have it too.
        result_is_batched: whether the result has it.
    """

    call: Callable[..., Any]
    like: tuple[Shapes, ...]
    into_domain: Callable[[jax.Array], jax.Array] = field(default=lambda x: x)
    is_exact: bool = False
    has_kinks: bool = False
    held: tuple[np.ndarray, ...] = ()
    batched: int = 1
    result_is_batched: bool = True


def nothing(args: Arguments, y: Shape) -> int:
    """0, for what an op has none of."""
    return 0


@dataclass(frozen=True, eq=False)
class Op:
    """The record of an op.

    Attributes:
        function: the public function.
        reference: its plain forward, of the same signature.
        equations: where it and its gradient are in the papers.
        kept: what is kept for the backward pass, in words.
        at_kinks: what happens at kinks, ties and NaN.
        elsewhere: what other libraries call it.
        examples: points to check it at, each by the words that follow the op's name, or "".
        multiply_adds: the forward's, from the arguments by name and the result: see `jaxcnn.cost`.
        residual_bytes: the bytes kept, likewise.
        has_rule: whether it has a rule of its own: a reshape and a function of gradient 0 have none.
        has_gradient: whether there is anything to compute backward.
        moves: whether it moves data: a reshape does not.
    """

    function: Callable[..., Any]
    reference: Callable[..., Any]
    equations: str
    kept: str
    at_kinks: str
    elsewhere: str
    examples: Mapping[str, Example]
    multiply_adds: Count = nothing
    residual_bytes: Count = nothing
    has_rule: bool = True
    has_gradient: bool = True
    moves: bool = True

    @property
    def name(self) -> str:
        """As `jaxcnn.ops` has it."""
        return self.function.__name__

    @property
    def file(self) -> str:
        """The file that it is derived in, from jaxcnn/ops on."""
        path, ops = Path(inspect.getfile(inspect.unwrap(self.function))), Path(__file__).parents[1]
        return str(path.relative_to(ops)) if path.is_relative_to(ops) else path.name


COMPUTE_NOTHING = ("conv_plan", "engines")


def records() -> dict[str, Op]:
    """Every op that `jaxcnn.ops` exports, by its name, with the record in its file."""
    exported = {name: f for name, f in vars(sys.modules["jaxcnn.ops"]).items() if inspect.isfunction(f)}
    return {name: _record_of(inspect.unwrap(f)) for name, f in sorted(exported.items()) if name not in COMPUTE_NOTHING}


def _record_of(function: Callable[..., Any]) -> Op:
    for value in vars(sys.modules[function.__module__]).values():
        if isinstance(value, Op) and inspect.unwrap(value.function) is function:
            return value
    raise LookupError(
        f"{function.__module__} has no record of {function.__name__}: end it with Op({function.__name__}, ...)"
    )


def shape(*sizes: int) -> Shape:
    """The shape of an example's argument."""
    return Shape(sizes, jnp.float32)


def bytes_of(*names: str) -> Count:
    """Of these arguments."""
    return lambda args, y: sum(args[name].size * args[name].dtype.itemsize for name in names)


def total(*counts: Count) -> Count:
    """The sum of counts."""
    return lambda args, y: sum(count(args, y) for count in counts)


def terms(g: str) -> Count:
    """The terms of (B1) or (B2): each element of g meets one column of the kernel; "y" stands for the result."""

    def count(args: Arguments, y: Shape) -> int:
        kernel_shape = args["kernel"].shape if "kernel" in args else args["kernel_shape"]
        return (y if g == "y" else args[g]).size * prod(kernel_shape[:-1])

    return count


# what the examples of convolutions and pools share: padding, strides and groups that divide nothing evenly
WINDOW: dict[str, Any] = {"stride": (1, 2), "padding": ((1, 0), (0, 1))}
POOL: dict[str, Any] = {"window": 2, "stride": 1, "padding": ((1, 0), (0, 0))}
CLASSES = np.array([2, 0, 1, 3, 3, 0, 2, 1])
IMAGES, KERNELS, COTANGENTS, ROWS = shape(3, 3, 4, 4), shape(2, 2, 2, 2), shape(3, 3, 2, 2), shape(3, 4)
