"""What composes: every op under every transformation of jax.

Each transformation and op is one test, as `test_composes[scan-conv]`, and one cell of docs/composition.md, which
`python -m experiments.gradients.compositions` fills in from a run. It holds the op inside of the transformation to the
plain reference outside of it. What cannot compose stands in REASONS, with the error that the test then expects.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_equal_trees, integers, mostly_long
from catalogue import OPS, Op
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcnn import ops, reference

Function = Callable[..., jax.Array]
Arrays = list[Any]  # of jax or of NumPy, where jax would compile a program to slice them

WHOLE, IN_PARTS = PartitionSpec(), PartitionSpec("batch")


class Reason(NamedTuple):
    """Why a cell cannot be green: the error that it raises, and what to do instead."""

    error: type[Exception]
    says: str
    way_out: str


NO_FORWARD_MODE = Reason(
    TypeError,
    "forward-mode",
    "`jax.custom_vjp` refuses forward mode with a `TypeError`. For Jacobians and Hessians go backward twice, "
    "`jax.jacrev(jax.grad(f))`: the column Hessian. For forward mode itself take the op from `jaxcnn.reference`, where "
    "it has no custom rule: that is what the columns Hessian and Hessian-vector product are held to.",
)
REASONS = {
    ("forward mode", "every rule"): NO_FORWARD_MODE,
    ("forward over reverse", "every rule"): NO_FORWARD_MODE,
}


def jit(op: Op) -> None:
    """Outside of jit are the docstrings' examples."""
    expected = compiled(op.plain, len(op.args))(cotangent(op), *op.args)
    assert_equal_trees(compiled(op.ours, len(op.args))(cotangent(op), *op.args), expected, roundings=16)


def vmap(op: Op) -> None:
    """Over each argument alone."""
    for argument in range(len(op.args)):
        is_mapped = [number == argument for number in range(len(op.args))]
        rows = [two_points(arg) if m else arg for arg, m in zip(op.args, is_mapped, strict=True)]
        assert_equal_trees(*mapped_and_looped(op, [False, *is_mapped], [cotangent(op), *rows]), roundings=16)


def per_example_gradients(op: Op) -> None:
    """`vmap` of the gradient over the batch: every rule sees a batch of one."""
    is_mapped = [False] * (1 + len(op.args) + len(op.held))
    rows = []
    for number, array in enumerate([*op.args, *op.held]):
        is_mapped[1 + number] = number < op.batched or number >= len(op.args)
        rows.append(np.asarray(array)[:3, None] if is_mapped[1 + number] else array)
    assert_equal_trees(*mapped_and_looped(op, is_mapped, [cotangent(op, 1), *rows]), roundings=16)


def grad_of_grad(op: Op) -> None:
    gradient = compiled_gradient_along(op)(op.args, directions(op))[0]
    expected = compiled_gradient_along(op)(op.args, gradient)[1]
    assert_equal_trees(jax.jit(gradients_of(partial(steepness, op.ours, op), op))(*op.args), expected, roundings=64)


def hessian_vector_product(op: Op) -> None:
    """Reverse over reverse, held to the reference's forward over reverse."""

    def slope(*args: jax.Array) -> jax.Array:
        return inner(gradients_of(partial(scalar, op.ours), op)(*args), directions(op))

    expected = compiled_gradient_along(op)(op.args, directions(op))[1]
    assert_equal_trees(jax.jit(gradients_of(slope, op))(*op.args), expected, roundings=64)


def hessian(op: Op) -> None:
    """`jacrev` of `grad` in a plane, one column of it held to the reference's forward over reverse."""
    first = directions(op)
    second = tuple(np.roll(v, 1) for v in first)

    def in_the_plane(t: jax.Array) -> jax.Array:
        return scalar(op.ours, *(a + t[0] * v + t[1] * w for a, v, w in zip(op.args, first, second, strict=True)))

    found = jax.jit(jax.jacrev(jax.grad(in_the_plane)))(np.zeros(2))
    along_first = compiled_gradient_along(op)(op.args, first)[1]
    expected = [sum(map(np.vdot, along, along_first)) for along in (first, second)]
    assert_equal_trees(found[:, 0], np.array(expected), roundings=64)


def checkpoint(op: Op) -> None:
    found = compiled(jax.checkpoint(op.ours), len(op.args))(cotangent(op), *op.args)
    assert_equal_trees(found, compiled(op.plain, len(op.args))(cotangent(op), *op.args), roundings=16)


