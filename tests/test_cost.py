"""Costs from shapes: against numbers by hand, XLA's own count, and what `jax.vjp` really keeps."""

from __future__ import annotations

from functools import partial
from math import prod
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn.nets
import jaxcnn.ops
import jaxcnn.reference
from jaxcnn import cost
from jaxcnn.cost import Cost
from jaxcnn.nets import gap_cnn, lenet, single_filter

NETS = list(jaxcnn.nets.NETS.values())


def floats(*shape: int, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


def classes(count: int) -> jax.Array:
    return jnp.arange(count, dtype=jnp.int32) % 3


def shape(*sizes: int, dtype: str = "float32") -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("avg_pool", (floats(2, 7, 7, 3), 2), {}),
    ("avg_pool", (floats(2, 7, 7, 3, dtype="bfloat16"), 3), {"padding": 1, "count_include_pad": False}),
    ("conv", (floats(2, 8, 7, 4), floats(3, 2, 4, 6)), {}),
    ("conv", (floats(2, 8, 7, 4), floats(3, 2, 4, 6), floats(6)), {"padding": "SAME"}),
    ("conv", (floats(2, 9, 4, dtype="bfloat16"), floats(3, 2, 6), floats(6)), {"groups": 2, "stride": 2}),
    ("conv_general_dilated", (floats(2, 4, 8, 7), floats(6, 2, 3, 2), (1, 2), "SAME"), {"feature_group_count": 2}),
    ("conv_relu_max_pool", (floats(2, 8, 7, 4), floats(3, 2, 4, 6), floats(6), 2), {"padding": 1, "stride": (1, 2)}),
    ("conv_relu_max_pool", (floats(2, 9, 4), floats(3, 2, 6), None, 3), {"groups": 2, "pool_stride": 1}),
    ("conv_transpose", (floats(2, 4, 3, 6), floats(3, 2, 4, 6)), {}),
    ("conv_transpose", (floats(2, 4, 3, 6), floats(3, 2, 2, 6), floats(4)), {"groups": 2, "stride": 2, "padding": 1}),
    ("correlate", (floats(2, 5, 6, 7, 2), floats(2, 3, 2, 2, 3)), {"dilation": (1, 2, 1)}),
    ("cross_entropy", (jax.nn.softmax(floats(5, 3)), classes(5)), {}),
    ("cross_entropy", (jax.nn.softmax(floats(5, 3)), jax.nn.softmax(floats(5, 3))), {}),
    ("dense", (floats(5, 4), floats(4, 3)), {}),
    ("dense", (floats(5, 2, 4, dtype="float16"), floats(4, 3), floats(3)), {}),
    ("flatten", (floats(5, 2, 2, 3),), {}),
    ("fold", (floats(2, 3, 3, 12), (2, 4, 4, 3), 2), {}),
    ("global_avg_pool", (floats(2, 4, 4, 3),), {}),
    ("input_gradient", (floats(2, 6, 6, 5), floats(3, 3, 4, 5), (2, 8, 8, 4)), {}),
    ("kernel_gradient", (floats(2, 8, 8, 4), floats(2, 6, 6, 5), (3, 3, 4, 5)), {}),
    ("layer_norm", (floats(2, 4, 4, 3), floats(3), floats(3)), {}),
    ("layer_norm", (floats(2, 4, 4, 3, dtype="bfloat16"), floats(4, 3), floats(4, 3)), {"axis": (1, -1)}),
    ("max_pool", (floats(2, 7, 7, 3), 2), {}),
    ("max_pool", (floats(2, 7, 7, 3), (3, 2)), {"ties": "all", "stride": 2, "padding": 1}),
    ("max_pool", (floats(2, 7, 3), 3), {"ties": "split"}),
    ("one_hot_prediction", (floats(5, 3),), {}),
    ("relu", (floats(5, 3, dtype="bfloat16"),), {}),
    ("softmax", (floats(5, 3, dtype="float16"),), {"axis": 0}),
    ("softmax_cross_entropy", (floats(5, 3, dtype="bfloat16"), classes(5)), {}),
    ("softmax_cross_entropy", (floats(5, 3), jax.nn.softmax(floats(5, 3))), {}),
    ("unfold", (floats(2, 7, 7, 3), (2, 3)), {"stride": 2}),
]
CALL_NAMES = [f"{name}-{number}" for number, (name, _, _) in enumerate(CALLS)]


# By hand


def test_the_one_filter_of_virdee() -> None:
    """23 x 23 places of 6 x 6 products; x, f and the feature map are 28^2, 6^2 and 23^2 floats of 4 bytes."""
    assert cost.of_op("conv", shape(1, 28, 28, 1), shape(6, 6, 1, 1)) == Cost(
        forward=23 * 23 * 36,
        input_gradient=23 * 23 * 36,
        parameter_gradients=23 * 23 * 36,
        forward_bytes=4 * (784 + 36 + 529),
        backward_bytes=4 * (529 + 784 + 36) + 4 * (784 + 36),
        parameters=36,
        residual_bytes=4 * (784 + 36),
    )


