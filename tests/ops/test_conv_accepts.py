"""What a convolution takes because lax, PyTorch and Flax do: any padding, no channels, NumPy's options, any size."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, drawn, integers, value_and_gradients
from hypothesis import strategies as st
from jax import export, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import TypeCheckError

from jaxcnn import ops, reference
from jaxcnn.ops._conv._algorithm import MAPS
from jaxcnn.ops._conv._core import Core
from jaxcnn.ops._conv._plan import chosen
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._dtypes import Dtypes
from jaxcnn.ops._lib._window import Window


def laxs_own(x: jax.Array, kernel: jax.Array, padding: Any, stride: Any, dilation: Any, groups: int = 1) -> jax.Array:
    spatial = "012"[: x.ndim - 2]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=layout,
        feature_group_count=groups,
    )


class TestAnyPadding:
    @pytest.mark.parametrize(
        ("spatial", "size", "options"),
        [
            ((3,), (1,), {"padding": ((1, 1),)}),
            ((3,), (2,), {"padding": ((5, 4),), "stride": (3,)}),
            ((1, 4), (2, 1), {"padding": "SAME", "dilation": (2, 1)}),
            ((1,), (2,), {"padding": ((3, 3),), "dilation": (3,)}),
            ((5, 4), (2, 2), {"padding": ((-1, 2), (0, -1))}),
            ((5,), (2,), {"padding": ((-2, 4),), "stride": (2,)}),
            ((3,), (1,), {"padding": ((-3, 5),)}),
            ((3, 2, 2), (1, 1, 1), {"padding": ((1, 0), (0, 1), (1, 1)), "groups": 2}),
        ],
        ids=lambda value: str(value).replace("'", ""),
    )
    def test_windows_that_see_padding_alone_and_crops_are_laxs(self, spatial: Any, size: Any, options: Any) -> None:
        groups = options.get("groups", 1)
        args = integers((2, *spatial, 2)), integers((*size, 2 // groups, 4), seed=1)
        ones = (1,) * len(spatial)
        strides, dilation = options.get("stride", ones), options.get("dilation", ones)
        plain = partial(laxs_own, padding=options["padding"], stride=strides, dilation=dilation, groups=groups)
        assert_agree(partial(ops.conv, **options), plain, *args)

    @pytest.mark.long
    @drawn(max_examples=12)
    @hypothesis.given(st.data())
    def test_drawn(self, data: st.DataObject) -> None:
        axes = data.draw(st.integers(1, 2))

        def per_axis(least: int, greatest: int) -> Any:
            return data.draw(st.tuples(*[st.integers(least, greatest)] * axes))

        spatial, size, strides, dilation = per_axis(1, 5), per_axis(1, 3), per_axis(1, 3), per_axis(1, 4)
        padding = tuple(zip(per_axis(-2, 6), per_axis(-2, 6), strict=True))
        spans = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
        fits = [r <= h + lo + hi for r, h, (lo, hi) in zip(spans, spatial, padding, strict=True)]
        hypothesis.assume(all(fits))
        args = integers((2, *spatial, 2)), integers((*size, 2, 2), seed=1)
        plain = partial(laxs_own, padding=padding, stride=strides, dilation=dilation)
        assert_agree(partial(ops.conv, padding=padding, stride=strides, dilation=dilation), plain, *args)

    def test_by_hand(self) -> None:
        x, kernel, bias = jnp.array([1.0, 2.0]).reshape(1, 2, 1), jnp.ones((1, 1, 1)), jnp.array([7.0])
        assert ops.conv(x, kernel, bias, padding=1).ravel().tolist() == [7.0, 8.0, 9.0, 7.0]
        assert ops.conv(x, kernel, bias, padding=((-1, 2),)).ravel().tolist() == [9.0, 7.0, 7.0]

    def test_the_maps_of_the_core_alone(self) -> None:
        x, kernel, dy = integers((2, 4, 3)), integers((2, 3, 2), seed=1), integers((2, 9, 2), seed=2)
        options: dict[str, Any] = {"padding": 3}
        for name, args in {
            "correlate": (x, kernel),
            "input_gradient": (dy, kernel, x.shape),
            "kernel_gradient": (x, dy, kernel.shape),
        }.items():
            found, expected = (jax.jit(partial(getattr(m, name), *args, **options))() for m in (ops, reference))
            assert_equal_trees(found, expected)

    def test_a_core_has_windows_that_see_something_and_no_more(self) -> None:
        dtypes = Dtypes(*[np.dtype(np.float32)] * 3)
        problem = Problem.of(
            "conv", (1, 4, 2), (3, 2, 2), dtypes, stride=2, padding=((6, 8),), dilation=1, groups=1, precision=None
        )
        core = Core.of(problem)
        assert problem.window.out == (8,) and core.blind == ((2, 3),) and core.problem.window.out == (3,)
        assert core.problem.window.padding == ((2, 1),) and core.cut == ((0, 0),)


class TestNothing:
    @pytest.mark.parametrize(("c_in", "c_out"), [(0, 3), (3, 0), (0, 0)])
    @pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
    def test_no_channels_give_the_bias(self, c_in: int, c_out: int, algorithm: str) -> None:
        x, kernel, bias = jnp.ones((2, 5, 4, c_in)), jnp.ones((3, 3, c_in, c_out)), jnp.arange(float(c_out))
        conv = partial(ops.conv, padding=1, algorithm=algorithm)
        y, (dx, dk, db) = value_of_all(conv, x, kernel, bias)
        assert_equal_trees(y, jnp.broadcast_to(bias, (2, 5, 4, c_out)))
        assert_equal_trees((dx, dk, db), (jnp.zeros_like(x), jnp.zeros_like(kernel), jnp.full((c_out,), 40.0)))

    def test_no_channels_in_two_groups(self) -> None:
        y, gradients = value_of_all(partial(ops.conv, groups=2), jnp.ones((1, 4, 0)), jnp.ones((2, 0, 4)))
        assert_equal_trees((y, *gradients), (jnp.zeros((1, 3, 4)), jnp.ones((1, 4, 0)), jnp.ones((2, 0, 4))))

    def test_no_images(self) -> None:
        y, gradients = value_of_all(partial(ops.conv, padding=1), jnp.ones((0, 4, 2)), jnp.ones((3, 2, 4)))
        assert_equal_trees((y, *gradients), (jnp.zeros((0, 4, 4)), jnp.ones((0, 4, 2)), jnp.zeros((3, 2, 4))))


def value_of_all(f: Any, *args: jax.Array) -> Any:
    y, pull = jax.vjp(f, *args)
    return y, pull(jnp.ones_like(y))


def test_options_from_numpy() -> None:
    x, kernel = integers((2, 6, 6, 4)), integers((3, 3, 2, 4), seed=1)
    plain = {"stride": (1, 2), "padding": ((1, 0), (0, 2)), "dilation": 1, "groups": 2}
    numpy = {
        "stride": np.array([1, 2]),
        "padding": np.array([[1, 0], [0, 2]]),
        "dilation": np.int32(1),
        "groups": np.int64(2),
    }
    for module in (ops, reference):
        assert_equal_trees(module.conv(x, kernel, **numpy), module.conv(x, kernel, **plain))


def test_same_lower_pads_above() -> None:
    x, kernel = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1), jnp.array([1.0, 10.0]).reshape(2, 1, 1)
    assert ops.conv(x, kernel, padding="SAME").ravel().tolist() == [21.0, 32.0, 3.0]
    assert ops.conv(x, kernel, padding="SAME_LOWER").ravel().tolist() == [10.0, 21.0, 32.0]


class TestPaddingMode:
    @pytest.mark.parametrize(
        ("mode", "padding", "expected"),
        [
            ("reflect", 2, [3, 2, 1, 2, 3, 2, 1]),
            ("circular", 2, [2, 3, 1, 2, 3, 1, 2]),
            ("edge", 2, [1, 1, 1, 2, 3, 3, 3]),
            ("reflect", ((0, 5),), [1, 2, 3, 2, 1, 2, 3, 2]),
            ("circular", ((-1, 3),), [2, 3, 2, 3, 2]),
        ],
    )
    def test_by_hand(self, mode: str, padding: Any, expected: list[int]) -> None:
        x = jnp.arange(1.0, 4.0).reshape(1, 3, 1)
        assert ops.conv(x, jnp.ones((1, 1, 1)), padding=padding, padding_mode=mode).ravel().tolist() == expected

    @pytest.mark.parametrize("mode", ["reflect", "circular", "edge"])
    @pytest.mark.parametrize("padding", [((1, 2), (0, 1)), ((5, 0), (-1, 4)), "SAME"], ids=str)
    def test_gradients_to_second_order(self, mode: str, padding: Any) -> None:
        options: dict[str, Any] = {"padding": padding, "padding_mode": mode, "stride": (1, 2), "dilation": (2, 1)}
        args = integers((2, 4, 3, 2)), integers((2, 2, 2, 3), seed=1), integers((3,))
        assert_agree(partial(ops.conv, **options), partial(reference.conv, **options), *args)

    @pytest.mark.long
    @pytest.mark.parametrize("mode", ["reflect", "circular", "edge"])
    @pytest.mark.parametrize("padding", [((100, 150),), ((-1, 200),), ((90, -2),)], ids=str)
    def test_padding_in_which_x_stands_over_and_over(self, mode: str, padding: Any) -> None:
        args = integers((2, 4, 2)), integers((3, 2, 3), seed=1)
        options: dict[str, Any] = {"padding": padding, "padding_mode": mode, "stride": 3}
        assert_agree(partial(ops.conv, **options), partial(reference.conv, **options), *args)

    @pytest.mark.parametrize("mode", ["reflect", "circular", "edge"])
    def test_padding_of_2_to_the_29_places_is_traced(self, mode: str) -> None:
        def loss(x: jax.Array) -> jax.Array:
            return ops.conv(x, jnp.ones((3, 2, 2)), padding=2**29, padding_mode=mode).sum()

        x = jax.ShapeDtypeStruct((1, 9, 2), jnp.float32)
        assert jax.eval_shape(jax.grad(loss), x).shape == x.shape

    def test_narrow_gradients_are_summed_in_float32(self) -> None:
        x = jnp.ones((1, 1, 1), jnp.bfloat16)
        conv = partial(ops.conv, padding=((0, 299),), padding_mode="edge")
        assert jax.grad(lambda x: conv(x, jnp.ones((1, 1, 1), x.dtype)).astype(np.float32).sum())(x) == 300

    @pytest.mark.parametrize(
        ("x", "options", "says"),
        [
            ((1, 3, 1), {"padding": 1, "padding_mode": "mirror"}, "one of 'zeros', 'reflect', .*got 'mirror'"),
            ((1, 3, 1), {"padding": ((-3, 4),), "padding_mode": "edge"}, "that leaves places"),
        ],
    )
    def test_refused(self, x: Any, options: Any, says: str) -> None:
        with pytest.raises(ValueError, match=f"^conv: padding_mode .*{says}"):
            ops.conv(jnp.ones(x), jnp.ones((1, 1, 1)), **options)


class TestAnySize:
    """Symbolic sizes: traced once, run at several."""

    FORMS: dict[str, tuple[str, tuple[int, ...], dict[str, Any], list[tuple[int, ...]]]] = {
        "one axis, SAME": ("n, h, 3", (3, 3, 4), {"padding": "SAME"}, [(2, 5, 3), (1, 9, 3)]),
        "one axis, SAME, strided": ("n, h, 3", (3, 3, 4), {"padding": "SAME", "stride": 2}, [(2, 5, 3), (1, 8, 3)]),
        "one axis, VALID": ("n, h + 2, 3", (3, 3, 4), {}, [(2, 5, 3)]),
        "two axes, strided groups": (
            "n, h, w, 4",
            (3, 3, 2, 4),
            {"padding": "SAME_LOWER", "stride": 2, "groups": 2},
            [(2, 5, 6, 4), (1, 8, 7, 4)],
        ),
        "wide padding": ("n, h, w, 4", (3, 3, 4, 4), {"padding": 5}, [(2, 5, 6, 4)]),
        "wide padding, strided": (
            "n, h, w, 4",
            (3, 3, 4, 4),
            {"padding": 5, "stride": 2},
            [(2, 5, 6, 4), (1, 6, 3, 4)],
        ),
        "known sizes of any batch": ("n, 8, 8, 1", (3, 3, 1, 2), {"padding": 1}, [(2, 8, 8, 1)]),
    }

    @pytest.mark.parametrize(("shape", "kernel", "options", "sizes"), FORMS.values(), ids=FORMS.keys())
    def test_values_and_gradients(self, shape: str, kernel: Any, options: Any, sizes: Any) -> None:
        k = integers(kernel, np.float32, seed=1)

        def pulled(module: Any, x: jax.Array, k: jax.Array) -> Any:
            y, pull = jax.vjp(partial(module.conv, **options), x, k)
            return y, pull(2 * y)

        symbolic = jax.ShapeDtypeStruct(export.symbolic_shape(shape), np.float32)
        stored = export.export(jax.jit(partial(pulled, ops)))(symbolic, k).serialize()
        for size in sizes:
            x = integers(size, np.float32)
            assert_equal_trees(export.deserialize(stored).call(x, k), jax.jit(partial(pulled, reference))(x, k))


@pytest.mark.long
class TestEachAxisSharded:
    """On explicit meshes the value lies as lax lays it, and a gradient as its argument."""

    @pytest.mark.parametrize(
        ("devices", "axes", "options"),
        [
            (2, AxisType.Explicit, {"padding": 1}),
            (8, AxisType.Explicit, {"padding": 1}),
            (2, AxisType.Explicit, {"groups": 2, "stride": 2, "padding": "SAME"}),
            (8, AxisType.Explicit, {"padding": 9}),
            (2, AxisType.Auto, {"groups": 2, "stride": 2, "padding": "SAME"}),
            (8, AxisType.Auto, {"padding": 9}),
        ],
        ids=str,
    )
    def test_values_and_gradients(self, devices: int, axes: AxisType, options: dict[str, Any]) -> None:
        mesh = jax.make_mesh((devices,), ("d",), axis_types=(axes,), devices=jax.devices()[:devices])
        args = integers((8, 16, 16, 16)), integers((3, 3, 16 // options.get("groups", 1), 16), seed=1), integers((16,))
        y = jax.eval_shape(partial(ops.conv, **options), *args)
        dy = integers(y.shape, seed=2)
        pulled = jax.jit(partial(value_and_gradients, partial(ops.conv, **options)))
        expected = pulled(dy, *args)
        for number, array in enumerate(args):
            for axis, size in enumerate(array.shape):
                if size % devices:
                    continue
                specs = [
                    PartitionSpec(*["d" if (n, a) == (number, axis) else None for a in range(arg.ndim)])
                    for n, arg in enumerate(args)
                ]
                with jax.set_mesh(mesh):
                    placed = [jax.device_put(a, NamedSharding(mesh, spec)) for a, spec in zip(args, specs, strict=True)]
                    found = pulled(dy, *placed)
                assert_equal_trees(found, expected)
                if axes == AxisType.Explicit:
                    for gradient, arg in zip(found[1:], placed, strict=True):
                        assert gradient.sharding.is_equivalent_to(arg.sharding, arg.ndim)
                    is_kept = number == 0 and axis < 3 and y.shape[axis] % devices == 0
                    is_kept |= axis == array.ndim - 1 and number > 0
                    assert ("d" in found[0].sharding.spec) == is_kept


@pytest.mark.long
class TestManyTaps:
    """Beyond what a program spells out: loops, of which the text does not grow with the taps."""

    FORMS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "one channel": ((2, 30, 40, 1), (11, 12, 1, 1), {"padding": 3}),
        "one channel in one axis": ((2, 300, 1), (100, 1, 2), {}),
        "one channel, strided, dilated": ((2, 40, 45, 1), (9, 10, 1, 2), {"stride": (2, 3), "dilation": (2, 1)}),
        "one channel, wide": ((1, 2000, 1), (80, 1, 2), {"padding": "SAME"}),
        "depthwise": ((2, 90, 4), (70, 1, 4), {"groups": 4, "padding": "SAME"}),
        "depthwise, strided": ((2, 190, 4), (70, 1, 8), {"groups": 4, "stride": 3}),
        "groups": ((2, 90, 8), (70, 2, 8), {"groups": 4}),
        "dense": ((1, 12, 13, 4), (9, 9, 4, 6), {"padding": 2}),
    }

    @pytest.mark.parametrize(("x", "kernel", "options"), FORMS.values(), ids=FORMS.keys())
    @pytest.mark.parametrize("algorithm", ["auto", "taps"])
    def test_to_second_order(self, x: Any, kernel: Any, options: Any, algorithm: str) -> None:
        ours = partial(ops.conv, **options, algorithm=algorithm)
        assert_agree(ours, partial(reference.conv, **options), integers(x), integers(kernel, seed=1))

    @pytest.mark.parametrize("which", MAPS)
    def test_toeplitz_by_rows_is_toeplitz_at_once(self, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
        x, kernel = integers((2, 9, 8, 2)), integers((3, 2, 2, 3), seed=1)
        options: dict[str, Any] = {"stride": (2, 1), "dilation": (1, 2), "padding": ((1, 2), (0, 1))}
        dy = integers(reference.conv(x, kernel, **options).shape, seed=2)
        args = {
            "correlate": (x, kernel),
            "input_gradient": (dy, kernel, x.shape),
            "kernel_gradient": (x, dy, kernel.shape),
        }[which]
        f = partial(getattr(ops, which), *args, **options, algorithm="toeplitz")
        expected = getattr(reference, which)(*args, **options)
        assert_equal_trees(jax.jit(f)(), expected)
        assert "while[" not in str(jax.make_jaxpr(f)()) and "scan[" not in str(jax.make_jaxpr(f)())
        monkeypatch.setattr("jaxcnn.ops._conv._algorithms._toeplitz.UNROLLED", 1)
        jax.clear_caches()
        assert_equal_trees(jax.jit(lambda: f())(), expected)
        assert "while[" in str(jax.make_jaxpr(lambda: f())()) or "scan[" in str(jax.make_jaxpr(lambda: f())())

    @pytest.mark.parametrize(
        ("x", "short", "long", "options"),
        [
            ((1, 4000, 1), (100, 1, 1), (1000, 1, 1), {}),
            ((1, 4000, 4), (100, 1, 4), (1000, 1, 4), {"groups": 4}),
            ((1, 200, 200, 1), (66, 20, 1, 1), (120, 60, 1, 1), {}),
            ((1, 4000, 8), (100, 8, 8), (1000, 8, 8), {"stride": 4}),
        ],
    )
    def test_the_program_does_not_grow_with_the_taps(self, x: Any, short: Any, long: Any, options: Any) -> None:
        def lines(kernel: Any) -> int:
            y = jax.eval_shape(partial(ops.conv, **options), jnp.zeros(x), jnp.zeros(kernel))
            shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in (y.shape, x, kernel)]
            pulled = jax.jit(partial(value_and_gradients, partial(ops.conv, **options)))
            return len(pulled.lower(*shapes).as_text().splitlines())

        assert lines(long) <= 1.1 * lines(short)

    def test_an_im2col_that_would_not_fit_is_not_chosen(self) -> None:
        def algorithm(images: int) -> str:
            dtypes = Dtypes(*[np.dtype(np.float32)] * 3)
            problem = Problem.of(
                "conv",
                (images, 32, 32, 32, 64),
                (4, 4, 4, 64, 3),
                dtypes,
                stride=1,
                padding=0,
                dilation=1,
                groups=1,
                precision=None,
            )
            return chosen("correlate", "cpu", problem).name

        assert algorithm(16) == "direct"


def test_the_check_of_windows_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2,000,000 samples with 400 taps it once laid out 7.8 GB."""
    laid_out = []
    monkeypatch.setattr(np, "arange", lambda *args, **options: laid_out.append(args))
    window = Window.of("max_pool", (1, 2_000_000, 1), 400, 1, "SAME")
    assert window.out == (2_000_000,) and not laid_out


