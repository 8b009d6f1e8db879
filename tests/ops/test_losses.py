"""Softmax, the two losses and the prediction."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, check, integers, normals, value_and_gradients

from jaxcnn import ops, reference

CLASSES = jnp.array([2, 0, 1])
DISTRIBUTIONS = jnp.array([[0.2, 0.3, 0.5, 0], [1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]])  # the last sums to two
THIRDS_AND_SIXTH = jnp.log(jnp.array([[2.0, 2.0, 1.0, 1.0]]))  # softmax (1/3, 1/3, 1/6, 1/6)


def test_softmax_by_hand() -> None:
    """p = (1/2, 1/2): dz_k = p_k (dp_k - sum dp p) = 1/2 (4 - 3), 1/2 (2 - 3)."""
    p, dz = value_and_gradients(ops.softmax, jnp.array([4.0, 2.0]), jnp.array([7.0, 7.0]))
    assert p.tolist() == [1 / 2, 1 / 2]
    assert dz.tolist() == [1 / 2 * (4 - 3), 1 / 2 * (2 - 3)]


def test_softmax_of_great_logits_is_shifted() -> None:
    assert ops.softmax(jnp.array([1e5, 1e5, -1e5])).tolist() == [0.5, 0.5, 0]
    assert ops.softmax(jnp.array([0.0, -jnp.inf])).tolist() == [1, 0]


def test_softmax_of_nothing_but_minus_infinity_is_nan() -> None:
    assert jnp.isnan(ops.softmax(jnp.array([-jnp.inf, -jnp.inf]))).all()


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_to_second_order(axis: int) -> None:
    assert_agree(
        partial(ops.softmax, axis=axis), partial(reference.softmax, axis=axis), normals((2, 4, 3)), exact=False
    )
    np.testing.assert_allclose(ops.softmax(normals((2, 4, 3)), axis=axis).sum(axis), 1, atol=1e-15)


def test_softmax_against_differences() -> None:
    check(ops.softmax, reference.softmax, normals((3, 4)))


def test_fused_loss_by_hand() -> None:
    """[V 17]: z = (c, c), p = (1/2, 1/2), label 1: L = log 2, dz = p - y, times the loss's cotangent 6."""
    z, label = jnp.array([[9.0, 9.0]]), jnp.array([1])
    loss, dz = value_and_gradients(lambda z: ops.softmax_cross_entropy(z, label), jnp.array([6.0]), z)
    assert loss.tolist() == [np.log(2)]
    assert dz.tolist() == [[6 * (1 / 2 - 0), 6 * (1 / 2 - 1)]]


def test_fused_loss_of_labels_that_sum_to_four_by_hand() -> None:
    """[V 16] before the sum of y is taken to be 1: dz = p sum(y) - y."""
    y = jnp.array([[1.0, 3.0]])
    _, dz, dy = value_and_gradients(ops.softmax_cross_entropy, jnp.ones(1), jnp.zeros((1, 2)), y)
    assert dz.tolist() == [[4 / 2 - 1, 4 / 2 - 3]]
    assert dy.tolist() == [[np.log(2), np.log(2)]]


def test_clipped_loss_by_hand() -> None:
    """[V 4, 8]: p = (1/4, 3/4), label 0: L = log 4, dp = (-1 / (1/4), 0)."""
    p, label = jnp.array([[0.25, 0.75]]), jnp.array([0])
    loss, dp = value_and_gradients(lambda p: ops.cross_entropy(p, label), jnp.array([1.0]), p)
    assert loss.tolist() == [np.log(4)]
    assert dp.tolist() == [[-4, 0]]


def test_clipped_loss_at_and_beyond_its_limits() -> None:
    """Clipped to [1/8, 7/8] and label 0: the loss is that of the limit, the gradient 0, the limit itself included."""
    labels = jnp.zeros(4, int)
    p = jnp.array([[1 / 16, 15 / 16], [1 / 8, 7 / 8], [1 / 4, 3 / 4], [15 / 16, 1 / 16]])
    for module in (ops, reference):
        clipped = partial(module.cross_entropy, labels=labels, epsilon=1 / 8)
        loss, dp = value_and_gradients(clipped, jnp.ones(4), p)
        np.testing.assert_allclose(loss, np.log([8, 8, 4, 8 / 7]), rtol=1e-15)
        assert dp.tolist() == [[0, 0], [0, 0], [-4, 0], [0, 0]]


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.float16])
def test_the_clip_is_computed_in_float32_or_wider(dtype: Any) -> None:
    """1 - 1e-7 rounds to 1 in the narrow floats, and 1e-7 to a multiple of 2^-24 in float16."""
    loss = ops.cross_entropy(jnp.array([[0.0, 1.0]], dtype), jnp.array([0]))
    np.testing.assert_allclose(loss, [-np.log(1e-7)], rtol=1e-6)
    assert loss.dtype == np.float32
    assert ops.cross_entropy(jnp.array([[0.0, 1.0]], dtype), jnp.array([1])) > 0