def test_a_bias_is_moved_and_never_multiplied() -> None:
    without = cost.of_op("dense", shape(8, 121), shape(121, 10))
    assert cost.of_op("dense", shape(8, 121), shape(121, 10), shape(10)) == without + Cost(
        forward_bytes=40, backward_bytes=40, parameters=10
    )
    assert (without.forward, without.backward) == (8 * 121 * 10, 2 * 8 * 121 * 10)


def test_relu_keeps_a_byte_an_element() -> None:
    assert cost.of_op("relu", shape(3, 5)) == Cost(
        forward_bytes=2 * 4 * 15, backward_bytes=2 * 4 * 15 + 15, residual_bytes=15
    )


def test_a_network_of_one_filter() -> None:
    table = cost.of_net(single_filter.apply, _params(single_filter), shape(1, 28, 28, 1))
    assert [row.op for row in table.rows] == ["conv", "max_pool", "flatten", "dense"]
    assert [row.shape for row in table.rows] == [(1, 23, 23, 1), (1, 11, 11, 1), (1, 121), (1, 10)]
    assert table.total == Cost(
        forward=23 * 23 * 36 + 121 * 10,
        input_gradient=121 * 10,  # the images' own gradient is not wanted
        parameter_gradients=23 * 23 * 36 + 121 * 10,
        forward_bytes=4 * ((784 + 36 + 529) + (529 + 121) + (121 + 1210 + 10 + 10)),
        backward_bytes=4 * ((529 + 36 + 784 + 36) + (121 + 529) + (10 + 121 + 1210 + 10 + 121 + 1210)) + 121,
        parameters=36 + 1210 + 10,
        residual_bytes=4 * (784 + 36) + 121 + 4 * (121 + 1210),
    )


def test_lenet_multiplies_and_adds_4_64_million_times_an_image() -> None:
    total = cost.of_net(lenet.apply, _params(lenet), shape(1, 28, 28, 1)).total
    conv1, conv2, dense1, dense2 = 28**2 * 9 * 32, 14**2 * 9 * 32 * 64, 3136 * 256, 256 * 10
    assert total.forward == conv1 + conv2 + dense1 + dense2 == 4_643_840
    assert total.parameter_gradients == total.forward
    assert total.input_gradient == total.forward - conv1


def test_gap_cnn_by_its_blocks() -> None:
    blocks = (gap_cnn.Block(4, kernel=(5, 5), stride=2), gap_cnn.Block(6, padding=0, dilation=2, pool=2, norm=True))
    params = jax.eval_shape(partial(gap_cnn.init, blocks=blocks, channels=3), jax.random.key(0))
    table = cost.of_net(partial(gap_cnn.apply, blocks=blocks), params, shape(2, 16, 16, 3))
    assert [row.op for row in table.rows] == [
        *("conv", "relu"),
        *("conv_relu_max_pool", "layer_norm"),
        *("global_avg_pool", "dense"),
    ]
    assert table.total.forward == 2 * (8 * 8 * 25 * 3 * 4 + 4 * 4 * 9 * 4 * 6 + 6 * 10)


# As [R 1.8] says


CONV = {"N": 2, "C_in": 4, "C_out": 6, "k_h": 3, "k_w": 3}


def conv_cost(sizes: dict[str, int]) -> Cost:
    """A convolution to 16 x 16 places."""
    x = shape(sizes["N"], 15 + sizes["k_h"], 15 + sizes["k_w"], sizes["C_in"])
    return cost.of_op("conv", x, shape(sizes["k_h"], sizes["k_w"], sizes["C_in"], sizes["C_out"]))


@pytest.mark.parametrize("size", CONV)
def test_the_cost_is_linear_in(size: str) -> None:
    once, thrice = conv_cost(CONV), conv_cost(CONV | {size: 3 * CONV[size]})
    assert once.forward == 16 * 16 * prod(CONV.values())
    assert (thrice.forward, thrice.backward) == (3 * once.forward, 3 * once.backward)


