"""A rule f and its two witnesses:

    autodiff        `jax.vjp` of a plain `reference` of the same signature: the value and every gradient, by element,
                    to what rounding explains (C1), or in exact mode to the last bit
    differences     central differences of f itself, in float64, along random directions (C2), (C3), (C4)

With `order=n` so are its gradient's gradients: f's vector-Jacobian product is a function of args and cotangent, and is
checked like one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from math import inf
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxcnn.check._around import AROUND, one_by_one, stacked_points
from jaxcnn.check._compare import Comparison, allowed_ulps, coarsest_eps, compare, measured_rounding, rounding_growth
from jaxcnn.check._cotangents import opposite, sizes, times
from jaxcnn.check._differences import differences
from jaxcnn.check._points import generator, normals_like, on_device, whole_like
from jaxcnn.check._pull import Function, PyTree, floats_of, gradient, vjp, with_floats
from jaxcnn.check._reproduce import smallest_cotangent


def check_vjp(
    f: Function,
    args: tuple[PyTree, ...],
    *,
    reference: Function | None = None,
    order: int = 1,
    exact: bool = False,
    dtypes: Sequence[DTypeLike] | None = None,
    around: Sequence[str] = (),
    tolerance: float = 4.0,
    directions: int | None = None,
    key: jax.Array | None = None,
) -> None:
    """Hold f's value and gradients to autodiff of a reference and to differences.

    Args:
        f: a function of arrays or pytrees of them, differentiable in its floating leaves.
        args: the point to check it at; leaves that are no floats are held. Keep away from ties and kinks with
            `distinct`, or, against a reference with the same convention there, go to them with `integers`.
        reference: a plain function that computes the same; only differences are left where None.
        order: 1 for gradients, 2 for their gradients too, and so on.
        exact: args are whole numbers in float64, and f and the reference must agree to the last bit (a zero's sign
            aside): no rounding can excuse them. No differences then.
        dtypes: the dtypes to convert args' floating leaves to, each checked in turn; as they are where None.
        around: transformations to check the rule inside of: any of "jit", "vmap", "scan" and "checkpoint"; value and
            gradients, whatever the order, at args and at a second point, args with every array reversed (the same
            point again where that changes nothing).
        tolerance: greatest error, in ulps of the greatest magnitude in the array, for a sum of one term; it grows with
            the square root of the number of terms that the reference's program sums.
        directions: how many random directions the differences are taken along; where None 4, or none if there is a
            reference and any floating leaf is narrower than float64.
        key: the random key of cotangents and directions.

    Power: with differences alone, a Jacobian that is off by 4e-7 of its norm, in one element or in many, passes with
    probability 0.0023 in the default 4 directions, and one that is off by 4e-6 with 2e-6; in 8, 5e-6 and 3e-12 (C4),
    in float64 and where f's values are about as large as its slopes; in narrower floats as much less as they round.
    Against a reference every element is compared, along cotangents without zeros, of about 1, of 1e5 and of 1e-12.

    Raises:
        AssertionError: a value or a gradient is off: which, at what index, both numbers, the error in ulps, and, at
            order 1 and in args' own dtype, the one element of the cotangent that shows it.
        ValueError: an argument that is not as above, nothing to differentiate, nothing to check it against, complex
            numbers.

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
        reproduce: pull = jax.vjp(f, *args)[1]; pull(c)[0][...] is 3, autodiff of the reference has 2, where c is zeros
        of the value's shape but 1 at c[...]
    """
    all_found = comparisons(
        f,
        args,
        reference=reference,
        order=order,
        exact=exact,
        dtypes=dtypes,
        around=around,
        tolerance=tolerance,
        directions=directions,
        key=key,
    )
    with closing(all_found) as found:  # a generator that an exception leaves behind would keep its precision set
        for comparison in found:
            if not comparison.passed:
                raise AssertionError(str(comparison))


def comparisons(
    f: Function,
    args: tuple[PyTree, ...],
    *,
    reference: Function | None = None,
    order: int = 1,
    exact: bool = False,
    dtypes: Sequence[DTypeLike] | None = None,
    around: Sequence[str] = (),
    tolerance: float = 4.0,
    directions: int | None = None,
    key: jax.Array | None = None,
) -> Generator[Comparison]:
    """All that `check_vjp` looks at, one after the other, passed or not; arguments as there.

    Raises:
        AssertionError: a result differs in structure, shape or dtype.
        ValueError: as `check_vjp`.

    Example:
        >>> import jax.numpy as jnp
        >>> for c in comparisons(jnp.sin, (jnp.ones(2, "float32"),), reference=jnp.sin):
        ...     print(c.what, c.whose, c.error, c.passed)
        value the reference's 0.0 True
        value under jax.vjp the reference's 0.0 True
        gradient of args[0] autodiff's 0.0 True
        gradient of a large opposite cotangent in args[0] autodiff's 0.0 True
        gradient of a tiny cotangent in args[0] autodiff's 0.0 True
    """
    _refuse_bad(f, args, reference, order, exact, dtypes, around, tolerance, directions, key)
    floats = floats_of(args)
    random = generator(jax.random.key(0) if key is None else key)
    for dtype in dtypes or (None,):
        own = args if dtype is None else with_floats(args, [jnp.asarray(leaf, dtype) for leaf in floats])
        is_wide = all(jnp.result_type(leaf) == np.float64 for leaf in floats_of(own))
        count = 0 if exact else directions if directions is not None else 4 if is_wide or reference is None else 0
        how = _How(exact, tolerance, count, random, "" if dtype is None else f"{jnp.dtype(dtype).name} ")
        with jax.default_matmul_precision("highest"):
            yield from _at_one_point(f, own, reference, order, how)
            for name in around:
                yield from _around(name, f, own, reference, how)


class _How(NamedTuple):
    """What the parts of a check share."""

    exact: bool
    tolerance: float
    directions: int
    random: np.random.Generator
    prefix: str
    is_higher: bool = False

    def draw(self, tree: PyTree) -> PyTree:
        """A cotangent for a value."""
        return (whole_like if self.exact else normals_like)(self.random, tree)

    def allowed(self, growth: float, dtypes: list[Any]) -> float:
        """(C1), or nothing in exact mode."""
        return 0.0 if self.exact else allowed_ulps(self.tolerance, growth, dtypes)


def _at_one_point(
    f: Function, args: tuple[PyTree, ...], reference: Function | None, order: int, how: _How
) -> Iterator[Comparison]:
    value, pull = vjp(f, args)
    _refuse_undifferentiable(value)
    yield from _values(f, args, value, reference, how)
    cotangent = how.draw(value)
    if reference is not None:
        yield from _gradients(f, args, pull, cotangent, reference, how)
    yield from differences(f, args, how.directions, how.random, how.tolerance, how.prefix)
    if order > 1:
        next_reference = None if reference is None else partial(gradient, reference)
        next_how = how._replace(prefix=how.prefix + "gradient's ", is_higher=True)
        yield from _at_one_point(partial(gradient, f), (args, cotangent), next_reference, order - 1, next_how)


def _values(
    f: Function, args: tuple[PyTree, ...], value: PyTree, reference: Function | None, how: _How
) -> Iterator[Comparison]:
    """What f gives under `jax.vjp`, and, to first order, alone, where no rule's forward runs."""
    plain = f if reference is None else reference
    dtypes = [jnp.result_type(leaf) for leaf in floats_of(args)]
    held_to = partial(
        compare,
        expected=plain(*args),
        allowed=how.allowed(rounding_growth(plain, *args), dtypes),
        dtypes=dtypes,
        made_from=args,
        rounding=partial(_rounding, f, plain, args),
    )
    whose = "the value alone," if reference is None else "the reference's"
    if reference is not None and not how.is_higher:
        yield from held_to(f"{how.prefix}value", f(*args), whose=whose)
    yield from held_to(f"{how.prefix}value under jax.vjp", value, whose=whose)


