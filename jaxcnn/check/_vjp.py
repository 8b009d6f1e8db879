"""A rule f and its two witnesses:

    autodiff        `jax.vjp` of a plain `reference` of the same signature: the value and every gradient, by element,
                    to what rounding explains (C1), or in exact mode to the last bit
    differences     central differences of f itself, in float64, along random directions (C2), (C3), (C4)

With `order=n` gradients of gradients are checked too: f's vector-Jacobian product is a function of args and cotangent,
and is checked like f.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxcnn._names import unknown
from jaxcnn.check._around import AROUND, one_by_one, stacked_points
from jaxcnn.check._compare import Comparison, coarsest_eps, compare, measured_rounding, rounding_growth
from jaxcnn.check._cotangents import opposite, sizes, times
from jaxcnn.check._differences import differences
from jaxcnn.check._options import Options, refuse, refuse_complex
from jaxcnn.check._part import Part
from jaxcnn.check._points import generator, on_device
from jaxcnn.check._pull import Function, PyTree, floats_of, gradient, vjp, with_floats
from jaxcnn.check._reproduce import smallest_cotangent
from jaxcnn.check._subject import Kind


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
    """Compare f's value and gradients with a reference's and with differences.

    Args:
        f: a function of arrays or pytrees of them, differentiable in its floating leaves.
        args: the point to check it at; leaves that are no floats are held. Keep away from ties and kinks with
            `distinct`, or, against a reference with the same convention there, go to them with `integers`.
        reference: a plain function that computes the same; only differences are left where None.
        order: 1 for gradients, 2 for their gradients too, and so on.
        exact: args are whole numbers in float64, and f and the reference must agree to the last bit (except a zero's
            sign), with no allowance for rounding and without differences.
        dtypes: the dtypes to convert args' floating leaves to, each checked in turn; as they are where None.
        around: transformations to check the rule inside: any of "jit", "vmap", "scan" and "checkpoint"; value and
            first gradients, at args and at args with every array reversed.
        tolerance: greatest error, in ulps of the greatest magnitude in the array, for a sum of one term; it grows with
            the square root of the number of terms that the reference's program sums.
        directions: how many random directions the differences are taken along; by default 4, or 0 if there is a
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
    options = Options(
        reference=reference,
        order=order,
        exact=exact,
        dtypes=dtypes,
        around=around,
        tolerance=tolerance,
        directions=directions,
        key=key,
    )
    with closing(_all(f, args, options)) as found:  # or an exception would leave the matmul precision set
        for comparison in found:
            if not comparison.passed:
                raise AssertionError(str(comparison))


def comparisons(f: Function, args: tuple[PyTree, ...], **options: Any) -> Generator[Comparison]:
    """All that `check_vjp` looks at, one after the other, passed or not.

    Args:
        f, args: as for `check_vjp`.
        options: the keyword arguments of `check_vjp`, from `reference` to `key`.

    Raises:
        AssertionError: a result differs in structure, shape or dtype.
        TypeError: `check_vjp` has no such keyword argument.
        ValueError: as `check_vjp`.

    Example:
        >>> import jax.numpy as jnp
        >>> for c in comparisons(jnp.sin, (jnp.ones(2, "float32"),), reference=jnp.sin):
        ...     print(c.kind.name, c.what, c.whose, c.error, c.passed)
        VALUE value the reference's 0.0 True
        VALUE value under jax.vjp the reference's 0.0 True
        GRADIENT gradient of args[0] autodiff's 0.0 True
        GRADIENT gradient of a large opposite cotangent in args[0] autodiff's 0.0 True
        GRADIENT gradient of a tiny cotangent in args[0] autodiff's 0.0 True
    """
    known = [field.name for field in fields(Options)]
    for name in options:
        if name not in known:
            raise TypeError(f"comparisons: {unknown('keyword', name, known)}")
    return _all(f, args, Options(**options))


def _all(f: Function, args: tuple[PyTree, ...], options: Options) -> Generator[Comparison]:
    options.refuse_point(f, args)
    random = generator(jax.random.key(0) if options.key is None else options.key)
    for dtype in options.dtypes or (None,):
        own = args
        if dtype is not None:
            own = with_floats(args, [jnp.asarray(leaf, dtype) for leaf in floats_of(args)])
        part = Part(
            f,
            own,
            options.reference,
            options.exact,
            options.tolerance,
            _directions(options, own),
            random,
            None if dtype is None else jnp.dtype(dtype).name,
        )
        with jax.default_matmul_precision("highest"):
            yield from _to_order(options.order, part)
            for name in options.around:
                yield from _around(name, part)


