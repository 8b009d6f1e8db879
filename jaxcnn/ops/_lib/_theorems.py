"""The forms of most rules: functions that take maps and return them with rules.

Adjoint pair        <A x, y> = <x, A* y>  for all x and y. The gradient of <A x, g> in x is A* g, and that of <A* y, g>
                    in y is A g: each of the two is the other's rule, and so to any order.

Trilinear form      T(a, b, g), a number linear in each argument, is  <value(a, b), g>  =  <a, left(g, b)>  =
                    <b, right(a, g)>  for three maps; g has the shape of value(a, b). The gradient of T in
                    one argument is what multiplies it, so the gradients of each map are the other two:      (B1), (B2)

                        of value(a, b) along g      left(g, b),  right(a, g)
                        of left(g, b) along a       value(a, b), right(a, g)
                        of right(a, g) along b      left(g, b),  value(a, b)

Pointwise           y[i] = f(x[i]) has  dx[i] = f'(x[i]) dy[i]; what f' is computed from is kept.

Per example         L[n] of row n of the scores and label n only has  dz[n, k] = dL[n] (dL[n] / dz[n, k]), and 0 where
                    dL[n] is 0 (the loss is not used), even if the slope is not finite

A map is called with what is static first, one hashable value, and then with arrays; it returns one array. To jax it is
one piece (`_pieces`). Inside `shard_map` and on explicit meshes a gradient lies as its argument (`_meshes`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxcnn.ops._lib._meshes import laid_out_as
from jaxcnn.ops._lib._pieces import in_one_piece

Map = Callable[..., jax.Array]
Arrays = tuple[jax.Array, ...]


@runtime_checkable
class Trilinear(Protocol):
    """What is static in a trilinear form."""

    def of_gradients_along(self, g: jax.Array) -> tuple[Any, jax.Array]:
        """The static part of the gradients of `value`, and the cotangent g as they take it."""
        ...


def adjoint_pair(forward: Map, adjoint: Map) -> tuple[Map, Map]:
    """Two maps that are linear in one array and each other's adjoint, with their rules.

    Args:
        forward: `forward(static, x, *fixed)`, linear in x; `fixed` are arrays that both share and that have no
            gradient, such as the winners of a max pool.
        adjoint: `adjoint(static, y, *fixed)`.

    Returns:
        both, differentiable in x and in y. They keep the fixed arrays for the backward pass.
    """
    forward, adjoint = in_one_piece(forward), in_one_piece(adjoint)

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    @wraps(forward)
    def a(static: Any, x: jax.Array, *fixed: jax.Array) -> jax.Array:
        return forward(static, x, *fixed)

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    @wraps(adjoint)
    def a_adjoint(static: Any, y: jax.Array, *fixed: jax.Array) -> jax.Array:
        return adjoint(static, y, *fixed)

    for map_, its_adjoint in ((a, a_adjoint), (a_adjoint, a)):
        _give_rule_of_a_pair(map_, its_adjoint)
    return a, a_adjoint


def _give_rule_of_a_pair(map_: Any, adjoint: Map) -> None:
    def fwd(static: Any, x: jax.Array, *fixed: jax.Array) -> tuple[jax.Array, Arrays]:
        return map_(static, x, *fixed), fixed

    def bwd(static: Any, fixed: Arrays, g: jax.Array) -> tuple[jax.Array | None, ...]:
        return adjoint(static, g, *fixed), *(None for _ in fixed)

    map_.defvjp(fwd, bwd)


def trilinear(value: Map, left: Map, right: Map, right_of_left: Map | None = None) -> tuple[Map, Map, Map]:
    """The three maps of one form that is linear in each of three arrays, with their rules.

    Args:
        value: `value(static, a, b)`.
        left: `left(static, g, b)`, of the shape of a.
        right: `right(static, a, g)`, of the shape of b.
        right_of_left: another way to compute `right`, as the gradient of `left`; `right` itself if not given.

    Returns:
        the three, differentiable in both of their arrays. Each keeps its two arguments, once.
    """
    value, left, right, right_of_left = map(in_one_piece, (value, left, right, right_of_left or right))

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    @wraps(value)
    def in_g(static: Trilinear, a: jax.Array, b: jax.Array) -> jax.Array:
        return value(static, a, b)

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    @wraps(left)
    def in_a(static: Trilinear, g: jax.Array, b: jax.Array) -> jax.Array:
        return left(static, g, b)

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    @wraps(right)
    def in_b(static: Trilinear, a: jax.Array, g: jax.Array) -> jax.Array:
        return right(static, a, g)

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    @wraps(right)
    def in_b_of_left(static: Trilinear, a: jax.Array, g: jax.Array) -> jax.Array:
        return right_of_left(static, a, g)

    def of_value(static: Trilinear, a: jax.Array, b: jax.Array, g: jax.Array) -> Arrays:
        static, g = static.of_gradients_along(g)
        return in_a(static, g, b), in_b(static, a, g)

    def of_left(static: Trilinear, g: jax.Array, b: jax.Array, a: jax.Array) -> Arrays:
        return in_g(static, a, b), in_b_of_left(static, a, g)

    def of_right(static: Trilinear, a: jax.Array, g: jax.Array, b: jax.Array) -> Arrays:
        return in_a(static, g, b), in_g(static, a, b)

    for map_, gradients in ((in_g, of_value), (in_a, of_left), (in_b, of_right), (in_b_of_left, of_right)):
        _give_rule_of_a_form(map_, gradients)
    return in_g, in_a, in_b


def _give_rule_of_a_form(map_: Any, gradients: Callable[..., Arrays]) -> None:
    def fwd(static: Trilinear, first: jax.Array, second: jax.Array) -> tuple[jax.Array, Arrays]:
        return map_(static, first, second), (first, second)

    def bwd(static: Trilinear, saved: Arrays, third: jax.Array) -> Arrays:
        found = gradients(static, *saved, third)
        return tuple(laid_out_as(each, jax.typeof(own)) for each, own in zip(found, saved, strict=True))

    map_.defvjp(fwd, bwd)


def pointwise(f: Map, keeps: Map, gradient: Map) -> Map:
    """A function of each element alone, with its rule.

    Args:
        f: `f(x)`.
        keeps: `keeps(x)`, what is kept for the backward pass.
        gradient: `gradient(kept, dy)`, f' times dy.
    """

    @jax.custom_vjp
    @wraps(f)
    def y(x: jax.Array) -> jax.Array:
        return f(x)

    def fwd(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return y(x), keeps(x)

    def bwd(kept: jax.Array, dy: jax.Array) -> Arrays:
        return (gradient(kept, dy),)

    y.defvjp(fwd, bwd)
    return y


class Slopes(NamedTuple):
    """dL[n] / dz[n, k] of scores, and dL[n] / dy[n, k] of labels that are distributions.

    `depends` is where L depends on the scores at all: elsewhere dz is 0, even where dL is not finite.
    """

    of_scores: jax.Array
    of_labels: jax.Array | None
    depends: jax.Array | None = None


def per_example(loss: Map, keeps: Map, slopes: Callable[..., Slopes]) -> Map:
    """A loss (*lead,) of scores (*lead, K) and labels, each of one row alone, with its rule.

    Args:
        loss: `loss(static, scores, labels)`. `static.scores` is the type of the scores.
        keeps: `keeps(static, scores, labels)`, what is kept for the backward pass, beside the labels.
        slopes: `slopes(static, kept, labels, dl)`.
    """

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    @wraps(loss)
    def losses(static: Any, scores: jax.Array, labels: jax.Array) -> jax.Array:
        return loss(static, scores, labels)

    def fwd(static: Any, scores: jax.Array, labels: jax.Array) -> tuple[jax.Array, Arrays]:
        return losses(static, scores, labels), (keeps(static, scores, labels), labels)

    def bwd(static: Any, saved: Any, dl: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        kept, labels = map(jnp.asarray, saved)  # labels that are constants come back as arrays of NumPy
        found = slopes(static, kept, labels, dl)
        dz = dl[..., None] * of_used(found.of_scores, dl)
        dz = _like(dz if found.depends is None else jnp.where(found.depends, dz, 0), static.scores)
        if found.of_labels is None:
            return dz, None
        return dz, _like(dl[..., None] * of_used(found.of_labels, dl), jax.typeof(labels))

    losses.defvjp(fwd, bwd)
    return losses


def of_used(factors: jax.Array, dl: jax.Array) -> jax.Array:
    """Factors (*lead, K) of dl (*lead,); those not finite become 0 where dl is 0: there the loss is not used."""
    return jnp.where((dl == 0)[..., None] & ~jnp.isfinite(factors), 0, factors)


def _like(gradient: jax.Array, type_: Any) -> jax.Array:
    return laid_out_as(gradient.astype(type_.dtype), type_)
