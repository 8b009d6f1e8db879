"""`lax.conv_general_dilated` by our rules: lax's results in every layout, transposed ones, and Flax's."""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, integers
from jax import export, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import TypeCheckError

from jaxcnn import ops, reference
from jaxcnn.ops._conv._by_rules import NotOurs, Ours, by_rules, way

# lhs, rhs, options
LAYOUTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "lax's default": ((2, 4, 6, 5), (6, 4, 3, 2), {}),
    "channels last": ((2, 6, 5, 4), (3, 2, 4, 6), {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}),
    "channels first in, last out": ((2, 4, 6, 5), (3, 2, 2, 6), {"dimension_numbers": ("NCHW", "HWIO", "NHWC")}),
    "batch last": ((6, 4, 5, 2), (4, 3, 6, 2), {"dimension_numbers": ("HCWN", "IHOW", "CNWH"), "rhs_dilation": (2, 1)}),
    "one axis, strided": ((2, 6, 4), (3, 4, 6), {"dimension_numbers": ("NWC", "WIO", "NWC")}),
}
NHWC = ("NHWC", "HWIO", "NHWC")
# lhs, rhs, padding, lhs_dilation, rhs_dilation, groups
TRANSPOSED: dict[str, tuple[Any, ...]] = {
    "as of a VALID one": ((2, 4, 3, 3), (3, 2, 3, 4), ((2, 2), (1, 1)), (2, 2), (1, 1), 1),
    "lopsided, one axis dilated": ((2, 4, 3, 3), (3, 2, 3, 4), ((2, 0), (0, 1)), (3, 1), (1, 1), 1),
    "kernel dilated": ((2, 3, 3, 2), (2, 3, 2, 3), ((1, 2), (3, 1)), (2, 3), (3, 2), 1),
    "padding beyond the kernel": ((1, 3, 2, 2), (2, 1, 2, 3), ((4, 6), (1, 5)), (2, 2), (1, 1), 1),
    "cropped": ((1, 5, 4, 2), (2, 2, 2, 3), ((-3, 2), (-1, -2)), (2, 2), (1, 1), 1),
    "cropped beyond the first places": ((1, 5, 4, 2), (1, 2, 2, 3), ((-5, 1), (1, -4)), (2, 3), (1, 1), 1),
    "groups": ((2, 3, 4, 4), (2, 3, 2, 6), ((1, 1), (2, 2)), (2, 2), (1, 1), 2),
    "depthwise": ((2, 3, 4, 3), (3, 3, 1, 3), ((1, 2), (1, 2)), (2, 2), (1, 1), 3),
    "one place": ((2, 1, 1, 2), (4, 4, 2, 3), ((3, 3), (3, 3)), (2, 2), (1, 1), 1),
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


@pytest.mark.parametrize("padding", ["SAME", "VALID", "SAME_LOWER", "same", ((-1, 2), (3, -2))])
def test_padding_is_laxs(padding: Any) -> None:
    args = integers((1, 2, 5, 6)), integers((3, 2, 3, 2), seed=1)
    found, expected = (m.conv_general_dilated(*args, (2, 2), padding) for m in (ops, reference))
    assert_equal_trees(found, expected)


class TestTransposed:
    @pytest.mark.parametrize(
        ("lhs", "rhs", "padding", "dilation", "taps", "groups"), TRANSPOSED.values(), ids=TRANSPOSED
    )
    def test_to_second_order(self, lhs: Any, rhs: Any, padding: Any, dilation: Any, taps: Any, groups: int) -> None:
        def conv(module: Any) -> Any:
            return lambda x, k: module.conv_general_dilated(
                x, k, (1, 1), padding, dilation, taps, NHWC, feature_group_count=groups
            )

        args = integers(lhs), integers(rhs, seed=1)
        assert "custom_vjp" in str(jax.make_jaxpr(conv(ops))(*args))
        assert_agree(conv(ops), conv(lax), *args)

    @pytest.mark.parametrize("algorithm", ["direct", "taps", "im2col", "phases", {"input_gradient": "fft"}], ids=str)
    def test_each_algorithm(self, algorithm: Any) -> None:
        args = integers((2, 3, 4, 2)), integers((3, 2, 2, 3), seed=1)
        conv = partial(
            ops.conv_general_dilated,
            window_strides=(1, 1),
            padding=((2, 1), (1, 2)),
            lhs_dilation=(2, 2),
            dimension_numbers=NHWC,
        )
        assert_agree(partial(conv, algorithm=algorithm), conv, *args, exact=False)

    @pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 1), (0, 3))], ids=str)
    @pytest.mark.parametrize("transposes_kernel", [False, True])
    def test_laxs_conv_transpose(self, padding: Any, transposes_kernel: bool) -> None:
        """From the parameters of its equation, as whatever reads programs has them."""
        args = integers((2, 4, 3, 3)), integers((3, 2, 3, 3), seed=1)
        of_lax = partial(lax.conv_transpose, strides=(2, 3), padding=padding, transpose_kernel=transposes_kernel)
        program = jax.make_jaxpr(of_lax)(*args)
        (equation,) = (each for each in program.eqns if each.primitive.name == "conv_general_dilated")
        found = way(*(variable.aval for variable in equation.invars), **equation.params)
        assert isinstance(found, Ours) and found.way == "transposed"
        if not transposes_kernel:
            assert_equal_trees(by_rules(*args, **equation.params), of_lax(*args))