def test_more_places_than_an_int32_counts() -> None:
    x = jax.ShapeDtypeStruct((1, 46341, 46341, 1), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct((3, 3, 1, 1), jnp.bfloat16)

    def gradients(x: jax.Array, kernel: jax.Array) -> Any:
        return jax.grad(lambda x, k: ops.conv(x, k, padding="SAME").astype(np.float32).sum(), (0, 1))(x, kernel)

    dx, dk = jax.eval_shape(gradients, x, kernel)
    assert (dx.shape, dk.shape) == (x.shape, kernel.shape)
    jax.jit(gradients).lower(x, kernel)


@pytest.mark.parametrize("jitted", [True, False], ids=["jit", "eagerly"])
class TestNarrowProducts:
    """Each product in float32 before the sum, which float16 would round, or overflow."""

    @pytest.mark.parametrize("groups", [1, 2], ids=["one channel", "depthwise"])
    def test_small_and_large(self, groups: int, jitted: bool) -> None:
        def dk(x: Any, dy: Any) -> float:
            f = partial(ops.kernel_gradient, kernel_shape=(1, 1, groups), groups=groups)
            tiled = [jnp.tile(jnp.asarray(a, np.float16).reshape(1, -1, 1), (1, 1, groups)) for a in (x, dy)]
            return float((jax.jit(f) if jitted else f)(*tiled).ravel()[-1])

        exact = float(np.float16(1e-3)) * float(np.float16(1e-4)) * 4096
        assert dk(np.full(4096, 1e-3), np.full(4096, 1e-4)) == float(np.float16(exact))
        assert dk([300, 300], [300, -300]) == 0

    def test_bfloat16_images_and_a_float32_kernel(self, jitted: bool) -> None:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=(2, 9, 9, 4)), jnp.bfloat16)
        kernel = jnp.asarray(rng.normal(size=(3, 3, 1, 4)), np.float32)
        dy = jnp.asarray(rng.normal(size=(2, 7, 7, 4)), jnp.bfloat16)

        def dk(conv: Any, x: Any, kernel: Any, dy: Any) -> jax.Array:
            return jax.vjp(partial(conv, groups=4), x, kernel)[1](dy)[1]

        f = partial(dk, ops.conv)
        found = (jax.jit(f) if jitted else f)(x, kernel, dy)
        exact = dk(reference.conv, *(a.astype(np.float64) for a in (x, kernel, dy)))
        assert_equal_trees(found, exact, roundings=16, dtype=np.float32)


