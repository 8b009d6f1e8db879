"""Signatures, pytrees, static arguments, caches, errors."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import assert_alike, assert_same_structure, conv, net, plain_equations, point

import jaxcnn


class Pair(NamedTuple):
    kernel: Any
    name: str


def counted(f: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """f, and a list that grows each time it is traced."""
    times: list[int] = []

    def g(*args: Any, **kwargs: Any) -> Any:
        times.append(1)
        return f(*args, **kwargs)

    return g, times


def test_a_second_call_traces_nothing() -> None:
    kernel, x = point()
    f, times = counted(net)
    jaxcnn.accelerate(f)(kernel, x)
    jaxcnn.accelerate(f)(kernel + 1, x)
    jax.grad(lambda kernel: jaxcnn.accelerate(f)(kernel, x).sum())(kernel)
    assert len(times) == 1
    jaxcnn.accelerate(f)(kernel, x[:1])
    assert len(times) == 2
    jaxcnn.accelerate(f)(kernel.astype(jnp.float32), x.astype(jnp.float32))
    assert len(times) == 3
    jaxcnn.accelerate(f, plan="direct")(kernel, x)
    jaxcnn.sites(f, kernel, x)
    assert len(times) == 3


def test_what_a_function_makes_itself_is_no_reason_to_trace_it_again() -> None:
    kernel, x = point()
    f, times = counted(lambda kernel, x: net(kernel, x) * jnp.array([1.0, 2.0]) + np.array([1.0, 2.0]))
    for _ in range(2):
        jaxcnn.accelerate(f)(kernel, x)
    assert len(times) == 1


def test_what_an_inner_function_closes_over_is_read_anew() -> None:
    kernel, x = point()
    held = [kernel]
    by_hand = jaxcnn.accelerate(lambda x: jax.jit(lambda x: conv(x, held[0]))(x))
    for times in (1, 2):
        held[0] = times * kernel
        assert_alike(by_hand(x), times * conv(x, kernel))


def test_a_site_is_compiled_once(caplog: pytest.LogCaptureFixture) -> None:
    """Though what it is part of closes over an array, and is another function each time."""
    kernel, x = point(channels=5)
    said = []
    for times in (1, 2):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level("WARNING", "jax"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jaxcnn.accelerate(lambda x: conv(x, kernel))(times * x)
        said.append(any("Compiling jit(conv)" in message for message in caplog.messages))
    assert said == [True, False]


def test_settings_that_change_a_program_trace_it_anew() -> None:
    kernel, x = point()
    f, times = counted(net)
    by_hand = jaxcnn.accelerate(f)
    by_hand(kernel, x)
    with jax.default_matmul_precision("default"):
        by_hand(kernel, x)
    assert len(times) == 2


def test_what_is_static_is_as_it_was_given() -> None:
    kernel, x = point()
    seen: list[Any] = []

    def f(kernel: Any, x: Any, *, train: bool, times: int, rate: float, how: Callable[..., Any], name: str) -> Any:
        seen.append((train, times, rate, how, name))
        y = conv(x, kernel)
        for _ in range(times):
            y = how(y)
        return (y if train else -y) * rate

    options: dict[str, Any] = {"train": True, "times": 2, "rate": 0.5, "how": jnp.sin, "name": "a"}
    by_hand = jaxcnn.accelerate(f)
    for changed in (
        {},
        {"train": False},
        {"train": 1},
        {"times": 0},
        {"rate": 0.0},
        {"rate": -0.0},
        {"how": jnp.cos},
        {},
    ):
        assert_alike(by_hand(kernel, x, **options | changed), f(kernel, x, **options | changed))
        assert seen[-2:] == [seen[-1]] * 2 or changed == {}
    jitted = jax.jit(by_hand, static_argnames=("train", "times", "how", "name"))
    assert_alike(jitted(kernel, x, **options), f(kernel, x, **options))


def test_pytrees_go_in_and_out_as_they_are() -> None:
    kernel, x = point()
    state = {"b": [1, None], "a": (jnp.arange(3), "text")}

    def f(pair: Pair, x: Any, state: Any) -> Any:
        y = conv(x, pair.kernel)
        return {"y": y, "pair": pair, "state": state, "none": None, "two": 2, "text": "t", "f": conv, "n": np.arange(2)}

    got, expected = jaxcnn.accelerate(f)(Pair(kernel, "k"), x, state), f(Pair(kernel, "k"), x, state)
    assert_same_structure(got, expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert type(a) is type(b)
        np.testing.assert_array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object)) if not isinstance(
            b, jax.Array
        ) else assert_alike(a, b)


def test_weak_types_stay() -> None:
    kernel, x = point()
    kernel, x = kernel.astype(jnp.float32), x.astype(jnp.float32)

    def f(x: Any, a: Any) -> tuple[jax.Array, Any]:
        return conv(x, kernel) * a, a * 2

    for a in (2.0, jnp.float32(2.0), np.float32(2.0), np.float64(2.0), jnp.asarray(2.0)):
        got, expected = jaxcnn.accelerate(f)(x, a), f(x, a)
        assert [jnp.asarray(each).dtype for each in got] == [jnp.asarray(each).dtype for each in expected]


def test_as_a_decorator() -> None:
    kernel, x = point()

    @jaxcnn.accelerate
    def f(kernel: Any, x: Any) -> Any:
        """Its words."""
        return net(kernel, x)

    @jaxcnn.accelerate(plan="direct")
    def g(kernel: Any, x: Any) -> Any:
        return net(kernel, x)

    assert (f.__name__, f.__doc__) == ("f", "Its words.")
    for each in (f, g):
        assert plain_equations(each, kernel, x) == []
        assert_alike(each(kernel, x), net(kernel, x))

    class Model:
        def __init__(self) -> None:
            self.scale = 3.0

        @jaxcnn.accelerate
        def __call__(self, kernel: Any, x: Any) -> Any:
            return self.scale * net(kernel, x)

    model = Model()
    assert_alike(model(kernel, x), 3 * net(kernel, x))
    assert_alike(jaxcnn.accelerate(model.__call__)(kernel, x), 3 * net(kernel, x))


def test_a_model_that_a_function_closes_over_goes_with_it() -> None:
    _, x = point()

    class Model:
        def __init__(self) -> None:
            self.kernel = jnp.asarray(point()[0])

    model = Model()
    seen = weakref.ref(model)
    of_array = weakref.ref(model.kernel)

    def f(x: Any, model: Any = model) -> Any:
        return conv(x, model.kernel)

    del model
    by_hand = jaxcnn.accelerate(f)
    first = by_hand(x)
    jax.jit(by_hand)(x)
    f.__defaults__[0].kernel = f.__defaults__[0].kernel * 2  # type: ignore[index]  # the model that it holds
    assert_alike(by_hand(x), 2 * first)
    del f, by_hand, first
    gc.collect()
    assert seen() is None and of_array() is None


def test_a_model_that_is_an_argument_is_not_kept() -> None:
    _, x = point()

    class Model:
        pass

    def f(model: Any, x: Any) -> Any:
        return conv(x, jnp.ones((3, 3, 2, 2)))

    model = Model()
    seen = weakref.ref(model)
    jaxcnn.accelerate(f)(model, x)
    del model
    gc.collect()
    assert seen() is None


def test_arrays_of_an_outer_trace_may_be_closed_over() -> None:
    kernel, x = point()

    @jaxcnn.accelerate
    def f(x: Any) -> Any:
        return conv(x, held[0])

    held = [kernel]

    @jax.jit
    def g(kernel: Any) -> Any:
        held[0] = kernel
        return f(x) + f(x)

    for times in (1, 2):
        assert_alike(g(times * kernel), 2 * times * conv(x, kernel))
    assert_alike(jax.grad(lambda k: g(k).sum())(kernel), jax.grad(lambda k: 2 * conv(x, k).sum())(kernel))


def test_errors_pass_through() -> None:
    def f(x: Any) -> Any:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        jaxcnn.accelerate(f)(jnp.ones(3))
    with pytest.raises(TypeError, match="accelerate: f must be a function, got 3"):
        jaxcnn.accelerate(3)  # type: ignore[call-overload]  # what is refused here
    with pytest.raises(TypeError, match="sites: f must be a function, got 3"):
        jaxcnn.sites(3)  # type: ignore[arg-type]  # what is refused here


def test_donation_and_shardings_of_an_outer_jit_hold() -> None:
    kernel, x = point()
    by_hand = jaxcnn.accelerate(lambda kernel, x: conv(x, kernel))
    given = jnp.array(x)
    assert_alike(jax.jit(by_hand, donate_argnums=1)(kernel, given), conv(x, kernel))
    assert given.is_deleted()
    mesh = jax.make_mesh((2,), ("i",), devices=jax.devices()[:2], axis_types=(jax.sharding.AxisType.Auto,))
    over = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("i"))
    y = jax.jit(by_hand, in_shardings=(None, over), out_shardings=over)(kernel, x)
    assert y.sharding.is_equivalent_to(over, y.ndim)
    assert_alike(y, conv(x, kernel))


def test_the_names_of_inner_functions_and_what_they_donate_stay() -> None:
    kernel, x = point()
    inner = jax.jit(conv, donate_argnums=0, inline=False)
    (eqn,) = [
        eqn
        for eqn in jax.make_jaxpr(jaxcnn.accelerate(lambda kernel, x: inner(jnp.sin(x), kernel)))(kernel, x).jaxpr.eqns
        if eqn.primitive.name == "jit"
    ]
    assert eqn.params["name"] == "conv" and eqn.params["donated_invars"] == (True, False)


def test_forward_mode() -> None:
    kernel, x = point()
    tangents = (kernel, x)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(jaxcnn.accelerate(net), (kernel, x), tangents)
    by_lax = jaxcnn.accelerate(net, forward_mode=True)
    assert_alike(jax.jvp(by_lax, (kernel, x), tangents), jax.jvp(net, (kernel, x), tangents))
    assert [site.left for site in jaxcnn.sites(by_lax, kernel, x)] == ["forward_mode=True"] * 2


def test_effects_and_keys() -> None:
    kernel, x = point()
    seen: list[float] = []

    def f(key: Any, kernel: Any, x: Any) -> Any:
        jax.debug.callback(lambda value: seen.append(float(value)), x[0, 0, 0, 0])
        return conv(x, kernel) * jax.random.bernoulli(key, shape=x.shape)

    for key in (jax.random.key(0), jax.random.PRNGKey(0)):
        assert_alike(jaxcnn.accelerate(f)(key, kernel, x), f(key, kernel, x))
    jax.effects_barrier()
    assert seen == [float(x[0, 0, 0, 0])] * 4


def test_types_of_64_and_32_bits() -> None:
    kernel, x = (np.asarray(each, np.float32) for each in point())
    with jax.enable_x64(False):
        assert jaxcnn.accelerate(net)(kernel.astype(float), x.astype(float)).dtype == jnp.float32
    assert jaxcnn.accelerate(net)(kernel.astype(float), x.astype(float)).dtype == jnp.float64


def test_functions_of_other_kinds() -> None:
    kernel, x = point()
    assert_alike(jaxcnn.accelerate(partial(net, kernel))(x), net(kernel, x))
    assert_alike(jaxcnn.accelerate(jax.tree_util.Partial(net, kernel))(x), net(kernel, x))
    assert_alike(jaxcnn.accelerate(jax.jit(net))(kernel, x), net(kernel, x))


def test_what_is_kept_for_the_backward_is_the_ops() -> None:
    kernel, x = point()

    def by_ops(kernel: Any, x: Any) -> Any:
        return jaxcnn.ops.max_pool(jax.nn.relu(jaxcnn.ops.conv(x, kernel, padding="SAME")), 2)

    kept = jaxcnn.check.residuals(jaxcnn.accelerate(net), kernel, x)
    assert kept == jaxcnn.check.residuals(by_ops, kernel, x)
    assert kept != jaxcnn.check.residuals(net, kernel, x)


def test_sizes_that_are_symbolic() -> None:
    kernel, x = point()
    images, height = jax.export.symbolic_shape("n, h")
    f = jax.jit(lambda x: jaxcnn.accelerate(net)(kernel, x))
    for shape in ((images, 6, 6, 2), (images, 2 * height, 2 * height, 2)):
        exported = jax.export.export(f)(jax.ShapeDtypeStruct(shape, x.dtype))
        assert_alike(exported.call(x), net(kernel, x))
