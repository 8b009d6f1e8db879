"""The papers' statements as they stand: [V] Virdee, equations (1)-(39), and [R] Roysdon, (1)-(10) and 1.2-1.10."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops, reference


def integers(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng([seed, *shape]).integers(-3, 4, shape), jnp.float64)


def normals(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape))


def cross_correlate(image: np.ndarray, filter_: np.ndarray) -> np.ndarray:
    """[V 1], by its own words: multiply the filter with each patch, and sum."""
    k = filter_.shape[0]
    size = image.shape[0] - k + 1
    return np.array([[np.sum(image[i : i + k, j : j + k] * filter_) for j in range(size)] for i in range(size)])


class TestVirdee:
    f, w, b = normals(6, 6, 1, 1), normals(121, 10) / 11, normals(10)
    image, label = normals(1, 28, 28, 1, seed=1), jnp.array([3])

    def test_every_shape_of_section_2(self) -> None:
        def network(image: jax.Array, f: jax.Array, w: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
            x_pool = ops.conv(image, f)
            pooled = ops.max_pool(x_pool, 2)
            x_full = ops.flatten(pooled)
            z = ops.dense(x_full, w, b)
            return x_pool, pooled, x_full, z, ops.softmax(z)

        shapes = [array.shape for array in jax.eval_shape(network, self.image, self.f, self.w, self.b)]
        assert shapes == [(1, 23, 23, 1), (1, 11, 11, 1), (1, 121), (1, 10), (1, 10)]

    def test_forward_and_backward_equation_by_equation(self) -> None:
        """The network of [V] in NumPy columns, as the paper writes it, against the ops' gradients."""
        image, f = np.asarray(self.image)[0, :, :, 0], np.asarray(self.f)[:, :, 0, 0]
        weights, b, y = np.asarray(self.w).T, np.asarray(self.b), np.eye(10)[3]

        x_pool = cross_correlate(image, f)  # (1)
        patches = x_pool[:22, :22].reshape(11, 2, 11, 2).swapaxes(1, 2)
        x_full = patches.max((2, 3)).ravel()
        z = weights @ x_full + b  # (2)
        y_hat = np.exp(z - z.max()) / np.exp(z - z.max()).sum()  # (3)
        loss = -np.sum(y * np.log(np.clip(y_hat, 1e-7, 1 - 1e-7)))  # (4)

        d_z = y_hat - y  # (17)
        d_w, d_b = np.outer(d_z, x_full), d_z  # (21), (24)
        d_x_full = weights.T @ d_z  # (26)
        mask = patches == patches.max((2, 3), keepdims=True)
        d_x_pool = np.zeros((23, 23))
        d_x_pool[:22, :22] = (mask * d_x_full.reshape(11, 11, 1, 1)).swapaxes(1, 2).reshape(22, 22)  # 3.3
        d_f = cross_correlate(image, d_x_pool)  # (37)
        d_x_conv = cross_correlate(np.pad(d_x_pool, 5), f[::-1, ::-1])  # (38), the filter flipped

        def of(image: jax.Array, f: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
            features = ops.flatten(ops.max_pool(ops.conv(image, f), 2))
            return ops.softmax_cross_entropy(ops.dense(features, w, b), self.label)[0]

        found, gradients = jax.jit(jax.value_and_grad(of, (0, 1, 2, 3)))(self.image, self.f, self.w, self.b)
        np.testing.assert_allclose(found, loss, rtol=1e-13)
        for gradient, expected in zip(gradients, (d_x_conv, d_f, d_w.T, d_b), strict=True):
            np.testing.assert_allclose(np.squeeze(gradient), expected, rtol=0, atol=1e-12)

    def test_softmax_then_cross_entropy_is_the_fused_rule_where_nothing_is_clipped(self) -> None:
        """[V 12-17], for values, gradients and classes of every example."""
        z, labels = normals(6, 10), jnp.arange(6)
        chain = jax.jit(jax.value_and_grad(lambda z: ops.cross_entropy(ops.softmax(z), labels).sum()))(z)
        fused = jax.jit(jax.value_and_grad(lambda z: ops.softmax_cross_entropy(z, labels).sum()))(z)
        np.testing.assert_allclose(chain[0], fused[0], rtol=1e-14)
        np.testing.assert_allclose(chain[1], fused[1], rtol=0, atol=1e-14)
        np.testing.assert_allclose(fused[1], jax.jit(ops.softmax)(z) - jnp.eye(10)[labels], rtol=0, atol=1e-15)

    @pytest.mark.parametrize("module", [ops, reference], ids=["ops", "reference"])
    def test_beyond_the_clip_the_chain_gives_nothing_and_the_fused_rule_goes_on(self, module: Any) -> None:
        """z = (30, 0, 0), label 1: p_1 = e^-30 < 1e-7, so (4)'s clip stops the gradient; (17) gives (1, -1, 0)."""
        z, label = jnp.array([[30.0, 0.0, 0.0]]), jnp.array([1])
        loss, chain = jax.jit(jax.value_and_grad(lambda z: module.cross_entropy(module.softmax(z), label).sum()))(z)
        np.testing.assert_allclose(loss, -np.log(1e-7), rtol=1e-15)
        assert chain.tolist() == [[0, 0, 0]]
        loss, fused = jax.jit(jax.value_and_grad(lambda z: module.softmax_cross_entropy(z, label).sum()))(z)
        np.testing.assert_allclose(loss, 30, rtol=1e-12)
        np.testing.assert_allclose(fused, [[1, -1, 0]], rtol=0, atol=1e-12)

    def test_38_holds_with_the_filter_flipped_and_fails_as_it_stands(self) -> None:
        x, f = integers(1, 5, 5, 1), jnp.arange(9.0).reshape(3, 3, 1, 1)
        y, pull = jax.vjp(lambda x: reference.conv(x, f), x)
        d_y = integers(*y.shape, seed=1)
        (d_x,) = pull(d_y)
        assert jnp.array_equal(ops.conv(d_y, f[::-1, ::-1], padding=2), d_x)
        assert jnp.array_equal(ops.input_gradient(d_y, f, x.shape), d_x)
        assert not jnp.array_equal(ops.conv(d_y, f, padding=2), d_x)

    def test_gradient_descent_lowers_the_loss(self) -> None:
        """[V 27, 28, 39]"""

        def loss(parameters: tuple[jax.Array, ...]) -> jax.Array:
            f, w, b = parameters
            features = ops.flatten(ops.max_pool(ops.conv(self.image, f), 2))
            return ops.softmax_cross_entropy(ops.dense(features, w, b), self.label)[0]

        old = (self.f, self.w, self.b)
        value_and_gradients = jax.jit(jax.value_and_grad(loss))
        value, gradients = value_and_gradients(old)
        new = tuple(p - 1e-6 * g for p, g in zip(old, gradients, strict=True))
        expected_drop = 1e-6 * sum(float(jnp.sum(g**2)) for g in gradients)
        np.testing.assert_allclose(value - value_and_gradients(new)[0], expected_drop, rtol=0.01)


# H, k, s, p, d and [R 1.2]'s floor((H + 2 p - d (k - 1) - 1) / s) + 1
SIZES = [(28, 6, 1, 0, 1, 23), (23, 2, 2, 0, 1, 11), (7, 3, 2, 1, 1, 4), (8, 3, 2, 1, 2, 3), (5, 5, 3, 0, 1, 1)]


class TestRoysdon:
    options: dict[str, Any] = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}

    def conv(self, *args: jax.Array) -> jax.Array:
        return ops.conv(*args, **self.options)

    def unfold(self, x: jax.Array) -> jax.Array:
        return ops.unfold(x, (3, 2), **self.options)

    def fold(self, patches: jax.Array) -> jax.Array:
        return ops.fold(patches, (2, 5, 4, 2), (3, 2), **self.options)

    @pytest.mark.parametrize(("height", "k", "stride", "padding", "dilation", "out"), SIZES)
    def test_output_size(self, height: int, k: int, stride: int, padding: int, dilation: int, out: int) -> None:
        x, kernel = jnp.zeros((1, height, 1)), jnp.zeros((k, 1, 1))
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        assert jax.eval_shape(partial(ops.conv, **options), x, kernel).shape == (1, out, 1)
        if 2 * padding <= k:
            assert jax.eval_shape(partial(ops.max_pool, window=k, **options), x).shape == (1, out, 1)

    def test_every_shape_of_1_10(self) -> None:
        (n, h, w, c_in), (k_h, k_w, c_out), classes = (2, 7, 6, 3), (3, 2, 4), 5
        x, kernel, b = normals(n, h, w, c_in), normals(k_h, k_w, c_in, c_out), normals(c_out)
        h_out, w_out = (7 + 2 * 1 - 3) // 2 + 1, (6 + 2 * 2 - 3) // 1 + 1
        w_cls, b_cls = normals(c_out, classes), normals(classes)

        def network(x: jax.Array, kernel: jax.Array, b: jax.Array) -> dict[str, Any]:
            y, pull = jax.vjp(partial(ops.conv, **self.options), x, kernel, b)
            g = ops.global_avg_pool(ops.relu(y))
            r = ops.dense(g, w_cls, b_cls)
            rows = ops.unfold(x, (k_h, k_w), **self.options)
            return {"Y": y, "Z": ops.relu(y), "T": rows, "G": pull(y), "g": g, "r": r, "p": ops.softmax(r)}

        assert jax.tree.map(jnp.shape, jax.eval_shape(network, x, kernel, b)) == {
            "Y": (n, h_out, w_out, c_out),
            "Z": (n, h_out, w_out, c_out),
            "T": (n, h_out, w_out, k_h * k_w * c_in),
            "G": (x.shape, kernel.shape, b.shape),
            "g": (n, c_out),
            "r": (n, classes),
            "p": (n, classes),
        }

    def test_conv_less_its_bias_is_linear_in_x_and_in_kernel(self) -> None:
        x1, x2, k1, k2 = (
            integers(2, 5, 5, 2),
            integers(2, 5, 5, 2, seed=1),
            integers(3, 2, 2, 3),
            integers(3, 2, 2, 3, seed=1),
        )
        b = jnp.array([1.0, 2.0, 3.0])

        @jax.jit
        def linear(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return ops.conv(x, kernel, b, **self.options) - b

        assert jnp.array_equal(linear(2 * x1 - 3 * x2, k1), 2 * linear(x1, k1) - 3 * linear(x2, k1))
        assert jnp.array_equal(linear(x1, 2 * k1 - 3 * k2), 2 * linear(x1, k1) - 3 * linear(x1, k2))
        affine = jax.jit(partial(ops.conv, kernel=k1, bias=b))
        assert not jnp.array_equal(affine(x1 + x2), affine(x1) + affine(x2))

    @pytest.mark.parametrize("shift", [(1, 0), (0, 2), (-2, 1)], ids=str)
    def test_3_translation_equivariance_away_from_edges(self, shift: tuple[int, int]) -> None:
        x = jnp.pad(integers(1, 4, 4, 2), ((0, 0), (4, 4), (4, 4), (0, 0)))
        kernel, b = integers(3, 3, 2, 2), jnp.array([5.0, 7.0])

        def moved(array: jax.Array) -> jax.Array:
            return jnp.roll(array, shift, axis=(1, 2))

        conv = jax.jit(partial(ops.conv, kernel=kernel, bias=b))
        of_moved, moved_of = conv(moved(x)), moved(conv(x))
        inside = (slice(None), slice(2, -2), slice(2, -2))
        assert jnp.array_equal(of_moved[inside], moved_of[inside])
        # no constant map: the inside does move
        assert not jnp.array_equal(of_moved[inside], conv(x)[inside])

    def test_2_conv_is_a_matrix_product_of_unfolded_x(self) -> None:
        x, kernel, b = integers(2, 5, 4, 2), integers(3, 2, 2, 3), integers(3)
        t_of_x = np.reshape(jax.jit(self.unfold)(x), (-1, 12))
        y = jax.jit(self.conv)(x, kernel, b)
        mat_y = t_of_x @ np.reshape(kernel, (12, 3)) + np.ones((len(t_of_x), 1)) * np.asarray(b)
        assert np.array_equal(mat_y, np.reshape(y, (-1, 3)))

    def test_9_and_10_the_gradients_as_matrix_products(self) -> None:
        """dk = T(x)^T mat(g), db = mat(g)^T 1 and, in 1.7's order, dx = T*(mat(g) Theta^T)."""
        x, kernel, b = integers(2, 5, 4, 2), integers(3, 2, 2, 3), integers(3)
        g = integers(*jax.eval_shape(self.conv, x, kernel, b).shape, seed=1)
        dx, dk, db = jax.jit(lambda g, *args: jax.vjp(self.conv, *args)[1](g))(g, x, kernel, b)
        rows = jax.jit(self.unfold)(x)
        t_of_x, mat_g, theta = np.reshape(rows, (-1, 12)), np.reshape(g, (-1, 3)), np.reshape(kernel, (12, 3))
        assert np.array_equal(t_of_x.T @ mat_g, np.reshape(dk, (12, 3)))
        assert np.array_equal(mat_g.T @ np.ones(len(mat_g)), db)
        assert np.array_equal(jax.jit(self.fold)((mat_g @ theta.T).reshape(rows.shape)), dx)

    def test_unfold_and_fold_are_adjoint(self) -> None:
        x = integers(2, 5, 4, 2)
        rows = jax.jit(self.unfold)(x)
        patches = integers(*rows.shape, seed=1)
        assert np.vdot(rows, patches) == np.vdot(x, jax.jit(self.fold)(patches))

    def test_1_5_and_6_the_sums_as_they_are_written(self) -> None:
        """Index by index over the padded input, cropped at last."""
        x, kernel = np.asarray(integers(1, 4, 3, 2)), np.asarray(integers(2, 2, 2, 2))
        (s_h, s_w), (p_h, p_w), (d_h, d_w) = (2, 1), (1, 2), (1, 2)
        padded = np.pad(x, ((0, 0), (p_h, p_h), (p_w, p_w), (0, 0)))
        y, pull = jax.vjp(partial(ops.conv, **self.options), jnp.asarray(x), jnp.asarray(kernel))
        g = np.asarray(integers(*y.shape, seed=1))
        sums, d_padded, dk = np.zeros(y.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
        for (n, i, j, c), (u, v, inner) in (
            (at, tap) for at in np.ndindex(*y.shape) for tap in np.ndindex(*kernel.shape[:3])
        ):
            a, b = i * s_h + u * d_h, j * s_w + v * d_w
            sums[n, i, j, c] += kernel[u, v, inner, c] * padded[n, a, b, inner]  # (1)
            dk[u, v, inner, c] += g[n, i, j, c] * padded[n, a, b, inner]  # (5)
            d_padded[n, a, b, inner] += kernel[u, v, inner, c] * g[n, i, j, c]  # (6)
        assert jnp.array_equal(y, sums)
        dx, found_dk = pull(jnp.asarray(g))
        assert jnp.array_equal(found_dk, dk)
        assert jnp.array_equal(dx, d_padded[:, p_h:-p_h, p_w:-p_w])

    def test_1_6_the_gradient_of_the_summed_loss_is_p_minus_y(self) -> None:
        r, y = normals(4, 5), jnp.eye(5)[jnp.array([1, 0, 4, 4])]
        loss, gradient = jax.jit(jax.value_and_grad(lambda r: ops.softmax_cross_entropy(r, y).sum()))(r)
        p = np.exp(r) / np.exp(r).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(loss, -np.sum(y * np.log(p)), rtol=1e-14)
        np.testing.assert_allclose(gradient, p - y, rtol=0, atol=1e-15)

    def test_1_4_a_rectified_block_sends_back_nothing_where_it_was_not_positive(self) -> None:
        y = integers(2, 3, 3, 2)
        g = integers(*y.shape, seed=1)
        assert jnp.array_equal(jax.vjp(ops.relu, y)[1](g)[0], g * (y > 0))