@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
def test_groups_of_the_batch(dilation: Any) -> None:
    args = integers((6, 4, 3, 2)), integers((2, 2, 2, 9), seed=1)

    def conv(module: Any) -> Any:
        return lambda x, k: module.conv_general_dilated(
            x, k, (1, 1), ((1, 0), (0, 2)), dilation, None, NHWC, batch_group_count=3
        )

    assert "custom_vjp" in str(jax.make_jaxpr(conv(ops))(*args))
    assert_agree(conv(ops), conv(lax), *args)


# changes of a call that the rules serve, and how it is served then
WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "as it is": ({}, "conv"),
    "strided": ({"window_strides": (2, 3)}, "conv"),
    "transposed": ({"lhs_dilation": (1, 2)}, "transposed"),
    "cropped": ({"padding": ((-1, 0), (0, -1))}, "conv"),
    "in groups of the batch": ({"batch_group_count": 2}, "conv"),
    "of two precisions": ({"precision": ("high", "highest")}, "conv"),
    "wider": ({"preferred_element_type": np.float64}, "conv"),
    "both": ({"lhs_dilation": (1, 2), "window_strides": (2, 1)}, "are both over 1"),
    "integers": (
        {"lhs": jnp.ones((2, 2, 4, 4), int), "rhs": jnp.ones((2, 2, 3, 3), int)},
        "lhs is int64 and rhs int64",
    ),
    "no window": ({"padding": "VALID", "rhs": jnp.ones((2, 2, 5, 3))}, "the window spans 5 on spatial axis 0"),
    "no places": (
        {"lhs_dilation": (2, 2), "lhs": jnp.ones((2, 2, 0, 4)), "padding": ((3, 3),) * 2},
        "lhs has no places",
    ),
    "no result": ({"lhs_dilation": (2, 2), "padding": ((-5, -2),) * 2}, "the result has no places"),
    "an algorithm of products": ({"precision": "F32_F32_F32"}, "precision is .*F32_F32_F32"),
}


@pytest.mark.parametrize(("change", "expected"), WAYS.values(), ids=WAYS.keys())
def test_the_way_of_a_call(change: dict[str, Any], expected: str) -> None:
    given: dict[str, Any] = {"lhs": jnp.ones((2, 2, 4, 4)), "rhs": jnp.ones((2, 2, 3, 3)), "window_strides": (1, 1)}
    given |= {"padding": ((1, 1), (1, 1))} | change
    args = given.pop("lhs"), given.pop("rhs")
    (equation,) = jax.make_jaxpr(partial(lax.conv_general_dilated, **given))(*args).eqns
    found = way(*map(jax.typeof, args), **equation.params)
    if isinstance(found, Ours):
        assert found.way == expected
        return
    with pytest.raises(NotOurs, match=expected) as why:
        by_rules(*args, **equation.params)
    assert str(why.value) == found and "\n" not in found
    with pytest.raises(
        ValueError, match=f"^conv_general_dilated: algorithm must be 'auto' .*got 'direct': .*{expected}"
    ):
        ops.conv_general_dilated(*args, **given, algorithm="direct")


def test_the_signature_is_laxs_and_an_algorithm() -> None:
    ours, theirs = (list(inspect.signature(m.conv_general_dilated).parameters.values()) for m in (ops, lax))
    assert [(p.name, p.kind, p.default) for p in ours[:-1]] == [(p.name, p.kind, p.default) for p in theirs]
    assert (ours[-1].name, ours[-1].kind, ours[-1].default) == ("algorithm", inspect.Parameter.KEYWORD_ONLY, "auto")