LOSSES = {"softmax_cross_entropy": normals((3, 4)), "cross_entropy": jax.nn.softmax(normals((3, 4)))}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_classes_to_second_order(name: str) -> None:
    ours, plain = getattr(ops, name), getattr(reference, name)
    check(lambda z: ours(z, CLASSES), lambda z: plain(z, CLASSES), LOSSES[name])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_distributions_to_second_order_in_both_arguments(name: str) -> None:
    check(getattr(ops, name), getattr(reference, name), LOSSES[name], DISTRIBUTIONS + 0.1)
    assert_agree(getattr(ops, name), getattr(reference, name), LOSSES[name], DISTRIBUTIONS + 0.1, exact=False)


@pytest.mark.parametrize("name", LOSSES)
def test_a_class_is_its_one_hot_distribution(name: str) -> None:
    loss, scores = getattr(ops, name), LOSSES[name]
    by_class = jax.jit(jax.value_and_grad(lambda z: loss(z, CLASSES).sum()))(scores)
    by_row = jax.jit(jax.value_and_grad(lambda z: loss(z, jnp.eye(4)[CLASSES]).sum()))(scores)
    assert_equal_trees(by_class, by_row, roundings=4)


def test_a_class_ruled_out_costs_nothing() -> None:
    """0 log 0 = 0, and its gradient is 0."""
    z, y = jnp.array([[0.0, 0.0, -jnp.inf]]), jnp.array([[0.5, 0.5, 0.0]])
    for labels in (y, jnp.array([1])):
        loss, dz = value_and_gradients(partial(ops.softmax_cross_entropy, labels=labels), jnp.ones(1), z)
        np.testing.assert_allclose(loss, [np.log(2)], rtol=1e-15)
        assert jnp.isfinite(dz).all() and dz[0, 2] == 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_class_out_of_range_that_jit_hides_gives_nan(name: str) -> None:
    loss = jax.jit(getattr(ops, name))(LOSSES[name], jnp.array([4, 0, -1]))
    assert jnp.isnan(loss).tolist() == [True, False, True]


def test_a_loss_an_example() -> None:
    z = normals((3, 4))
    together = ops.softmax_cross_entropy(z, CLASSES)
    alone = [ops.softmax_cross_entropy(z[n : n + 1], CLASSES[n : n + 1])[0] for n in range(3)]
    assert_equal_trees(together, jnp.stack(alone), roundings=2)


def test_python_and_numpy_labels_and_integer_dtypes_are_welcome() -> None:
    z = normals((3, 4), np.float32)
    expected = ops.softmax_cross_entropy(z, CLASSES)
    for dtype in (np.uint8, np.int32):
        assert_equal_trees(ops.softmax_cross_entropy(np.asarray(z), np.asarray(CLASSES, dtype)), expected)


def test_virdees_ten_vector_predicts_seven() -> None:
    """[V 2.3]"""
    p = jnp.array([[0.01, 0.03, 0.02, 0.10, 0.05, 0.05, 0.01, 0.70, 0.01, 0.02]])
    for module in (ops, reference):
        prediction = module.one_hot_prediction(p)
        assert prediction.tolist() == [[0, 0, 0, 0, 0, 0, 0, 1, 0, 0]]
        assert jnp.argmax(prediction) == 7


def test_prediction_of_ties_and_nans() -> None:
    p = jnp.array([[0.5, 0.5], [jnp.nan, 1.0]], np.float32)
    prediction = ops.one_hot_prediction(p)
    np.testing.assert_array_equal(prediction, [[1, 0], [np.nan, np.nan]])
    assert prediction.dtype == np.float32


def test_prediction_has_gradient_zero() -> None:
    assert jax.grad(lambda p: jnp.vdot(ops.one_hot_prediction(p), p + 1))(jnp.array([[0.25, 0.75]])).tolist() == [
        [0, 1]
    ]
    assert_agree(ops.one_hot_prediction, reference.one_hot_prediction, integers((4, 5)))
