"""Every algorithm of convolution's three maps, to the same tests."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, drawn, integers, normals
from jax import lax
from test_conv import GEOMETRIES, GOLDEN, MAPS, brute_kernel_gradient, convolutions

from jaxcnn import ops, reference
from jaxcnn.ops._conv import _chunks
from jaxcnn.ops._conv._algorithms import ALGORITHMS, _overhang, _split, _toeplitz
from jaxcnn.ops._conv._plan import chosen, row_for
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._conv._row import Row
from jaxcnn.ops._conv._table import TABLE
from jaxcnn.ops._lib._dtypes import Dtypes

# greatest error in roundings; the others compute whole numbers without any
ROUNDINGS = {"winograd4": 256, "fft": 256}
CHUNKED = ["im2col", "taps"]
ONLY_WITH: dict[str, dict[str, Any]] = {
    "canonical": {},
    "phases": {"stride": 2},
    "space_to_batch": {"dilation": 2},
    "split": {"groups": 2},
}
IN_FLOAT64 = {name: each for name, each in ALGORITHMS.items() if name != "onednn"}  # which test_onednn.py is for
CAN = [
    pytest.param(name, which, id=f"{name} {which}")
    for name, algorithm in IN_FLOAT64.items()
    for which in algorithm.maps
]


def problem_of(x_shape: Any, kernel_shape: Any, options: dict[str, Any], dtype: Any = np.float64) -> Problem:
    defaults: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "precision": None}
    dtypes = Dtypes(*[np.dtype(dtype)] * 3)
    return Problem.of("conv", x_shape, kernel_shape, dtypes, **defaults | options)


def small(name: str, batch: int) -> tuple[tuple[jax.Array, ...], dict[str, Any]]:
    """x, kernel and dy of a problem that an algorithm can compute, and its options."""
    options = ONLY_WITH.get(name, {})
    x, kernel = jnp.ones((batch, 6, 6, 2)), jnp.ones((3, 3, 2 // options.get("groups", 1), 2))
    y = jax.eval_shape(partial(reference.conv, **options), x, kernel)
    return (x, kernel, jnp.ones(y.shape)), options


def can(name: str, which: str, x_shape: Any, kernel_shape: Any, options: dict[str, Any]) -> bool:
    return ALGORITHMS[name].cannot(which, problem_of(x_shape, kernel_shape, options)) is None


@pytest.mark.parametrize(("name", "which"), CAN)
def test_integers_by_hand(name: str, which: str) -> None:
    asked = []
    for x, kernel, options, y, dy, dx, dk in GOLDEN.values():
        if can(name, which, x.shape, kernel.shape, options):
            expected = {"correlate": y, "input_gradient": dx, "kernel_gradient": dk}[which]
            asked.append(((x, kernel, dy), options, expected))

    def all_of_them(args: Any) -> Any:
        return [
            MAPS[which](ops, {**options, "algorithm": name})(*arg)
            for arg, (_, options, _) in zip(args, asked, strict=True)
        ]

    found = jax.jit(all_of_them)([args for args, _, _ in asked])
    assert_equal_trees(found, [expected for _, _, expected in asked], roundings=ROUNDINGS.get(name, 0))


@pytest.mark.parametrize(("name", "which"), CAN)
@drawn(max_examples=2)
@hypothesis.given(convolutions())
def test_any_geometry(
    name: str, which: str, drawn: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]
) -> None:
    x_shape, kernel_shape, y_shape, options = drawn
    if name.startswith("winograd"):
        kernel_shape = (3,) * len(options["stride"]) + kernel_shape[-2:]
        options = {"padding": ((1, 2),) * len(options["stride"])}
        x_shape = (*x_shape[:-1], kernel_shape[-2])
        y_shape = (x_shape[0], *(h + 1 for h in x_shape[1:-1]), kernel_shape[-1])
    hypothesis.assume(can(name, which, x_shape, kernel_shape, options))
    args = integers(x_shape), integers(kernel_shape, seed=1), integers(y_shape, seed=2)
    found = jax.jit(MAPS[which](ops, {**options, "algorithm": name}))(*args)
    expected = jax.jit(MAPS[which](reference, options))(*args)
    assert_equal_trees(found, expected, roundings=ROUNDINGS.get(name, 0))


@pytest.mark.parametrize("name", [name for name in IN_FLOAT64 if name not in ONLY_WITH])
def test_gradients_to_second_order(name: str) -> None:
    """By one algorithm throughout, a batch of three."""
    kernel_shape, options = {
        "direct": GEOMETRIES["2-D, two out of each of two groups"][1:],
        "taps": GEOMETRIES["2-D, two out of each of two groups"][1:],
    }.get(name, ((3, 3, 2, 3), {"padding": ((1, 0), (0, 2))}))
    x = integers((3, 5, 4, kernel_shape[-2] * options.get("groups", 1)))
    conv = partial(ops.conv, **options, algorithm=name)
    args = x, integers(kernel_shape, seed=1), integers(kernel_shape[-1:])
    assert_agree(conv, partial(reference.conv, **options), *args, exact=name not in ROUNDINGS)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_to_second_order_by_phases(groups: int) -> None:
    options: dict[str, Any] = {"stride": (2, 3), "padding": ((1, 2), (0, 1)), "dilation": (2, 1), "groups": groups}
    args = integers((3, 7, 6, 2)), integers((2, 3, 2 // groups, 4), seed=1)
    conv = partial(ops.conv, **options, algorithm="phases")
    assert_agree(conv, partial(reference.conv, **options), *args)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_to_second_order_by_space_to_batch(groups: int) -> None:
    options: dict[str, Any] = {"padding": ((1, 2), (0, 1)), "dilation": (2, 3), "groups": groups}
    args = integers((3, 7, 9, 2)), integers((2, 3, 2 // groups, 4), seed=1)
    conv = partial(ops.conv, **options, algorithm="space_to_batch")
    assert_agree(conv, partial(reference.conv, **options), *args)


def test_gradients_to_second_order_by_canonical() -> None:
    options: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 1), (0, 1)), "dilation": (1, 2)}
    args = integers((3, 7, 6, 2)), integers((2, 3, 2, 4), seed=1)
    conv = partial(ops.conv, **options, algorithm="canonical")
    assert_agree(conv, partial(reference.conv, **options), *args)


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"padding": "SAME"},
        {"padding": "VALID"},
        {"padding": ((2, 2), (0, 1)), "dilation": (1, 2)},  # longer than x already, along one axis
        {"padding": ((1, 1), (0, 0))},
    ],
    ids=["one row", "as many as the window cuts", "none", "along the cheaper axis"],
)
def test_gradients_to_second_order_of_what_is_made_longer(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_overhang, "_helps", lambda *convolution: True)
    jax.clear_caches()
    args = integers((3, 7, 6, 2)), integers((3, 2, 2, 4), seed=1)
    conv = partial(ops.conv, **options, algorithm="direct")
    assert str(jax.make_jaxpr(conv)(*args)).count("conv_general_dilated[") == 4  # of the CPU, and of three others
    assert_agree(conv, partial(reference.conv, **options), *args)


def test_what_is_made_longer_is_what_ynnpack_computes_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    float32, same = np.dtype(np.float32), (28, 28)
    monkeypatch.setattr(_overhang, "ONE_CORE", True)
    assert _overhang._helps(32, same, same, (64, 128), float32)
    assert _overhang._helps(32, same, (26, 26), (128, 128), float32)
    not_so: dict[str, Any] = {
        "YNNPACK computes them on all cores": (32, same, same, (128, 128), float32),
        "float64": (32, same, same, (64, 64), np.dtype(np.float64)),
        "already longer": (32, (26, 26), same, (64, 64), float32),
        "not YNNPACK's: few channels": (128, same, same, (16, 16), float32),
        "nor bfloat16": (32, same, same, (64, 64), np.dtype(jnp.bfloat16)),
        "nor 1-D": (32, (784,), (784,), (64, 64), float32),
        "small": (1, same, same, (64, 64), float32),
        "three rows of eight": (64, (10, 10), (8, 8), (64, 64), float32),
        "a batch that is not known": (None, same, same, (64, 64), float32),
    }
    assert not [why for why, convolution in not_so.items() if _overhang._helps(*convolution)]
    monkeypatch.setattr(_overhang, "ONE_CORE", False)
    assert not _overhang._helps(32, same, same, (64, 128), float32)


GROUPS: dict[str, Any] = {"groups": 2, "padding": 1}
PHASES: dict[str, Any] = {"stride": 2, "padding": ((0, 1), (0, 1))}
PARTS = [
    ("split", "correlate", (8, 24, 24, 64), (3, 3, 32, 64), GROUPS),
    ("split", "input_gradient", (8, 24, 24, 64), (3, 3, 32, 64), GROUPS),
    ("phases", "input_gradient", (8, 48, 48, 32), (3, 3, 32, 32), PHASES),
]


@pytest.mark.parametrize(("algorithm", "which", "x_shape", "kernel_shape", "options"), PARTS)
def test_the_dense_parts_of_others_are_made_longer_too(
    algorithm: str,
    which: str,
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = x_shape, kernel_shape, (8, 24, 24, kernel_shape[-1])
    args = [integers(shape, np.float32, seed=seed) for seed, shape in enumerate(shapes)]
    found = {}
    for one_core in (False, True):
        monkeypatch.setattr(_overhang, "ONE_CORE", one_core)
        jax.clear_caches()
        computed = MAPS[which](ops, {**options, "algorithm": algorithm})
        assert ("f32[8,25,24,32] = conv_general" in str(jax.make_jaxpr(computed)(*args))) == one_core
        found[one_core] = jax.jit(computed)(*args)
    assert_equal_trees(found[True], found[False])


def test_in_a_loop_canonical_keeps_the_order_of_axes_that_xla_is_fast_at() -> None:
    x, dy = integers((4, 2, 9, 8, 3)), integers((4, 2, 5, 4, 6), seed=1)
    one = partial(ops.kernel_gradient, kernel_shape=(5, 5, 3, 6), algorithm="canonical")

    def scanned(x: jax.Array, dy: jax.Array) -> jax.Array:
        return lax.scan(lambda carry, both: (carry, one(*both)), 0, (x, dy))[1]

    program = jax.jit(scanned).lower(x, dy).compile()
    assert set(re.findall(r"dim_labels=(\S+?)[,\s]", str(program.as_text()))) == {"b01f_01io->b01f"}
    assert_equal_trees(program(x, dy), jnp.stack([jax.jit(one)(*both) for both in zip(x, dy, strict=True)]))


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_to_second_order_by_split(stride: int) -> None:
    """Three parts of two groups each."""
    options: dict[str, Any] = {"padding": ((1, 1), (0, 1)), "groups": 6, "stride": stride}
    args = integers((3, 5, 4, 48)), integers((2, 3, 8, 48), seed=1)
    conv = partial(ops.conv, **options, algorithm="split")
    assert _split._part(problem_of(args[0].shape, args[1].shape, options)).c_in == 16
    assert_agree(conv, partial(reference.conv, **options), *args)


@pytest.mark.parametrize(("name", "which"), CAN)
def test_an_empty_batch(name: str, which: str) -> None:
    args, options = small(name, batch=0)
    found = jax.jit(MAPS[which](ops, {**options, "algorithm": name}))(*args)
    expected = jax.jit(MAPS[which](reference, options))(*args)
    assert_equal_trees(found, expected)


MARKS = {
    "direct": lambda text: "conv_general_dilated" in text,
    "canonical": lambda text: "lhs_spec=(0, 3, 1, 2)" in text and text.count("transpose[") == 3,
    "im2col": lambda text: "dot_general" in text and ("concatenate" in text or "split" in text),
    "taps": lambda text: "dot_general" in text and "concatenate" not in text,
    "phases": lambda text: text.count("conv_general_dilated[") == 4,
    "space_to_batch": lambda text: "f64[4,3,3,2]" in text and "rhs_dilation=(1, 1)" in text,
    "split": lambda text: "select_n" in text and "feature_group_count=1" in text,
    "toeplitz": lambda text: "f64[36,8]" in text or "f64[3,2,2,4,7]" in text,
    "winograd2": lambda text: "f64[4,4,1,2,2,2]" in text,
    "winograd4": lambda text: "f64[6,6,1,1,1,2]" in text,
    "fft": lambda text: "fft[" in text,
}


@pytest.mark.parametrize(("name", "which"), CAN)
def test_the_algorithm_that_is_named_runs_and_no_other(name: str, which: str) -> None:
    args, options = small(name, batch=1)
    text = str(jax.make_jaxpr(MAPS[which](ops, {**options, "algorithm": name}))(*args))
    assert MARKS[name](text)
    own = ("conv_general_dilated[", "fft[", "dot_general[")
    used = {mark for mark in own if mark in text}
    of_lax = dict.fromkeys(("direct", "canonical", "phases", "space_to_batch", "split"), {own[0]})
    assert used <= (of_lax | {"fft": {own[1], own[2]}}).get(name, {own[2]})


def test_a_name_for_each_map() -> None:
    x, kernel = integers((2, 6, 6, 2)), integers((3, 3, 2, 2), seed=1)
    names = {"correlate": "winograd2", "input_gradient": "fft", "kernel_gradient": "taps"}
    text = str(jax.make_jaxpr(jax.grad(lambda x, k: ops.conv(x, k, algorithm=names).sum(), (0, 1)))(x, kernel))
    assert MARKS["fft"](text) and "f64[4,4,2,2,2,2]" in text and "conv_general_dilated" not in text


REFUSED: dict[str, tuple[dict[str, Any], Any, str]] = {
    "no such name": ({}, "wino", "algorithm must be one of 'auto', .* got 'wino': did you mean 'winograd[24]'"),
    "no such name of a map": ({}, {"correlate": "im2row"}, "got {'correlate': 'im2row'}: did you mean 'im2col'"),
    "no such map": ({}, {"dx": "taps"}, "or a mapping from correlate, .* got {'dx': 'taps'}"),
    "phases forward": (
        {"stride": 2},
        {"correlate": "phases", "kernel_gradient": "taps"},
        "'phases' cannot compute correlate of these arguments: it has no correlate; "
        "use 'auto' for it, as in algorithm={'correlate': 'auto', 'input_gradient': 'auto', 'kernel_gradient': 'taps'}",
    ),
    "phases of none": ({}, "phases", "'phases' cannot compute input_gradient .* stride must be over"),
    "im2col in groups": ({"groups": 2}, "im2col", "'im2col' cannot compute correlate .* groups must be 1, not 2"),
    "fft in groups": ({"groups": 2}, "fft", "'fft' cannot compute correlate .* groups must be 1, not 2"),
    "split of one group": (
        {},
        "split",
        "'split' cannot compute correlate .* groups must be more than 1",
    ),
    "toeplitz in groups": ({"groups": 2}, "toeplitz", "'toeplitz' cannot compute correlate .* groups must be 1, not 2"),
    "winograd, strided": ({"stride": 2}, "winograd2", "stride, dilation and groups must be 1, not"),
    "winograd, dilated": ({"dilation": 2}, "winograd4", "stride, dilation and groups must be 1, not"),
}


@pytest.mark.parametrize(("options", "algorithm", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_an_algorithm_cannot_do_is_refused(options: dict[str, Any], algorithm: Any, says: str) -> None:
    groups = options.get("groups", 1)
    with pytest.raises(ValueError, match=f"^conv: .*{says}"):
        ops.conv(jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2 // groups, 2)), **options, algorithm=algorithm)


def test_winograd_is_for_three_taps_and_fft_for_three_axes() -> None:
    with pytest.raises(ValueError, match=r"the kernel must have 3 taps per axis, not \(3, 5\)"):
        ops.conv(jnp.ones((1, 8, 8, 2)), jnp.ones((3, 5, 2, 2)), algorithm="winograd2")
    with pytest.raises(ValueError, match="at most 3 spatial axes"):
        ops.conv(jnp.ones((1, 2, 2, 2, 2, 2)), jnp.ones((1, 1, 1, 1, 2, 2)), algorithm="fft")


@pytest.mark.parametrize(("name", "reached"), [("direct", 1), ("toeplitz", 4), ("fft", 16)])
def test_how_far_a_nan_spreads(name: str, reached: int) -> None:
    """To its window, its rows' windows, its image's: `conv` says so."""
    x = jnp.zeros((2, 6, 6, 1)).at[0, 0, 0, 0].set(jnp.nan)
    y = jax.jit(partial(ops.conv, algorithm=name))(x, jnp.ones((3, 3, 1, 1)))
    assert jnp.sum(jnp.isnan(y[0])) == reached and not jnp.any(jnp.isnan(y[1]))


def test_toeplitz_is_for_matrices_that_fit() -> None:
    with pytest.raises(ValueError, match="its banded matrix would have 25,804,800 elements, more than 4,194,304"):
        ops.conv(jnp.ones((1, 8, 128, 16)), jnp.ones((3, 3, 16, 100)), algorithm="toeplitz")


@pytest.mark.parametrize("which", MAPS)
@pytest.mark.parametrize("batch", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("images", [2, None], ids=["two images side by side", "tap by tap"])
def test_toeplitz_of_some_images_or_of_one_tap_at_a_time(
    monkeypatch: pytest.MonkeyPatch, images: int | None, batch: int, which: str
) -> None:
    x, kernel, dy = integers((batch, 6, 5, 2)), integers((3, 3, 2, 4), seed=1), integers((batch, 6, 3, 4), seed=2)
    options = {"padding": ((1, 1), (0, 0))}
    problem, matrix, of_one_image = problem_of(x.shape, kernel.shape, options), 3 * 5 * 2 * 3 * 4, 3 * 6 * 5 * 2
    monkeypatch.setattr(_toeplitz, "SIDE_BY_SIDE", x.dtype.itemsize * (matrix + (images or 0) * of_one_image))
    assert _toeplitz._images_side_by_side(problem) == images
    found, expected = (
        jax.jit(MAPS[which](module, options | more))(x, kernel, dy)
        for module, more in ((ops, {"algorithm": "toeplitz"}), (reference, {}))
    )
    assert_equal_trees(found, expected)


@pytest.mark.parametrize("name", ["winograd2", "winograd4", "fft", "im2col", "taps", "toeplitz"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float32])
def test_narrow_numbers_are_computed_in_float32(name: str, dtype: Any) -> None:
    x, kernel = normals((2, 9, 8, 3), dtype), normals((3, 3, 3, 4), dtype, seed=1)

    def gradients(module: Any, dy: jax.Array, x: jax.Array, kernel: jax.Array, **options: Any) -> Any:
        y, pull = jax.vjp(partial(module.conv, padding=1, **options), x, kernel)
        return y, pull(dy)

    dy = normals((2, 9, 8, 4), dtype, seed=2)
    found = jax.jit(partial(gradients, ops, algorithm=name))(dy, x, kernel)
    expected = jax.jit(partial(gradients, reference))(dy, x, kernel)
    assert_equal_trees(found, expected, roundings=1 if dtype == jnp.bfloat16 else 32)


@pytest.mark.parametrize("name", CHUNKED)
class TestKernelGradientsInChunks:
    @pytest.mark.parametrize("groups", [1, 2, 4], ids=["one group", "two groups", "depthwise"])
    @pytest.mark.parametrize("batch", [0, 1, 2, 4, 5])
    def test_batches_that_chunks_of_two_divide_or_do_not(
        self, name: str, monkeypatch: pytest.MonkeyPatch, batch: int, groups: int
    ) -> None:
        x, dy, kernel_shape = integers((batch, 6, 4)), integers((batch, 4, 4), seed=1), (3, 4 // groups, 4)
        if not can(name, "kernel_gradient", x.shape, kernel_shape, {"groups": groups}):
            name = "taps"
        monkeypatch.setattr(_chunks, "CHUNK_BYTES", 2 * x.dtype.itemsize * 3 * 4 * 4)
        assert _chunks.images_per_chunk(problem_of(x.shape, kernel_shape, {"groups": groups}), x) == 2
        dk = partial(ops.kernel_gradient, kernel_shape=kernel_shape, groups=groups, algorithm=name)
        assert_equal_trees(jax.jit(dk)(x, dy), brute_kernel_gradient(x, dy, kernel_shape, groups))

    @pytest.mark.parametrize("mapped", [(0, 0), (0, None), (None, 0)], ids=["both", "x", "dy"])
    @pytest.mark.parametrize("examples", [0, 1, 2, 4, 5])
    def test_examples_that_chunks_of_two_divide_or_do_not(
        self, name: str, monkeypatch: pytest.MonkeyPatch, examples: int, mapped: tuple[int | None, int | None]
    ) -> None:
        x_shape, dy_shape, kernel_shape = (3, 6, 4), (3, 4, 4), (3, 4, 4)
        x = integers(x_shape if mapped[0] is None else (examples, *x_shape))
        dy = integers(dy_shape if mapped[1] is None else (examples, *dy_shape), seed=1)
        monkeypatch.setattr(_chunks, "CHUNK_BYTES", 2 * 3 * 8 * 3 * 4 * 4)
        dk = partial(ops.kernel_gradient, kernel_shape=kernel_shape, algorithm=name)
        found = jax.jit(jax.vmap(dk, in_axes=mapped, axis_size=examples))(x, dy)
        xs, dys = np.broadcast_to(x, (examples, *x_shape)), np.broadcast_to(dy, (examples, *dy_shape))
        apart = [brute_kernel_gradient(*both, kernel_shape, 1) for both in zip(xs, dys, strict=True)]
        assert_equal_trees(found, np.reshape(apart, (examples, *kernel_shape)))

    def test_a_chunk_is_never_less_than_an_image(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_chunks, "CHUNK_BYTES", 1)
        x, dy = integers((3, 6, 4)), integers((3, 4, 2), seed=1)
        found = jax.jit(partial(ops.kernel_gradient, kernel_shape=(3, 4, 2), algorithm=name))(x, dy)
        assert_equal_trees(found, brute_kernel_gradient(x, dy, (3, 4, 2), 1))

    def test_in_a_scan_as_outside(self, name: str, optimized: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_chunks, "CHUNK_BYTES", 2 * 8 * 3 * 4 * 4)
        x, dy = integers((2, 5, 6, 4)), integers((2, 5, 4, 2), seed=1)
        one = partial(ops.kernel_gradient, kernel_shape=(3, 4, 2), algorithm=name)
        _, scanned = jax.jit(lambda x, dy: lax.scan(lambda carry, both: (carry, one(*both)), 0, (x, dy)))(x, dy)
        apart = jnp.stack([brute_kernel_gradient(*both, (3, 4, 2), 1) for both in zip(x, dy, strict=True)])
        assert_equal_trees(scanned, apart)

    def test_a_large_one_against_lax(self, name: str, optimized: None) -> None:
        x, dy = normals((64, 32, 32, 16), np.float32), normals((64, 32, 32, 32), np.float32, seed=1)
        dk = partial(ops.kernel_gradient, kernel_shape=(3, 3, 16, 32), padding=1, algorithm=name)
        laxs_own = jax.jit(partial(reference.kernel_gradient, kernel_shape=(3, 3, 16, 32), padding=1))(x, dy)
        # sums of 65,536 products, each side in an order of its own
        assert_equal_trees(jax.jit(dk)(x, dy), laxs_own, roundings=64)


def test_every_row_of_the_choosers_table_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_overhang, "ONE_CORE", True)  # as on jax 0.10
    for row in TABLE:
        problem = problem_of(*row.example, np.float32)
        assert row_for(row.which, row.platform, problem) is row
        assert chosen(row.which, row.platform, problem).name == row.algorithm
        assert chosen(row.which, "tpu", problem).name == "direct"


def test_under_vmap_a_canonical_kernel_gradient_is_chosen_otherwise_and_asked_for_stays() -> None:
    x, dy = integers((3, 2, 8, 8, 8)), integers((3, 2, 4, 4, 8), seed=1)

    def dk(algorithm: str) -> Any:
        return partial(ops.kernel_gradient, kernel_shape=(5, 5, 8, 8), algorithm=algorithm)

    chosen, asked = jax.vmap(dk("auto")), jax.vmap(dk("canonical"))

    def convolves(f: Any, *args: jax.Array) -> bool:
        return "stablehlo.convolution" in jax.jit(f).lower(*args).as_text()

    assert not convolves(chosen, x, dy) and convolves(asked, x, dy) and convolves(dk("auto"), x[0], dy[0])
    apart = jnp.stack([jax.jit(dk("direct"))(*each) for each in zip(x, dy, strict=True)])
    assert_equal_trees(jax.jit(chosen)(x, dy), apart)
    same_dy = jax.jit(jax.vmap(dk("auto"), in_axes=(0, None)))(x, dy[0])
    assert_equal_trees(same_dy, jnp.stack([jax.jit(dk("direct"))(each, dy[0]) for each in x]))


@pytest.mark.parametrize("row", TABLE, ids=[f"{row.which}, {row.problems}" for row in TABLE])
def test_what_is_chosen_is_at_most_four_times_as_far_off_as_direct(row: Row) -> None:
    """In float32, against float64, at the greatest of eight draws of each."""
    x_shape, kernel_shape, _ = row.example
    options: dict[str, Any] = row.example.options
    y_shape = jax.eval_shape(partial(ops.conv, **options), jnp.zeros(x_shape), jnp.zeros(kernel_shape)).shape
    shapes = ((8, *x_shape[1:]), kernel_shape, (8, *y_shape[1:]))
    args = tuple(normals(shape, np.float32, seed=seed) for seed, shape in enumerate(shapes))
    exact = jax.jit(MAPS[row.which](reference, options))(*(a.astype(float) for a in args))

    def error(algorithm: str) -> float:
        found = jax.jit(MAPS[row.which](ops, {**options, "algorithm": algorithm}))(*args)
        return float(
            np.max(np.abs(np.asarray(found, float) - exact)) / np.max(np.abs(exact)) / np.finfo(np.float32).eps
        )

    assert error(row.algorithm) <= 4 * max(error("direct"), 0.5)