# changes of a call that lax refuses too
BAD: dict[str, tuple[dict[str, Any], str | None]] = {
    "ranks": ({"rhs": jnp.ones((2, 2))}, "same rank, 2 or more"),
    "rank 1": ({"lhs": jnp.ones(3), "rhs": jnp.ones(3)}, "same rank, 2 or more"),
    "dtypes": ({"rhs": jnp.ones((2, 2, 3, 3), jnp.bfloat16)}, "same dtypes"),
    "channels": ({"rhs": jnp.ones((2, 3, 3, 3))}, "2 // 1 != 3"),
    "feature groups": ({"feature_group_count": 3}, "3 does not divide 2"),
    "groups of C_out": ({"feature_group_count": 2, "rhs": jnp.ones((3, 1, 3, 3))}, "3 is not a multiple of 2"),
    "no groups": ({"feature_group_count": 0}, "must be a positive integer"),
    "batch groups": ({"batch_group_count": 3}, "does not divide"),
    "batch groups of C_out": ({"batch_group_count": 2, "rhs": jnp.ones((3, 2, 3, 3))}, "3 is not a multiple of 2"),
    "both groups": ({"batch_group_count": 2, "feature_group_count": 2, "rhs": jnp.ones((2, 1, 3, 3))}, "At most one"),
    "strides": ({"window_strides": (1,)}, "window_strides must have one entry per spatial axis"),
    "stride 0": ({"window_strides": (0, 1)}, None),
    "lhs_dilation": ({"lhs_dilation": (1, 2, 1), "padding": ((1, 1),) * 2}, "lhs_dilation must have one entry"),
    "rhs_dilation": ({"rhs_dilation": (2,)}, "rhs_dilation must have one entry"),
    "rhs_dilation 0": ({"rhs_dilation": (0, 1)}, "positive"),
    "a name and lhs_dilation": ({"lhs_dilation": (2, 1)}, "String padding is not implemented"),
    "padding's name": ({"padding": "full"}, "expected 'VALID', 'SAME', or 'SAME_LOWER', got full"),
    "padding's length": ({"padding": ((1, 1),)}, "padding must be a name, or a .low, high. pair per spatial axis"),
    "padding of floats": ({"padding": ((1.5, 1), (1, 1))}, "low, high"),
    "all cropped": ({"padding": ((-3, -3), (0, 0))}, "Negative padding is larger"),
    "layouts": ({"dimension_numbers": ("NHWX", "HWIO", "NHWC")}, "dimension_numbers"),
    "two layouts": ({"dimension_numbers": ("NHWC", "HWIO")}, "length 3"),
    "narrower": ({"preferred_element_type": np.float16}, "must not be narrower"),
    "floats to ints": ({"preferred_element_type": np.int64}, "incompatible"),
    "no dtype": ({"preferred_element_type": "floats"}, "floats"),
    "precision": ({"precision": "exact"}, "exact"),
    "out_sharding": ({"out_sharding": PartitionSpec("x")}, None),
}


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD.keys())
def test_what_lax_refuses_is_refused(change: dict[str, Any], says: str | None) -> None:
    given: dict[str, Any] = {"lhs": jnp.ones((2, 2, 4, 4)), "rhs": jnp.ones((2, 2, 3, 3)), "window_strides": (1, 1)}
    given |= {"padding": "SAME"} | change
    with pytest.raises(Exception):  # noqa: B017  # lax raises several kinds
        lax.conv_general_dilated(**given)
    with pytest.raises(Exception) as raised:
        ops.conv_general_dilated(**given)
    assert not isinstance(raised.value, NotOurs)
    if not isinstance(raised.value, TypeCheckError):  # the type checker of these tests may answer first
        assert re.search(says or "", str(raised.value))


@pytest.mark.parametrize("algorithm", ["winograd3", "phases", "canonical"])
def test_an_algorithm_that_cannot_is_refused(algorithm: str) -> None:
    args = jnp.ones((2, 2, 4, 4)), jnp.ones((2, 1, 3, 3))
    with pytest.raises(ValueError, match=f"^conv_general_dilated: algorithm .*'{algorithm}'"):
        ops.conv_general_dilated(*args, (1, 1), "SAME", feature_group_count=2, algorithm=algorithm)


def test_options_from_numpy_and_lists() -> None:
    args = integers((2, 4, 6, 5)), integers((4, 2, 3, 2), seed=1)
    plain = ops.conv_general_dilated(*args, (2, 1), ((1, 0), (0, 2)), (1, 1), (1, 2), None, 2)
    lists: list[Any] = [[2, 1], [[1, 0], [0, 2]], [1, 1], [1, 2]]
    arrays = [np.array(each) for each in lists]
    for module in (ops, reference):
        assert_equal_trees(module.conv_general_dilated(*args, *arrays, None, np.int64(2)), plain)
        assert_equal_trees(module.conv_general_dilated(*map(np.asarray, args), *lists, None, jnp.int32(2)), plain)


