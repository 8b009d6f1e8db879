"""Chains of convolution, bias, ReLU and max pool: one op where they are ones, single sites where they are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from programs import assert_accelerates, assert_alike, conv, max_pool, plain_equations

import jaxcnn
from jaxcnn._accelerate import _chains

WITH_BIAS, WITHOUT = "convolution, bias, ReLU, max pool", "convolution, ReLU, max pool"
Block = Callable[..., jax.Array]


def normals(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def integers(*shape: int, seed: int = 0) -> jax.Array:
    """So few that maxima tie, zeros are everywhere and windows have nothing above 0."""
    return jnp.asarray(np.random.default_rng(seed).integers(-1, 2, shape).astype(float))


def args(make: Callable[..., jax.Array] = normals) -> tuple[jax.Array, jax.Array, jax.Array]:
    return make(3, 3, 2, 16, seed=1), make(16, seed=2), make(2, 6, 6, 2, seed=3)


def block(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
    return max_pool(jax.nn.relu(conv(x, kernel) + bias))


def whats(f: Callable[..., Any], *args: Any) -> list[str]:
    return [site.what for site in jaxcnn.sites(f, *args)]


def in_sequence(f: Block) -> Block:
    """f accelerated without chains."""

    def of(*args: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_chains, "_pays", lambda problem, pool: False)
            return jaxcnn.accelerate(lambda *args: f(*args))(*args)

    return of


def pool_of(size: tuple[int, ...], stride: tuple[int, ...], padding: Any = "VALID", dilation: Any = None) -> Any:
    return partial(
        lax.reduce_window,
        init_value=-np.inf,
        computation=lax.max,
        window_dimensions=size,
        window_strides=stride,
        padding=padding,
        window_dilation=dilation,
    )


def test_a_chain_is_one_row() -> None:
    def scoped(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
        with jax.named_scope("block"):
            z = conv(x, kernel)
        return max_pool(jax.nn.relu(z + bias))

    found = jaxcnn.sites(scoped, *args())
    (site,) = found
    assert (site.what, site.scope, site.left) == (WITH_BIAS, "block", None) and "(conv)" in site.line
    assert site.shapes == ("float64[2,6,6,2]", "float64[3,3,2,16]", "float64[1,1,1,16]", "float64[2,3,3,16]")
    assert site.runs is not None
    assert list(site.runs) == ["correlate", "input_gradient", "kernel_gradient", "max_pool"]
    assert "float64[2,6,6,2] * float64[3,3,2,16] + float64[1,1,1,16] -> float64[2,3,3,16]" in str(found)
    assert str(found).endswith(f"1 chain ({WITH_BIAS}) by hand-derived rules, none left to jax.lax")
    lowered = jax.jit(jax.grad(lambda *args: jaxcnn.accelerate(scoped)(*args).sum())).lower(*args())
    assert "jvp(block))/jaxcnn" in lowered.as_text(debug_info=True)
    (planned,) = jaxcnn.sites(jaxcnn.accelerate(scoped, plan="im2col"), *args())
    assert planned.runs is not None and planned.runs["correlate"] == "im2col"
    assert len(jaxcnn.sites(jaxcnn.accelerate(scoped, forward_mode=True), *args()).left) == 2


BIASES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "added by broadcasting": lambda z, b: z + b,
    "first": lambda z, b: b + z,
    "reshaped": lambda z, b: z + jnp.reshape(b, (1, 1, 1, -1)),
    "broadcast": lambda z, b: z + jnp.broadcast_to(b, z.shape),
    "broadcast by lax": lambda z, b: lax.add(z, lax.broadcast_in_dim(b, z.shape, (3,))),
    "none": lambda z, b: z,
}


@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("make", [normals, integers], ids=["away from ties", "at ties and kinks"])
def test_biases(name: str, make: Callable[..., jax.Array]) -> None:
    def f(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
        return max_pool(jax.nn.relu(BIASES[name](conv(x, kernel), bias)))

    assert whats(f, *args(make)) == [WITHOUT if name == "none" else WITH_BIAS]
    assert_accelerates(f, *args(make), replaced=1)


ORDERS: dict[str, tuple[str, str, str]] = {
    "NHWC": ("NHWC", "HWIO", "NHWC"),
    "NCHW": ("NCHW", "OIHW", "NCHW"),
    "mixed": ("CNHW", "IHWO", "HNWC"),
}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("make", [normals, integers], ids=["away from ties", "at ties and kinks"])
def test_orders_of_axes_and_windows(name: str, make: Callable[..., jax.Array]) -> None:
    sizes = {"N": 2, "C": 2, "H": 7, "W": 6}, {"I": 2, "O": 16, "H": 3, "W": 2}
    lhs, rhs, out = ORDERS[name]
    x, kernel = (
        make(*(size[axis] for axis in spec), seed=seed)
        for seed, (spec, size) in enumerate(zip((lhs, rhs), sizes, strict=True))
    )

    def of(letters: dict[str, int], otherwise: int) -> tuple[int, ...]:
        return tuple(letters.get(axis, otherwise) for axis in out)

    pool = pool_of(
        of({"H": 3, "W": 2}, 1),
        of({"H": 2}, 1),
        tuple((1, 0) if axis == "H" else (0, 0) for axis in out),
    )

    def f(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
        z = lax.conv_general_dilated(x, kernel, (1, 2), ((1, 0), (2, 1)), dimension_numbers=(lhs, rhs, out))
        return pool(jax.nn.relu(z + jnp.expand_dims(bias, [axis for axis, letter in enumerate(out) if letter != "C"])))

    assert whats(f, kernel, make(16), x) == [WITH_BIAS]
    assert_accelerates(f, kernel, make(16), x, replaced=1)


def test_values_and_gradients_at_kinks_by_hand() -> None:
    """A maximum, tied maxima, exact zeros, nothing above 0; relu's derivative is 0 at 0."""
    x = jnp.asarray([[2.0, 5, 7, 7, 0, 0, -1, -3]])[..., None]
    kernel, pool = jnp.ones((1, 1, 1)), pool_of((1, 2, 1), (1, 2, 1))

    def f(x: jax.Array) -> jax.Array:
        return pool(
            jax.nn.relu(lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=("NXC", "XIO", "NXC")))
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_chains, "FEWEST_CHANNELS", 1)
        assert whats(f, x) == [WITHOUT]
        y, vjp = jax.vjp(jaxcnn.accelerate(f), x)
        dy = jnp.asarray([1.0, 2, 3, 4]).reshape(y.shape)
        assert y.ravel().tolist() == [5, 7, 0, 0]
        assert vjp(dy)[0].ravel().tolist() == [0, 1, 2, 0, 0, 0, 0, 0]
    assert_alike(vjp(dy), jax.vjp(f, x)[1](dy))


