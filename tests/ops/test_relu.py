"""The rectifier, at and around its kink."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_agree, check, integers, normals

from jaxcnn import ops, reference


@pytest.mark.parametrize("relu", [ops.relu, reference.relu], ids=["ops", "reference"])
def test_by_hand(relu: object) -> None:
    assert callable(relu)
    y, pull = jax.vjp(relu, jnp.array([-2.0, -0.0, 0.0, 3.0, jnp.inf, -jnp.inf]))
    assert y.tolist() == [0, 0, 0, 3, jnp.inf, 0]
    assert pull(jnp.array([1.0, 2, 4, 8, 16, 32]))[0].tolist() == [0, 0, 0, 8, 16, 0]


@pytest.mark.parametrize("relu", [ops.relu, reference.relu], ids=["ops", "reference"])
def test_nan_passes_and_its_gradient_does_not(relu: object) -> None:
    assert callable(relu)
    y, pull = jax.vjp(relu, jnp.array([jnp.nan, 1.0]))
    np.testing.assert_array_equal(y, [np.nan, 1])
    assert pull(jnp.array([1.0, 1.0]))[0].tolist() == [0, 1]


def test_to_second_order() -> None:
    check(ops.relu, reference.relu, normals((2, 3, 3, 2)))
    assert_agree(ops.relu, reference.relu, integers((3, 5)))


def test_second_derivative_at_the_kink_is_zero() -> None:
    assert jax.grad(jax.grad(ops.relu))(0.0) == 0
    assert jax.grad(jax.grad(lambda x: ops.relu(x) ** 2))(0.0) == 0
    assert jax.grad(jax.grad(lambda x: ops.relu(x) ** 2))(1.0) == 2


def test_scalars_and_numpy_arrays_are_welcome() -> None:
    assert ops.relu(-2.5) == 0
    assert ops.relu(2.5) == 2.5
    assert ops.relu(np.array([-1.0, 1.0])).tolist() == [0, 1]