def test_groups_divide_the_cost() -> None:
    whole = cost.of_op("conv", shape(2, 9, 9, 8), shape(3, 3, 8, 16))
    grouped = cost.of_op("conv", shape(2, 9, 9, 8), shape(3, 3, 2, 16), groups=4)
    assert (grouped.forward, grouped.backward) == (whole.forward // 4, whole.backward // 4)


# As XLA counts


def flops(f: Any, *args: Any) -> float:
    analysis = jax.jit(f).lower(*args).compile().cost_analysis()
    assert analysis is not None
    return analysis["flops"]


PRODUCTS = [
    ("conv", (shape(2, 8, 7, 4), shape(3, 2, 4, 6)), {}),
    ("conv", (shape(2, 9, 9, 4), shape(3, 3, 4, 6)), {"stride": 2, "dilation": 2}),
    ("conv", (shape(2, 8, 8, 4), shape(3, 3, 2, 6)), {"groups": 2}),
    ("conv", (shape(2, 9, 4), shape(3, 4, 6)), {}),
    ("conv", (shape(2, 5, 6, 7, 2), shape(2, 3, 2, 2, 3)), {}),
    ("correlate", (shape(2, 8, 7, 4), shape(3, 2, 4, 6)), {}),
    ("dense", (shape(5, 4), shape(4, 3)), {}),
    ("dense", (shape(5, 2, 4), shape(4, 3)), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), PRODUCTS)
def test_two_operations_a_multiply_add(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    op = partial(getattr(jaxcnn.reference, name), **options)
    counted = cost.of_op(name, *args, **options)

    def gradient(number: int, x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
        return jax.vjp(op, x, kernel)[1](dy)[number]

    assert flops(op, *args) == 2 * counted.forward
    dy = jax.eval_shape(op, *args)
    assert flops(partial(gradient, 0), *args, dy) == 2 * counted.input_gradient
    assert flops(partial(gradient, 1), *args, dy) == 2 * counted.parameter_gradients


def test_two_operations_a_multiply_add_of_a_depthwise_convolution() -> None:
    """Forward: XLA:CPU's own kernel gradient of one multiplies C times as often as it need."""
    args = shape(2, 8, 8, 4), shape(3, 3, 1, 4)
    assert flops(partial(jaxcnn.reference.conv, groups=4), *args) == 2 * cost.of_op("conv", *args, groups=4).forward


def test_a_transposed_convolution_multiplies_at_each_place_of_x() -> None:
    counted = cost.of_op("conv_transpose", shape(2, 4, 3, 6), shape(3, 2, 5, 6), stride=2)
    assert counted.forward == 2 * 4 * 3 * 6 * 3 * 2 * 5
    assert counted.input_gradient == counted.parameter_gradients == counted.forward


def test_taps_in_padding_are_counted_here_and_not_by_xla() -> None:
    x, kernel = shape(1, 10, 1), shape(3, 1, 1)
    assert cost.of_op("conv", x, kernel, padding="SAME").forward == 3 * 10
    assert flops(partial(jaxcnn.reference.conv, padding="SAME"), x, kernel) == 2 * (3 * 10 - 2)


@pytest.mark.parametrize("name", ["input_gradient", "kernel_gradient"])
def test_a_gradient_map_has_two_gradients_as_dear_as_itself(name: str) -> None:
    args = next(args for call, args, _ in CALLS if call == name)
    counted = cost.of_op(name, *args)
    assert counted.forward == 2 * 6 * 6 * 9 * 4 * 5
    assert counted.backward == 2 * counted.forward


# As `jax.vjp` keeps


def kept_bytes(f: Any, *args: Any) -> int:
    """The bytes that f's backward keeps; a scalar is left out, for it carries a dtype and nothing else."""

    def kept(*args: Any) -> list[jax.Array]:
        return jax.tree.leaves(jax.vjp(f, *args)[1])

    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.eval_shape(kept, *args) if leaf.ndim)


@pytest.mark.parametrize(("name", "args", "options"), CALLS, ids=CALL_NAMES)
def test_bytes_are_those_of_the_arrays(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    arrays = [arg for arg in args if isinstance(arg, jax.Array)]
    floating = [array for array in arrays if jnp.issubdtype(array.dtype, jnp.floating)]
    others = args[len(floating) :]  # in every op the floating arrays come first
    op = partial(getattr(jaxcnn.ops, name), **options)
    y = jax.eval_shape(lambda *some: op(*some, *others), *floating)
    y_bytes = y.size * y.dtype.itemsize
    counted = cost.of_op(name, *args, **options)
    assert counted.residual_bytes == kept_bytes(lambda *some: op(*some, *others), *floating)
    if name == "flatten":
        assert (counted.forward_bytes, counted.backward_bytes) == (0, 0)
        return
    assert counted.forward_bytes == sum(array.nbytes for array in arrays) + y_bytes
    gradients = sum(array.nbytes for array in floating)
    has_backward = name != "one_hot_prediction"
    assert counted.backward_bytes == has_backward * (y_bytes + counted.residual_bytes + gradients)


def test_a_winner_among_more_than_255_taps_takes_two_bytes() -> None:
    x = shape(2, 300, 3)
    counted = cost.of_op("max_pool", x, 256, stride=1)
    assert counted.residual_bytes == kept_bytes(lambda x: jaxcnn.ops.max_pool(x, 256, stride=1), x) == 2 * 2 * 45 * 3


@pytest.mark.parametrize(("ties", "window", "kept"), [("all", 8, 64 * 81), ("split", 9, 4 * (256 + 64))])
def test_a_mask_per_tap_is_kept_up_to_the_bound_and_beyond_it_x_and_y(ties: str, window: int, kept: int) -> None:
    x = shape(1, 16, 16, 1)
    options: dict[str, Any] = {"stride": 1, "ties": ties}
    counted = cost.of_op("max_pool", x, window, **options)
    assert counted.residual_bytes == kept_bytes(lambda x: jaxcnn.ops.max_pool(x, window, **options), x) == kept


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_a_network_keeps_what_its_ops_keep(net: ModuleType) -> None:
    params, images = _params(net), floats(3, 28, 28, 1)
    total = cost.of_net(net.apply, params, images).total
    assert total.residual_bytes == kept_bytes(lambda params: net.apply(params, images)[0], params)
    assert total.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))


# The interface


@pytest.mark.parametrize(("name", "args", "options"), CALLS, ids=CALL_NAMES)
def test_shapes_do_as_well_as_arrays(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    shapes = [jax.eval_shape(lambda a: a, arg) if isinstance(arg, jax.Array) else arg for arg in args]
    assert cost.of_op(name, *shapes, **options) == cost.of_op(name, *args, **options)


def test_arguments_by_name_and_from_numpy() -> None:
    x, kernel = np.zeros((2, 8, 8, 4), "float32"), np.zeros((3, 3, 4, 6), "float32")
    assert cost.of_op("conv", kernel=kernel, x=x) == cost.of_op("conv", shape(*x.shape), shape(*kernel.shape))


def test_nothing_is_executed() -> None:
    """Arrays of these sizes fit no machine."""
    counted = cost.of_op("conv", shape(10**9, 1000, 1000, 3), shape(1, 1, 3, 1000))
    assert counted.forward == 10**9 * 10**6 * 3000


def test_costs_add_up() -> None:
    conv, relu = cost.of_op("conv", shape(1, 3, 1), shape(2, 1, 1)), cost.of_op("relu", shape(1, 2, 1))
    both = conv + relu
    assert both.forward_bytes == conv.forward_bytes + relu.forward_bytes
    assert both.backward == conv.backward == both.input_gradient + both.parameter_gradients == 8


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_a_batch_multiplies_as_often_as_its_images(net: ModuleType) -> None:
    one, many = (cost.of_net(net.apply, _params(net), shape(n, 28, 28, 1)).total for n in (1, 64))
    assert (many.forward, many.backward, many.parameters) == (64 * one.forward, 64 * one.backward, one.parameters)


def test_what_comes_from_images_alone_needs_no_gradient() -> None:
    def apply(params: Any, x: Any, *, ops: Any, state: Any, **_: Any) -> tuple[jax.Array, Any]:
        return ops.dense(ops.flatten(ops.relu(ops.max_pool(x, 2))), params), state

    pool, relu, flatten, dense = cost.of_net(apply, shape(16, 10), shape(1, 8, 8, 1)).rows
    assert pool.cost == Cost(forward_bytes=4 * (64 + 16))
    assert relu.cost == Cost(forward_bytes=4 * (16 + 16))
    assert flatten.cost == Cost()
    assert (dense.cost.input_gradient, dense.cost.parameter_gradients) == (0, 160)
    assert dense.cost.backward_bytes == 4 * (10 + 160) + dense.cost.residual_bytes


def test_a_table_prints_a_line_an_op_and_the_total() -> None:
    header, *rows, total = str(cost.of_net(single_filter.apply, _params(single_filter), shape(1, 28, 28, 1))).split(
        "\n"
    )
    assert header.split()[:3] == ["op", "result", "forward"]
    assert rows[0].split()[:3] == ["conv", "1x23x23x1", "19,044"]
    assert total.split()[:2] == ["total", "20,254"]
    assert len({len(line) for line in (header, *rows, total)}) == 1


def test_an_unknown_op_is_named() -> None:
    with pytest.raises(ValueError, match="of_op: unknown op 'convolve', expected one of avg_pool, "):
        cost.of_op("convolve", shape(1, 3, 1))


def test_the_op_itself_refuses_arguments() -> None:
    with pytest.raises(ValueError, match="conv: kernel must have C_in/groups = 4"):
        cost.of_op("conv", shape(1, 8, 8, 4), shape(3, 3, 3, 2))
    with pytest.raises(TypeError, match="pading"):
        cost.of_op("conv", shape(1, 8, 8, 4), shape(3, 3, 4, 2), pading=1)
    with pytest.raises(ValueError, match="conv: x must be"):
        cost.of_net(single_filter.apply, _params(single_filter), shape(28, 28))


def _params(net: ModuleType) -> Any:
    return jax.eval_shape(net.init, jax.random.key(0))