def scan(op: Op) -> None:
    rows = [two_points(array) for array in (cotangent(op), *op.args)]

    def over(*rows: jax.Array) -> Any:
        def step(carry: int, arrays: tuple[jax.Array, ...]) -> Any:
            return carry, value_and_gradients(op.ours, len(op.args), *arrays)

        return lax.scan(step, 0, rows)[1]

    assert_equal_trees(jax.jit(over)(*rows), looped(op, [True] * len(rows), rows), roundings=16)


def shard_map(op: Op) -> None:
    """Parameters are whole on every device, and jax sums their gradients over the devices."""
    arrays, specs = large_batch(op)
    local = partial(value_and_gradients, local_part(op), len(op.args))
    assert_equal_trees(sharded(op, local, specs)(*arrays), at_once(op, arrays), roundings=16)


def shard_map_of_cast_parameters(op: Op) -> None:
    """Parameters are cast to varying first, so that their gradients are each device's own, and summed by hand."""
    arrays, specs = large_batch(op)

    def local(*arrays: jax.Array) -> Any:
        cast = [a if s == IN_PARTS else lax.pcast(a, "batch", to="varying") for a, s in zip(arrays, specs, strict=True)]
        y, gradients = value_and_gradients(local_part(op), len(op.args), arrays[0], *cast[1:])
        summed = [g if s == IN_PARTS else lax.psum(g, "batch") for g, s in zip(gradients, specs[1:], strict=False)]
        return y, tuple(summed)

    assert_equal_trees(sharded(op, local, specs)(*arrays), at_once(op, arrays), roundings=16)


def explicit_mesh(op: Op) -> None:
    """Values and gradients, and every gradient sharded as its argument."""
    arrays, specs = large_batch(op)
    expected = at_once(op, arrays)
    explicit = mesh(AxisType.Explicit)
    with jax.set_mesh(explicit):
        placed = [jax.device_put(a, NamedSharding(explicit, spec)) for a, spec in zip(arrays, specs, strict=True)]
        y, gradients = jax.jit(partial(value_and_gradients, op.ours, len(op.args)))(*placed)
        for gradient, arg in zip(gradients, placed[1:], strict=False):
            assert gradient.sharding.is_equivalent_to(arg.sharding, arg.ndim)
    assert_equal_trees((y, gradients), expected, roundings=16)


def automatic_sharding(op: Op) -> None:
    """By `jit`'s `in_shardings`."""
    arrays, specs = large_batch(op)
    shardings = [NamedSharding(mesh(AxisType.Auto), spec) for spec in specs]
    found = jax.jit(partial(value_and_gradients, op.ours, len(op.args)), in_shardings=shardings)(*arrays)
    assert_equal_trees(found, at_once(op, arrays), roundings=16)


def export(op: Op) -> None:
    """Serialized and back with `vjp_order=2`: value, gradients and a Hessian-vector product."""
    stored = jax.export.export(jax.jit(op.ours))(*op.args).serialize(vjp_order=2)
    call = jax.export.deserialize(stored).call

    def first_and_second(dy: jax.Array, *args: jax.Array) -> Any:
        second = gradients_of(lambda *args: inner(gradients_of(partial(scalar, call), op)(*args), directions(op)), op)
        return value_and_gradients(call, len(args), dy, *args), second(*args)

    first = compiled(op.plain, len(op.args))(cotangent(op), *op.args)
    second = compiled_gradient_along(op)(op.args, directions(op))[1]
    assert_equal_trees(jax.jit(first_and_second)(cotangent(op), *op.args), (first, second), roundings=64)


def one_gradient_alone(op: Op) -> None:
    """Each argument's gradient while the others are constants, whose gradients nobody wants."""

    def each_alone(dy: jax.Array, *args: jax.Array) -> Any:
        def alone(number: int, arg: jax.Array) -> jax.Array:
            return op.ours(*args[:number], arg, *args[number + 1 :])

        return tuple(jax.vjp(partial(alone, number), arg)[1](dy)[0] for number, arg in enumerate(args))

    _, expected = compiled(op.plain, len(op.args))(cotangent(op), *op.args)
    assert_equal_trees(jax.jit(each_alone)(cotangent(op), *op.args), expected, roundings=16)


