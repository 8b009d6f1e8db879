"""Central differences as the witness of a gradient, and what they can see.

For a cotangent c, a direction v and phi(t) = <f(args + t v), c>,

    D(h) = (phi(h) - phi(-h)) / 2h = <gradient, v> + O(h^2),    (4 D(h/2) - D(h)) / 3 = <gradient, v> + O(h^4)    (C2)

computed in float64 whatever the dtype of args. In each of args' arrays v is standard normals
times their root mean square, so that h is relative to them. The rounding of f enters as eps/h of its values, so
h = eps^(3/8) of the dtype that f's values come back in: shorter than the best for (C2), eps^(1/5), to keep off kinks.
The difference is trusted to 256 eps^(5/8) of the values' and slopes' size: 4e-8 in float64.                      (C3)
Among many kinks, as a network's ReLUs have, some lie within any h: where the slopes on both sides differ by as much as
the gradient is off, h is divided by 8, up to three times, and the trust multiplied by 8.

Power. Let the rule's Jacobian be off by E, where args' arrays have a root mean square of 1, and let m directions be
drawn, each with a cotangent of its own. Each shows an error c'E v, which stays below a trust t with probability at
most P(|X Y| < t / |E|), X and Y standard normals. That is attained if E has rank one: one element of the gradient is
wrong, or all are, in proportion.

    |E|, in units of the trust (C3)     3       10      100     1000
    unseen in one direction             0.46    0.22    0.036   0.0051
    unseen in m = 4                     0.046   0.0023  1.7e-6  6.8e-10
    unseen in m = 8                     0.0021  5.1e-6  3e-12   5e-19                                           (C4)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.check._compare import Comparison, allowed_ulps, coarsest_eps, rounding_growth
from jaxcnn.check._cotangents import sizes, times
from jaxcnn.check._part import Part
from jaxcnn.check._points import normals_like, on_device
from jaxcnn.check._pull import Function, PyTree, floats_of, gradient, vjp, with_floats
from jaxcnn.check._subject import Kind

_TRUST = 256  # in units of eps^(5/8): about the greatest seen over the ops and nets, sums of 1e5 terms included, is 30
_SHORTER = (1, 8, 64, 512)


def differences(part: Part) -> Iterator[Comparison]:
    """f's gradient against (C2) along random directions, each with a cotangent of its own."""
    f, args, random = part.f, part.args, part.random
    value, pull = vjp(f, args)
    own_eps = coarsest_eps([jnp.result_type(leaf) for leaf in floats_of((args, value))])
    # what the gradient's own dtype rounds away, where that is narrower than the differences
    noise = 0.0
    if own_eps > coarsest_eps([]):
        growth = rounding_growth(partial(gradient, f), args, value)
        dtypes = [jnp.result_type(leaf) for leaf in floats_of((args, value))]
        noise = own_eps * allowed_ulps(part.tolerance, growth, dtypes)
    for number in range(part.directions):
        cotangent, direction = normals_like(random, value), normals_like(random, floats_of(args))
        direction = [_scaled(v, leaf) for v, leaf in zip(direction, floats_of(args), strict=True)]
        found = pull(cotangent)
        size = 1.0 if number % 2 == 0 else sizes(args, cotangent, found)[number // 2 % 2]
        if size != 1:  # shows a rule that clips or thresholds; the result is scaled back to the differences' cotangent
            found = times(1 / size, jax.tree.map(partial(jnp.asarray, dtype=float), pull(times(size, cotangent))))
        claimed = _inner(floats_of(found), direction)
        for shorter in _SHORTER:
            slope, bend, trust = _slope(f, args, cotangent, direction, shorter)
            limit = trust + noise * _norm(floats_of(found))
            error = abs(claimed - slope)
            if error <= limit or error >= 4 * bend:
                break
        unit = trust / _TRUST or 1.0
        sized = f", cotangent times {size:.3g}" if size != 1 else ""
        yield Comparison(
            kind=Kind.DIFFERENCE,
            what=str(part.subject(Kind.DIFFERENCE, f"gradient along random direction {number}{sized}")),
            order=part.order,
            dtype=part.dtype,
            argument=None,
            whose="the differences'",
            index=(),
            found=claimed,
            expected=slope,
            error=error / unit,
            allowed=limit / unit,
            wrong=int(not (error <= limit and np.isfinite(claimed))),
            size=1,
            reproduce=(lambda: _AT_A_KINK) if 4 * bend > error else str,
        )


_AT_A_KINK = (
    "but the slopes on both sides of args differ by as much: they lie at a kink, a tie or a pole, or f rounds inside; "
    "draw them away from it (jaxcnn.check.distinct), or check against a reference with the same convention alone "
    "(directions=0)"
)


def _slope(
    f: Function, args: tuple[PyTree, ...], cotangent: PyTree, direction: list[jax.Array], shorter: int
) -> tuple[float, float, float]:
    """(C2), by how much the slopes on both sides differ, and how far (C2) is to be trusted (C3)."""
    floats, along, weights = _wide(floats_of(args)), _wide(direction), _wide(floats_of(cotangent))

    def values(step: float) -> list[np.ndarray]:
        with jax.enable_x64(True):
            moved = [on_device(leaf + step * v, np.float64) for leaf, v in zip(floats, along, strict=True)]
            try:
                return [np.asarray(leaf) for leaf in floats_of(f(*with_floats(args, moved)))]
            except TypeError as error:
                reason = str(error).splitlines()[0]
                raise ValueError(
                    "check_vjp: differences are taken in float64, which f refuses, holding numbers of another dtype: "
                    f"give a reference and directions=0, or make them follow the arguments' dtype ({reason})"
                ) from error

    at_args = values(0.0)
    eps = coarsest_eps([leaf.dtype for leaf in at_args])
    step = eps**0.375 / shorter
    middle = _wide(at_args)
    ends = {t: _wide(values(t)) for t in (step, -step, step / 2, -step / 2)}
    for place, leaf in enumerate(middle):  # an infinity that stays has no slope
        stays = np.isinf(leaf) & np.logical_and.reduce([end[place] == leaf for end in ends.values()])
        for array in (leaf, *(end[place] for end in ends.values())):
            array[stays] = 0
    whole = _slopes(ends[step], ends[-step], 2 * step)
    half = _slopes(ends[step / 2], ends[-step / 2], step)
    slope = [np.asarray((4 * a - b) / 3) for a, b in zip(half, whole, strict=True)]
    sides = zip(_slopes(ends[step], middle, step), _slopes(middle, ends[-step], step), strict=True)
    bend = _norm([right - left for right, left in sides])
    return (
        _inner(slope, weights),
        bend,
        _TRUST * shorter * eps**0.625 * max(_norm(slope), _norm([leaf[np.isfinite(leaf)] for leaf in middle])),
    )


def _scaled(direction: jax.Array, leaf: Any) -> jax.Array:
    """The direction times the array's root mean square, or times 1 if that is zero."""
    mean = np.mean(np.square(np.asarray(leaf, np.float64))) if np.size(leaf) else 0.0
    size = np.sqrt(mean) if 0 < mean < np.inf else 1.0
    return on_device(size * np.asarray(direction, np.float64), direction.dtype)


def _slopes(up: list[np.ndarray], down: list[np.ndarray], distance: float) -> list[np.ndarray]:
    return [np.asarray((a - b) / distance) for a, b in zip(up, down, strict=True)]


def _wide(arrays: list[Any]) -> list[np.ndarray]:
    return [np.array(array, np.float64) for array in arrays]


def _inner(left: list[Any], right: list[Any]) -> float:
    """The sum of products of corresponding elements."""
    pairs = zip(left, right, strict=True)
    return float(sum(np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs))


def _norm(arrays: list[Any]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(array, np.float64))) for array in arrays)))
