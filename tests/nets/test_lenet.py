"""The small LeNet: its shapes and sizes, its gradients by autodiff and by differences."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn.ops
import jaxcnn.reference
from jaxcnn.check import check_vjp
from jaxcnn.nets import lenet

SMALL: dict[str, Any] = {"image_shape": (9, 8, 2), "filters": (3, 4), "kernel": 5, "hidden": 6, "classes": 3}
INIT = jax.jit(partial(lenet.init, **SMALL))


def test_shapes_of_every_layer() -> None:
    params = jax.eval_shape(lenet.init, jax.random.key(0))
    seen = jax.eval_shape(lenet.layers, params, jnp.ones((2, 28, 28, 1)))
    assert {name: value.shape for name, value in seen.items()} == {
        "pool1": (2, 14, 14, 32),
        "pool2": (2, 7, 7, 64),
        "dense1": (2, 256),
        "dense2": (2, 10),
    }


def test_sizes_are_adjustable() -> None:
    params = jax.eval_shape(INIT, jax.random.key(0))
    shapes = {name: (layer["kernel"].shape, layer["bias"].shape) for name, layer in params.items()}
    assert shapes == {
        "conv1": ((5, 5, 2, 3), (3,)),
        "conv2": ((5, 5, 3, 4), (4,)),
        "dense1": ((2 * 2 * 4, 6), (6,)),
        "dense2": ((6, 3), (3,)),
    }
    assert jax.eval_shape(lenet.apply, params, jnp.ones((2, 9, 8, 2)))[0].shape == (2, 3)


def test_parameters_are_float32_and_the_keys_own() -> None:
    params, again, other = (INIT(jax.random.key(seed)) for seed in (7, 7, 8))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    jax.tree.map(np.testing.assert_array_equal, params, again)
    for name, layer in params.items():
        assert np.all(layer["kernel"] != other[name]["kernel"])
        np.testing.assert_array_equal(layer["bias"], np.zeros_like(layer["bias"]))


def test_initial_variance_is_two_over_the_fan_in() -> None:
    params = jax.jit(lenet.init)(jax.random.key(0))
    for name, fan_in in {"conv2": 9 * 32, "dense1": 3136, "dense2": 256}.items():
        assert np.var(params[name]["kernel"]) == pytest.approx(2 / fan_in, rel=0.1)


def test_apply_gives_the_last_layer_and_the_state_as_it_came() -> None:
    params, images = INIT(jax.random.key(0)), jax.random.normal(jax.random.key(1), (2, 9, 8, 2))
    z, state = jax.jit(lenet.apply)(params, images, state={"a": 1})
    np.testing.assert_allclose(z, jax.jit(lenet.layers)(params, images)["dense2"], rtol=1e-6)
    assert state == {"a": 1}


def test_relu_leaves_nothing_negative_but_in_the_logits() -> None:
    params, images = INIT(jax.random.key(0)), jax.random.normal(jax.random.key(1), (2, 9, 8, 2))
    seen = jax.jit(lenet.layers)(params, images)
    assert all(np.min(seen[name]) == 0 for name in ("pool1", "pool2", "dense1"))
    assert np.min(seen["dense2"]) < 0


def test_loss_and_gradients_equal_autodiffs() -> None:
    images, labels = jax.random.normal(jax.random.key(1), (3, 9, 8, 2), jnp.float64), jnp.array([2, 0, 1])

    def loss(ops: Any, params: lenet.Params) -> jax.Array:
        return ops.softmax_cross_entropy(lenet.apply(params, images, ops=ops)[0], labels).sum()

    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) + 0.01, INIT(jax.random.key(0)))
    check_vjp(jax.jit(partial(loss, jaxcnn.ops)), (params,), reference=jax.jit(partial(loss, jaxcnn.reference)))


def test_images_too_small_to_be_pooled_twice_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lenet: image_shape must be at least 4x4, .* got \(28, 3, 1\)"):
        lenet.init(jax.random.key(0), image_shape=(28, 3, 1))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((9, 8, 2), r"conv_relu_max_pool: x must be .* got x \(9, 8, 2\)"),
        ((1, 12, 8, 2), r"dense: kernel must be \(F, C\) with F = 24"),
        ((1, 9, 8, 1), r"conv_relu_max_pool: kernel must have C_in/groups = 1"),
    ],
)
def test_other_images_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lenet.apply, jax.eval_shape(INIT, jax.random.key(0)), jnp.zeros(shape))
