"""Softmax, the two losses and the prediction."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, assert_equal_trees, check, integers, mostly_long, normals, value_and_gradients

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


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float32])
def test_softmax_differentiates_with_probabilities_near_one(dtype: Any) -> None:
    """dz = (p0 p1, - p0 p1), where p0 rounds to 1 in the dtype; and 0 along the same cotangent everywhere."""
    _, dz = value_and_gradients(ops.softmax, jnp.array([1.0, 0.0], dtype), jnp.array([6.0, 0.0], dtype))
    right = np.exp(-6.0) / (1 + np.exp(-6.0)) ** 2
    np.testing.assert_allclose(np.asarray(dz, np.float64), [right, -right], rtol=4 * float(jnp.finfo(dtype).eps))
    _, dz = value_and_gradients(ops.softmax, jnp.array([1.0, 0.0], dtype), jnp.array([15.0, 0.0], dtype))
    right = np.exp(-15.0) / (1 + np.exp(-15.0)) ** 2
    atol = float(jnp.finfo(dtype).smallest_subnormal)
    np.testing.assert_allclose(np.asarray(dz, np.float64), [right, -right], rtol=4e-3, atol=atol)
    _, dz = value_and_gradients(ops.softmax, jnp.full(4, 1000.0, dtype), jnp.array([0.0, 1.0, 2.3, -0.7], dtype))
    assert dz.tolist() == [0] * 4


def test_softmax_of_cotangents_near_the_dtypes_greatest() -> None:
    z, dp = jnp.array([0.0, 1.0, 2.0], np.float32), jnp.array([3e38, -3e38, 1.0], np.float32)
    p = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    expected = p * (np.array([3e38, -3e38, 1.0]) - p @ np.array([3e38, -3e38, 1.0]))
    np.testing.assert_allclose(jax.vjp(ops.softmax, z)[1](dp)[0], expected, rtol=1e-5)


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


INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


class TestLabelsOfAnyDtype:
    @pytest.mark.parametrize("dtype", mostly_long(INTEGERS, (np.int8, np.uint8, np.int32)))
    @pytest.mark.parametrize("classes", [10, 128, 129, 255, 256, 257, 300, 70_000])
    def test_any_number_of_classes(self, dtype: Any, classes: int) -> None:
        """The first class, the last one that the dtype holds, and 7 of 256 in uint8, once NaN."""
        label = jnp.asarray(np.array([0, 7, min(classes - 1, np.iinfo(dtype).max)], dtype))
        z = jnp.zeros((3, classes), jnp.float32)
        for module in (ops, reference):
            for loss in (module.softmax_cross_entropy, jax.jit(module.softmax_cross_entropy)):
                np.testing.assert_allclose(loss(z, label), np.log(classes), rtol=1e-6)
            p = jnp.full((3, classes), 1 / classes, jnp.float32)
            np.testing.assert_allclose(jax.jit(module.cross_entropy)(p, label), np.log(classes), rtol=1e-6)
        dz = jax.jit(jax.grad(lambda z: ops.softmax_cross_entropy(z, label).sum()))(z)
        assert np.argmin(dz, axis=1).tolist() == label.tolist()

    @pytest.mark.parametrize("dtype", ["int2", "uint2", "int4", "uint4"])
    def test_of_two_and_four_bits(self, dtype: str) -> None:
        labels = jnp.array([1, 0]).astype(dtype)
        assert_equal_trees(ops.softmax_cross_entropy(jnp.zeros((2, 3)), labels), jnp.full(2, np.log(3)), roundings=8)
        assert_equal_trees(ops.cross_entropy(jnp.full((2, 4), 0.25), labels), jnp.full(2, np.log(4)), roundings=8)

    @pytest.mark.parametrize("label", [-1, 3, 2**32, 2**33 + 1])
    def test_what_is_no_class_is_nan_under_jit(self, label: int) -> None:
        for loss in (ops.softmax_cross_entropy, ops.cross_entropy):
            assert jnp.isnan(jax.jit(loss)(jnp.full((1, 3), 1 / 3), jnp.array([label], np.int64)))[0]


class TestRowsThatNobodyUses:
    @pytest.mark.parametrize("loss", [ops.softmax_cross_entropy, ops.cross_entropy])
    @pytest.mark.parametrize("label", [-1, 99])
    def test_gradient_0_whatever_the_label(self, loss: Any, label: int) -> None:
        p, labels = jax.nn.softmax(normals((2, 3))), jnp.array([1, label])

        def used(p: jax.Array, labels: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(labels == 1, loss(p, labels), 0))

        first = jax.jit(jax.grad(used))(p, labels)
        assert jnp.all(first[1] == 0) and jnp.all(first[0] == jax.grad(used)(p[:1], labels[:1])[0])
        second = jax.jit(jax.grad(lambda p, labels: jnp.sum(jnp.square(jax.grad(used)(p, labels)))))(p, labels)
        assert jnp.all(jnp.isfinite(second)) and jnp.all(second[1] == 0)

    def test_a_mask(self) -> None:
        z, where = normals((2, 2, 3)).at[0, 1].set(jnp.nan), np.array([[True, False], [False, True]])
        labels = jnp.array([[1, -1], [255, 2]])
        for module in (ops, reference):
            loss, pull = jax.vjp(lambda z, m=module: m.softmax_cross_entropy(z, labels, where=where), z)
            alone = ops.softmax_cross_entropy(z[where], labels[where])
            assert_equal_trees(loss, jnp.zeros((2, 2)).at[where].set(alone), roundings=8)
            (dz,) = pull(jnp.ones((2, 2)))
            assert jnp.all(dz[~where] == 0) and jnp.all(jnp.abs(jnp.sum(dz, axis=-1)) < 1e-12)

    def test_a_label_out_of_range_that_is_used_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(ValueError, match=r"got 9 at index \(1, 0\); .* where="):
            ops.softmax_cross_entropy(jnp.zeros((2, 1, 3)), np.array([[0], [9]]))

    def test_what_is_not_finite_in_a_row_that_nobody_uses(self) -> None:
        """Its logits, its probabilities' logarithms, its label: of each the gradient is 0."""
        for z in (jnp.full((2, 3), -jnp.inf), jnp.full((2, 3), jnp.nan)):
            z = z.at[1].set(jnp.arange(3.0))
            dz = jax.grad(lambda z: ops.softmax_cross_entropy(z, jnp.array([1, 2]))[1])(z)
            assert jnp.all(dz[0] == 0) and jnp.all(jnp.isfinite(dz))
        p = jnp.array([[0.0, 0.5, 0.5], [0.25, 0.5, 0.25]])
        dy = jax.grad(lambda y: ops.cross_entropy(p, y, epsilon=0.0)[1])(p)
        assert jnp.all(dy[0] == 0) and jnp.all(jnp.isfinite(dy))

    @pytest.mark.long
    @pytest.mark.parametrize("logit", [jnp.nan, -jnp.inf, jnp.inf])
    def test_second_derivatives_of_it(self, logit: float) -> None:
        z, y = normals((2, 3)).at[0].set(logit), jax.nn.softmax(normals((2, 3), seed=1))
        for labels in (jnp.array([0, 2]), y):

            def used(z: jax.Array, labels: jax.Array = labels) -> jax.Array:
                return ops.softmax_cross_entropy(z, labels)[1]

            second = jax.jit(jax.jacrev(jax.grad(used)))(z)
            plain = jax.hessian(partial(reference.softmax_cross_entropy, labels=labels[1]))(z[1])
            assert_equal_trees(second[1, :, 1], plain, roundings=8)
            assert jnp.all(second.at[1, :, 1].set(0) == 0)
        mixed = jax.jacrev(jax.grad(lambda z, y: ops.softmax_cross_entropy(z, y)[1]), 1)(z, y)
        assert jnp.all(mixed[0] == 0) and jnp.all(mixed[:, :, 0] == 0) and jnp.all(jnp.isfinite(mixed))

    def test_weights_of_classes(self) -> None:
        """dw of masked rows, and of a class that a logit of -inf rules out, is 0."""
        z, labels, w = jnp.array([[1.0, 2.0, 3.0], [0.0, 1.0, 5.0]]), jnp.array([-1, 2]), jnp.array([1.0, 2.0, 3.0])
        alone = -jax.nn.log_softmax(z[1])[2]

        def behind_where(w: jax.Array, labels: jax.Array) -> jax.Array:
            return jnp.where(labels >= 0, ops.softmax_cross_entropy(z, labels, weights=w), 0).sum()

        masked = jax.grad(lambda w: ops.softmax_cross_entropy(z, labels, where=labels >= 0, weights=w).sum())(w)
        for dw in (masked, jax.jit(jax.grad(behind_where))(w, labels)):
            assert_equal_trees(dw, jnp.zeros(3).at[2].set(alone), roundings=8)
        ruled_out = z.at[0, 0].set(-jnp.inf)
        dw = jax.grad(lambda w: ops.softmax_cross_entropy(ruled_out, jnp.array([1, 2]), weights=w).sum())(w)
        assert dw[0] == 0 and jnp.all(jnp.isfinite(dw))


