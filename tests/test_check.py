"""The checker itself: it passes what is right, and planted wrong rules of many kinds fail."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optax
import pytest
from jax import lax

from jaxcnn import ops, reference
from jaxcnn.check import Kind, _differences, check_vjp, comparisons, distinct, integers
from jaxcnn.check._options import Options

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


def plain_solve(matrix: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.linalg.inv(matrix) @ b


def solve(matrix: jax.Array, b: jax.Array) -> jax.Array:
    return lineax.linear_solve(lineax.MatrixLinearOperator(matrix), b).value


OTHERS: dict[str, tuple[Function, tuple[Any, ...], Function]] = {
    "jax.nn.relu": (jax.nn.relu, (A,), reference.relu),
    "jax.nn.softmax": (jax.nn.softmax, (A,), lambda a: jnp.exp(a) / jnp.exp(a).sum(-1, keepdims=True)),
    "jax.nn.silu": (jax.nn.silu, (A,), lambda a: a / (1 + jnp.exp(-a))),
    "optax, cross-entropy": (
        optax.losses.safe_softmax_cross_entropy,
        (A, jax.nn.softmax(B)),
        reference.softmax_cross_entropy,
    ),
    "optax, simplex": (
        optax.projections.projection_simplex,
        (jnp.array([0.9, 0.4, -0.3]),),
        lambda v: jnp.where(v > 0, v - (v[0] + v[1] - 1) / 2, 0),  # where these three are projected to
    ),
    "lineax, solve": (solve, (A + 4 * jnp.eye(4), B[0]), plain_solve),
}


@pytest.mark.parametrize(("f", "args", "plain"), OTHERS.values(), ids=OTHERS.keys())
def test_rules_of_others_pass(f: Function, args: tuple[Any, ...], plain: Function) -> None:
    check_vjp(f, args, reference=plain, order=2)
    check_vjp(f, args)


def test_a_gradient_that_is_meant_to_be_no_derivative_fails() -> None:
    """optax's scale_gradient, as its documentation says."""
    with pytest.raises(AssertionError, match="along random direction 0 is off"):
        check_vjp(lambda x: optax.scale_gradient(x, 0.5), (A,))
    with pytest.raises(AssertionError, match=r"pull\(c\)\[0\]\[\d, \d\] is 0.5, autodiff of the reference has 1,"):
        check_vjp(lambda x: optax.scale_gradient(x, 0.5), (A,), reference=lambda x: x)


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


def test_the_reproducer_finds_the_one_wrong_entry_of_the_jacobian() -> None:
    """db[1, 2] takes nothing from dy[3, 2]: of the 16 elements of the cotangent the message names that one."""
    forgetful = with_rule(lambda a, b, dy: (dy @ b.T, (a.T @ dy).at[1, 2].add(-a[3, 1] * dy[3, 2])), jnp.matmul)
    with pytest.raises(AssertionError) as raised:
        check_vjp(forgetful, (A, B), reference=jnp.matmul)
    line = str(raised.value).splitlines()[1]
    assert line.startswith("reproduce: ") and line.endswith("zeros of the value's shape but 1 at c[3, 2]")
    found, expected = re.findall(r"(?:is|has) (\S+?),", line)
    assert "pull(c)[1][1, 2] is" in line
    assert abs(float(found)) < 1e-16 and float(expected) == float(A[3, 1])
    wrong, plain = (jax.vjp(f, A, B)[1](jnp.zeros((4, 4)).at[3, 2].set(1))[1] for f in (forgetful, jnp.matmul))
    assert (float(wrong[1, 2]), float(plain[1, 2])) == (float(found), float(expected))


def test_a_rule_that_is_not_linear_in_its_cotangent_is_called_so() -> None:
    squared = with_rule(lambda a, b, dy: (dy * jnp.abs(dy).sum() / (1e-9 + jnp.abs(dy).sum()), dy**3), jnp.add)
    both_needed = with_rule(lambda a, b, dy: (dy.at[0, 0].add(dy[1, 1] * dy[2, 2]), dy), jnp.add)
    with pytest.raises(AssertionError, match="reproduce: "):
        check_vjp(squared, (A, B), reference=jnp.add)
    with pytest.raises(AssertionError, match="the rule is not linear in it"):
        check_vjp(both_needed, (A, B), reference=jnp.add)


