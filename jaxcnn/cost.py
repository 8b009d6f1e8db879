"""What ops and networks cost, from shapes alone: multiply-adds, bytes and residuals, forward and backward.

    of_op("conv", x, kernel, padding="SAME")    -> Cost     arrays or `jax.ShapeDtypeStruct`s: nothing is executed
    of_net(net.apply, params, images)           -> Table    a row for each op, in the order of the forward, and a total

Multiply-adds are the products of the trilinear forms, each with its addition:

    convolution     N out_h out_w k_h k_w (C_in / groups) C_out                                              [R 1.8]
    dense           N F C                                                                                [V 2; R 1.6]

A form T(x, k, g) has one product a term whichever argument it is differentiated in, so the input gradient and the
kernel gradient each cost as much as the forward. Taps that fall into padding are counted, as in [R 1.8]; XLA's own
count leaves them out, and counts two operations per multiply-add.

Every other op multiplies nothing, or a few numbers per place, and is counted as zero multiply-adds: a bias, ReLU, a
pool, a normalization or a loss costs the bytes that it moves. These are a lower bound for each op by itself: forward,
every array argument is read once and the result written once; backward, the result's cotangent and the residuals are
read once and every gradient written once. Ops that are compiled together and fuse move less. `flatten` moves nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxcnn.ops
from jaxcnn._contract import Apply, logits_and_state
from jaxcnn._names import unknown
from jaxcnn.ops._lib._record import Arguments, Shape, records

_INPUTS = ("x", "lhs", "dy", "patches", "z", "logits", "probabilities", "labels")
_PARAMETERS = ("kernel", "rhs", "bias", "scale")


@dataclass(frozen=True)
class Cost:
    """What something costs; costs add up.

    Attributes:
        forward: multiply-adds.
        input_gradient: multiply-adds of the gradients in what came from elsewhere: x, or dy of the two gradient maps.
        parameter_gradients: multiply-adds of the gradients in kernels, biases and scales.
        forward_bytes: bytes read and written forward, at least; residuals that are kept for training not included.
        backward_bytes: bytes read and written backward, at least.
        parameters: how many numbers the kernels, biases and scales hold.
        residual_bytes: bytes kept from the forward for the backward, by the rule that each op's file states; arrays
            that exist anyway, as arguments or results, included.
    """

    forward: int = 0
    input_gradient: int = 0
    parameter_gradients: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0
    parameters: int = 0
    residual_bytes: int = 0

    @property
    def backward(self) -> int:
        """Multiply-adds of all gradients."""
        return self.input_gradient + self.parameter_gradients

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Row(NamedTuple):
    """One op of a network: its name, the shape of its result, what it costs."""

    op: str
    shape: tuple[int, ...]
    cost: Cost


@dataclass(frozen=True)
class Table:
    """What each op of a network costs, in the order of the forward; `print` shows it."""

    rows: tuple[Row, ...]

    @property
    def total(self) -> Cost:
        """The sum over the rows."""
        return sum((row.cost for row in self.rows), Cost())

    def __str__(self) -> str:
        lines = [["op", "result", *(field.name for field in fields(Cost))]]
        for op, shape, cost in (*self.rows, Row("total", (), self.total)):
            lines.append([op, "x".join(map(str, shape)), *(f"{number:,}" for number in astuple(cost))])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            [text.ljust(width) for text, width in zip(line[:2], widths[:2], strict=True)]
            + [text.rjust(width) for text, width in zip(line[2:], widths[2:], strict=True)]
            for line in lines
        ]
        return "\n".join(map("  ".join, aligned))


def of_op(name: str, *args: Any, **options: Any) -> Cost:
    """What one op of `jaxcnn.ops` costs, called with these arguments.

    Args:
        name: the op's, such as "conv".
        args, options: as the op takes them; where it takes arrays, `jax.ShapeDtypeStruct`s do as well.

    Returns:
        its `Cost`, backward for the gradient in every floating argument.

    Raises:
        ValueError: there is no such op, or the op refuses the arguments.
        TypeError: the op takes no such arguments.

    Source:
        [R] 1.8.

    Example:
        [V]'s one filter on one image: 23 x 23 places of 6 x 6 products, and 121 x 10 of the dense layer.

        >>> import jax, jax.numpy as jnp
        >>> image = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
        >>> cost = of_op("conv", image, jnp.zeros((6, 6, 1, 1), jnp.float32))
        >>> cost.forward, cost.backward, cost.parameters
        (19044, 38088, 36)
        >>> cost.residual_bytes == 4 * (28 * 28 + 6 * 6)  # x and k in float32
        True
    """
    shapes = _shapes(_bind(name, args, options))
    return _cost(name, shapes, _result(name, shapes), held=set())


def of_net(apply: Apply, params: Any, x: Any, *, net_state: Any = ()) -> Table:
    """What each op of a network costs, training on a batch.

    The images need no gradient: an op that takes them directly is counted without its input gradient.

    Args:
        apply: `apply(params, x, *, ops, state, key, train) -> (logits, state)`, as `jaxcnn.nets` says;
            `functools.partial` fixes further options. It is called as a training step calls it.
        params: as from `init`, arrays or `jax.ShapeDtypeStruct`s.
        x: the batch (N, *spatial, C), an array or a `jax.ShapeDtypeStruct`.
        net_state: of a net that has state, arrays or `jax.ShapeDtypeStruct`s.

    Returns:
        a `Table` with a `Row` for each op that `apply` calls; parameters used twice count twice.

    Raises:
        ValueError: an op refuses its arguments, or `apply` does not return logits and a state.

    Source:
        [R] 1.8.

    Example:
        >>> import jax
        >>> from jaxcnn.nets import single_filter
        >>> params = jax.eval_shape(single_filter.init, jax.random.key(0))
        >>> table = of_net(single_filter.apply, params, jax.ShapeDtypeStruct((1, 28, 28, 1), "float32"))
        >>> [(row.op, row.shape, row.cost.forward, row.cost.backward) for row in table.rows]
        [('conv', (1, 23, 23, 1), 19044, 19044), ('max_pool', (1, 11, 11, 1), 0, 0), ('flatten', (1, 121), 0, 0),
         ('dense', (1, 10), 1210, 2420)]
        >>> table.total.forward, table.total.backward, table.total.parameters
        (20254, 21464, 1256)
    """
    rows: list[Row] = []

    def run(params: Any, net_state: Any, x: Any) -> Any:
        recorder = ModuleType("recorder")
        without_gradient = [x]

        def recording(name: str) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                given = _bind(name, args, options)
                held = {n for n, value in given.items() if any(value is array for array in without_gradient)}
                y, shapes = _op(name)(*args, **options), _shapes(given)
                rows.append(Row(name, y.shape, _cost(name, shapes, _shape(y), held)))
                if held.issuperset(_floating(shapes)):
                    without_gradient.append(y)
                return y

            return call

        for name in records():
            setattr(recorder, name, recording(name))
        key = jax.random.key(0)
        return logits_and_state(apply, params, x, ops=recorder, state=net_state, key=key, train=True)

    jax.eval_shape(run, *jax.tree.map(_shape, (params, net_state)), _shape(x))
    return Table(tuple(rows))


def _cost(name: str, args: Arguments, y: Shape, held: set[str]) -> Cost:
    """The cost of one call; `held` arguments need no gradient."""
    op = records()[name]
    arrays = {n: a for n, a in args.items() if isinstance(a, Shape)}
    wanted = [n for n in _floating(args) if n not in held] if op.has_gradient else []
    products = op.multiply_adds(args, y)
    factors = [n for n in wanted if n != "bias"]  # a bias is added, never multiplied
    residuals = op.residual_bytes(args, y) if wanted else 0
    moved = [*arrays.values(), y] if op.moves else []
    moved_back = [y, *(arrays[n] for n in wanted)] if moved and wanted else []
    return Cost(
        forward=products,
        input_gradient=products * sum(n in _INPUTS for n in factors),
        parameter_gradients=products * sum(n in _PARAMETERS for n in factors),
        forward_bytes=sum(map(_size_in_bytes, moved)),
        backward_bytes=sum(map(_size_in_bytes, moved_back)) + residuals,
        parameters=sum(a.size for n, a in arrays.items() if n in _PARAMETERS),
        residual_bytes=residuals,
    )


def _bind(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Arguments:
    """The op's arguments by name, defaults included."""
    bound = inspect.signature(_op(name)).bind(*args, **options)
    bound.apply_defaults()
    return bound.arguments


def _shapes(args: Arguments) -> Arguments:
    """The arguments, each array as its shape and dtype."""
    arrays = [n for n, value in args.items() if n in (*_INPUTS, *_PARAMETERS) and value is not None]
    return {n: _shape(value) if n in arrays else value for n, value in args.items()}


def _result(name: str, args: Arguments) -> Shape:
    """The shape and dtype of what the op returns."""
    arrays = {n: value for n, value in args.items() if isinstance(value, Shape)}
    static = {n: value for n, value in args.items() if n not in arrays}
    return jax.eval_shape(lambda arrays: _op(name)(**arrays, **static), arrays)


def _op(name: str) -> Callable[..., jax.Array]:
    if name not in records():
        raise ValueError(f"of_op: {unknown('op', name, records())}")
    return getattr(jaxcnn.ops, name)


def _shape(array: Any) -> Shape:
    return jax.eval_shape(jnp.asarray, array)


def _floating(args: Arguments) -> list[str]:
    return [n for n, a in args.items() if isinstance(a, Shape) and jnp.issubdtype(a.dtype, jnp.floating)]


def _size_in_bytes(array: Shape) -> int:
    return array.size * array.dtype.itemsize