def test_a_precision_of_the_forward_is_that_of_the_gradients() -> None:
    x, k = jnp.ones((1, 2, 5, 5)), jnp.ones((2, 2, 3, 3))
    with jax.default_matmul_precision("highest"):
        _, pull = jax.vjp(lambda x, k: ops.conv_general_dilated(x, k, (1, 1), "SAME", algorithm="direct"), x, k)
    program = str(jax.make_jaxpr(pull)(x))
    assert program.count("HIGHEST") >= 2 and "precision=None" not in program


class TestAnySize:
    """Symbolic sizes: traced once, run at several."""

    CALLS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
        "SAME, strided": ("n, h, w, 2", (3, 3, 2, 3), {"window_strides": (2, 1), "padding": "SAME"}),
        "transposed": (
            "n, h, w, 2",
            (3, 2, 2, 3),
            {"window_strides": (1, 1), "padding": ((2, 1), (1, 1)), "lhs_dilation": (2, 3)},
        ),
        "transposed, cropped": (
            "n, h, w, 2",
            (3, 2, 2, 3),
            {"window_strides": (1, 1), "padding": ((3, -1), (-1, 1)), "lhs_dilation": (2, 3)},
        ),
        "transposed, of any batch": (
            "n, 4, 3, 2",
            (3, 2, 2, 3),
            {"window_strides": (1, 1), "padding": ((2, 1), (1, 1)), "lhs_dilation": (2, 3)},
        ),
        "windows after a cropped x": (
            "n, h, w, 2",
            (3, 2, 2, 3),
            {"window_strides": (1, 1), "padding": ((-1, 5), (0, 3))},
        ),
    }

    @pytest.mark.parametrize(("shape", "kernel", "options"), CALLS.values(), ids=CALLS.keys())
    def test_values_and_gradients(self, shape: str, kernel: Any, options: Any) -> None:
        k = integers(kernel, np.float32, seed=1)

        def pulled(module: Any, x: jax.Array, k: jax.Array) -> Any:
            conv = partial(module.conv_general_dilated, **options, dimension_numbers=NHWC)
            y, pull = jax.vjp(conv, x, k)
            return y, pull(2 * y)

        symbolic = jax.ShapeDtypeStruct(export.symbolic_shape(shape), np.float32)
        stored = export.export(jax.jit(partial(pulled, ops)))(symbolic, k).serialize()
        for size in [(2, 4, 3, 2)] if "h" not in shape else [(2, 5, 6, 2), (1, 8, 7, 2)]:
            x = integers(size, np.float32)
            assert_equal_trees(export.deserialize(stored).call(x, k), jax.jit(partial(pulled, lax))(x, k))

    @pytest.mark.parametrize("change", [{"lhs_dilation": (2, 3)}, {"padding": ((-1, 6), (-2, 7))}], ids=str)
    def test_what_is_left_to_lax(self, change: dict[str, Any]) -> None:
        """Its value: for these, lax has no gradients."""
        k = integers((3, 2, 2, 3), np.float32, seed=1)
        options: dict[str, Any] = {"window_strides": (3, 2), "padding": ((2, 1), (1, 1)), "dimension_numbers": NHWC}
        conv, plain = (partial(m.conv_general_dilated, **options | change) for m in (ops, lax))
        symbolic = jax.ShapeDtypeStruct(export.symbolic_shape("n, h, w, 2"), np.float32)
        stored = export.deserialize(export.export(jax.jit(conv))(symbolic, k).serialize())
        for size in ((2, 5, 6, 2), (1, 8, 7, 2)):
            x = integers(size, np.float32)
            assert_equal_trees(stored.call(x, k), plain(x.astype(float), k.astype(float)), dtype=np.float32)