def unused_outputs(op: Op) -> None:
    """The loss uses one element of the value, and nothing of the same op's value elsewhere."""

    def loss(*args: jax.Array) -> Any:
        used, unused = op.ours(*args), op.ours(*args[:-1], 2 * args[-1])
        return used.ravel()[0], unused.ravel()[0]

    found = jax.jit(gradients_of(loss, op, has_aux=True))(*op.args)[0]
    dy = np.zeros_like(cotangent(op))
    dy.flat[0] = 1
    assert_equal_trees(found, compiled(op.plain, len(op.args))(dy, *op.args)[1], roundings=16)


def empty_batch(op: Op) -> None:
    args = [np.asarray(arg)[:0] if number < op.batched else arg for number, arg in enumerate(op.args)]
    dy = cotangent(op, len(args[0]))
    found, plain = (jax.eval_shape(compiled(f, len(args)), dy, *args) for f in (op.ours, op.plain))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), plain
    )
    for gradient in compiled(op.ours, len(args))(dy, *args)[1]:
        np.testing.assert_array_equal(gradient, 0)


def batch_of_one(op: Op) -> None:
    args = [np.asarray(arg)[1:2] if number < op.batched else arg for number, arg in enumerate(op.args)]
    dy = cotangent(op, len(args[0]))
    assert_equal_trees(compiled(op.ours, len(args))(dy, *args), compiled(op.plain, len(args))(dy, *args), roundings=16)


def forward_mode(op: Op) -> None:
    found, expected = (
        jax.jit(lambda args, f=f: jax.jvp(f, args, directions(op)))(op.args) for f in (op.ours, op.plain)
    )
    assert_equal_trees(found, expected, roundings=16)


def forward_over_reverse(op: Op) -> None:
    found = jax.jit(partial(gradient_along, op.ours, op))(op.args, directions(op))
    assert_equal_trees(found, compiled_gradient_along(op)(op.args, directions(op)), roundings=64)


TRANSFORMATIONS: dict[str, Callable[[Op], None]] = {
    "jit": jit,
    "vmap": vmap,
    "per-example gradients": per_example_gradients,
    "grad of grad": grad_of_grad,
    "Hessian-vector product": hessian_vector_product,
    "Hessian": hessian,
    "checkpoint": checkpoint,
    "scan": scan,
    "shard_map": shard_map,
    "shard_map, cast parameters": shard_map_of_cast_parameters,
    "explicit mesh": explicit_mesh,
    "automatic sharding": automatic_sharding,
    "export": export,
    "one gradient alone": one_gradient_alone,
    "unused outputs": unused_outputs,
    "empty batch": empty_batch,
    "batch of one": batch_of_one,
    "forward mode": forward_mode,
    "forward over reverse": forward_over_reverse,
}


# one of each form of rule; the others are marked as long
FIRST = ("conv", "max_pool", "avg_pool", "dense", "relu", "softmax_cross_entropy", "layer_norm")


@pytest.mark.parametrize("name", mostly_long(OPS, FIRST))
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_composes(transformation: str, name: str, record_property: Callable[[str, object], None]) -> None:
    op = OPS[name]
    reason = REASONS.get((transformation, name), REASONS.get((transformation, "every rule")) if op.has_rule else None)
    if reason is None:
        TRANSFORMATIONS[transformation](op)
    else:
        with pytest.raises(reason.error, match=reason.says):
            TRANSFORMATIONS[transformation](op)
        record_property("way out", reason.way_out)


def value_and_gradients(f: Function, count: int, dy: jax.Array, *arrays: jax.Array) -> Any:
    """f's value, and its gradients along dy in the first `count` arrays."""
    y, pull = jax.vjp(lambda *args: f(*args, *arrays[count:]), *arrays[:count])
    return y, pull(dy)


@functools.cache
def compiled(f: Function, count: int) -> Callable[..., Any]:
    """`value_and_gradients`, compiled once for all the tests that compare something with them."""
    return jax.jit(partial(value_and_gradients, f, count))


def scalar(f: Function, *args: jax.Array) -> jax.Array:
    """A number with a Hessian even where f is linear."""
    y = f(*args)
    return jnp.vdot(jnp.square(y), integers(y.shape, y.dtype, seed=3))


def gradients_of(f: Callable[..., Any], op: Op, *, has_aux: bool = False) -> Callable[..., Any]:
    return jax.grad(f, tuple(range(len(op.args))), has_aux=has_aux)


def inner(left: Any, right: Any) -> jax.Array:
    return sum((jnp.vdot(a, b) for a, b in zip(left, right, strict=True)), start=jnp.zeros(()))


