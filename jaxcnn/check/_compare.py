"""Two results, element by element, in units of what rounding may do.

An array that sums n rounded terms is off by about sqrt(n) roundings of its greatest magnitude, if the roundings are
independent. So with eps of the dtype and n counted in the program that computes the expected array,

    error = |found - expected| / (eps max|expected|)        in ulps of the array's greatest magnitude
    allowed = tolerance sqrt(n)                                                                                    (C1)

Narrow dtypes keep their sums in float32, and round the results alone: for bfloat16 and float16, sqrt(n) grows to at
most four and what float32 adds to it.

An array below sqrt(eps) of the numbers it was made from may be what a cancelled sum left (a saturated softmax's p - y):
nothing but rounding. That is then measured, as the change in f and in the reference when they are computed in float64
(or, if they were in float64, in float32, and scaled). 16 times the greater change is allowed on top of (C1). In the
narrow dtypes only the reference's change counts: f might round what should stay in float32, and excuse itself.

NumPy compares on the host, in float64: `jnp.max` of a difference can hide a NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check._cotangents import greatest
from jaxcnn.check._pull import Function, PyTree, floats_of, is_float, with_floats
from jaxcnn.check._subject import Kind, Subject


@dataclass(frozen=True)
class Comparison:
    """One number or array compared with its witness; `passed` if they agree.

    Attributes:
        kind: what is compared; a `Kind`.
        what: the same in words: "value", "gradient of args[0]", "gradient along random direction 2", ...
        order: 1 for f's value and gradients, 2 for those of its gradient, and so on.
        dtype: the one of `dtypes` that args were converted to; None where they are as they were given.
        argument: of a `Kind.GRADIENT` alone, in which argument: "args[0]"; where f is itself a gradient, a function of
            args and cotangent, "args[0][1]" is args[1] and "args[1]" the cotangent.
        whose: the witness: "the reference's", "autodiff's", "the differences'".
        index: where the error is greatest, in the array; () for a number.
        found: what the rule has there.
        expected: what the witness has there.
        error: the greatest error, in ulps of the array's greatest magnitude, or of the terms of a difference; for ints
            and bools, which must be equal, the distance.
        allowed: the greatest error that rounding explains, in the same units.
        wrong: how many elements have a greater error.
        size: how many elements there are.
        reproduce: finds and describes the smallest cotangent that shows the error.
    """

    kind: Kind
    what: str
    order: int
    dtype: str | None
    argument: str | None
    whose: str
    index: tuple[int, ...]
    found: float | int | bool
    expected: float | int | bool
    error: float
    allowed: float
    wrong: int
    size: int
    reproduce: Callable[[], str] = str

    @property
    def passed(self) -> bool:
        """Whether it is right."""
        return not self.wrong

    def __str__(self) -> str:
        where = f" at index {self.index}" if self.index else ""
        if self.passed:
            return f"{self.what} agrees with {self.whose}, worst{where}: {self.error:.3g} of {self.allowed:.3g} ulps"
        many = f"{self.wrong} of {self.size} elements differ"
        if (difference := self._of_kind()) is not None:
            how_far = f"{many}, this one: {difference}" if self.index else difference
        elif self.index:
            how_far = f"{many} by more than {self.allowed:.3g} ulps, this one by {self.error:.3g}"
        else:
            how_far = f"by {self.error:.3g} ulps, where rounding explains {self.allowed:.3g}"
        line = (
            f"{self.what} is off{where}: {_shown(self.found)} against {self.whose} {_shown(self.expected)} ({how_far})"
        )
        return "\n".join(filter(None, (line, self.reproduce())))

    def _of_kind(self) -> str | None:
        """What differs where no number of ulps says it."""
        if not isinstance(self.expected, float):
            return "these are no floats and must be equal"
        ours, theirs = map(_kind, (self.found, self.expected))
        if ours == theirs == "a number":
            return None if np.isfinite(self.error) else "further apart than ulps can count"
        if ours == theirs:
            return (
                f"both are {ours}, so neither says whether the other is right; move args to where f and its slopes are "
                "finite, or check against a reference with directions=0"
            )
        return f"{ours} where there should be {theirs}, which no rounding explains"


def compare(
    subject: Subject,
    found: PyTree,
    expected: PyTree,
    whose: str,
    *,
    allowed: float,
    dtypes: list[Any],
    made_from: PyTree,
    rounding: Callable[[], list[float]] | None = None,
    reproduce: Callable[[tuple[Any, ...], tuple[int, ...]], str] = lambda path, index: "",
) -> Iterator[Comparison]:
    """A comparison for each array of two pytrees.

    Args:
        subject: what is compared.
        found, expected: the pytrees.
        whose: words for `expected`.
        allowed: in ulps of the narrowest of `dtypes` and of the array's own.
        dtypes: the dtypes computed in.
        made_from: the numbers that the arrays were computed from: the scale of what a cancelled sum leaves.
        rounding: measures the rounding of each leaf; called if an array is small beside that scale.
        reproduce: describes the error at a path and an index.

    Raises:
        AssertionError: the structures differ, or a shape or a dtype.
    """
    found_leaves, structure = jax.tree_util.tree_flatten_with_path(found)
    expected_leaves = jax.tree.leaves(expected)
    if str(structure) != str(jax.tree.structure(expected)):
        raise AssertionError(f"{subject} has the structure {structure} against {whose} {jax.tree.structure(expected)}")
    whole = max(greatest(expected), greatest(made_from))
    for number, ((path, ours), theirs) in enumerate(zip(found_leaves, expected_leaves, strict=True)):
        name = str(subject) + jax.tree_util.keystr(path)
        if jnp.shape(ours) != jnp.shape(theirs) or jnp.result_type(ours) != jnp.result_type(theirs):
            raise AssertionError(
                f"{name} is {jnp.result_type(ours)}{jnp.shape(ours)} against {whose} "
                f"{jnp.result_type(theirs)}{jnp.shape(theirs)}"
            )
        if is_float(theirs):
            a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
            eps = coarsest_eps([*dtypes, jnp.result_type(ours)])
            own = greatest(theirs)
            unit = max(eps * (own or whole or 1.0), *map(_least, [*dtypes, jnp.result_type(ours)]))
            limit = allowed
            if allowed and rounding is not None and own <= sqrt(eps) * whole:
                limit += 16 * rounding()[number] / unit
            with np.errstate(all="ignore"):
                same = (a == b) | (np.isnan(a) & np.isnan(b))
                error = np.where(same, 0.0, np.abs(a / unit - b / unit))
        else:
            a, b = _whole(ours), _whole(theirs)
            limit = 0.0
            error = np.where(a == b, 0.0, np.maximum(1.0, np.abs(a.astype(np.float64) - b.astype(np.float64))))
        off = ~(error <= limit)
        index = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), a.shape) if a.size else ()
        where = tuple(int(i) for i in index)
        ours_there, theirs_there, error_there = (x[where].item() if a.size else 0.0 for x in (a, b, error))
        yield Comparison(
            kind=subject.kind,
            what=name,
            order=subject.order,
            dtype=subject.dtype,
            argument=subject.argument(path),
            whose=whose,
            index=where,
            found=ours_there,
            expected=theirs_there,
            error=error_there,
            allowed=limit,
            wrong=int(off.sum()),
            size=off.size,
            reproduce=partial(reproduce, path, where),
        )


def measured_rounding(f: Function, args: PyTree) -> list[float]:
    """By how much each leaf of f's value moves when its floats are computed in another precision (see above)."""
    is_wide = all(jnp.result_type(leaf) == np.float64 for leaf in floats_of(args))
    other = np.float32 if is_wide else np.float64
    scale = float(np.finfo(np.float64).eps / np.finfo(np.float32).eps) if is_wide else 1.0
    try:
        with jax.enable_x64(True):
            moved = f(*with_floats(args, [jnp.asarray(leaf, other) for leaf in floats_of(args)]))
    except (
        TypeError,
        ValueError,
    ):  # it holds numbers of a dtype of their own: what it was made from is all that is known
        return [float(np.finfo(np.float64 if is_wide else np.float32).eps) * greatest(args)] * len(
            jax.tree.leaves(f(*args))
        )
    pairs = zip(jax.tree.leaves(f(*args)), jax.tree.leaves(moved), strict=True)
    with np.errstate(invalid="ignore"):  # an infinity less itself
        return [scale * greatest(np.asarray(a, np.float64) - np.asarray(b, np.float64)) for a, b in pairs]


