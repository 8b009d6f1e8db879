"""Models of Flax (linen, nnx), Equinox, Haiku and Keras, as their users write and train them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import assert_alike, assert_same_structure, plain_equations

import jaxcnn

TOLERANCE = 1e-9
pytestmark = [
    pytest.mark.long,  # each library has a model in test_chains too, which is not long
    pytest.mark.filterwarnings("ignore:scatter inputs"),  # nnx's statistics are in float32
]


@pytest.fixture
def images() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 2)))


def test_linen(images: jax.Array) -> None:
    linen: Any = pytest.importorskip("flax.linen")

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any, *, train: bool) -> Any:
            x = linen.Conv(4, (3, 3), param_dtype=jnp.float64)(x)
            x = linen.BatchNorm(use_running_average=not train, param_dtype=jnp.float64)(x)
            x = linen.max_pool(linen.relu(x), (2, 2), (2, 2))
            x = linen.remat(linen.Conv)(4, (3, 3), feature_group_count=4, param_dtype=jnp.float64)(x)
            x = linen.avg_pool(x, (2, 2), (2, 2), padding="SAME", count_include_pad=False)
            x = linen.Dropout(0.5, deterministic=not train)(x)
            return linen.Dense(3, param_dtype=jnp.float64)(x.reshape(x.shape[0], -1))

    model = Net()
    variables = model.init(jax.random.key(0), images, train=False)

    def loss(params: Any, state: Any, x: Any, key: Any) -> Any:
        y, updated = model.apply(
            {"params": params, **state}, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return jnp.sum(y**2), updated

    args = (variables["params"], {"batch_stats": variables["batch_stats"]}, images, jax.random.key(1))
    found = jaxcnn.sites(loss, *args)
    assert [site.what for site in found.replaced] == ["convolution", "max pool", "convolution", "sum pool", "sum pool"]
    assert not found.left and found[0].scope == "Net/Conv_0"
    assert "test_models.py" in found[0].line and found[2].inside == ("checkpoint",)
    for wrap in (lambda f: f, jax.jit):
        by_hand = wrap(jax.value_and_grad(jaxcnn.accelerate(loss), has_aux=True))(*args)
        assert_alike(by_hand, jax.value_and_grad(loss, has_aux=True)(*args), TOLERANCE)
    eager = jaxcnn.accelerate(model.apply)(variables, images, train=False)
    assert_alike(eager, model.apply(variables, images, train=False), TOLERANCE)


@pytest.fixture
def nnx_net() -> Callable[[], Any]:
    nnx: Any = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs, param_dtype=jnp.float64)
            self.norm = nnx.BatchNorm(4, rngs=rngs, param_dtype=jnp.float64)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.dense = nnx.Linear(64, 3, rngs=rngs, param_dtype=jnp.float64)

        def __call__(self, x: Any) -> Any:
            x = nnx.max_pool(nnx.relu(self.norm(self.conv(x))), (2, 2), (2, 2))
            return self.dense(self.dropout(x).reshape(x.shape[0], -1))

    return lambda: Net(nnx.Rngs(0))


def nnx_loss(model: Any, x: Any) -> Any:
    return jnp.sum(model(x) ** 2)


def states(model: Any) -> Any:
    import flax.nnx as nnx

    return jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf,
        nnx.to_pure_dict(nnx.state(model)),
    )


@pytest.mark.parametrize("how", ["eager", "jit", "jax.jit", "grad", "jit of grad", "grad of jit", "step"])
def test_nnx(how: str, images: jax.Array, nnx_net: Callable[[], Any]) -> None:
    import flax.nnx as nnx

    def step(loss: Callable[..., Any]) -> Callable[..., Any]:
        @nnx.jit
        def step(model: Any, x: Any) -> Any:
            value, grads = nnx.value_and_grad(loss)(model, x)
            params = nnx.state(model, nnx.Param)
            nnx.update(model, jax.tree.map(lambda p, g: p - 0.01 * g, params, grads))
            return value

        return step

    wraps: dict[str, Callable[..., Any]] = {
        "eager": lambda loss: loss,
        "jit": nnx.jit,
        "jax.jit": lambda loss: loss,
        "grad": nnx.value_and_grad,
        "jit of grad": lambda loss: nnx.jit(nnx.value_and_grad(loss)),
        "grad of jit": lambda loss: nnx.value_and_grad(nnx.jit(loss)),
        "step": step,
    }
    by_hand, plain = nnx_net(), nnx_net()
    assert len(jaxcnn.sites(nnx_loss, by_hand, images).replaced) == 2
    for _ in range(3):
        got = wraps[how](jaxcnn.accelerate(nnx_loss))(by_hand, images)
        expected = wraps[how](nnx_loss)(plain, images)
        assert_alike(jax.tree.leaves(got), jax.tree.leaves(expected), TOLERANCE)
    assert_alike(states(by_hand), states(plain), TOLERANCE)


def test_nnx_models_that_are_functions_themselves(images: jax.Array, nnx_net: Callable[[], Any]) -> None:
    by_hand, plain = nnx_net(), nnx_net()
    assert_alike(jaxcnn.accelerate(by_hand)(images), plain(images), TOLERANCE)
    assert_alike(jaxcnn.accelerate(by_hand.__call__)(images), plain(images), TOLERANCE)
    assert_alike(states(by_hand), states(plain), TOLERANCE)


def test_nnx_models_are_not_kept(images: jax.Array, nnx_net: Callable[[], Any]) -> None:
    import flax.nnx as nnx

    model = nnx_net()
    seen = [weakref.ref(model), weakref.ref(model.conv.kernel[...])]
    nnx.value_and_grad(jaxcnn.accelerate(nnx_loss))(model, images)
    jaxcnn.accelerate(model)(images)
    del model
    gc.collect()
    assert [each() for each in seen] == [None] * 2


def test_nnx_whole_steps(images: jax.Array, nnx_net: Callable[[], Any]) -> None:
    import flax.nnx as nnx
    import optax

    def step(model: Any, optimizer: Any, x: Any) -> Any:
        value, grads = nnx.value_and_grad(nnx_loss)(model, x)
        optimizer.update(model, grads)
        return value

    by_hand, plain = nnx_net(), nnx_net()
    values = []
    for model, f in ((by_hand, jaxcnn.accelerate(step)), (plain, step)):
        optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
        values.append([f(model, optimizer, images) for _ in range(2)])
    assert_alike(values[0], values[1], TOLERANCE)
    assert_alike(states(by_hand), states(plain), 1e-6)


def test_nnx_variables_that_are_new_afterwards(images: jax.Array, nnx_net: Callable[[], Any]) -> None:
    import flax.nnx as nnx

    def f(model: Any, x: Any) -> Any:
        y = model.conv(x)
        model.seen = nnx.Intermediate(y.mean())
        return y

    by_hand, plain = nnx_net(), nnx_net()
    assert_alike(jaxcnn.accelerate(f)(by_hand, images), f(plain, images), TOLERANCE)
    assert_alike(states(by_hand), states(plain), TOLERANCE)


def test_equinox() -> None:
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 3)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(2, 4, 3, padding=1, key=keys[0], dtype=jnp.float64),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.MaxPool2d(2, 2),
            eqx.nn.Conv2d(4, 4, 3, key=keys[1], dtype=jnp.float64),
            eqx.nn.AvgPool2d(2, 1),
        ]
    )
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 8, 8)))

    def loss(model: Any, x: Any) -> Any:
        return jnp.sum(jax.vmap(model)(x) ** 2)

    assert len(jaxcnn.sites(loss, model, x).replaced) == 4
    expected = eqx.filter_value_and_grad(loss)(model, x)
    by_hand = jaxcnn.accelerate(loss)
    for f in (
        eqx.filter_value_and_grad(by_hand),
        eqx.filter_jit(eqx.filter_value_and_grad(by_hand)),
        eqx.filter_value_and_grad(eqx.filter_jit(by_hand)),
    ):
        assert_alike(jax.tree.leaves(f(model, x)), jax.tree.leaves(expected), TOLERANCE)
    whole = eqx.filter_jit(jaxcnn.accelerate(eqx.filter_value_and_grad(loss)))
    assert_alike(jax.tree.leaves(whole(model, x)), jax.tree.leaves(expected), TOLERANCE)
    assert_alike(jax.vmap(jaxcnn.accelerate(model))(x), jax.vmap(model)(x), TOLERANCE)
    assert_alike(eqx.filter_vmap(jaxcnn.accelerate(model))(x), jax.vmap(model)(x), TOLERANCE)
    assert_alike(jaxcnn.accelerate(eqx.filter_vmap(model))(x), jax.vmap(model)(x), TOLERANCE)
    seen = weakref.ref(model.layers[0].weight)
    unchanged = jaxcnn.accelerate(lambda model, x: (model, model(x)))(model, x[0])[0]
    assert_same_structure(unchanged, model)
    del model, unchanged, f, whole, expected
    gc.collect()
    assert seen() is None


def test_haiku(images: jax.Array) -> None:
    hk = pytest.importorskip("haiku")

    @hk.transform_with_state
    def net(x: Any) -> Any:
        x = hk.Conv2D(4, 3)(x)
        x = hk.BatchNorm(True, True, 0.9)(x, is_training=True)
        return hk.avg_pool(hk.max_pool(jax.nn.relu(x), (2, 2, 1), (2, 2, 1), "SAME"), (2, 2, 1), (2, 2, 1), "SAME")

    params, state = net.init(jax.random.key(0), images)
    f = net.apply
    got = jaxcnn.accelerate(f)(params, state, None, images)
    assert_alike(got, f(params, state, None, images), 1e-5)
    assert plain_equations(jaxcnn.accelerate(f), params, state, None, images) == []


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    yield pytest.importorskip("keras")


def test_keras(keras: Any, images: jax.Array) -> None:
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 2)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(),
            keras.layers.DepthwiseConv2D(3),
            keras.layers.AveragePooling2D(2),
        ]
    )
    trainable, rest = [
        [each.value for each in part] for part in (model.trainable_variables, model.non_trainable_variables)
    ]

    def loss(trainable: Any, rest: Any, x: Any) -> Any:
        y, rest = model.stateless_call(trainable, rest, x, training=True)
        return jnp.sum(y**2), rest

    x = images.astype(jnp.float32)
    got = jax.jit(jax.value_and_grad(jaxcnn.accelerate(loss), has_aux=True))(trainable, rest, x)
    assert_alike(got, jax.value_and_grad(loss, has_aux=True)(trainable, rest, x), 1e-4)
    assert not jaxcnn.sites(loss, trainable, rest, x).left
