"""`jaxcnn.check.residuals`, on functions whose derivative says what they must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.check import Residual, residuals

X, Y = jnp.ones(3, np.float32), jnp.ones(3, np.float32)


def names(f: Callable[..., Any], *args: Any) -> list[str]:
    return [array.name for array in residuals(f, *args)]


@pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["as it is", "jit"])
@pytest.mark.parametrize(
    ("f", "args", "kept"),
    [
        (lambda x: 2 * x, (X,), []),
        (jnp.add, (X, Y), []),
        (jnp.multiply, (X, Y), ["args[0]", "args[1]"]),
        (jnp.multiply, (X, X), ["args[0]", "args[1]"]),
        (lambda x: x * x * x, (X,), ["args[0]", "mul"]),
        (jnp.sin, (X,), ["cos"]),
        (jnp.exp, (X,), ["exp"]),
        (lambda x: (jnp.sin(x), {"c": jnp.exp(x)}), (X,), ["cos", "exp"]),
    ],
    ids=["scaling", "sum", "product", "of an array and itself", "cube", "sin", "exp", "two results"],
)
def test_each_array_once(
    compiled: Callable[..., Any], f: Callable[..., Any], args: tuple[jax.Array, ...], kept: list[str]
) -> None:
    assert names(compiled(f), *args) == kept


def test_an_argument_is_named_by_its_path() -> None:
    params = {"layers": [{"kernel": jnp.ones((3, 2), np.float32), "bias": jnp.ones(2, np.float32)}]}

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return x @ params["layers"][0]["kernel"] + params["layers"][0]["bias"]

    assert set(names(apply, params, X)) == {"args[0]['layers'][0]['kernel']", "args[1]"}


def test_an_argument_that_is_no_float_is_held() -> None:
    mask, whole = jnp.array([True, False, True]), jnp.arange(3, dtype=np.int32)
    assert names(lambda x, mask: jax.lax.select(mask, x, -x), X, mask) == ["args[1]"]
    assert names(lambda x, whole: jnp.sin(x) * whole, X, whole) == ["cos", "convert_element_type"]


def test_checkpoint_keeps_arguments_alone() -> None:
    def f(x: jax.Array) -> jax.Array:
        return jnp.sin(jnp.exp(x))

    assert "args[0]" not in names(f, X)
    assert names(jax.checkpoint(f), X) == ["args[0]"]


def test_nothing_is_executed() -> None:
    """ShapeDtypeStructs, of more than would fit."""
    x, y = jax.ShapeDtypeStruct((10**6, 10**6), jnp.bfloat16), jax.ShapeDtypeStruct((10**6, 1), np.float32)
    assert residuals(jnp.matmul, x, y) == (
        Residual("args[0]", x.shape, x.dtype),
        Residual("args[1]", y.shape, np.dtype(y.dtype)),
    )
    assert residuals(jnp.matmul, x, y)[0].bytes == 2 * 10**12


def test_a_constant_closed_over() -> None:
    weights = jnp.arange(3, dtype=np.float32)
    for f in (lambda x: x * weights, lambda x: x * np.asarray(weights)):
        assert residuals(f, X) == (Residual("constant", (3,), np.dtype(np.float32)),)
        assert not residuals(f, X)[0].is_argument


def test_a_loop_keeps_every_step() -> None:
    def f(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda carry, _: (jnp.sin(carry), None), x, None, length=5)[0]

    assert residuals(f, X) == (Residual("cos", (5, 3), np.dtype(np.float32)),)


def test_the_softmax_of_jax_keeps_no_more_than_its_exponentials_and_a_few_numbers_a_row() -> None:
    largest, *others = sorted(residuals(jax.nn.softmax, jnp.ones((4, 10), np.float32)), key=lambda array: -array.bytes)
    assert largest == Residual("exp", (4, 10), np.dtype(np.float32))
    assert {array.shape for array in others} == {(4, 1)}


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64], ids=lambda d: np.dtype(d).name)
def test_bytes_follow_the_dtype(dtype: Any) -> None:
    (kept,) = residuals(jnp.sin, jnp.ones((2, 3), dtype))
    assert (kept.dtype, kept.bytes) == (np.dtype(dtype), 6 * np.dtype(dtype).itemsize)