def allowed_ulps(tolerance: float, growth: float, dtypes: list[Any]) -> float:
    """(C1) for the narrowest of the dtypes."""
    eps, of_sums = coarsest_eps(dtypes), float(np.finfo(np.float32).eps)
    return tolerance * min(growth, 4 + growth * min(1, of_sums / eps)) if eps > of_sums else tolerance * growth


def coarsest_eps(dtypes: list[Any]) -> float:
    """The relative rounding of the narrowest floating dtype; float64's where there is none."""
    return max([float(jnp.finfo(d).eps) for d in dtypes if jnp.issubdtype(d, jnp.floating)], default=2.0**-52)


def rounding_growth(f: Function, *args: PyTree) -> float:
    """sqrt(n) of (C1): n is the number of terms that f's program sums, over all its equations."""
    program = jax.make_jaxpr(lambda floats: f(*with_floats(args, floats)))(floats_of(args))
    return sqrt(max(1, _terms(program.jaxpr)))


def _terms(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [
            body.jaxpr if hasattr(body, "jaxpr") else body
            for value in equation.params.values()
            for body in (value if isinstance(value, tuple | list) else (value,))
            if hasattr(body, "eqns") or hasattr(body, "jaxpr")
        ]
        repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += repeats * sum(map(_terms, inner)) if inner else _terms_of(equation)
    return total


def _terms_of(equation: Any) -> int:
    """How many terms one element of the equation's result adds up."""
    name, params = equation.primitive.name, equation.params
    shapes = [v.aval.shape for v in equation.invars]
    if name == "dot_general":
        return prod(shapes[0][axis] for axis in params["dimension_numbers"][0][0])
    if name == "conv_general_dilated":
        return prod(shapes[1]) // max(1, shapes[1][params["dimension_numbers"].rhs_spec[0]])
    if name.startswith("reduce_window") and "window_dimensions" in params:
        return prod(params["window_dimensions"])
    if name.startswith("cum"):
        return max(1, shapes[0][params["axis"]])
    if name.startswith("scatter"):
        return max(1, prod(shapes[1][:-1]))  # every update may go to one place
    if name.startswith("reduce"):
        return max(1, prod(shapes[0]) // max(1, prod(equation.outvars[0].aval.shape)))
    return 1


def _least(dtype: Any) -> float:
    """The least normal number, as XLA may flush smaller ones to zero; for float16, the least subnormal."""
    if not jnp.issubdtype(dtype, jnp.floating):
        return 0.0
    limits = jnp.finfo(dtype)
    return float(limits.smallest_subnormal if dtype == np.float16 else limits.tiny)


def _whole(leaf: Any) -> np.ndarray:
    """What is no float, for a comparison in its own dtype; a random key by its numbers."""
    is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _kind(number: float) -> str:
    if np.isnan(number):
        return "NaN"
    return "a number" if np.isfinite(number) else "infinity" if number > 0 else "-infinity"


def _shown(number: float | int | bool) -> str:
    return f"{number:.17g}" if isinstance(number, float) else str(number)