def test_options_may_be_arrays_of_jax_and_numbers_of_numpy_and_jax() -> None:
    x, k = integers((2, 6, 6, 4)), integers((3, 3, 2, 4), seed=1)
    options: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 0), (0, 1)), "groups": 2}
    arrays: dict[str, Any] = {name: jnp.array(value) for name, value in options.items()}
    assert_equal_trees(ops.conv(x, k, **arrays), ops.conv(x, k, **options))
    assert_equal_trees(ops.max_pool(x, jnp.array([2, 3])), ops.max_pool(x, (2, 3)))
    z, labels = x[0, 0], np.arange(6) % 4
    for number in (jnp.float32(0.25), np.float32(0.25), np.array(0.25)):
        smooth = ops.softmax_cross_entropy(z, labels, label_smoothing=number)
        assert_equal_trees(smooth, ops.softmax_cross_entropy(z, labels, label_smoothing=0.25))
    normalized = ops.layer_norm(x, jnp.ones((6, 4)), jnp.zeros((6, 4)), axis=np.array([2, 3]), epsilon=jnp.float32(1))
    assert_equal_trees(normalized, ops.layer_norm(x, jnp.ones((6, 4)), jnp.zeros((6, 4)), axis=(2, 3), epsilon=1.0))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window_strides": 1}, "window_strides must have one entry per spatial axis \\(2\\), got 1"),
        ({"padding": 1}, "padding must be a name, or a \\(low, high\\) pair per spatial axis \\(2\\), got 1"),
        ({"padding": ((1, 1),)}, "padding must be a name, .* got \\(\\(1, 1\\),\\)"),
        ({"lhs_dilation": 2}, "lhs_dilation must have one entry per spatial axis"),
        ({"rhs_dilation": 2}, "rhs_dilation must have one entry per spatial axis"),
    ],
)
def test_laxs_options_of_another_length_are_refused(options: dict[str, Any], says: str) -> None:
    arguments: dict[str, Any] = {"window_strides": (1, 1), "padding": "SAME"} | options
    with pytest.raises((ValueError, TypeCheckError)) as raised:  # the type checker of these tests may answer first
        ops.conv_general_dilated(jnp.ones((1, 4, 6, 6)), jnp.ones((2, 4, 3, 3)), **arguments)
    assert isinstance(raised.value, TypeCheckError) or re.match(f"conv_general_dilated: {says}", str(raised.value))