def test_nan_is_as_in_sequence() -> None:
    kernel, bias, x = args()
    x = x.at[0, 1, 1, 0].set(jnp.nan)
    assert bool(jnp.isnan(jaxcnn.accelerate(block)(kernel, bias, x)).any())

    def gradients(f: Block) -> Any:
        return jax.value_and_grad(lambda *args: jnp.sum(f(*args)[1:]) + jnp.sum(f(*args)[0, 2]), (0, 1, 2))(
            kernel, bias, x
        )

    got, expected = gradients(jaxcnn.accelerate(block)), gradients(in_sequence(block))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(jaxcnn.accelerate(block)(kernel, bias, x), in_sequence(block)(kernel, bias, x))


@pytest.mark.parametrize("make", [normals, integers], ids=["away from ties", "at ties and kinks"])
def test_second_order(make: Callable[..., jax.Array]) -> None:
    def of_gradients(f: Block) -> Block:
        def inner(*args: jax.Array) -> jax.Array:
            gradients = jax.grad(lambda *args: jnp.sum(jnp.sin(f(*args))), (0, 1, 2))(*args)
            return jnp.asarray(sum(jnp.sum(jnp.cos(each)) for each in gradients))

        return jax.jit(jax.grad(inner, (0, 1, 2)))

    assert_alike(of_gradients(jaxcnn.accelerate(block))(*args(make)), of_gradients(block)(*args(make)), 1e-11)