def steepness(f: Function, op: Op, *args: jax.Array) -> jax.Array:
    """Half the square of the gradient's length; its own gradient is the Hessian times the gradient."""
    gradients = gradients_of(partial(scalar, f), op)(*args)
    return inner(gradients, gradients) / 2


def gradient_along(f: Function, op: Op, args: Any, tangents: Any) -> Any:
    """The gradient and the Hessian-vector product, forward over reverse."""
    return jax.jvp(gradients_of(partial(scalar, f), op), args, tangents)


@functools.cache
def compiled_gradient_along(op: Op) -> Callable[..., Any]:
    """`gradient_along` of the reference."""
    return jax.jit(partial(gradient_along, op.plain, op))


@functools.cache
def value_like(op: Op) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(op.plain, *op.args)


def cotangent(op: Op, batch: int | None = None) -> jax.Array:
    """Small integers of the shape of the op's value, at its own batch size or another."""
    size, *rest = value_like(op).shape
    size = size if batch is None or not op.result_is_batched else batch
    return integers((size, *rest), value_like(op).dtype, seed=3)


def directions(op: Op) -> tuple[jax.Array, ...]:
    return tuple(integers(arg.shape, arg.dtype, seed=4) for arg in op.args)


def two_points(array: jax.Array) -> np.ndarray:
    return np.stack([array, np.roll(array, 1)])


def mapped_and_looped(op: Op, is_mapped: list[bool], rows: Arrays) -> tuple[Any, Any]:
    """Our values and gradients mapped over the leading axis of some of (dy, *arrays), and the plain ones in a loop."""
    together = jax.vmap(partial(value_and_gradients, op.ours, len(op.args)), [0 if m else None for m in is_mapped])
    return jax.jit(together)(*rows), looped(op, is_mapped, rows)


def looped(op: Op, is_mapped: list[bool], rows: Arrays) -> Any:
    length = max(len(row) for row, m in zip(rows, is_mapped, strict=True) if m)
    plain = compiled(op.plain, len(op.args))
    each = [plain(*(row[i] if m else row for row, m in zip(rows, is_mapped, strict=True))) for i in range(length)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def mesh(axis_type: AxisType) -> Mesh:
    devices = jax.devices("cpu")
    return jax.make_mesh((len(devices),), ("batch",), axis_types=(axis_type,), devices=devices)


def large_batch(op: Op) -> tuple[Arrays, list[PartitionSpec]]:
    """(dy, *args, *held) with one example per device, and how each is sharded."""
    size = len(jax.devices("cpu"))
    arrays: Arrays = [np.resize(a, (size, *a.shape[1:])) if n < op.batched else a for n, a in enumerate(op.args)]
    arrays += op.held
    specs = [IN_PARTS if n < op.batched or n >= len(op.args) else WHOLE for n in range(len(arrays))]
    return [cotangent(op, size), *arrays], [IN_PARTS if op.result_is_batched else WHOLE, *specs]


def at_once(op: Op, arrays: Arrays) -> Any:
    """The plain value and gradients on one device."""
    return compiled(op.plain, len(op.args))(*arrays)


def local_part(op: Op) -> Function:
    """What each device computes; a sum over the batch is completed over the devices."""
    return op.ours if op.result_is_batched else lambda *arrays: lax.psum(op.ours(*arrays), "batch")


def sharded(op: Op, local: Callable[..., Any], specs: list[PartitionSpec]) -> Callable[..., Any]:
    out_specs = (specs[0], tuple(specs[1 : 1 + len(op.args)]))
    return jax.jit(jax.shard_map(local, mesh=mesh(AxisType.Auto), in_specs=tuple(specs), out_specs=out_specs))


def network(x: jax.Array, kernel: jax.Array, weights: jax.Array) -> jax.Array:
    y = ops.max_pool(ops.relu(ops.conv(x, kernel, padding=1)), 2)
    return ops.dense(ops.flatten(y), weights)


def network_arrays(batch: int) -> tuple[jax.Array, ...]:
    """x, kernel and weights."""
    shapes: list[tuple[int, ...]] = [(batch, 8, 8, 1), (3, 3, 1, 2), (2 * 4 * 4, 3)]
    return tuple(integers(shape, np.float32) for shape in shapes)


def network_gradients(*arrays: jax.Array) -> Any:
    return jax.grad(lambda *arrays: jnp.sum(network(*arrays)), argnums=(1, 2))(*arrays)


def test_export_to_every_platform_with_any_batch() -> None:
    """Forward and gradient lower for CPU, GPU and TPU, and the CPU's runs at a batch that was not named."""
    (batch,) = jax.export.symbolic_shape("batch")
    arrays = network_arrays(3)
    x, *parameters = (jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays)
    specs = (jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype), *parameters)
    platforms = ("cpu", "cuda", "tpu")
    for f in (network, network_gradients):
        exported = jax.export.export(jax.jit(f), platforms=platforms)(*specs)
        assert set(exported.platforms) == set(platforms)
        assert_equal_trees(exported.call(*arrays), jax.jit(f)(*arrays))


