"""`lax.conv_general_dilated`'s signature: lax's results in every layout, and Flax on our rules."""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from agreement import assert_agree, assert_equal_trees, integers
from jax import lax

from jaxcnn import ops, reference

# lhs, rhs, options
LAYOUTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "lax's default": ((2, 4, 6, 5), (6, 4, 3, 2), {}),
    "channels last": ((2, 6, 5, 4), (3, 2, 4, 6), {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}),
    "channels first in, last out": ((2, 4, 6, 5), (3, 2, 2, 6), {"dimension_numbers": ("NCHW", "HWIO", "NHWC")}),
    "batch last": ((6, 4, 5, 2), (4, 3, 6, 2), {"dimension_numbers": ("HCWN", "IHOW", "CNWH"), "rhs_dilation": (2, 1)}),
    "one axis, strided": ((2, 6, 4), (3, 4, 6), {"dimension_numbers": ("NWC", "WIO", "NWC")}),
}


@pytest.mark.parametrize(("lhs", "rhs", "options"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_values_and_gradients_are_laxs(lhs: Any, rhs: Any, options: dict[str, Any]) -> None:
    axes = len(lhs) - 2
    if "channels first in" in str(options) or rhs[-2] == 2:
        options = options | {"feature_group_count": 2}
    strides, padding = (2, 1)[:axes], ((1, 0), (0, 1))[:axes]

    def conv(module: Any) -> Any:
        return lambda x, k: module.conv_general_dilated(x, k, strides, padding, **options)

    assert_agree(conv(ops), conv(lax), integers(lhs), integers(rhs, seed=1))


@pytest.mark.parametrize("padding", ["SAME", "VALID", "SAME_LOWER", ((-1, 2), (3, -2))])
def test_padding_is_laxs(padding: Any) -> None:
    args = integers((1, 2, 5, 6)), integers((3, 2, 3, 2), seed=1)
    found, expected = (m.conv_general_dilated(*args, (2, 2), padding) for m in (ops, reference))
    assert_equal_trees(found, expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lhs_dilation": (2, 1)}, "lhs_dilation must be None or ones, got .*use input_gradient"),
        ({"batch_group_count": 2}, "batch_group_count must be 1, got 2"),
        ({"out_sharding": jax.sharding.PartitionSpec("x")}, "out_sharding must be None"),
        ({"padding": "full"}, "padding must be an int, one per .* 'SAME', 'SAME_LOWER' or 'VALID', got 'full'"),
        ({"dimension_numbers": ("NHWX", "HWIO", "NHWC")}, "dimension_numbers must be as in lax, got"),
        ({"rhs": jnp.ones((2, 2))}, "lhs and rhs must have the same rank, 3 or more"),
        (
            {"lhs": jnp.ones((2, 3)), "rhs": jnp.ones((3, 4)), "window_strides": (), "lhs_dilation": ()},
            r"3 or more, got shapes \(2, 3\) and \(3, 4\); without a spatial axis it is a product: use dense",
        ),
        (
            {"lhs": jnp.ones((2, 2, 4, 4), complex)},
            "lhs must have a floating dtype, got complex.*lhs.real and lhs.imag",
        ),
        (
            {"lhs": jnp.ones((2, 2, 4, 4), jnp.float8_e4m3fn)},
            r"floating dtype, got float8_e4m3fn.*astype\('bfloat16'\)",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(change: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {
        "lhs": jnp.ones((2, 2, 4, 4)),
        "rhs": jnp.ones((2, 2, 3, 3)),
        "window_strides": (1, 1),
        "padding": "SAME",
    }
    with pytest.raises(ValueError, match=says):
        ops.conv_general_dilated(**given | change)


def test_flax_trains_on_these_rules_by_one_argument() -> None:
    def net(**how: Any) -> nn.Module:
        first = nn.Conv(4, (3, 3), strides=2, **how)
        return nn.Sequential([first, nn.relu, nn.Conv(6, (3, 3), feature_group_count=2, kernel_dilation=2, **how)])

    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3), jnp.float32)
    params = net().init(jax.random.key(1), x)

    def loss(net: nn.Module, params: Any) -> jax.Array:
        y: Any = net.apply(params, x)
        return jnp.sum(jnp.square(y))

    ours = net(conv_general_dilated=ops.conv_general_dilated)
    assert "custom_vjp" in str(jax.make_jaxpr(partial(loss, ours))(params))
    found, expected = (jax.jit(jax.value_and_grad(partial(loss, n)))(params) for n in (ours, net()))
    assert_equal_trees(found, expected, roundings=64)