WRAPS: dict[str, Callable[[Block], Block]] = {
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "scan": lambda f: lambda kernel, bias, x: lax.scan(lambda c, x: (c, f(kernel, bias, x)), 0, x[:, None])[1],
    "vmap": lambda f: lambda kernel, bias, x: jax.vmap(lambda x: f(kernel, bias, x[None])[0])(x),
    "cond": lambda f: lambda kernel, bias, x: lax.cond(kernel.sum() > -1e9, f, lambda *a: f(*a) + 1, kernel, bias, x),
}


@pytest.mark.parametrize("name", WRAPS)
def test_inside_others(name: str) -> None:
    f = WRAPS[name](block)
    count = 2 if name == "cond" else 1
    assert whats(f, *args()) == [WITH_BIAS] * count
    assert_accelerates(f, *args(), replaced=count)


def test_outside_of_vmap_and_relu_under_jit() -> None:
    def f(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
        return max_pool(jax.jit(jax.nn.relu)(conv(x, kernel) + bias))

    assert whats(f, *args()) == [WITH_BIAS]
    assert_accelerates(f, *args(), replaced=1)
    kernel, bias, x = args()
    mapped = jax.vmap(jaxcnn.accelerate(f), (None, None, 0))
    assert_alike(mapped(kernel, bias, x[:, None]), jax.vmap(f, (None, None, 0))(kernel, bias, x[:, None]))


def test_less_is_kept() -> None:
    """Beside the arguments a byte per pooled element, and not z."""

    def kept(f: Block) -> int:
        program = jax.make_jaxpr(lambda *args: jax.vjp(f, *args)[1])(*args())
        given = {id(each) for each in program.jaxpr.invars}
        return sum(v.aval.size * v.aval.dtype.itemsize for v in program.jaxpr.outvars if id(v) not in given)

    assert kept(jaxcnn.accelerate(block)) < kept(in_sequence(block)) / 4


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """ReLU's values with another derivative."""
    return jnp.maximum(x, 0)


relu.defjvps(lambda t, ans, x: jnp.where(x > 0, t, 0.1 * t))

NO_CHAINS: dict[str, Callable[[jax.Array, jax.Array, jax.Array], Any]] = {
    "z is read again": lambda z, b, x: (max_pool(jax.nn.relu(z + b)), z),
    "what is pooled is read again": lambda z, b, x: (lambda a: max_pool(a) + a.mean())(jax.nn.relu(z + b)),
    "the pool before ReLU": lambda z, b, x: jax.nn.relu(max_pool(z + b)),
    "no ReLU": lambda z, b, x: max_pool(z + b),
    "a maximum, whose derivative at 0 is 1/2": lambda z, b, x: max_pool(jnp.maximum(z + b, 0)),
    "a ReLU of another derivative": lambda z, b, x: max_pool(relu(z + b)),
    "another activation": lambda z, b, x: max_pool(jax.nn.relu6(z + b)),
    "no vector": lambda z, b, x: max_pool(jax.nn.relu(z + x.sum(-1, keepdims=True))),
    "a number": lambda z, b, x: max_pool(jax.nn.relu(z + 1.0)),
    "a number that is given": lambda z, b, x: max_pool(jax.nn.relu(z + b[0])),
    "along another axis": lambda z, b, x: max_pool(jax.nn.relu(z + b[:6, None])),
    "two biases": lambda z, b, x: max_pool(jax.nn.relu(z + b + b)),
    "bias after ReLU": lambda z, b, x: max_pool(jax.nn.relu(z) + b),
    "subtracted": lambda z, b, x: max_pool(jax.nn.relu(z - b)),
    "spatial axes exchanged": lambda z, b, x: max_pool(jnp.swapaxes(jax.nn.relu(z + b), 1, 2)),
    "a pool over channels": lambda z, b, x: pool_of((1, 2, 2, 2), (1, 2, 2, 1))(jax.nn.relu(z + b)),
    "a reshape": lambda z, b, x: pool_of((1, 2, 1), (1, 2, 1))(jax.nn.relu(z + b).reshape(2, 36, 16)),
    "a result of its own": lambda z, b, x: (lambda a: (max_pool(a), a))(jax.nn.relu(z + b)),
}


@pytest.mark.parametrize("name", NO_CHAINS)
def test_what_is_no_chain(name: str) -> None:
    def f(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> Any:
        return NO_CHAINS[name](conv(x, kernel), bias, x)

    assert whats(f, *args()) == ["convolution", "max pool"]
    assert_accelerates(f, *args(), replaced=2)


def test_what_is_left_to_single_sites() -> None:
    kernel, bias, x = args()
    narrow = partial(conv, preferred_element_type=jnp.float32)

    def wider(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
        return max_pool(jax.nn.relu(narrow(x, kernel) + bias))

    halves = (kernel.astype(jnp.bfloat16), bias.astype(jnp.float32), x.astype(jnp.bfloat16))
    assert whats(wider, *halves) == ["convolution", "max pool"]
    assert whats(block, kernel[..., :8], bias[:8], x) == ["convolution", "max pool"]  # too few channels

    def blind(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
        pool = pool_of((1, 2, 2, 1), (1, 2, 2, 1), ((0, 0), (2, 0), (0, 0), (0, 0)))
        return pool(jax.nn.relu(conv(x, kernel) + bias))

    found = jaxcnn.sites(blind, kernel, bias, x)
    assert [site.left is None for site in found] == [True, False]
    rule = jax.custom_vjp(block)
    rule.defvjp(lambda *args: (block(*args), args), lambda args, dy: tuple(map(jnp.ones_like, args)))
    assert whats(lambda *args: rule(*args), *args()) == ["convolution", "max pool"]


def test_models() -> None:
    """Of Flax, Haiku and Equinox, which moves axes for its pool and calls each image by itself."""
    linen, nnx = pytest.importorskip("flax.linen"), pytest.importorskip("flax.nnx")
    hk, eqx = pytest.importorskip("haiku"), pytest.importorskip("equinox")
    x, first = normals(4, 8, 8, 2), normals(4, 2, 8, 8)
    float64: dict[str, Any] = {"param_dtype": jnp.float64}

    of_linen = linen.Sequential(
        [linen.Conv(16, (3, 3), **float64), linen.relu, partial(linen.max_pool, window_shape=(2, 2), strides=(2, 2))]
    )
    assert_model(of_linen.apply, of_linen.init(jax.random.key(0), x), x)

    graph, state = nnx.split(nnx.Conv(2, 16, (3, 3), rngs=nnx.Rngs(0), **float64))
    assert_model(lambda s, x: nnx.max_pool(nnx.relu(nnx.merge(graph, s)(x)), (2, 2), (2, 2)), state, x)

    def of_haiku(x: jax.Array) -> jax.Array:
        return hk.max_pool(jax.nn.relu(hk.Conv2D(16, 3)(x)), (2, 2, 1), (2, 2, 1), "SAME")

    transformed = hk.without_apply_rng(hk.transform(of_haiku))
    assert_model(transformed.apply, transformed.init(jax.random.key(0), x), x)

    key = jax.random.key(0)
    conv = eqx.nn.Conv2d(2, 16, 3, padding=1, key=key, dtype=jnp.float64)
    of_equinox = eqx.nn.Sequential([conv, eqx.nn.Lambda(jax.nn.relu), eqx.nn.MaxPool2d(2, 2)])
    arrays, static = eqx.partition(of_equinox, eqx.is_array)
    assert_model(lambda arrays, x: eqx.combine(arrays, static)(x), arrays, first[0])
    assert_model(lambda arrays, x: jax.vmap(eqx.combine(arrays, static))(x), arrays, first)


def assert_model(f: Block, *args: Any) -> None:
    assert whats(f, *args) == [WITH_BIAS]
    by_hand = jaxcnn.accelerate(f)
    assert plain_equations(by_hand, *args) == []

    def gradients(f: Block) -> Any:
        return jax.jit(jax.value_and_grad(lambda *args: jnp.sum(jnp.sin(f(*args))), (0, 1)))(*args)

    assert_alike(jax.tree.leaves(gradients(by_hand)), jax.tree.leaves(gradients(f)), 1e-11)
