"""Is a hand-derived gradient right? For the rules here, and for anyone's.

A rule f is compared with two independent witnesses:

    autodiff        `jax.vjp` of a plain `reference` of the same signature: values and every gradient, by element
    differences     in float64, with phi(args) = <f(args), c> for a random cotangent c, along random directions v,
                    D(h) = (phi(args + h v) - phi(args - h v)) / 2h = <gradient, v> + O(h^2), and Richardson's
                    (4 D(h/2) - D(h)) / 3 = <gradient, v> + O(h^4)

and with `order=n` so are its gradient's gradients: f's vector-Jacobian product is itself a function, and is checked
like one. Comparisons are made by NumPy in float64 on the host: `jnp.max` of a difference can hide a NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Function = Callable[..., Any]
PyTree = Any

_STEP = 1e-6  # short, to keep off kinks; rounding then costs about eps / step = 2e-10 of the values' scale
_DIFFERENCE_TOLERANCE = 1e-6


def check_vjp(
    f: Function,
    args: tuple[PyTree, ...],
    *,
    reference: Function | None = None,
    order: int = 1,
    tolerance: float | None = None,
    directions: int = 4,
    key: jax.Array | None = None,
) -> None:
    """Compare f's values and gradients with autodiff of a reference and with differences.

    Args:
        f: a function of arrays or pytrees of them, differentiable in its floating leaves.
        args: the point to check it at; the other leaves are held.
        reference: a plain function that computes the same; the comparison with autodiff is left out where None.
        order: 1 for gradients, 2 for their gradients too, and so on.
        tolerance: greatest difference allowed from the reference, relative to the greatest magnitude in the array (and
            to at least 1); 64 roundings of the narrowest dtype in play where None.
        directions: how many random directions the differences are taken along, where every floating leaf is float64.
        key: the random key of cotangents and directions.

    Raises:
        AssertionError: a value or a gradient is off: which, at what index, and both numbers.
        ValueError: there is nothing to check it against, or nothing to differentiate.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> @jax.custom_vjp
        ... def double(x):
        ...     return 2 * x
        >>> double.defvjp(lambda x: (2 * x, None), lambda _, dy: (3 * dy,))
        >>> check_vjp(double, (jnp.ones(2),), reference=lambda x: 2 * x)
        Traceback (most recent call last):
            ...
        AssertionError: gradient of args[0] is off at index (...,): ... against autodiff's ...
    """
    floats = [leaf for leaf in jax.tree.leaves(args) if _is_float(leaf)]
    if not floats:
        raise ValueError("check_vjp: args must hold at least one floating array, to differentiate in")
    differences = directions if all(jnp.result_type(leaf) == np.float64 for leaf in floats) else 0
    if reference is None and not differences:
        raise ValueError(
            "check_vjp: without a reference the arguments must be float64 (jax.config.update('jax_enable_x64', True)), "
            "for differences in anything narrower prove nothing; give a reference, or convert them"
        )
    key = jax.random.key(0) if key is None else key
    with jax.default_matmul_precision("highest"):
        _check(f, args, reference, order, tolerance, differences, key, "")


def _check(
    f: Function,
    args: tuple[PyTree, ...],
    reference: Function | None,
    order: int,
    tolerance: float | None,
    differences: int,
    key: jax.Array,
    prefix: str,
) -> None:
    cotangent_key, direction_key, next_key = jax.random.split(key, 3)
    value = f(*args)
    cotangent = _random_like(cotangent_key, value)
    gradient = partial(_gradient, f)
    found = gradient(args, cotangent)
    if reference is not None:
        _compare(prefix + "value", value, reference(*args), "the reference's", tolerance)
        expected = _gradient(reference, args, cotangent)
        _compare(prefix + "gradient of args", found, expected, "autodiff's", tolerance)
    for direction_number in range(differences):
        direction = _random_like(jax.random.fold_in(direction_key, direction_number), args)
        slope, scale = _slope(f, args, cotangent, direction)
        claimed = _inner(found, direction)
        if not abs(claimed - slope) <= _DIFFERENCE_TOLERANCE * max(scale, abs(slope), 1):
            raise AssertionError(
                f"{prefix}gradient along random direction {direction_number} is off: <gradient, direction> = "
                f"{claimed!r} against the differences' {slope!r}"
            )
    if order > 1:
        next_reference = None if reference is None else partial(_gradient, reference)
        _check(
            lambda *both: gradient(both[0], both[1]),
            (args, cotangent),
            None if next_reference is None else (lambda *both: next_reference(both[0], both[1])),
            order - 1,
            tolerance,
            differences,
            next_key,
            prefix + "gradient's ",
        )


def _gradient(f: Function, args: tuple[PyTree, ...], cotangent: PyTree) -> tuple[PyTree, ...]:
    """f's vector-Jacobian product in the floating leaves of args: args' structure, None for the others."""
    leaves, structure = jax.tree.flatten(args)
    is_float = [_is_float(leaf) for leaf in leaves]

    def of_floats(floats: list[jax.Array]) -> PyTree:
        remaining = iter(floats)
        return f(
            *jax.tree.unflatten(
                structure, [next(remaining) if flag else leaf for flag, leaf in zip(is_float, leaves, strict=True)]
            )
        )

    _, pull = jax.vjp(of_floats, [leaf for flag, leaf in zip(is_float, leaves, strict=True) if flag])
    gradients = iter(pull(cotangent)[0])
    return jax.tree.unflatten(structure, [next(gradients) if flag else None for flag in is_float])


def _compare(what: str, found: PyTree, expected: PyTree, whose: str, tolerance: float | None) -> None:
    """Raise where two pytrees differ in structure, shape, dtype, NaNs or by more than the tolerance."""
    found_leaves, structure = jax.tree_util.tree_flatten_with_path(found)
    expected_leaves = jax.tree.leaves(expected)
    if str(structure) != str(jax.tree.structure(expected)):
        raise AssertionError(f"{what} has the structure {structure} against {whose} {jax.tree.structure(expected)}")
    for (path, ours), theirs in zip(found_leaves, expected_leaves, strict=True):
        name = what + jax.tree_util.keystr(path)
        if jnp.shape(ours) != jnp.shape(theirs) or jnp.result_type(ours) != jnp.result_type(theirs):
            raise AssertionError(
                f"{name} is {jnp.result_type(ours)}{jnp.shape(ours)} against {whose} "
                f"{jnp.result_type(theirs)}{jnp.shape(theirs)}"
            )
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        finite = b[np.isfinite(b)]
        scale = max(1.0, np.max(np.abs(finite), initial=0.0))
        relative = 64 * float(jnp.finfo(jnp.result_type(ours)).eps) if tolerance is None else tolerance
        limit = relative * scale
        with np.errstate(invalid="ignore"):
            difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        off = ~(difference <= limit)
        if off.any():
            worst = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), a.shape)
            index = tuple(int(i) for i in worst)
            raise AssertionError(
                f"{name} is off at index {index}: {a[worst]:.17g} against {whose} {b[worst]:.17g} "
                f"({int(off.sum())} of {off.size} elements differ by more than {limit:.3g})"
            )


def _slope(f: Function, args: tuple[PyTree, ...], cotangent: PyTree, direction: PyTree) -> tuple[float, float]:
    """The extrapolated difference of <f, cotangent> along direction, and the scale of its terms."""

    def value(step: float) -> PyTree:
        return f(*jax.tree.map(lambda leaf, v: leaf + step * v if _is_float(leaf) else leaf, args, direction))

    def slopes(step: float) -> PyTree:
        ends = value(step), value(-step)
        return jax.tree.map(lambda up, down: (np.asarray(up) - np.asarray(down)) / (2 * step), *ends)

    extrapolated = jax.tree.map(lambda half, whole: (4 * half - whole) / 3, slopes(_STEP / 2), slopes(_STEP))
    squares = [np.sum(np.square(leaf)) for leaf in jax.tree.leaves(extrapolated)]
    return _inner(extrapolated, cotangent), float(np.sqrt(sum(squares)))


def _inner(left: PyTree, right: PyTree) -> float:
    """The sum of products of corresponding floating elements."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(_floats_of(right)), strict=True)
    return float(sum(np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs))


def _floats_of(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf if _is_float(leaf) else None, tree)


def _random_like(key: jax.Array, tree: PyTree) -> PyTree:
    """Standard normals of the shapes and dtypes of the floating leaves; the others as they are."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(1, len(leaves)))
    return jax.tree.unflatten(
        structure,
        [
            jax.random.normal(k, jnp.shape(leaf), jnp.result_type(leaf)) if _is_float(leaf) else leaf
            for k, leaf in zip(keys, leaves, strict=True)
        ],
    )


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
