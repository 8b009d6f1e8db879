"""Pools and unfolding of any window that peers take: large ones, crops, padding alone, an end that is hung over."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, integers, value_and_gradients
from jax import export, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn import ops, reference

Function = Callable[..., Any]
WIDE: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "one axis": ((2, 90, 2), {"window": 70, "stride": 1}),
    "one axis, strided, in padding": ((1, 150, 1), {"window": 65, "stride": 7, "padding": ((60, 3),)}),
    "two axes": ((2, 14, 15, 2), {"window": (9, 8), "stride": (2, 1), "padding": ((3, 0), (0, 7))}),
    "side by side": ((1, 20, 33, 1), {"window": (10, 11)}),
    "cropped": ((1, 20, 22, 1), {"window": (8, 9), "stride": 1, "padding": ((-1, 2), (3, -2))}),
}


def by_loops(x: np.ndarray, dy: np.ndarray, ties: str, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Max pooling and its gradient, window by window in NumPy."""
    axes = x.ndim - 2
    size = np.broadcast_to(options["window"], axes)
    stride = np.broadcast_to(options.get("stride", size), axes)
    pairs = options.get("padding", ((0, 0),) * axes)
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    for index in np.ndindex(*dy.shape):
        first = np.array(index[1:-1]) * stride - np.array([lo for lo, _ in pairs])
        cut = [(max(0, -lo), h - max(0, -hi)) for h, (lo, hi) in zip(x.shape[1:-1], pairs, strict=True)]
        place = tuple(
            slice(max(a, least), min(a + k, most)) for a, k, (least, most) in zip(first, size, cut, strict=True)
        )
        place = (slice(index[0], index[0] + 1), *place, slice(index[-1], index[-1] + 1))
        seen = x[place]
        is_max = np.isnan(seen) if np.isnan(seen).any() else seen == seen.max()
        y[index] = seen[is_max][0]
        if ties == "first":
            is_max = (np.arange(seen.size) == np.argmax(is_max)).reshape(seen.shape)
        dx[place] += is_max * dy[index] / (is_max.sum() if ties == "split" else 1)
    return y, dx