def test_exact_mode_finds_the_last_bit() -> None:
    """A rounding in one element that no tolerance would see."""
    whole = integers(jax.random.key(0), (4, 4), greatest=9), integers(jax.random.key(1), (4, 4), greatest=9)
    check_vjp(with_rule(lambda a, b, dy: (dy @ b.T, a.T @ dy), jnp.matmul), whole, reference=jnp.matmul, exact=True)
    last_bit = with_rule(lambda a, b, dy: (dy @ b.T, (a.T @ dy).at[2, 2].multiply(1 + 2.0**-52)), jnp.matmul)
    check_vjp(last_bit, whole, reference=jnp.matmul)
    with pytest.raises(AssertionError, match=r"args\[1\] is off at index \(2, 2\).*1 of 16 .* than 0 ulps"):
        check_vjp(last_bit, whole, reference=jnp.matmul, exact=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_mode_asks_for_whole_numbers_in_float64(dtype: Any) -> None:
    with pytest.raises(ValueError, match="exact=True needs whole numbers in float64, got float.*integers"):
        check_vjp(jnp.negative, (A.astype(dtype),), reference=lambda a: -a, exact=True)


def test_exact_mode_asks_for_a_reference() -> None:
    with pytest.raises(ValueError, match="exact=True compares with a reference; give one"):
        check_vjp(jnp.negative, (jnp.ones(3),), exact=True)


def test_dtypes_are_checked_in_turn() -> None:
    """This one is wrong in float16 alone."""

    def rule(a: jax.Array, b: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        return dy * b, dy * a * (2 if a.dtype == jnp.float16 else 1)

    narrow = with_rule(rule, jnp.multiply)
    check_vjp(narrow, (A, B), reference=jnp.multiply, dtypes=("float64", "float32", "bfloat16"))
    with pytest.raises(AssertionError, match=r"^float16 gradient of args\[1\] is off"):
        check_vjp(narrow, (A, B), reference=jnp.multiply, dtypes=("float64", "float16"))


def wrong_under_a_batch(a: jax.Array, b: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Right for one; where the mapped axis is folded in, every example gets the gradient of all."""

    @jax.custom_batching.custom_vmap
    def da(dy: jax.Array, b: jax.Array) -> jax.Array:
        return dy @ b.T

    @da.def_vmap
    def _(size: int, batched: list[bool], dy: jax.Array, b: jax.Array) -> tuple[jax.Array, bool]:
        return jnp.broadcast_to((dy @ jnp.swapaxes(b, -1, -2)).sum(0), (size, *dy.shape[1:])), True

    return da(dy, b), a.T @ dy


def test_what_is_wrong_inside_a_transformation_alone_is_found_there() -> None:
    wrong = with_rule(wrong_under_a_batch, jnp.matmul)
    check_vjp(wrong, (A, B), reference=jnp.matmul, around=("jit", "scan", "checkpoint"))
    with pytest.raises(AssertionError, match=r"value and gradient in vmap\[2\]\[0\] is off at index"):
        check_vjp(wrong, (A, B), reference=jnp.matmul, around=("vmap",))


@pytest.mark.parametrize("directions", [-1, 0])
def test_nothing_to_check_against_is_refused(directions: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 where there is no reference to check against, got {directions}"):
        check_vjp(jnp.sin, (A,), directions=directions)


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"f's value must be real, got complex128\(3,\); return both parts"):
        check_vjp(jnp.fft.fft, (jnp.ones(3),))
    with pytest.raises(ValueError, match=r"args must be real, got complex128\(3,\); give real and imaginary parts"):
        check_vjp(lambda x, z: x * z.real, (jnp.ones(3), jnp.ones(3) * 1j))
    check_vjp(lambda re, im: (jnp.fft.fft(re + 1j * im).real, jnp.abs(re + 1j * im)), (jnp.ones(3), jnp.arange(3.0)))


@pytest.mark.parametrize("around", ["vmap", ("jit", "pmap")])
def test_around_names_transformations(around: Any) -> None:
    with pytest.raises(ValueError, match="around must be a sequence of jit, vmap, scan, checkpoint, got"):
        check_vjp(jnp.sin, (A,), around=around)


def test_float64_must_be_switched_on_to_be_asked_for() -> None:
    single = A.astype(np.float32)
    with jax.enable_x64(False), pytest.raises(ValueError, match="dtypes holds float64, which needs jax.config.update"):
        check_vjp(jnp.sin, (single,), dtypes=("float32", "float64"))


def test_args_are_all_that_f_takes() -> None:
    with pytest.raises(ValueError, match="args must be a tuple of all of f's arguments, got 1 of them: missing a req"):
        check_vjp(lambda a, b: a * b, (A,), reference=lambda a, b: a * b)


def test_what_agrees_says_so() -> None:
    (first, *_) = comparisons(jnp.sin, (A,), reference=jnp.sin)
    assert str(first).startswith("value agrees with the reference's, worst at index (0, 0): 0 of ")


def test_order_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="order must be at least 1, for gradients, got 0"):
        check_vjp(jnp.sin, (A,), order=0)


def test_among_many_kinks_the_step_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of 65,536 lie within the first step."""
    a, apart = (jax.device_put(np.random.default_rng(seed).normal(size=2**16)) for seed in range(2))
    b = a + 0.02 * apart

    def greater(beyond: float) -> Function:
        def rule(a: jax.Array, b: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jnp.where(a > b + beyond, dy, 0), jnp.where(a > b + beyond, 0, dy)

        return jax.jit(with_rule(rule, jnp.maximum))

    check_vjp(greater(0), (a, b))
    with pytest.raises(AssertionError, match="along random direction 0 is off"):
        check_vjp(greater(0.01), (a, b))
    monkeypatch.setattr(_differences, "_SHORTER", (1,))
    with pytest.raises(AssertionError, match="they lie at a kink"):
        check_vjp(greater(0), (a, b))


def test_a_kink_is_pointed_out_and_can_be_checked_at() -> None:
    tied = jnp.zeros((3, 3))
    with pytest.raises(AssertionError, match="they lie at a kink, a tie or a pole"):
        check_vjp(ops.relu, (tied,))
    check_vjp(ops.relu, (tied,), reference=reference.relu, directions=0)


def test_small_gradients_of_single_floats_are_not_lost_in_the_tolerance() -> None:
    """1e-4 is a small number; half of it is wrong."""
    small = with_rule(lambda a, b, dy: (5e-5 * dy, 0 * dy), lambda a, b: 1e-4 * a + 0 * b)
    with pytest.raises(AssertionError, match=r"gradient of args\[0\] is off"):
        check_vjp(
            small, (A.astype(np.float32), B.astype(np.float32)), reference=lambda a, b: 1e-4 * a + 0 * b, directions=0
        )


def test_a_cancelled_sum_is_no_error() -> None:
    """p - y where the softmax is saturated: 1e-16 of the cotangent, all of it rounding."""
    z = jnp.array([[40.0, 0.0, 1.0]])
    check_vjp(
        ops.softmax_cross_entropy, (z, jnp.array([[1.0, 0, 0]])), reference=reference.softmax_cross_entropy, order=2
    )


def test_comparisons_are_all_there() -> None:
    found = list(comparisons(with_rule(right), (A, B), reference=product, order=2, around=("jit",), directions=2))
    assert [c.what for c in found] == [
        "value",
        "value under jax.vjp",
        "gradient of args[0]",
        "gradient of args[1]",
        "gradient of a large opposite cotangent in args[0]",
        "gradient of a large opposite cotangent in args[1]",
        "gradient of a tiny cotangent in args[0]",
        "gradient of a tiny cotangent in args[1]",
        "gradient along random direction 0",
        "gradient along random direction 1, cotangent times 1.31e+05",
        "gradient's value under jax.vjp[0]",
        "gradient's value under jax.vjp[1]",
        "gradient's gradient of args[0][0]",
        "gradient's gradient of args[0][1]",
        "gradient's gradient of args[1]",
        "gradient's gradient of a large opposite cotangent in args[0][0]",
        "gradient's gradient of a large opposite cotangent in args[0][1]",
        "gradient's gradient of a large opposite cotangent in args[1]",
        "gradient's gradient of a tiny cotangent in args[0][0]",
        "gradient's gradient of a tiny cotangent in args[0][1]",
        "gradient's gradient of a tiny cotangent in args[1]",
        "gradient's gradient along random direction 0",
        "gradient's gradient along random direction 1, cotangent times 1.31e+05",
        "value alone, value and gradient in jit[0]",
        "value alone, value and gradient in jit[1]",
        "value alone, value and gradient in jit[2][0]",
        "value alone, value and gradient in jit[2][1]",
    ]
    assert all(c.passed and c.error <= c.allowed for c in found)
    at_first = [c for c in found if c.order == 1]
    of_kind = {kind: sum(c.kind == kind for c in at_first) for kind in Kind}
    assert of_kind == {Kind.VALUE: 2, Kind.GRADIENT: 6, Kind.DIFFERENCE: 2, Kind.TRANSFORMED: 4}
    assert [c.argument for c in at_first if c.kind == Kind.GRADIENT] == ["args[0]", "args[1]"] * 3
    higher = [c.argument for c in found if c.kind == Kind.GRADIENT and c.order == 2]
    assert higher == ["args[0][0]", "args[0][1]", "args[1]"] * 3
    assert {c.argument for c in found if c.kind != Kind.GRADIENT} == {c.dtype for c in found} == {None}


def test_comparisons_know_their_dtype() -> None:
    found = list(comparisons(jnp.sin, (A,), reference=jnp.sin, dtypes=("float32", jnp.bfloat16), directions=1))
    assert list(dict.fromkeys(c.dtype for c in found)) == ["float32", "bfloat16"]
    assert all(c.what.startswith(f"{c.dtype} ") for c in found)


def test_comparisons_take_what_check_vjp_takes() -> None:
    """The options stand twice, as keyword arguments with their meaning and as what is kept: alike."""
    keywords = [p for p in inspect.signature(check_vjp).parameters.values() if p.kind == p.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in keywords] == [(field.name, field.default) for field in fields(Options)]
    with pytest.raises(TypeError, match="comparisons: unknown keyword 'ordr', .* key: did you mean 'order'?"):
        comparisons(jnp.sin, (A,), ordr=2)
    with pytest.raises(ValueError, match="order must be at least 1"):  # before the first is asked for
        comparisons(jnp.sin, (A,), order=0)


@pytest.mark.parametrize(("trusts", "seen_in_one_direction"), [(3, 0.54), (10, 0.78)])
def test_the_stated_power_of_differences(trusts: int, seen_in_one_direction: float) -> None:
    """(C4), the worst case: one element of the Jacobian is off by so many trusts."""
    jacobian = square_normals(5, 6)
    error = trusts * 256 * (2.0**-52) ** 0.625 * np.linalg.norm(jacobian)
    f = jax.custom_vjp(lambda x: jacobian @ x)
    f.defvjp(lambda x: (f(x), None), lambda _, dy: ((jacobian.T @ dy).at[2].add(error * dy[1]),))
    found = list(comparisons(jax.jit(f), (jnp.zeros(6),), directions=200))
    assert abs(sum(not c.passed for c in found) / 200 - seen_in_one_direction) < 0.1


def test_distinct_numbers_are_apart_and_off_zero() -> None:
    numbers = np.sort(np.asarray(distinct(jax.random.key(3), (5, 7))).ravel())
    np.testing.assert_allclose(np.diff(numbers), 4 / 35, rtol=1e-12)
    assert np.abs(numbers).min() >= 1 / 36 and np.abs(numbers).max() < 2
    again, other = (np.asarray(distinct(jax.random.key(seed), (5, 7))).ravel() for seed in (3, 4))
    assert np.array_equal(np.sort(again), numbers) and not np.array_equal(again, other)


def test_a_coarse_dtype_cannot_hold_many_distinct_numbers() -> None:
    assert len(set(distinct(jax.random.key(0), (200,), "bfloat16").tolist())) == 200
    with pytest.raises(ValueError, match=r"bfloat16 cannot hold 300 numbers of \(-2, 2\) apart"):
        distinct(jax.random.key(0), (300,), "bfloat16")


@pytest.mark.parametrize("draw", [distinct, integers])
def test_points_are_of_a_floating_dtype_that_there_is(draw: Any) -> None:
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=f"{draw.__name__}: dtype must be a floating one, got int32"):
        draw(key, (3,), "int32")
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=f"{draw.__name__}: float64 needs jax.config.update"):
            draw(key, (3,), "float64")
        assert draw(key, (3,)).dtype == np.float32


def test_integers_hold_ties_and_zeros() -> None:
    numbers = integers(jax.random.key(0), (1000,), "float32", greatest=3)
    assert numbers.dtype == np.float32
    assert set(numbers.tolist()) == {-3, -2, -1, 0, 1, 2, 3}


def test_it_needs_no_float64_switched_on() -> None:
    """As most people have jax: in a process of its own, warnings being errors."""
    program = (
        "import jax, jax.numpy as jnp\n"
        "from jaxcnn.check import check_vjp\n"
        "x = jnp.linspace(-1, 1, 6)\n"
        "check_vjp(jnp.sin, (x,))\n"
        "check_vjp(jnp.sin, (x,), reference=jnp.sin, order=2, dtypes=('float32', 'bfloat16'))\n"
        "assert x.dtype == jnp.float32 and not jax.config.read('jax_enable_x64')\n"
        "half = jax.custom_vjp(jnp.sin)\n"
        "half.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (dy * jnp.cos(x) * 0.999,))\n"
        "check_vjp(half, (x,))\n"
    )
    where = {"PYTHONPATH": str(Path(__file__).parents[1]), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, env=os.environ | where
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("AssertionError: gradient along random direction"), done.stderr


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float32])
@pytest.mark.parametrize("spoil", [jnp.zeros_like, jnp.negative], ids=["nothing", "sign"])
def test_long_sums_excuse_nothing_in_narrow_floats(dtype: Any, spoil: Callable[[jax.Array], jax.Array]) -> None:
    """sqrt(n) ulps of bfloat16 would be more than all of it."""
    x, k = distinct(jax.random.key(0), (4096, 2)).astype(dtype), distinct(jax.random.key(1), (2, 3), dtype)
    wrong = with_rule(lambda x, k, dy: (dy @ k.T, spoil(x.T @ dy)), jnp.matmul)
    check_vjp(ops.dense, (x, k), reference=reference.dense)
    with pytest.raises(AssertionError, match=r"gradient of args\[1\] is off"):
        check_vjp(wrong, (x, k), reference=jnp.matmul)
    with pytest.raises(AssertionError, match="along random direction"):
        check_vjp(wrong, (x, k))


def test_static_arguments_stay_static() -> None:
    check_vjp(lambda x, axis: x.sum(axis), (A, 0), reference=lambda x, axis: jnp.sum(x, axis), around=("vmap",))


def test_a_failure_leaves_jaxs_settings_alone() -> None:
    """While its traceback is kept, too."""
    with jax.default_matmul_precision("bfloat16"):
        with pytest.raises(AssertionError) as raised:
            check_vjp(with_rule(WRONG["sign"][0]), (A, B), reference=product)
        assert raised.value.__traceback__ is not None
        assert jax.config.values["jax_default_matmul_precision"] == "bfloat16"


def test_only_what_can_be_pasted_is_offered_to_reproduce() -> None:
    held = with_rule(lambda a, b, dy: right(lax.stop_gradient(a), b, dy))
    with pytest.raises(AssertionError) as raised:
        check_vjp(held, (A, B), reference=product, order=2)
    assert "gradient's gradient" in str(raised.value) and "reproduce" not in str(raised.value)


def ruled(f: Callable[..., Any], pull: Callable[..., tuple[Any, ...]]) -> Any:
    """f with a rule that keeps its arguments: pull(*args, dy)."""
    rule = jax.custom_vjp(f)
    rule.defvjp(lambda *args: (f(*args), args), lambda args, dy: pull(*args, dy))
    return rule


def test_a_value_that_only_the_rules_forward_has_right() -> None:
    """What runs where nothing is differentiated, as when predicting."""
    f = jax.custom_vjp(lambda x: 5 * x * x)
    f.defvjp(lambda x: (x * x, x), lambda x, dy: (2 * x * dy,))
    with pytest.raises(AssertionError, match="^value is off"):
        check_vjp(f, (A,), reference=lambda x: x * x)
    shifted = jax.custom_vjp(lambda x: x * x + 1)
    shifted.defvjp(lambda x: (x * x, x), lambda x, dy: (2 * x * dy,))
    with pytest.raises(AssertionError, match="^value under jax.vjp is off"):
        check_vjp(shifted, (A,))


SMALL = {
    "a mean in bfloat16": (lambda x: jnp.mean(x * x), lambda x, dy: (0 * x,), jnp.bfloat16),
    "a factor of 1e-8 in float32": (lambda x: 1e-8 * x, lambda x, dy: (3e-8 * dy,), np.float32),
    "a factor of 1e-12 in float64": (lambda x: 1e-12 * x, lambda x, dy: (3e-12 * dy,), np.float64),
}


@pytest.mark.parametrize(("f", "pull", "dtype"), SMALL.values(), ids=SMALL.keys())
def test_small_gradients_are_held_to_their_own_size(f: Any, pull: Any, dtype: Any) -> None:
    x = distinct(jax.random.key(0), (64,), dtype)
    with pytest.raises(AssertionError, match=r"gradient of args\[0\] is off"):
        check_vjp(ruled(f, pull), (x,), reference=f, directions=0)
    check_vjp(f, (x,), reference=f, directions=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_infinite_gradient_never_passes(dtype: Any) -> None:
    x = distinct(jax.random.key(0), (8,), dtype)
    infinite = ruled(jnp.sin, lambda x, dy: ((jnp.cos(x) * dy).at[2].set(jnp.inf),))
    with pytest.raises(AssertionError, match="along random direction"):
        check_vjp(infinite, (x,))


def test_an_infinite_value_excuses_nothing_and_one_that_stays_hides_nothing() -> None:
    with pytest.raises(AssertionError, match="along random direction"):
        check_vjp(ruled(lambda x: 1 / jnp.abs(x), lambda x, dy: (7 * dy,)), (jnp.arange(3.0),))

    def masked(x: jax.Array) -> jax.Array:
        return jnp.where(jnp.arange(8) < 3, x, -jnp.inf)

    x = distinct(jax.random.key(0), (8,))
    check_vjp(masked, (x,))
    with pytest.raises(AssertionError, match="along random direction"):
        check_vjp(ruled(masked, lambda x, dy: (jnp.where(jnp.arange(8) < 3, 2 * dy, 0),)), (x,))


@pytest.mark.parametrize("size", [1e-6, 1e8])
def test_differences_step_as_far_as_the_arguments_are_large(size: float) -> None:
    x = size * (3 + distinct(jax.random.key(0), (6,)))
    check_vjp(jnp.log, (x,))
    with pytest.raises(AssertionError, match="along random direction"):
        check_vjp(ruled(jnp.log, lambda x, dy: (1.01 * dy / x,)), (x,))


@pytest.mark.parametrize("spoil", [lambda dy: jnp.abs(dy), lambda dy: jnp.clip(dy, -1, 1)], ids=["abs", "clip"])
def test_a_rule_that_is_not_linear_in_a_scalars_cotangent(spoil: Any) -> None:
    x = jnp.asarray(A, np.float32)
    with pytest.raises(AssertionError, match="gradient of a large opposite cotangent"):
        check_vjp(
            ruled(lambda x: jnp.vdot(x, x), lambda x, dy: (2 * x * spoil(dy),)),
            (x,),
            reference=lambda x: x.ravel() @ x.ravel(),
        )


def test_whole_numbers_beside_floats_must_be_equal() -> None:
    x = distinct(jax.random.key(0), (40,), "float32") * 1e7
    check_vjp(lambda x: (x, jnp.argmin(x)), (x,), reference=lambda x: (x, jnp.argmin(x)), around=("jit", "vmap"))
    with pytest.raises(AssertionError, match=r"value\[1\] is off"):
        check_vjp(lambda x: (x, jnp.argmin(x)), (x,), reference=lambda x: (x, jnp.argmin(x) + 1))


def test_long_sums_in_another_order_are_no_error() -> None:
    x = jnp.linspace(0.1, 1.3, 1000, dtype=np.float32)

    def running(x: jax.Array) -> jax.Array:
        return lax.scan(lambda total, x: (total + x, total + x), jnp.zeros((), x.dtype), x)[1]

    check_vjp(running, (x,), reference=jnp.cumsum)
    same = jnp.zeros(1000, int)
    check_vjp(jnp.sum, (x,), reference=lambda x: jax.ops.segment_sum(x, same, 1000)[0])


def test_what_is_no_array_stays_static_inside_transformations() -> None:
    def f(x: jax.Array, rows: int, how: str) -> jax.Array:
        return x.reshape(rows, -1).sum(1) if how == "rows" else x

    check_vjp(
        f, (A, 2, "rows"), reference=lambda x, rows, how: x.reshape(rows, -1).sum(1), around=("jit", "checkpoint")
    )


def test_an_empty_value_is_reported_not_stumbled_over() -> None:
    with pytest.raises(AssertionError, match=r"gradient of args\[0\] is off"):
        check_vjp(ruled(lambda x: x[:0], lambda x, dy: (jnp.ones_like(x),)), (A,), reference=lambda x: x[:0])


def test_f_that_refuses_float64_is_named() -> None:
    held = jnp.ones((3,), np.float32)
    with pytest.raises(ValueError, match="differences are taken in float64, which f refuses"):
        check_vjp(lambda x: lax.add(x, held), (jnp.ones(3, np.float32),))


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "args that are no tuple": (A, {}, "args must be a tuple of f's arguments, as in .*got Array"),
    "an order in words": ((A,), {"order": "2"}, "order must be at least 1, .* got '2'"),
    "half an order": ((A,), {"order": 1.5}, "order must be at least 1, .* got 1.5"),
    "no tolerance": ((A,), {"tolerance": -1}, "tolerance must be a positive number of ulps, got -1"),
    "a tolerance of NaN": ((A,), {"tolerance": np.nan}, "tolerance must be a positive number of ulps, got nan"),
    "any tolerance": ((A,), {"tolerance": np.inf}, "tolerance must be a positive number of ulps, got inf"),
    "half a direction": ((A,), {"directions": 1.5}, "directions must be None or a number .* got 1.5"),
    "a number for a key": ((A,), {"key": 3}, "key must be one random key, as of .* got int of shape"),
    "two keys": ((A,), {"key": jax.random.split(jax.random.key(0))}, "key must be one random key"),
    "a dtype for a sequence": ((A,), {"dtypes": "float32"}, "dtypes must be None or a sequence of .* got 'float32'"),
    "whole numbers": ((A,), {"dtypes": ["int32"]}, "dtypes must be None or a sequence of floating .* got 'int32'"),
    "too few bits": (
        (A,),
        {"dtypes": ["float8_e4m3fn"]},
        "dtypes must be .* from bfloat16's precision up, got 'float8",
    ),
    "no such dtype": ((A,), {"dtypes": ["floot"]}, "dtypes must be None or .* got 'floot'"),
    "no transformations": ((A,), {"around": None}, "around must be a sequence of jit, vmap, .* got None"),
    "a number for a function": ((A,), {"reference": 5}, "reference must be None or a function, got 5"),
}


@pytest.mark.parametrize(("args", "options", "says"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_are_one_line(args: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^check_vjp: {says}") as raised:
        check_vjp(jnp.sin, args, **options)
    assert "\n" not in str(raised.value)


def test_nothing_to_differentiate_in_the_value_is_refused() -> None:
    with pytest.raises(ValueError, match="f's value holds no floating array"):
        check_vjp(jnp.argmax, (A,))


NOT_LINEAR: dict[str, tuple[Callable[[jax.Array], jax.Array], tuple[Any, ...]]] = {
    "clipped at 100": (lambda dy: jnp.clip(dy, -100, 100), (np.float64, np.float32, jnp.bfloat16, np.float16)),
    "clipped at float16's greatest": (lambda dy: jnp.clip(dy, -65504, 65504), (np.float64, np.float32, jnp.bfloat16)),
    "below 1e-3 dropped": (lambda dy: jnp.where(jnp.abs(dy) < 1e-3, 0, dy), (np.float64, np.float32, np.float16)),
    "below 1e-6 dropped": (lambda dy: jnp.where(jnp.abs(dy) < 1e-6, 0, dy), (np.float64, np.float32, jnp.bfloat16)),
    "below 1e-10 dropped": (lambda dy: jnp.where(jnp.abs(dy) < 1e-10, 0, dy), (np.float64, np.float32)),
    "1e-8 added": (lambda dy: dy + dy.dtype.type(1e-8), (np.float64, np.float32)),
}


@pytest.mark.parametrize(
    ("spoil", "dtype"),
    [(spoil, dtype) for spoil, dtypes in NOT_LINEAR.values() for dtype in dtypes],
    ids=[f"{name}, {np.dtype(dtype).name}" for name, (_, dtypes) in NOT_LINEAR.items() for dtype in dtypes],
)
def test_a_rule_that_is_right_for_cotangents_of_about_one_alone(spoil: Any, dtype: Any) -> None:
    x = distinct(jax.random.key(0), (5, 3), dtype)
    with pytest.raises(AssertionError, match="gradient of a (large opposite|tiny) cotangent|gradient of args"):
        check_vjp(ruled(lambda x: 2 * x, lambda x, dy: (2 * spoil(dy),)), (x,), reference=lambda x: 2 * x, directions=0)
    with pytest.raises(AssertionError, match="along random direction"):
        check_vjp(ruled(lambda x: 2 * x, lambda x, dy: (2 * spoil(dy),)), (x,))
    check_vjp(lambda x: 2 * x, (x,), reference=lambda x: x + x, order=2)


def test_what_is_clipped_is_reproduced_at_a_size_that_shows_it() -> None:
    clipped = ruled(lambda x: 2 * x, lambda x, dy: (2 * jnp.clip(dy, -100, 100),))
    with pytest.raises(AssertionError) as raised:
        check_vjp(clipped, (A,), reference=lambda x: 2 * x, directions=0)
    line = str(raised.value).splitlines()[1]
    found, expected, size = map(float, re.findall(r"(?:is|has|but) (-?[\d.]+)", line))
    assert (abs(found), expected) == (200, 2 * size)


NAN, INF = float("nan"), float("inf")
KINDS: dict[str, tuple[Any, Any, str]] = {
    "NaN for a number": (NAN, 1.0, "nan against the reference's 1 (NaN where there should be a number, which no"),
    "a number for NaN": (1.0, NAN, "1 against the reference's nan (a number where there should be NaN, which no"),
    "infinity for a number": (INF, 1.0, "inf against the reference's 1 (infinity where there should be a number"),
    "a number for infinity": (1.0, -INF, "1 against the reference's -inf (a number where there should be -infinity"),
    "infinity's sign": (INF, -INF, "inf against the reference's -inf (infinity where there should be -infinity"),
    "NaN for infinity": (NAN, INF, "nan against the reference's inf (NaN where there should be infinity"),
    "zero for a tiny number": (0.0, 1e-200, "0 against the reference's 9.99"),
    "far apart": (1.5e308, -1.5e308, "1.5e+308 against the reference's -1.5e+308 (by 9.01e+15 ulps"),
    "further than floats reach": (
        1e300,
        1e-300,
        "1.0000000000000001e+300 against the reference's 1e-300 (further apart than ulps can count)",
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "says"), KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("shape", [(), (2, 2)], ids=str)
def test_the_line_says_what_differs(ours: float, theirs: float, says: str, shape: tuple[int, ...]) -> None:
    def of(number: float) -> Function:
        return (
            (lambda x: 0 * x + number) if not shape else (lambda x: (1e-300 * x * jnp.ones(shape)).at[1, 0].set(number))
        )

    with pytest.raises(AssertionError) as raised:
        check_vjp(of(ours), (jnp.ones(()),), reference=of(theirs))
    line = str(raised.value)
    if not shape:
        assert says in line
    else:
        assert "at index (1, 0)" in line and says.partition(" (")[0] in line and "1 of 4 elements differ" in line
        assert "nan ulps" not in line and "inf ulps" not in line and "by nan" not in line and "by inf" not in line


def test_two_nans_say_nothing_of_each_other_along_differences() -> None:
    nowhere = ruled(lambda x: x * NAN, lambda x, dy: (dy * NAN,))
    with pytest.raises(AssertionError) as raised:
        check_vjp(nowhere, (A,))
    assert "nan against the differences' nan (both are NaN, so neither says whether the other is right; move" in str(
        raised.value
    )
    assert "ulps" not in str(raised.value)


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (2**53 + 1, 2**53, "9007199254740993 against the reference's 9007199254740992"),
        (3, -4, "3 against the reference's -4"),
        (True, False, "True against the reference's False"),
    ],
    ids=str,
)
def test_what_is_no_float_must_be_equal(ours: Any, theirs: Any, says: str) -> None:
    """Beyond what float64 holds, too."""
    with pytest.raises(AssertionError) as raised:
        check_vjp(
            lambda x: (x, jnp.array([ours != ours, ours])),
            (A,),
            reference=lambda x: (x, jnp.array([ours != ours, theirs])),
        )
    assert f"value[1] is off at index (1,): {says} (1 of 2 elements differ, this one: these are no floats" in str(
        raised.value
    )


def test_random_keys_beside_floats() -> None:
    check_vjp(lambda x: (x, jax.random.key(1)), (A,), reference=lambda x: (x, jax.random.key(1)))
    with pytest.raises(AssertionError, match=r"value\[1\] is off at index \(1,\): 1 against the reference's 2"):
        check_vjp(lambda x: (x, jax.random.key(1)), (A,), reference=lambda x: (x, jax.random.key(2)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, jnp.bfloat16, np.float16])
def test_right_rules_at_the_ends_of_their_range_pass(dtype: Any) -> None:
    """Numbers so large or small that a cotangent of any other size would overflow, or lose bits, on the way."""
    limits = jnp.finfo(dtype)
    for size in (float(limits.max) / 16, 16 * float(limits.tiny)):
        x = (distinct(jax.random.key(0), (6,)) * size).astype(dtype)
        check_vjp(
            ruled(lambda x: x * 0.75, lambda x, dy: (dy * 0.75,)),
            (x,),
            reference=lambda x: x - x * 0.25,
            order=2,
            directions=0,
        )
