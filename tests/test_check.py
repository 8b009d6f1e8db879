"""The checker itself: it passes what is right, and planted wrong rules of many kinds fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from jaxcnn import ops, reference
from jaxcnn.check import check_vjp

Function = Callable[..., Any]
Rule = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def square_normals(seed: int, size: int = 4) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(size, size)))


A, B = square_normals(0), square_normals(1)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.tanh(a @ b)


def with_rule(rule: Rule, forward: Function = product) -> Function:
    """`forward` with a backward rule of (a, b, dy)."""

    @jax.custom_vjp
    def f(a: jax.Array, b: jax.Array) -> jax.Array:
        return forward(a, b)

    f.defvjp(lambda a, b: (f(a, b), (a, b)), lambda saved, dy: rule(saved[0], saved[1], dy))
    return f


def right(a: jax.Array, b: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    dz = dy * (1 - product(a, b) ** 2)
    return dz @ b.T, a.T @ dz


def spoil_first(spoil: Callable[[jax.Array], jax.Array]) -> Rule:
    def rule(a: jax.Array, b: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        da, db = right(a, b, dy)
        return spoil(da), db

    return rule


def spoil_second(spoil: Callable[[jax.Array], jax.Array]) -> Rule:
    def rule(a: jax.Array, b: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        da, db = right(a, b, dy)
        return da, spoil(db)

    return rule


def stale(a: jax.Array, b: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The residual of another point."""
    return right(a + 0.01, b, dy)