def _gradients(
    f: Function, args: tuple[PyTree, ...], pull: Function, cotangent: PyTree, reference: Function, how: _How
) -> Iterator[Comparison]:
    """Along a cotangent, a large one of the opposite sign, and a tiny one (C5)."""
    _, plain_pull = vjp(reference, args)
    large, tiny = sizes(args, cotangent, plain_pull(cotangent))
    cotangents = {
        "gradient of args": cotangent,
        "gradient of a large opposite cotangent in args": opposite(cotangent, large, exact=how.exact),
        "gradient of a tiny cotangent in args": times(tiny, cotangent),
    }
    dtypes = [jnp.result_type(leaf) for leaf in floats_of(args)]
    growth = rounding_growth(partial(gradient, reference), args, cotangent)
    for name, along in cotangents.items():
        yield from compare(
            how.prefix + name,
            pull(along),
            plain_pull(along),
            "autodiff's",
            allowed=how.allowed(growth, dtypes),
            dtypes=dtypes,
            made_from=along,
            rounding=partial(_rounding, partial(gradient, f), partial(gradient, reference), (args, along)),
            reproduce=partial(smallest_cotangent, f, reference, args, along) if not how.prefix else lambda *_: "",
        )


def _around(
    name: str, f: Function, args: tuple[PyTree, ...], reference: Function | None, how: _How
) -> Iterator[Comparison]:
    """Two points inside the transformation, against the reference at each alone, or f itself where there is none."""
    plain = f if reference is None else reference
    points = stacked_points(args)
    values = jax.eval_shape(lambda floats: f(*with_floats(args, floats)), floats_of(args))
    drawn = [how.draw(values) for _ in range(2)]
    cotangents = jax.tree.map(lambda *leaves: on_device(np.stack(leaves), leaves[0].dtype), *drawn)
    dtypes = [leaf.dtype for leaf in points]
    yield from compare(
        f"{how.prefix}value alone, value and gradient in {name}",
        AROUND[name](f, args)(points, cotangents),
        one_by_one(plain, args, points, cotangents),
        "f's own" if reference is None else "autodiff's",
        allowed=how.allowed(rounding_growth(partial(gradient, plain), args, drawn[0]), dtypes),
        dtypes=dtypes,
        made_from=(args, cotangents),
    )