@pytest.mark.parametrize("dtype", [jnp.int2, jnp.uint2, jnp.int4, jnp.uint4, np.int8, np.uint8])
@pytest.mark.parametrize("classes", [128, 300])
def test_more_classes_than_the_dtype_of_the_labels_can_count(dtype: Any, classes: int) -> None:
    loss = ops.softmax_cross_entropy(jnp.zeros((2, classes)), jnp.array([0, 1], dtype))
    np.testing.assert_allclose(loss, np.log(classes), rtol=1e-6)


def test_a_class_without_weight_that_is_ruled_out() -> None:
    """0 log 0 = 0, whatever the label is there."""
    z, y, w = jnp.array([[0.0, -jnp.inf]]), jnp.array([[0.5, 0.5]]), jnp.array([1.0, 0.0])
    assert jnp.all(jax.grad(lambda y: jnp.sum(ops.softmax_cross_entropy(z, y, weights=w)))(y) == 0)


def test_no_example_has_an_empty_list_of_labels() -> None:
    for loss in (ops.softmax_cross_entropy, ops.cross_entropy):
        assert loss(jnp.zeros((0, 3)), np.array([])).shape == (0,)


class TestAnyRank:
    def test_one_example_and_a_label_per_pixel(self) -> None:
        z, labels = normals((2, 3, 4, 5)), np.random.default_rng(0).integers(0, 5, (2, 3, 4))
        rows = ops.softmax_cross_entropy(z.reshape(24, 5), labels.ravel())
        assert_equal_trees(ops.softmax_cross_entropy(z, labels), rows.reshape(2, 3, 4))
        assert_equal_trees(ops.softmax_cross_entropy(z[0, 0, 0], labels[0, 0, 0]), rows[0])
        p = jax.nn.softmax(z)
        of_rows = ops.cross_entropy(p.reshape(24, 5), labels.ravel()).reshape(2, 3, 4)
        assert_equal_trees(ops.cross_entropy(p, labels), of_rows)

    @pytest.mark.parametrize("name", ["softmax_cross_entropy", "cross_entropy"])
    def test_gradients_to_second_order(self, name: str) -> None:
        p, labels = jax.nn.softmax(normals((2, 3, 4))), jnp.array([[0, 3, 1], [2, 2, 0]])
        ours, plain = (getattr(m, name) for m in (ops, reference))
        assert_agree(lambda p: ours(p, labels), lambda p: plain(p, labels), p, exact=False)
        assert_agree(ours, plain, p, jax.nn.softmax(normals((2, 3, 4), seed=1)), exact=False)