def without_the_nonlinearity(a: jax.Array, b: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    return dy @ b.T, a.T @ dy


WRONG: dict[str, tuple[Rule, int]] = {
    "one element zeroed": (spoil_first(lambda da: da.at[2, 1].set(0)), 0),
    "one element's sign": (spoil_second(lambda db: db.at[0, 3].multiply(-1)), 1),
    "sign": (spoil_first(jnp.negative), 0),
    "scale 1.002": (spoil_second(lambda db: 1.002 * db), 1),
    "shifted by 1e-5": (spoil_first(lambda da: da + 1e-5), 0),
    "transposed": (spoil_second(jnp.transpose), 1),
    "mean for sum": (spoil_second(lambda db: db / 4), 1),
    "rolled by one": (spoil_first(lambda da: jnp.roll(da, 1, axis=1)), 0),
    "rows reversed": (spoil_first(lambda da: da[::-1]), 0),
    "nothing": (spoil_second(jnp.zeros_like), 1),
    "rounded to bfloat16": (spoil_second(lambda db: db.astype(jnp.bfloat16).astype(db.dtype)), 1),
    "rounded to float32": (spoil_first(lambda da: da.astype(np.float32).astype(da.dtype)), 0),
    "clipped": (spoil_first(lambda da: jnp.clip(da, -0.1, 0.1)), 0),
    "NaN in one element": (spoil_second(lambda db: db.at[1, 1].set(jnp.nan)), 1),
    "infinity in one element": (spoil_first(lambda da: da.at[3, 3].set(jnp.inf)), 0),
    "a's gradient for b's": (lambda a, b, dy: (right(a, b, dy)[0],) * 2, 1),
    "first row of the batch alone": (spoil_second(lambda db: jnp.outer(A[0], db[0])), 1),
    "stale residual": (stale, 0),
    "a factor left out": (without_the_nonlinearity, 0),
}


def test_the_right_rule_passes() -> None:
    check_vjp(with_rule(right), (A, B), reference=product, order=2)
    check_vjp(with_rule(right), (A, B), order=2)


@pytest.mark.parametrize(("rule", "argument"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_rule_fails_by_argument_index_and_both_values(rule: Rule, argument: int) -> None:
    pattern = rf"gradient of args\[{argument}\] is off at index \(\d, \d\): \S+ against autodiff's \S+ \(\d+ of 16"
    with pytest.raises(AssertionError, match=pattern):
        check_vjp(with_rule(rule), (A, B), reference=product)


@pytest.mark.parametrize("rule", [rule for rule, _ in WRONG.values() if rule is not WRONG["rounded to float32"][0]])
def test_differences_alone_find_it(rule: Rule) -> None:
    """All but a rounding to float32, which is finer than they are."""
    with pytest.raises(AssertionError, match="along random direction"):
        check_vjp(with_rule(rule), (A, B))


def test_the_message_holds_the_very_element_and_numbers() -> None:
    wrong = with_rule(lambda a, b, dy: (dy * jnp.zeros((4, 4)).at[1, 2].set(1.5) + dy, dy), jnp.add)
    with pytest.raises(AssertionError) as raised:
        check_vjp(wrong, (A, B), reference=jnp.add)
    message = str(raised.value)
    assert "args[0] is off at index (1, 2): " in message and "(1 of 16 elements" in message
    found, expected = (float(part.split()[0]) for part in message.split("(1, 2): ")[1].split(" against autodiff's "))
    np.testing.assert_allclose(found, 2.5 * expected, rtol=1e-15)


def test_one_nan_among_4096_gradients_fails() -> None:
    """Where `jnp.max` of a difference may lose it."""
    nan = with_rule(lambda a, b, dy: (dy.at[31, 17].set(jnp.nan), dy), jnp.add)
    both = square_normals(0, 64), square_normals(1, 64)
    with pytest.raises(AssertionError, match=r"args\[0\] is off at index \(31, 17\): nan against"):
        check_vjp(nan, both, reference=jnp.add)
    with pytest.raises(AssertionError, match="nan against the differences'"):
        check_vjp(nan, both)


def test_a_rule_that_is_right_once_and_wrong_twice_fails_at_order_two() -> None:
    held = with_rule(lambda a, b, dy: right(lax.stop_gradient(a), b, dy))
    check_vjp(held, (A, B), reference=product, order=1)
    with pytest.raises(AssertionError, match=r"gradient's gradient of args\[0\]\[0\] is off at index"):
        check_vjp(held, (A, B), reference=product, order=2)
    with pytest.raises(AssertionError, match="gradient's gradient along random direction"):
        check_vjp(held, (A, B), order=2)


def test_a_wrong_value_fails() -> None:
    with pytest.raises(AssertionError, match=r"value is off at index \(0, 1\): \S+ against the reference's"):
        check_vjp(lambda a: jnp.sin(a).at[0, 1].add(1e-9), (A,), reference=jnp.sin)


def test_a_wrong_dtype_fails() -> None:
    with pytest.raises(AssertionError, match=r"value is float32\(4, 4\) against the reference's float64\(4, 4\)"):
        check_vjp(lambda a: jnp.sin(a).astype(np.float32), (A,), reference=jnp.sin)


def test_a_wrong_shape_fails() -> None:
    with pytest.raises(AssertionError, match=r"value is float64\(4,\) against the reference's float64\(4, 4\)"):
        check_vjp(lambda a: jnp.sin(a)[0], (A,), reference=jnp.sin)


def test_a_wrong_structure_fails() -> None:
    with pytest.raises(AssertionError, match="value has the structure"):
        check_vjp(lambda a: (jnp.sin(a),), (A,), reference=jnp.sin)


X, KERNEL = jnp.arange(16.0).reshape(1, 4, 4, 1), jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)


def test_an_unflipped_kernel_fails() -> None:
    """[V 38] as it is written."""

    def unflipped(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        return reference.conv(dy, kernel, padding=1), reference.kernel_gradient(x, dy, kernel.shape)

    with pytest.raises(AssertionError, match=r"gradient of args\[0\] is off"):
        check_vjp(with_rule(unflipped, reference.conv), (X, KERNEL), reference=reference.conv)


def test_another_tie_rule_fails() -> None:
    tied = jnp.ones((1, 4, 1))
    with pytest.raises(AssertionError, match=r"gradient of args\[0\] is off"):
        check_vjp(
            partial(ops.max_pool, window=2, ties="split"), (tied,), reference=partial(reference.max_pool, window=2)
        )


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_narrow_floats_are_held_to_a_reference(dtype: Any) -> None:
    args = A.astype(dtype), B.astype(dtype)
    check_vjp(with_rule(lambda a, b, dy: (dy * b, dy * a), jnp.multiply), args, reference=jnp.multiply)
    doubled = with_rule(lambda a, b, dy: (2 * dy * b, dy * a), jnp.multiply)
    with pytest.raises(AssertionError, match=r"gradient of args\[0\] is off"):
        check_vjp(doubled, args, reference=jnp.multiply)


def test_rules_of_others_pass() -> None:
    check_vjp(jax.nn.relu, (A,), reference=reference.relu)
    check_vjp(optax.losses.softmax_cross_entropy, (A, jax.nn.softmax(B)), reference=reference.softmax_cross_entropy)


def test_arguments_and_values_may_be_pytrees() -> None:
    def f(parameters: dict[str, Any], x: jax.Array) -> dict[str, jax.Array]:
        return {"y": x @ parameters["w"], "z": parameters["more"][0] * 2}

    args = {"w": A, "more": [B]}, B
    check_vjp(f, args, reference=f)
    wrong = jax.custom_vjp(f)
    wrong.defvjp(
        lambda p, x: (f(p, x), (p, x)),
        lambda saved, dy: ({"w": saved[1].T @ dy["y"], "more": [dy["z"]]}, dy["y"] @ saved[0]["w"].T),
    )
    with pytest.raises(AssertionError, match=r"gradient of args\[0\]\['more'\]\[0\] is off at index"):
        check_vjp(wrong, args, reference=f)


def test_integers_are_held() -> None:
    def pick(a: jax.Array, index: jax.Array) -> jax.Array:
        return a[index] ** 2

    check_vjp(pick, (A, jnp.array([2, 0])), reference=pick, order=2)
    check_vjp(pick, (A, jnp.array([2, 0])), order=2)


def test_nan_agrees_with_nan_alone() -> None:
    nan = A.at[0, 0].set(jnp.nan)
    check_vjp(jnp.negative, (nan.astype(np.float32),), reference=lambda a: -a)
    with pytest.raises(AssertionError, match=r"value is off at index \(0, 0\): 0 against the reference's nan"):
        check_vjp(jnp.nan_to_num, (nan,), reference=lambda a: a + 0)


def test_tolerance_is_in_ulps() -> None:
    """1.002 is 17,000 roundings of float32 from 1."""
    near = with_rule(spoil_first(lambda da: 1.002 * da))
    single = A.astype(np.float32), B.astype(np.float32)
    check_vjp(near, single, reference=product, tolerance=2e4)
    with pytest.raises(AssertionError, match=r"differ by more than \S+ ulps, this one by 1\.\d+e\+04"):
        check_vjp(near, single, reference=product)


def test_the_key_decides_the_directions() -> None:
    wrong = with_rule(WRONG["sign"][0])
    messages = []
    for seed in (1, 1, 2):
        with pytest.raises(AssertionError) as raised:
            check_vjp(wrong, (A, B), key=jax.random.key(seed))
        messages.append(str(raised.value))
    assert messages[0] == messages[1] != messages[2]


def test_there_must_be_a_float() -> None:
    with pytest.raises(ValueError, match="at least one floating array"):
        check_vjp(jnp.negative, (jnp.array([1, 2]),))


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_without_a_reference_narrow_floats_are_held_to_differences_in_float64(dtype: Any) -> None:
    args = A.astype(dtype), B.astype(dtype)
    check_vjp(with_rule(lambda a, b, dy: (dy * b, dy * a), jnp.multiply), args)
    doubled = with_rule(lambda a, b, dy: (2 * dy * b, dy * a), jnp.multiply)
    with pytest.raises(AssertionError, match="along random direction"):
        check_vjp(doubled, args)
