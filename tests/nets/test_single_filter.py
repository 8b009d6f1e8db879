"""[V]'s network: its shapes by name, its forward by loops, its gradients by autodiff and by differences."""

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
from jaxcnn.nets import single_filter

INIT = jax.jit(single_filter.init)
LAYERS = jax.jit(single_filter.layers)


def test_shapes_of_virdee_2() -> None:
    seen = jax.eval_shape(LAYERS, INIT(jax.random.key(0)), _images(3))
    assert {name: value.shape for name, value in seen.items()} == {
        "x_pool": (3, 23, 23, 1),
        "x_full": (3, 11 * 11),
        "z": (3, 10),
    }


def test_parameters_are_float32_and_the_keys_own() -> None:
    params, again = (INIT(jax.random.key(7)) for _ in range(2))
    assert {name: value.shape for name, value in params.items()} == {"f": (6, 6, 1, 1), "w": (121, 10), "b": (10,)}
    assert {value.dtype for value in params.values()} == {np.dtype("float32")}
    for name, value in params.items():
        np.testing.assert_array_equal(value, again[name])
    other = INIT(jax.random.key(8))
    assert np.all(params["f"] != other["f"]) and np.all(params["w"] != other["w"])
    np.testing.assert_array_equal(params["b"], np.zeros(10))


def test_initial_spread_is_one_over_the_fan_in() -> None:
    params = jax.vmap(INIT)(jax.random.split(jax.random.key(0), 200))
    assert np.std(params["f"]) == pytest.approx(1 / 6, rel=0.05)
    assert np.std(params["w"]) == pytest.approx(1 / 11, rel=0.05)


def test_forward_is_that_of_loops() -> None:
    params = _wide(INIT(jax.random.key(0)))
    images = _images(2)
    seen = LAYERS(params, images)
    y_hats = jaxcnn.ops.softmax(seen["z"])
    for image, x_pool, x_full, z, y_hat in zip(
        np.asarray(images), seen["x_pool"], seen["x_full"], seen["z"], y_hats, strict=True
    ):
        expected = _forward_by_loops(params, image[:, :, 0])
        np.testing.assert_allclose(x_pool[:, :, 0], expected["x_pool"], rtol=0, atol=1e-13)
        np.testing.assert_allclose(x_full, expected["x_full"], rtol=0, atol=1e-13)
        np.testing.assert_allclose(z, expected["z"], rtol=0, atol=1e-13)
        np.testing.assert_allclose(y_hat, expected["y_hat"], rtol=0, atol=1e-13)


def test_apply_gives_the_last_layer_and_the_state_as_it_came() -> None:
    params, images = INIT(jax.random.key(0)), _images(2)
    z, state = jax.jit(single_filter.apply)(params, images, state={"a": 1})
    np.testing.assert_allclose(z, LAYERS(params, images)["z"], rtol=1e-6)
    assert state == {"a": 1}


def test_loss_and_gradients_equal_autodiffs() -> None:
    images, labels = _images(3), jnp.array([3, 1, 4])

    def loss(ops: Any, params: single_filter.Params) -> jax.Array:
        return ops.softmax_cross_entropy(single_filter.apply(params, images, ops=ops)[0], labels).sum()

    params = _wide(INIT(jax.random.key(0)))
    check_vjp(jax.jit(partial(loss, jaxcnn.ops)), (params,), reference=jax.jit(partial(loss, jaxcnn.reference)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((28, 28, 1), r"conv: x must be .* got x \(28, 28, 1\)"),
        ((1, 5, 5, 1), r"conv: the window spans 6"),
        ((1, 32, 32, 1), r"dense: kernel must be \(F, C\) with F = 169"),
        ((1, 28, 28, 3), r"conv: kernel must have C_in/groups = 3"),
    ],
)
def test_other_images_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(single_filter.apply, jax.eval_shape(INIT, jax.random.key(0)), jnp.zeros(shape))


def _images(count: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).random((count, 28, 28, 1)))


def _wide(params: single_filter.Params) -> single_filter.Params:
    return {name: value.astype(jnp.float64) for name, value in params.items()}


def _forward_by_loops(params: single_filter.Params, image: np.ndarray) -> dict[str, np.ndarray]:
    """[V 1, 2, 3], index by index."""
    f, w, b = (np.asarray(params[name]) for name in ("f", "w", "b"))
    x_pool = np.zeros((23, 23))
    for i, j in np.ndindex(23, 23):
        for u, v in np.ndindex(6, 6):
            x_pool[i, j] += f[u, v, 0, 0] * image[i + u, j + v]
    x_full = np.array(
        [max(x_pool[2 * i + u, 2 * j + v] for u in (0, 1) for v in (0, 1)) for i, j in np.ndindex(11, 11)]
    )
    z = np.array([sum(w[i, k] * x_full[i] for i in range(121)) + b[k] for k in range(10)])
    return {"x_pool": x_pool, "x_full": x_full, "z": z, "y_hat": np.exp(z) / np.exp(z).sum()}