def _directions(options: Options, args: tuple[PyTree, ...]) -> int:
    if options.exact:
        return 0
    if options.directions is not None:
        return options.directions
    is_wide = all(jnp.result_type(leaf) == np.float64 for leaf in floats_of(args))
    return 4 if is_wide or options.reference is None else 0


def _to_order(order: int, part: Part) -> Iterator[Comparison]:
    value, pull = vjp(part.f, part.args)
    _refuse_undifferentiable(value)
    yield from _values(part, value)
    cotangent = part.cotangent(value)
    if part.reference is not None:
        yield from _gradients(part, part.reference, pull, cotangent)
    yield from differences(part)
    if part.order < order:
        yield from _to_order(order, part.of_gradient(cotangent))


def _values(part: Part, value: PyTree) -> Iterator[Comparison]:
    """f's value under `jax.vjp` and, at order 1, alone, where the rule's forward does not run."""
    held_to = partial(
        compare,
        expected=part.plain(*part.args),
        whose="the value alone," if part.reference is None else "the reference's",
        allowed=part.allowed(rounding_growth(part.plain, *part.args)),
        dtypes=part.dtypes,
        made_from=part.args,
        rounding=partial(_rounding, part.f, part.plain, part.args),
    )
    if part.reference is not None and part.order == 1:
        yield from held_to(part.subject(Kind.VALUE, "value"), part.f(*part.args))
    yield from held_to(part.subject(Kind.VALUE, "value under jax.vjp"), value)


def _gradients(part: Part, reference: Function, pull: Function, cotangent: PyTree) -> Iterator[Comparison]:
    """Along a cotangent, a large one of the opposite sign, and a tiny one (C5)."""
    f, args = part.f, part.args
    _, plain_pull = vjp(reference, args)
    large, tiny = sizes(args, cotangent, plain_pull(cotangent))
    cotangents = {
        "gradient of args": cotangent,
        "gradient of a large opposite cotangent in args": opposite(cotangent, large, exact=part.exact),
        "gradient of a tiny cotangent in args": times(tiny, cotangent),
    }
    growth = rounding_growth(partial(gradient, reference), args, cotangent)
    is_reproduced = part.order == 1 and part.dtype is None
    for words, along in cotangents.items():
        yield from compare(
            part.subject(Kind.GRADIENT, words),
            pull(along),
            plain_pull(along),
            "autodiff's",
            allowed=part.allowed(growth),
            dtypes=part.dtypes,
            made_from=along,
            rounding=partial(_rounding, partial(gradient, f), partial(gradient, reference), (args, along)),
            reproduce=partial(smallest_cotangent, f, reference, args, along) if is_reproduced else lambda *_: "",
        )


def _around(name: str, part: Part) -> Iterator[Comparison]:
    """Two points inside the transformation, against the reference at each alone, or f itself where there is none."""
    f, args = part.f, part.args
    points = stacked_points(args)
    values = jax.eval_shape(lambda floats: f(*with_floats(args, floats)), floats_of(args))
    drawn = [part.cotangent(values) for _ in range(2)]
    cotangents = jax.tree.map(lambda *leaves: on_device(np.stack(leaves), leaves[0].dtype), *drawn)
    yield from compare(
        part.subject(Kind.TRANSFORMED, f"value alone, value and gradient in {name}"),
        AROUND[name](f, args)(points, cotangents),
        one_by_one(part.plain, args, points, cotangents),
        "f's own" if part.reference is None else "autodiff's",
        allowed=part.allowed(rounding_growth(partial(gradient, part.plain), args, drawn[0])),
        dtypes=part.dtypes,
        made_from=(args, cotangents),
    )


def _rounding(f: Function, reference: Function, args: tuple[PyTree, ...]) -> list[float]:
    of_reference = measured_rounding(reference, args)
    if coarsest_eps([jnp.result_type(leaf) for leaf in floats_of(args)]) > np.finfo(np.float32).eps:
        return of_reference
    return [max(pair) for pair in zip(measured_rounding(f, args), of_reference, strict=True)]


def _refuse_undifferentiable(value: PyTree) -> None:
    refuse_complex("f's value", value, "return both parts, lambda x: (f(x).real, f(x).imag)")
    if not floats_of(value):
        refuse("f's value holds no floating array, so there is nothing to differentiate")
