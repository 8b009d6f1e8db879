"""`onednn` where it is, and what is said where it is not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_equal_trees, drawn, integers, normals
from hypothesis import strategies as st
from jax import lax
from test_conv import MAPS

from jaxcnn import ops, reference
from jaxcnn.ops._conv._native import _engine

is_here = pytest.mark.skipif(_engine.why_not() is not None, reason=f"oneDNN is not here: {_engine.why_not()}")
conv = partial(ops.conv, algorithm="onednn")

# spatial size, kernel, images, options: what is cut into images, into rows, and what cannot be cut
GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, dict[str, Any]]] = {
    "1-D, groups, dilated, uneven padding": (
        (19,),
        (3, 2, 6),
        5,
        {"stride": 2, "dilation": 3, "groups": 2, "padding": ((2, 1),)},
    ),
    "2-D, one image by rows": ((64, 48), (3, 3, 8, 16), 1, {"padding": "SAME"}),
    "2-D, one image by rows, strided, rows left over": ((63, 32), (5, 3, 8, 16), 1, {"stride": (3, 2), "padding": 2}),
    "2-D, stride over the kernel": ((65, 33), (1, 2, 8, 16), 1, {"stride": 4}),
    "2-D, three images": ((20, 21), (4, 4, 8, 16), 3, {"stride": 2, "padding": ((0, 3), (2, 1))}),
    "2-D, depthwise": ((24, 24), (7, 7, 1, 32), 4, {"groups": 32, "padding": 3}),
    "2-D, twice as many out of each group": ((16, 16), (3, 3, 1, 32), 2, {"groups": 16}),
    "2-D, one channel": ((28, 28), (3, 3, 1, 32), 8, {"padding": 1}),
    "2-D, one image by rows, dilated": ((70, 30), (3, 3, 16, 16), 1, {"dilation": (5, 2), "padding": (5, 2)}),
    "2-D, 1x1, strided": ((16, 17), (1, 1, 16, 32), 4, {"stride": 2}),
    "2-D, wide padding": ((5, 5), (3, 3, 4, 4), 2, {"padding": 4}),
    "2-D, negative padding": ((9, 9), (3, 3, 4, 4), 2, {"padding": ((-1, 0), (2, -2))}),
    "3-D": ((8, 9, 10), (3, 2, 3, 4, 8), 2, {"stride": (1, 2, 1), "padding": ((1, 1), (0, 1), (1, 2))}),
    "3-D, one image by rows, groups": ((24, 12, 12), (3, 3, 3, 4, 8), 1, {"groups": 2, "padding": 1}),
}


def arrays(name: str, dtype: Any = np.float32, draw: Any = integers) -> tuple[tuple[jax.Array, ...], dict[str, Any]]:
    """x, kernel and dy, and the options."""
    spatial, kernel_shape, images, options = GEOMETRIES[name]
    x = draw((images, *spatial, kernel_shape[-2] * options.get("groups", 1)), dtype)
    kernel = draw(kernel_shape, dtype, seed=1)
    y = jax.eval_shape(partial(reference.conv, **options), x, kernel)
    return (x, kernel, draw(y.shape, dtype, seed=2)), options


@is_here
@pytest.mark.parametrize("which", MAPS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_whole_numbers_are_the_references(name: str, which: str) -> None:
    args, options = arrays(name)
    found = jax.jit(MAPS[which](ops, options | {"algorithm": "onednn"}))(*args)
    assert_equal_trees(found, jax.jit(MAPS[which](reference, options))(*args), dtype=np.float32)


@is_here
@pytest.mark.parametrize("which", MAPS)
@hypothesis.given(data=st.data())
@drawn(max_examples=12)
def test_any_geometry(which: str, data: st.DataObject) -> None:
    """Sizes at which a call is cut into pieces, as two threads do it."""
    axes = data.draw(st.integers(1, 3))
    small = st.integers(1, 3)
    size, stride, dilation = (tuple(data.draw(small) for _ in range(axes)) for _ in range(3))
    padding = tuple((data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))) for _ in range(axes))
    groups, c_in, c_out, images = (data.draw(st.integers(1, most)) for most in (3, 8, 8, 3))
    spatial = (data.draw(st.integers(7, 90)), *(data.draw(st.integers(7, 14)) for _ in range(axes - 1)))
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    x = integers((images, *spatial, groups * c_in), np.float32)
    kernel = integers((*size, c_in, groups * c_out), np.float32, seed=1)
    y = jax.eval_shape(partial(reference.conv, **options), x, kernel)
    args = x, kernel, integers(y.shape, np.float32, seed=2)
    found = jax.jit(MAPS[which](ops, options | {"algorithm": "onednn"}))(*args)
    assert_equal_trees(found, jax.jit(MAPS[which](reference, options))(*args))


@is_here
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("is_multiplied", [True, False], ids=["by the processor, if it can", "in float32"])
def test_narrow_numbers_are_summed_in_float32(dtype: Any, is_multiplied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_multiplied:
        monkeypatch.setattr(_engine, "engine", lambda: _engine.Engine("", _engine.SOURCE, ()))
    args, options = arrays("2-D, three images", dtype, normals)
    for which, map_ in MAPS.items():
        found = jax.jit(map_(ops, options | {"algorithm": "onednn"}))(*args)
        expected = jax.jit(map_(reference, options))(*(arg.astype(np.float64) for arg in args))
        assert found.dtype == dtype, which
        assert_equal_trees(found, expected.astype(dtype), roundings=1)


@is_here
def test_second_derivatives() -> None:
    (x, kernel, _), options = arrays("2-D, three images", draw=normals)

    def steepness(module: Any, more: Any, kernel: jax.Array) -> jax.Array:
        return jnp.sum(
            jax.grad(lambda kernel: jnp.sum(jnp.tanh(module.conv(x, kernel, **options, **more))))(kernel) ** 2
        )

    found, expected = (
        jax.jit(jax.grad(partial(steepness, module, more)))(kernel)
        for module, more in ((ops, {"algorithm": "onednn"}), (reference, {}))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * float(jnp.max(jnp.abs(expected))))


def gradients(convolve: Any, x: jax.Array, kernel: jax.Array) -> Any:
    return jax.grad(lambda x, kernel: jnp.sum(convolve(x, kernel) ** 2), (0, 1))(x, kernel)


@is_here
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)], ids=["images", "kernels", "both"])
def test_under_vmap(axes: Any) -> None:
    x, kernel = integers((4, 2, 9, 8, 3), np.float32), integers((4, 3, 3, 3, 5), np.float32, seed=1)
    args = [arg if axis is not None else arg[0] for arg, axis in zip((x, kernel), axes, strict=True)]
    for f in (lambda c: c, lambda c: partial(gradients, c)):
        found, expected = (jax.jit(jax.vmap(f(c), in_axes=axes))(*args) for c in (conv, reference.conv))
        assert_equal_trees(found, expected)


@is_here
def test_in_a_scan_with_checkpoint_as_outside() -> None:
    x, kernel = integers((3, 2, 9, 8, 4), np.float32), integers((3, 3, 4, 4), np.float32, seed=1)
    step = jax.checkpoint(partial(gradients, conv))
    scanned = jax.jit(lambda x: lax.scan(lambda carry, each: (carry, step(each, kernel)), 0, x)[1])(x)
    apart = [gradients(reference.conv, each, kernel) for each in x]
    assert_equal_trees(scanned, jax.tree.map(lambda *each: jnp.stack(each), *apart))


@is_here
def test_in_shard_map() -> None:
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    x, kernel = integers((4, 9, 8, 3), np.float32), integers((3, 3, 3, 5), np.float32, seed=1)
    of_parts = jax.shard_map(
        partial(gradients, conv), mesh=mesh, in_specs=(spec("d"), spec()), out_specs=(spec("d"), spec())
    )
    assert_equal_trees(jax.jit(of_parts)(x, kernel), gradients(reference.conv, x, kernel))


@is_here
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_windows(bad: float) -> None:
    (x, kernel, dy), options = arrays("2-D, three images", draw=normals)
    for which, map_ in MAPS.items():
        args = [x.at[1, 7, 7, 2].set(bad), kernel, dy.at[1, 3, 3, 2].set(bad)]
        found = jax.jit(map_(ops, options | {"algorithm": "onednn"}))(*args)
        expected = jax.jit(map_(reference, options))(*args)
        assert jnp.array_equal(jnp.isfinite(found), jnp.isfinite(expected)), which


@is_here
def test_the_same_bits_each_time_and_from_many_threads() -> None:
    (x, kernel, _), options = arrays("2-D, depthwise", draw=normals)
    program = jax.jit(partial(gradients, partial(conv, **options)))
    first = program(x, kernel)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: program(x, kernel), range(40)):
            assert_equal_trees(found, first)


@is_here
def test_an_empty_batch_and_a_batch_of_any_size() -> None:
    kernel = integers((3, 3, 2, 4), np.float32)
    (batch,) = jax.export.symbolic_shape("n")
    named = [jax.export.DisabledSafetyCheck.custom_call(_engine.target(which)) for which in MAPS]
    of_any = jax.export.export(jax.jit(partial(gradients, conv)), platforms=["cpu"], disabled_checks=named)(
        jax.ShapeDtypeStruct((batch, 6, 6, 2), np.float32), kernel
    )
    for images in (1, 5):
        x = integers((images, 6, 6, 2), np.float32)
        assert_equal_trees(of_any.call(x, kernel), gradients(reference.conv, x, kernel))
    empty = integers((0, 6, 6, 2), np.float32)
    assert_equal_trees(gradients(conv, empty, kernel), gradients(reference.conv, empty, kernel))


@is_here
def test_its_handlers_run_only_where_a_cpu_computes() -> None:
    x, kernel = jnp.ones((2, 8, 8, 4), np.float32), jnp.ones((3, 3, 4, 8), np.float32)
    traced = jax.jit(partial(gradients, conv)).trace(x, kernel)
    assert "jaxcnn_onednn" in traced.lower(lowering_platforms=("cpu",)).as_text()
    for other in ("cuda", "tpu"):
        assert "jaxcnn_onednn" not in traced.lower(lowering_platforms=(other,)).as_text()


@is_here
@pytest.mark.parametrize(
    ("x", "kernel", "says"),
    [
        (jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 1, 1)), "it computes in float32 and narrower, not float64"),
        (jnp.ones((1, *[2] * 4, 1), np.float32), jnp.ones((*[1] * 4, 1, 1), np.float32), "1 to 3 spatial axes, not 4"),
    ],
)
def test_what_it_cannot_compute_is_refused(x: jax.Array, kernel: jax.Array, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        conv(x, kernel)


class TestNotHere:
    @pytest.fixture(autouse=True)
    def forgotten(self) -> Any:
        _engine._loaded.cache_clear()
        yield
        _engine._loaded.cache_clear()

    def test_on_another_system(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("platform.machine", lambda: "arm64")
        with pytest.raises(ValueError, match=r"oneDNN is not here: it is for Linux on x86-64, this is linux on arm64"):
            conv(jnp.ones((1, 5, 5, 1), np.float32), jnp.ones((3, 3, 1, 1), np.float32))

    def test_without_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_engine, "PACKAGES", ("onednn-of-nobody", "onednn-of-nobody"))
        assert _engine.why_not() == "the package onednn-of-nobody is not installed: pip install 'jaxcnn[onednn]'"

    @is_here
    def test_without_a_compiler(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert "install g++, or pip install ziglang" in str(_engine.why_not())

    @is_here
    def test_with_a_compiler_that_cannot(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("CXX", "false")
        assert "could not compile it" in str(_engine.why_not())
        assert list((tmp_path / "jaxcnn").iterdir()) == []

    @is_here
    def test_it_is_compiled_once(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        first = _engine._compiled(*_engine._files())
        assert first.parent == tmp_path / "jaxcnn"
        stamp = first.stat().st_mtime_ns
        assert _engine._compiled(*_engine._files()) == first and first.stat().st_mtime_ns == stamp