def test_a_network_on_an_explicit_mesh() -> None:
    arrays = network_arrays(8)
    expected = jax.jit(network_gradients)(*arrays)
    explicit = mesh(AxisType.Explicit)
    with jax.set_mesh(explicit):
        specs = (IN_PARTS, WHOLE, WHOLE)
        placed = [jax.device_put(a, NamedSharding(explicit, s)) for a, s in zip(arrays, specs, strict=True)]
        found = jax.jit(network_gradients)(*placed)
    assert_equal_trees(found, expected)


def test_explicit_columns_of_a_dense_kernel_stay_where_they_are() -> None:
    """Batch over one axis, features of the result over the other."""
    x, kernel = integers((4, 3)), integers((3, 2))
    devices = jax.devices("cpu")
    explicit = jax.make_mesh((4, 2), ("batch", "features"), axis_types=(AxisType.Explicit,) * 2, devices=devices)

    def gradients(x: jax.Array, kernel: jax.Array) -> Any:
        return jax.grad(lambda x, kernel: jnp.sum(jnp.square(ops.dense(x, kernel))), argnums=(0, 1))(x, kernel)

    expected = gradients(x, kernel)
    with jax.set_mesh(explicit):
        columns = NamedSharding(explicit, PartitionSpec(None, "features"))
        placed = jax.device_put(x, NamedSharding(explicit, IN_PARTS)), jax.device_put(kernel, columns)
        found = jax.jit(gradients)(*placed)
    assert found[1].sharding.is_equivalent_to(columns, 2)
    assert_equal_trees(found, expected)


def test_devices_sum_the_gradients_of_float32_parameters_in_float32() -> None:
    """Though the images are bfloat16."""
    kernel, x = integers((2, 2, 1, 2), jnp.float32), integers((8, 4, 4, 1), jnp.bfloat16)
    gradient = jax.grad(lambda kernel, x: jnp.sum(ops.conv(x, kernel)))
    local = jax.shard_map(gradient, mesh=mesh(AxisType.Auto), in_specs=(WHOLE, IN_PARTS), out_specs=WHOLE)
    sums = re.findall(r"\w+:(\w+)\[[\d,]*\]\S* = psum", str(jax.make_jaxpr(local)(kernel, x)))
    assert sums == ["f32"]


@pytest.mark.parametrize("name", ["cross_entropy", "softmax_cross_entropy"])
def test_devices_may_share_their_labels(name: str) -> None:
    """Each has one example of its own, and all the same distribution."""
    loss, scores, labels = getattr(ops, name), jax.nn.softmax(integers((8, 4))), np.full((1, 4), 0.25)

    def gradients(scores: jax.Array, labels: jax.Array) -> Any:
        return jax.grad(lambda scores, labels: jnp.sum(loss(scores, labels)), argnums=(0, 1))(scores, labels)

    specs = (IN_PARTS, WHOLE)
    found = jax.jit(jax.shard_map(gradients, mesh=mesh(AxisType.Auto), in_specs=specs, out_specs=specs))(scores, labels)
    by_example, by_label = jax.jit(gradients)(scores, np.tile(labels, (8, 1)))
    assert_equal_trees(found, (by_example, np.sum(by_label, axis=0, keepdims=True)), roundings=16)


def test_every_op_is_in_the_catalogue() -> None:
    assert {name.split()[0] for name in OPS} == set(reference.__all__)


def test_the_document_has_every_op_and_transformation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "composition.md").read_text()
    _, table, _ = re.split("<!-- /?compositions -->", page)
    header, _, *rows = [line.split("|")[1:-1] for line in re.findall(r"^\|.*\|$", table, re.MULTILINE)]
    assert [row[0].strip(" `") for row in rows] == list(OPS)
    assert {cell.strip() for cell in header} >= set(TRANSFORMATIONS)