def _rounding(f: Function, reference: Function, args: tuple[PyTree, ...]) -> list[float]:
    of_reference = measured_rounding(reference, args)
    if coarsest_eps([jnp.result_type(leaf) for leaf in floats_of(args)]) > np.finfo(np.float32).eps:
        return of_reference
    return [max(pair) for pair in zip(measured_rounding(f, args), of_reference, strict=True)]


def _refuse_bad(
    f: Any,
    args: Any,
    reference: Any,
    order: Any,
    exact: bool,
    dtypes: Any,
    around: Any,
    tolerance: Any,
    directions: Any,
    key: Any,
) -> None:
    def refuse(message: str) -> NoReturn:
        raise ValueError(f"check_vjp: {message}")

    if not callable(f) or not (reference is None or callable(reference)):
        refuse(f"f and reference must be functions, got {f!r} and {reference!r}")
    if not isinstance(args, tuple):
        refuse(f"args must be a tuple of f's arguments, as in (x,), got {type(args).__name__}")
    try:
        inspect.signature(f).bind(*args)
    except TypeError as error:
        refuse(f"args must be a tuple of all of f's arguments, got {len(args)} of them: {error}")
    except ValueError:  # built in, without a signature
        pass
    _refuse_complex(
        "args", args, "give real and imaginary parts as arguments of their own, lambda re, im: f(re + 1j * im)"
    )
    floats = floats_of(args)
    if not floats:
        refuse("args must hold at least one floating array, to differentiate in")
    if not isinstance(order, int) or order < 1:
        refuse(f"order must be at least 1, for gradients, got {order!r}")
    if directions is not None and (not isinstance(directions, int) or directions < (0 if reference else 1)):
        least = "" if reference else " at least 1 where there is no reference to check against,"
        refuse(f"directions must be None or a number of directions,{least} got {directions!r}")
    if not isinstance(tolerance, int | float) or not 0 < tolerance < inf:
        refuse(f"tolerance must be a positive number of ulps, got {tolerance!r}")
    if not (isinstance(around, Sequence) and not isinstance(around, str) and all(name in [*AROUND] for name in around)):
        refuse(f"around must be a sequence of {', '.join(AROUND)}, got {around!r}")
    if key is not None and not _is_key(key):
        refuse(
            f"key must be one random key, as of jax.random.key(0), got {type(key).__name__} of shape {np.shape(key)}"
        )
    _refuse_dtypes(dtypes, refuse)
    if exact and reference is None:
        refuse("exact=True compares with a reference; give one")
    for leaf in map(np.asarray, floats if exact else []):
        if leaf.dtype != np.float64 or not np.array_equal(leaf, np.round(leaf)):
            fault = f"{leaf.dtype}{leaf.shape}" + (" with fractions" if leaf.dtype == np.float64 else "")
            refuse(
                f"exact=True needs whole numbers in float64, got {fault}; "
                "draw them with jaxcnn.check.integers(key, shape, 'float64')"
            )


def _refuse_dtypes(dtypes: Any, refuse: Callable[[str], NoReturn]) -> None:
    expected = "dtypes must be None or a sequence of floating dtypes from bfloat16's precision up"
    if dtypes is not None and (not isinstance(dtypes, Sequence) or isinstance(dtypes, str)):
        refuse(f"{expected}, got {dtypes!r}")
    for given in dtypes or ():
        try:
            dtype = jnp.dtype(given)
        except TypeError:
            refuse(f"{expected}, got {given!r}")
        if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).eps > jnp.finfo(jnp.bfloat16).eps:
            refuse(f"{expected}, got {given!r}")
        if dtype == np.float64 and not jax.config.read("jax_enable_x64"):
            refuse("dtypes holds float64, which needs jax.config.update('jax_enable_x64', True) first")


def _is_key(key: Any) -> bool:
    if not isinstance(key, jax.Array):
        return False
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return key.shape == () if is_typed else key.dtype == np.uint32 and key.ndim == 1


def _refuse_undifferentiable(value: PyTree) -> None:
    _refuse_complex("f's value", value, "return both parts, lambda x: (f(x).real, f(x).imag)")
    if not floats_of(value):
        raise ValueError("check_vjp: f's value holds no floating array, so there is nothing to differentiate")


def _refuse_complex(what: str, tree: PyTree, way_out: str) -> None:
    for leaf in jax.tree.leaves(tree):
        if np.iscomplexobj(leaf):
            given = f"{jnp.result_type(leaf)}{jnp.shape(leaf)}"
            raise ValueError(f"check_vjp: {what} must be real, got {given}; {way_out}")