class TestMeshes:
    OPTIONS: dict[str, dict[str, Any]] = {
        "conv": {"window_strides": (2, 1), "padding": "SAME"},
        "transposed": {"window_strides": (1, 1), "padding": ((2, 1), (1, 1)), "lhs_dilation": (2, 3)},
        "left to lax": {"window_strides": (2, 1), "padding": ((2, 1), (1, 1)), "lhs_dilation": (2, 3)},
        "groups of the batch": {"window_strides": (1, 1), "padding": "VALID", "batch_group_count": 2},
    }

    @pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
    def test_in_shard_map(self, options: Any) -> None:
        x, k = integers((16, 4, 3, 2)), integers((2, 2, 2, 4), seed=1)
        conv = partial(ops.conv_general_dilated, **options, dimension_numbers=NHWC)

        def gradients(conv: Any, x: jax.Array, k: jax.Array) -> Any:
            return jax.grad(lambda x, k: jnp.sum(jnp.square(conv(x, k))), (0, 1))(x, k)

        mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
        parts, whole = PartitionSpec("batch"), PartitionSpec()
        there = jax.shard_map(partial(gradients, conv), mesh=mesh, in_specs=(parts, whole), out_specs=(parts, whole))
        plain = partial(lax.conv_general_dilated, **options, dimension_numbers=NHWC)
        of_lax = jax.shard_map(partial(gradients, plain), mesh=mesh, in_specs=(parts, whole), out_specs=(parts, whole))
        assert_equal_trees(jax.jit(there)(x, k), jax.jit(of_lax)(x, k))

    @pytest.mark.parametrize("name", ["conv", "transposed", "left to lax"])
    def test_on_an_explicit_mesh(self, name: str) -> None:
        options = self.OPTIONS[name]
        x, k = integers((8, 4, 3, 2)), integers((2, 2, 2, 4), seed=1)

        def gradients(module: Any, x: jax.Array, k: jax.Array) -> Any:
            conv = partial(module.conv_general_dilated, **options, dimension_numbers=NHWC)
            y, pull = jax.vjp(conv, x, k)
            return y, pull(2 * y)

        mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))
        with jax.set_mesh(mesh):
            x, k = (jax.device_put(a, NamedSharding(mesh, PartitionSpec(*s))) for a, s in ((x, "d"), (k, "")))
            found, expected = (jax.jit(partial(gradients, module))(x, k) for module in (ops, lax))
        assert_equal_trees(found, expected)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert jax.typeof(ours).sharding.spec == jax.typeof(theirs).sharding.spec

    def test_out_sharding(self) -> None:
        mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))
        with jax.set_mesh(mesh):
            x, k = integers((8, 4, 3, 2)), integers((2, 2, 2, 4), seed=1)
            sharding = NamedSharding(mesh, PartitionSpec("d", None, None, None))
            conv = partial(ops.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC)
            y = jax.jit(partial(conv, out_sharding=sharding))(x, k)
            assert jax.typeof(y).sharding.spec == sharding.spec
            assert_equal_trees(np.asarray(y), np.asarray(conv(x, k)))


def test_mapped_over_each_argument() -> None:
    x, k = integers((3, 2, 4, 3, 2)), integers((3, 2, 2, 2, 4), seed=1)
    for options in TestMeshes.OPTIONS.values():
        for axes in ((0, None), (None, 0), (0, 0)):
            args = [a if axis == 0 else a[0] for a, axis in zip((x, k), axes, strict=True)]
            found, expected = (
                jax.jit(jax.vmap(partial(m.conv_general_dilated, **options, dimension_numbers=NHWC), axes))(*args)
                for m in (ops, lax)
            )
            assert_equal_trees(found, expected)


def test_flax_trains_on_these_rules_by_one_argument() -> None:
    def net(**how: Any) -> nn.Module:
        first = nn.Conv(4, (3, 3), strides=2, **how)
        second = nn.Conv(6, (3, 3), feature_group_count=2, kernel_dilation=2, **how)
        return nn.Sequential([first, nn.relu, second, nn.Conv(2, (3, 3), input_dilation=2, padding=2, **how)])

    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3), jnp.float32)
    params = net().init(jax.random.key(1), x)

    def loss(net: nn.Module, params: Any) -> jax.Array:
        y: Any = net.apply(params, x)
        return jnp.sum(jnp.square(y))

    ours = net(conv_general_dilated=ops.conv_general_dilated)
    assert str(jax.make_jaxpr(partial(loss, ours))(params)).count("custom_vjp_call[") >= 3
    found, expected = (jax.jit(jax.value_and_grad(partial(loss, n)))(params) for n in (ours, net()))
    assert_equal_trees(found, expected, roundings=64)


def test_what_no_type_allows_is_refused() -> None:
    none: Any = None
    with pytest.raises((ValueError, TypeCheckError)):  # the type checker of these tests may answer first
        ops.conv_general_dilated(jnp.ones((1, 2, 4, 4)), jnp.ones((2, 2, 3, 3)), none, "SAME")
