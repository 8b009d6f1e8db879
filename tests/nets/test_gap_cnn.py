"""[R 1.9]'s network: blocks with every option, any number of spatial axes, and its gradients."""

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
from jaxcnn.nets import gap_cnn
from jaxcnn.nets.gap_cnn import Block

Blocks = tuple[Block, ...]

EVERY_OPTION = (
    Block(3, padding=((1, 0), (0, 2)), stride=(2, 1), pool=2, norm=True),
    Block(4, kernel=(2, 3), dilation=2),
)


def test_shapes_of_every_block() -> None:
    params = jax.eval_shape(gap_cnn.init, jax.random.key(0))
    seen = jax.eval_shape(gap_cnn.layers, params, jnp.ones((2, 28, 28, 1)))
    assert {name: value.shape for name, value in seen.items()} == {
        "block1": (2, 14, 14, 24),
        "block2": (2, 7, 7, 48),
        "block3": (2, 7, 7, 96),
        "g": (2, 96),
        "r": (2, 10),
    }


@pytest.mark.parametrize(
    ("block", "out"),
    [
        (Block(4), (12, 10)),
        (Block(4, padding="VALID"), (10, 8)),
        (Block(4, padding=2), (14, 12)),
        (Block(4, padding=((0, 1), (2, 0))), (11, 10)),
        (Block(4, kernel=(5, 2), padding=0), (8, 9)),
        (Block(4, stride=2), (6, 5)),
        (Block(4, padding=0, stride=(3, 1)), (4, 8)),
        (Block(4, padding=0, dilation=(1, 3)), (10, 4)),
        (Block(4, pool=2), (6, 5)),
        (Block(4, pool=(3, 1)), (4, 10)),
        (Block(4, norm=True), (12, 10)),
    ],
)
def test_a_block_has_its_own_geometry(block: Block, out: tuple[int, int]) -> None:
    params = jax.eval_shape(partial(gap_cnn.init, blocks=(block,), channels=2), jax.random.key(0))
    seen = jax.eval_shape(partial(gap_cnn.layers, blocks=(block,)), params, jnp.ones((1, 12, 10, 2)))
    assert seen["block1"].shape == (1, *out, 4)
    assert seen["r"].shape == (1, 10)


@pytest.mark.long
@pytest.mark.parametrize("spatial", [(16,), (6, 5, 4)])
def test_other_numbers_of_spatial_axes(spatial: tuple[int, ...]) -> None:
    axes = len(spatial)
    blocks = (Block(3, kernel=(3,) * axes, pool=2), Block(5, kernel=(2,) * axes, padding=1, norm=True))
    params = jax.jit(partial(gap_cnn.init, blocks=blocks, channels=2, classes=4))(jax.random.key(0))
    _check(blocks, params, jax.random.normal(jax.random.key(1), (2, *spatial, 2), jnp.float64))


def test_a_normalized_block_has_mean_0_and_variance_1_over_its_channels() -> None:
    blocks = (Block(32, norm=True),)
    params = jax.jit(partial(gap_cnn.init, blocks=blocks))(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 6, 6, 1), jnp.float64)
    block = np.asarray(jax.jit(partial(gap_cnn.layers, blocks=blocks))(params, images)["block1"])
    np.testing.assert_allclose(block.mean(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(block.var(axis=-1), 1, rtol=1e-3)


def test_the_head_is_a_mean_over_places_and_a_matrix() -> None:
    params = jax.jit(gap_cnn.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 28, 28, 1))
    seen = jax.jit(gap_cnn.layers)(params, images)
    g = np.asarray(seen["block3"], np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(seen["g"], g, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen["r"], g @ np.asarray(params["head"]["kernel"], np.float64), rtol=1e-4, atol=1e-5)


def test_apply_gives_the_last_layer_and_the_state_as_it_came() -> None:
    params = jax.jit(partial(gap_cnn.init, blocks=EVERY_OPTION))(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 11, 9, 1))
    r, state = jax.jit(partial(gap_cnn.apply, blocks=EVERY_OPTION))(params, images, state={"a": 1})
    seen = jax.jit(partial(gap_cnn.layers, blocks=EVERY_OPTION))(params, images)
    np.testing.assert_allclose(r, seen["r"], rtol=1e-6)
    assert state == {"a": 1}


def test_parameters_are_float32_and_the_keys_own() -> None:
    init = jax.jit(partial(gap_cnn.init, blocks=EVERY_OPTION))
    params, again, other = (init(jax.random.key(seed)) for seed in (7, 7, 8))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    jax.tree.map(np.testing.assert_array_equal, params, again)
    for name, layer in params.items():
        assert np.all(layer["kernel"] != other[name]["kernel"])
        np.testing.assert_array_equal(layer["bias"], np.zeros_like(layer["bias"]))
    np.testing.assert_array_equal(params["block1"]["scale"], np.ones(3))
    np.testing.assert_array_equal(params["block1"]["shift"], np.zeros(3))
    assert sorted(params["block2"]) == ["bias", "kernel"]


def test_initial_variance_is_two_over_the_fan_in_and_one_in_the_head() -> None:
    params = jax.jit(gap_cnn.init)(jax.random.key(0))
    assert np.var(params["block3"]["kernel"]) == pytest.approx(2 / (9 * 48), rel=0.1)
    assert np.var(params["head"]["kernel"]) == pytest.approx(1 / 96, rel=0.1)


def test_loss_and_gradients_equal_autodiffs() -> None:
    params = jax.jit(partial(gap_cnn.init, blocks=EVERY_OPTION, channels=2, classes=4))(jax.random.key(0))
    _check(EVERY_OPTION, params, jax.random.normal(jax.random.key(1), (2, 11, 9, 2), jnp.float64))


def test_no_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="gap_cnn: blocks must hold at least one Block, got none"):
        gap_cnn.init(jax.random.key(0), blocks=())


def test_other_blocks_than_those_of_init_are_refused() -> None:
    params = jax.eval_shape(partial(gap_cnn.init, blocks=EVERY_OPTION), jax.random.key(0))
    with pytest.raises(ValueError, match="gap_cnn: params hold 2 blocks, 3 were given; give the blocks that init had"):
        jax.eval_shape(gap_cnn.apply, params, jnp.ones((1, 28, 28, 1)))


def test_images_without_a_batch_axis_are_refused() -> None:
    with pytest.raises(ValueError, match=r"conv_relu_max_pool: x must be .* got x \(28, 28, 1\)"):
        params = jax.eval_shape(gap_cnn.init, jax.random.key(0))
        jax.eval_shape(gap_cnn.apply, params, jnp.ones((28, 28, 1)))


def _check(blocks: Blocks, params: gap_cnn.Params, images: jax.Array) -> None:
    labels = jnp.array([3, 1])

    def loss(ops: Any, params: gap_cnn.Params) -> jax.Array:
        return ops.softmax_cross_entropy(gap_cnn.apply(params, images, blocks=blocks, ops=ops)[0], labels).sum()

    check_vjp(
        jax.jit(partial(loss, jaxcnn.ops)),
        (jax.tree.map(lambda leaf: leaf.astype(jnp.float64) + 0.01, params),),
        reference=jax.jit(partial(loss, jaxcnn.reference)),
    )