@pytest.mark.long
class TestMaxPoolsOfManyTaps:
    @pytest.mark.parametrize("ties", ["first", "all", "split"])
    @pytest.mark.parametrize(("shape", "options"), WIDE.values(), ids=WIDE.keys())
    def test_against_loops(self, shape: Any, options: Any, ties: str) -> None:
        """Whole numbers tie everywhere; one image has NaN and infinities."""
        x = np.array(integers(shape))
        flat = x.reshape(-1)
        flat[:: max(1, flat.size // 3)] = [np.nan, -np.inf, np.inf, np.nan][: len(flat[:: max(1, flat.size // 3)])]
        pool = partial(ops.max_pool, **options, ties=ties)
        dy = np.asarray(integers(jax.eval_shape(pool, x).shape, seed=1))
        y, dx = jax.jit(partial(value_and_gradients, pool))(dy, x)
        assert_equal_trees((y, dx), by_loops(x, dy, ties, options), roundings=16)

    @pytest.mark.parametrize("ties", ["first", "all", "split"])
    def test_second_order(self, ties: str) -> None:
        """Linear in dy: the gradient of <dx, v> in dy is what v has at the winners' places."""
        x, options = integers((1, 12, 11, 2)), WIDE["two axes"][1]
        pool = partial(ops.max_pool, **options, ties=ties)
        shape = jax.eval_shape(pool, x).shape

        def along(v: jax.Array, dy: jax.Array) -> jax.Array:
            return jnp.vdot(jax.vjp(pool, x)[1](dy)[0], v)

        dy, other, v = integers(shape, seed=1), integers(shape, seed=2), integers(x.shape, seed=3)
        gradient = jax.jit(jax.grad(along, argnums=1))(v, dy)
        np.testing.assert_allclose(jnp.vdot(gradient, other), along(v, other), rtol=1e-12)

    def test_padding_never_wins(self) -> None:
        x = jnp.full((1, 70, 1), -jnp.inf)
        y, dx = value_and_gradients(lambda x: ops.max_pool(x, 70, stride=1, padding=69), jnp.ones((1, 139, 1)), x)
        assert jnp.all(y == -jnp.inf) and jnp.sum(dx) == 139

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
    def test_narrow_gradients_are_summed_in_float32(self, dtype: Any) -> None:
        split = jax.jit(jax.grad(lambda x: ops.max_pool(x, 300, ties="split").astype(np.float32).sum()))
        ties = split(jnp.ones((1, 300, 1), dtype))
        assert jnp.sum(ties.astype(np.float32)) == pytest.approx(1, rel=4e-3)
        peak = jnp.zeros((1, 400, 1), dtype).at[0, 200].set(1)
        dx = jax.jit(jax.grad(lambda x: ops.max_pool(x, 101, stride=1).astype(np.float32).sum()))(peak)
        assert float(dx[0, 200, 0]) == 101

    @pytest.mark.parametrize("ties", ["first", "all", "split"])
    def test_of_one_dimension_the_program_does_not_grow_with_the_taps(self, ties: str) -> None:
        def lines(taps: int) -> int:
            pool = partial(ops.max_pool, window=taps, stride=1, ties=ties)
            x = jax.ShapeDtypeStruct((1, 4096, 1), np.float32)
            y = jax.eval_shape(pool, x)
            return len(jax.jit(partial(value_and_gradients, pool)).lower(y, x).as_text().splitlines())

        assert lines(3000) <= 1.5 * lines(80)


@pytest.mark.long
class TestAveragesAndPatchesOfManyTaps:
    @pytest.mark.parametrize(("shape", "options"), WIDE.values(), ids=WIDE.keys())
    @pytest.mark.parametrize("count_include_pad", [True, False])
    def test_averages(self, shape: Any, options: Any, count_include_pad: bool) -> None:
        ours, plain = (partial(m.avg_pool, **options, count_include_pad=count_include_pad) for m in (ops, reference))
        assert_agree(ours, plain, integers(shape), exact=False)

    @pytest.mark.parametrize(("shape", "options"), WIDE.values(), ids=WIDE.keys())
    def test_patches(self, shape: Any, options: Any) -> None:
        ours, plain = (partial(m.unfold, **options) for m in (ops, reference))
        assert_agree(ours, plain, integers(shape))

    def test_nan_stays_in_its_windows(self) -> None:
        x = jnp.ones((1, 300, 1)).at[0, 150].set(jnp.nan).at[0, 10].set(1e30)
        y = ops.avg_pool(x, 100, stride=1)[0, :, 0]
        assert jnp.all(jnp.isnan(y) == (jnp.abs(jnp.arange(201.0) - 100.5) <= 50)) and jnp.all(y[11:51] == 1)


class TestPaddingAloneAndCrops:
    def test_an_average_of_padding_that_counts_is_nothing(self) -> None:
        x = jnp.array([2.0, 4.0]).reshape(1, 2, 1)
        y, dx = value_and_gradients(lambda x: ops.avg_pool(x, 2, padding=2), jnp.ones((1, 3, 1)), x)
        assert y.ravel().tolist() == [0, 3, 0] and dx.ravel().tolist() == [0.5, 0.5]
        assert_agree(partial(ops.avg_pool, window=1, padding=1), partial(reference.avg_pool, window=1, padding=1), x)

    @pytest.mark.parametrize("pool", [ops.max_pool, partial(ops.avg_pool, count_include_pad=False)])
    def test_what_does_not_count_stays_refused(self, pool: Function) -> None:
        with pytest.raises(ValueError, match="pool: window 0 on spatial axis 0 lies wholly in padding"):
            pool(jnp.ones((1, 2, 1)), 2, padding=2)

    @pytest.mark.parametrize("name", ["max_pool", "avg_pool", "unfold"])
    @pytest.mark.parametrize("padding", [((-1, 0), (1, -2)), ((0, -1), (-2, 1)), "SAME_LOWER"], ids=str)
    def test_crops_and_same_lower(self, name: str, padding: Any) -> None:
        ours, plain = (partial(getattr(m, name), window=2, stride=1, padding=padding) for m in (ops, reference))
        assert_agree(ours, plain, integers((2, 5, 6, 2)), exact=False)

    def test_maxima_of_a_crop_are_laxs(self) -> None:
        x = integers((2, 6, 6, 1))
        expected = lax.reduce_window(x[:, 1:, :-2], -np.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")
        assert_equal_trees(ops.max_pool(x, 2, 1, padding=((-1, 0), (0, -2))), expected)


class TestCeil:
    """PyTorch 2.6's F.max_pool1d and F.avg_pool1d with ceil_mode=True."""

    X = jnp.arange(1.0, 6.0).reshape(1, 5, 1)

    @pytest.mark.parametrize(
        ("window", "stride", "padding", "expected"),
        [(2, 2, 0, [2, 4, 5]), (3, 2, 1, [2, 4, 5]), (2, 3, 0, [2, 5]), (2, 3, 1, [1, 4]), (3, 3, 1, [2, 5])],
    )
    def test_maxima(self, window: int, stride: int, padding: int, expected: list[float]) -> None:
        for module in (ops, reference):
            y = module.max_pool(self.X, window, stride, padding=padding, ceil=True)
            assert y.ravel().tolist() == expected

    @pytest.mark.parametrize(
        ("window", "stride", "padding", "counts", "expected"),
        [
            (2, 2, 0, True, [1.5, 3.5, 5]),
            (3, 2, 1, True, [1, 3, 3]),
            (3, 2, 1, False, [1.5, 3, 4.5]),
            (4, 4, 1, True, [1.5, 3]),
            (4, 4, 1, False, [2, 4.5]),
        ],
    )
    def test_means(self, window: int, stride: int, padding: int, counts: bool, expected: list[float]) -> None:
        for module in (ops, reference):
            y = module.avg_pool(self.X, window, stride, padding=padding, count_include_pad=counts, ceil=True)
            assert y.ravel().tolist() == expected

    @pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
    @pytest.mark.parametrize("crop", [1, 2, 3])
    @pytest.mark.parametrize(("window", "stride"), [(3, 3), (2, 2), (3, 2), (2, 3)])
    def test_what_is_cropped_is_never_seen(self, name: str, crop: int, window: int, stride: int) -> None:
        x = jnp.arange(1.0, 9.0).reshape(1, 8, 1)
        for module in (ops, reference):
            pool = partial(getattr(module, name), window=window, stride=stride, ceil=True)
            y, pull = jax.vjp(partial(pool, padding=((0, -crop),)), x)
            alone, pull_alone = jax.vjp(pool, x[:, :-crop])
            assert_equal_trees(y, alone)
            (dx,), (dx_alone,) = pull(jnp.ones_like(y)), pull_alone(jnp.ones_like(y))
            assert_equal_trees(dx, jnp.pad(dx_alone, ((0, 0), (0, crop), (0, 0))), roundings=2)

    @pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
    def test_gradients_to_second_order(self, name: str) -> None:
        options: dict[str, Any] = {"window": (2, 3), "stride": (2, 2), "padding": ((0, 1), (1, 0)), "ceil": True}
        ours, plain = (partial(getattr(m, name), **options) for m in (ops, reference))
        assert_agree(ours, plain, integers((2, 4, 5, 2)), exact=False)


@pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
def test_stride_may_be_positional_and_numpy(name: str) -> None:
    x = integers((1, 6, 6, 2))
    for module in (ops, reference):
        pool = getattr(module, name)
        expected = pool(x, 2, stride=(1, 2), padding=((1, 0), (0, 1)))
        assert_equal_trees(pool(x, np.array([2, 2]), np.array([1, 2]), padding=np.array([[1, 0], [0, 1]])), expected)


def test_one_image_without_its_batch_axis_is_told() -> None:
    with pytest.raises(ValueError, match=r"window must be .*got \(2, 2\); if x is one image .*x\[None\]"):
        ops.max_pool(jnp.ones((8, 8, 3)), (2, 2))


@pytest.mark.parametrize("x64", [True, False])
def test_more_places_than_an_int32_counts(x64: bool) -> None:
    square, line = (
        jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in ((1, 46341, 46341, 1), (1, 4_000_000_000, 1))
    )
    pools: list[tuple[Function, jax.ShapeDtypeStruct]] = [
        (ops.global_avg_pool, square),
        (ops.global_avg_pool, line),
        (partial(ops.max_pool, window=2), line),
        (partial(ops.max_pool, window=3, stride=2, padding=1), square),
        (partial(ops.max_pool, window=2, ties="split", padding="SAME"), line),
        (partial(ops.avg_pool, window=2, padding=1, count_include_pad=False), line),
        (partial(ops.avg_pool, window=100, stride=1), line),
        (partial(ops.unfold, window=2), line),
        (ops.relu, line),
    ]
    with jax.enable_x64(x64):
        for pool, x in pools:
            dx = jax.eval_shape(jax.grad(lambda x, pool=pool: jnp.sum(pool(x).astype(np.float32))), x)
            assert dx.shape == x.shape


class TestAnySize:
    FORMS: dict[str, tuple[Any, str]] = {
        "max_pool": (lambda m, x: m.max_pool(x, 2, 1), "n, h + 1, w + 1, c"),
        "max_pool, SAME": (lambda m, x: m.max_pool(x, 3, 1, padding="SAME"), "n, h, w, c"),
        "max_pool, strided": (lambda m, x: m.max_pool(x, 2, padding="SAME"), "n, 2*h, 2*w, c"),
        "max_pool, split": (lambda m, x: m.max_pool(x, 2, 1, ties="split", padding="SAME"), "n, h, w, c"),
        "avg_pool": (lambda m, x: m.avg_pool(x, 3, 1, padding="SAME"), "n, h, w, c"),
        "avg_pool, uncounted": (
            lambda m, x: m.avg_pool(x, 3, 1, padding=1, count_include_pad=False),
            "n, h, w, c",
        ),
        "avg_pool, strided": (lambda m, x: m.avg_pool(x, 2), "n, 2*h, 2*w, c"),
        "global_avg_pool": (lambda m, x: m.global_avg_pool(x), "n, h, w, c"),
        "unfold": (lambda m, x: m.unfold(x, 2, padding="SAME"), "n, h, w, c"),
        "relu": (lambda m, x: m.relu(x), "n, h, w, c"),
        "flatten": (lambda m, x: m.flatten(x), "n, 4, 4, 2"),
    }

    @pytest.mark.parametrize(("call", "shape"), FORMS.values(), ids=FORMS.keys())
    def test_values_and_gradients(self, call: Function, shape: str) -> None:
        def pulled(module: Any, x: jax.Array) -> Any:
            y, pull = jax.vjp(partial(call, module), x)
            return y, pull(2 * y)

        symbolic = jax.ShapeDtypeStruct(export.symbolic_shape(shape), np.float32)
        stored = export.export(jax.jit(partial(pulled, ops)))(symbolic).serialize()
        for size in ((2, 4, 4, 2), (1, 6, 8, 3))[: 1 if "4, 4" in shape else 2]:
            x = integers(size, np.float32)
            found, expected = export.deserialize(stored).call(x), jax.jit(partial(pulled, reference))(x)
            assert_equal_trees(found, expected, roundings=16)


@pytest.mark.long
class TestEachAxisSharded:
    CALLS: dict[str, Function] = {
        "max_pool": lambda x: ops.max_pool(x, 2),
        "max_pool, overlapping": lambda x: ops.max_pool(x, 3, 1, padding="SAME"),
        "max_pool, all": lambda x: ops.max_pool(x, 2, ties="all"),
        "max_pool, many taps": lambda x: ops.max_pool(x, 9, 1, padding="SAME"),
        "avg_pool": lambda x: ops.avg_pool(x, 3, 1, padding=1, count_include_pad=False),
        "global_avg_pool": ops.global_avg_pool,
        "relu": ops.relu,
        "unfold": lambda x: ops.unfold(x, 3, padding="SAME"),
    }

    @pytest.mark.parametrize(
        ("name", "devices"), [*((name, 2) for name in CALLS), ("max_pool", 8), ("avg_pool", 8), ("relu", 8)]
    )
    def test_values_and_gradients(self, name: str, devices: int) -> None:
        mesh = jax.make_mesh((devices,), ("d",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:devices])
        x, pulled = integers((8, 16, 16, 8)), jax.jit(partial(value_and_gradients, self.CALLS[name]))
        dy = integers(jax.eval_shape(self.CALLS[name], x).shape, seed=1)
        expected = pulled(dy, x)
        for axis in range(4):
            with jax.set_mesh(mesh):
                spec = PartitionSpec(*["d" if a == axis else None for a in range(4)])
                placed = jax.device_put(x, NamedSharding(mesh, spec))
                as_y = jax.device_put(dy, jax.jit(self.CALLS[name])(placed).sharding)
                found = pulled(as_y, placed)
            assert_equal_trees(found, expected, roundings=16)
            assert found[1].sharding.is_equivalent_to(placed.sharding, 4)


# One image without its batch axis


@pytest.mark.parametrize("pool", [ops.max_pool, ops.avg_pool])
def test_one_image_pooled_as_signals_gets_a_hint(pool: Callable[..., jax.Array]) -> None:
    image = jnp.ones((28, 28, 3))
    with pytest.warns(UserWarning, match=r"x \(28, 28, 3\) is pooled as 28 signals of 28 places; .* give x.None"):
        assert pool(image, 2).shape == (28, 14, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for signals, window in (((28, 28, 3), (2,)), ((28, 30, 3), 2), ((28, 28, 16), 2), ((4, 4, 1), 2)):
            pool(jnp.ones(signals), window)
        pool(image[None], 2)