class TestWeightsAndSmoothing:
    """PyTorch 2.6's F.cross_entropy(z, labels, weight=w, label_smoothing=a, reduction='none')."""

    Z, W = jnp.log(jnp.array([[1.0, 2.0, 5.0], [4.0, 2.0, 2.0]])), jnp.array([1.0, 2.0, 0.5])

    def test_by_hand(self) -> None:
        log_p = np.log([[1 / 8, 2 / 8, 5 / 8], [4 / 8, 2 / 8, 2 / 8]])
        labels = jnp.array([1, 0])
        weighted = -np.asarray(self.W)[labels] * log_p[[0, 1], labels]
        smooth = 0.7 * weighted - 0.1 * (log_p * np.asarray(self.W)).sum(axis=1)
        for module in (ops, reference):
            loss = module.softmax_cross_entropy
            assert_equal_trees(loss(self.Z, labels, weights=self.W), jnp.asarray(weighted), roundings=16)
            found = loss(self.Z, labels, weights=self.W, label_smoothing=0.3)
            assert_equal_trees(found, jnp.asarray(smooth), roundings=16)

    def test_gradients_to_second_order(self) -> None:
        labels = jnp.array([1, 0])

        def of(module: Any) -> Any:
            return lambda z, w: module.softmax_cross_entropy(z, labels, weights=w, label_smoothing=0.2)

        assert_agree(of(ops), of(reference), self.Z, self.W, exact=False)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"weights": np.ones(2)}, r"weights must be \(K,\) = \(3,\) .*\(2,\)"),
            ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, got 1.0"),
            ({"where": np.ones(2)}, r"where must be \(2,\) bool .* float64 \(2,\)"),
        ],
    )
    def test_refused(self, options: Any, says: str) -> None:
        with pytest.raises(ValueError, match=f"^softmax_cross_entropy: {says}"):
            ops.softmax_cross_entropy(self.Z, np.array([1, 0]), **options)


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "cross_entropy"])
def test_each_axis_sharded(name: str, devices: int) -> None:
    mesh = jax.make_mesh(
        (devices,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,), devices=jax.devices()[:devices]
    )
    p, y = (jax.nn.softmax(normals((8, 16), seed=seed)) for seed in (0, 1))
    pulled = jax.jit(jax.grad(lambda p, y: jnp.sum(jnp.square(getattr(ops, name)(p, y))), argnums=(0, 1)))
    expected = pulled(p, y)
    for number in range(2):
        for axis in range(2):
            with jax.set_mesh(mesh):
                specs = [
                    jax.sharding.PartitionSpec(*["d" if (n, a) == (number, axis) else None for a in range(2)])
                    for n in range(2)
                ]
                placed = [
                    jax.device_put(a, jax.sharding.NamedSharding(mesh, s)) for a, s in zip((p, y), specs, strict=True)
                ]
                found = pulled(*placed)
            assert_equal_trees(found, expected, roundings=16)
            for gradient, arg in zip(found, placed, strict=True):
                assert gradient.sharding.is_equivalent_to(arg.sharding, 2)
