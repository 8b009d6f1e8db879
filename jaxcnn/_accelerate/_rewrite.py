"""A traced program with its convolutions and pools computed by the rules, equation by equation.

The program is evaluated under whatever traces it anew: a site's equation by its op, an equation with sites in its
bodies with those rewritten (`_bodies`), every other one as it is. Each is bound within the scope, at the line and in
the context (a mesh, the kind of random bits) of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.extend.source_info_util import current_name_stack, user_context

from jaxcnn._accelerate import _bodies, _conv, _pools
from jaxcnn._accelerate._chains import Chain, chains_in
from jaxcnn._accelerate._equations import SITES, bind, consts_of, name_of, opened, sites_within
from jaxcnn._accelerate._replacement import Replacement, not_ours
from jaxcnn._accelerate._sites import Site
from jaxcnn._accelerate._source import is_already_a_gradient, line_of, scope_of
from jaxcnn.ops._conv._plan import Algorithms

SCOPE = "jaxcnn"  # what profiles show around an op that took a site's place

RULES_OF_USERS = {"custom_jvp", "custom_vjp"}

DECIDES: dict[str, Callable[[Any, Algorithms], Replacement | str]] = {
    "conv_general_dilated": _conv.decide,
    "reduce_window_max": lambda eqn, plan: _pools.decide_max(eqn),
    "reduce_window_min": lambda eqn, plan: _pools.decide_min(eqn),
    "reduce_window_sum": lambda eqn, plan: _pools.decide_sum(eqn),
    "reduce_window": lambda eqn, plan: "a reduce_window with an initial value or a function of its own",
}


@dataclass(frozen=True)
class Options:
    """What `accelerate` was asked for."""

    plan: Algorithms = "auto"
    forward_mode: bool = False


class _Body(NamedTuple):
    """A program within, itself and rewritten, and its sites."""

    own: Any
    rewritten: Any
    sites: list[Site]


@dataclass
class Rewriting:
    """One going through a program: what is asked for, what was found so far, and where it is."""

    options: Options
    inside: tuple[str, ...] = ()
    is_gradient: bool = False  # whether it is inside of what autodiff made
    sites: list[Site] = field(default_factory=list)
    bodies: dict[tuple[int, bool], _Body] = field(default_factory=dict)  # by id, and whether in a gradient

    @property
    def has_replaced(self) -> bool:
        """Whether any site was."""
        return any(site.left is None for site in self.sites)

    @property
    def is_in_a_users_rule(self) -> bool:
        """Whether it is inside of a user's custom rule, which computes the gradients."""
        return not RULES_OF_USERS.isdisjoint(self.inside)

    def within(self, eqn: Any) -> Rewriting:
        """The same inside of an equation, with sites of its own."""
        is_gradient = self.is_gradient or is_already_a_gradient(eqn.source_info)
        return Rewriting(self.options, (*self.inside, name_of(eqn)), is_gradient, [], self.bodies)

    def body(self, jaxpr: Any, eqn: Any) -> Any:
        """A jaxpr with its sites replaced, itself where none is; one that is met twice is rewritten once."""
        inner = self.within(eqn)
        key = id(jaxpr), inner.is_gradient
        if key not in self.bodies:
            rewritten = jax.make_jaxpr(lambda *args: inner.evaluated(jaxpr, consts_of(jaxpr), args))(*_types(jaxpr))
            self.bodies[key] = _Body(jaxpr, rewritten if inner.has_replaced else jaxpr, inner.sites)
        self.sites += self.bodies[key].sites
        return self.bodies[key].rewritten

    def evaluated(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """What the program gives, its sites replaced."""
        jaxpr = opened(jaxpr)
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else values[atom]

        chains = self._chains(jaxpr)
        by_pool = {id(chain.pool): chain for chain in chains}
        skipped = frozenset[int]().union(*(chain.skipped for chain in chains))
        for eqn in jaxpr.eqns:
            if id(eqn) in skipped:
                continue
            chain = by_pool.get(id(eqn))
            first, atoms = (eqn, eqn.invars) if chain is None else (chain.conv, chain.arrays)
            info = first.source_info
            scope = current_name_stack() + info.name_stack
            with user_context(info.traceback, name_stack=scope), eqn.ctx.manager:
                args = [read(atom) for atom in atoms]
                results = self.equation(eqn, args) if chain is None else self.chain(chain, args)
            values.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, eqn: Any, args: list[Any]) -> list[Any]:
        """The results of an equation."""
        name = eqn.primitive.name
        if name in SITES:
            return self.site(eqn, args)
        if not any(True for _ in sites_within(eqn)):
            return bind(eqn, args)
        if name in _bodies.REWRITES:
            return _bodies.REWRITES[name](self, eqn, args)
        inner = self.within(eqn)
        for each in sites_within(eqn):
            inner.note(each, None, f"inside {name_of(eqn)}, whose body is not gone into")
        self.sites += inner.sites
        return bind(eqn, args)

    def site(self, eqn: Any, args: list[Any]) -> list[Any]:
        """A convolution or a pool: by its op, or as it is."""
        decided = self._decided(eqn)
        if isinstance(decided, str):
            self.note(eqn, None, decided)
            return bind(eqn, args)
        runs = decided.runs
        if self.is_in_a_users_rule:
            runs = dict([next(iter(runs.items()))])
        self.note(eqn, runs, None)
        with jax.named_scope(SCOPE):
            return [decided.run(*args)]

    def chain(self, chain: Chain, args: list[Any]) -> list[Any]:
        """The last result of a chain, by the op."""
        info, atoms = chain.conv.source_info, (*chain.arrays, *chain.pool.outvars)
        self._note(chain.what, info, atoms, chain.replacement.runs, None)
        with jax.named_scope(SCOPE):
            return [chain.replacement.run(*args)]

    def _chains(self, jaxpr: Any) -> list[Chain]:
        if self.options.forward_mode or self.is_gradient or self.is_in_a_users_rule:
            return []
        return chains_in(jaxpr, self.options.plan)

    def _decided(self, eqn: Any) -> Replacement | str:
        if self.options.forward_mode:
            return "forward_mode=True"
        if self.is_gradient or is_already_a_gradient(eqn.source_info):
            return "a gradient that autodiff made inside; give accelerate the function that is differentiated"
        return not_ours(eqn) or DECIDES[eqn.primitive.name](eqn, self.options.plan)

    def note(self, eqn: Any, runs: dict[str, str] | None, left: str | None) -> None:
        """Take a site down."""
        self._note(SITES[eqn.primitive.name], eqn.source_info, (*eqn.invars, *eqn.outvars), runs, left)

    def _note(self, what: str, info: Any, arrays: Sequence[Any], runs: dict[str, str] | None, left: str | None) -> None:
        shapes = tuple(_in_words(variable.aval) for variable in arrays)
        self.sites.append(Site(what, line_of(info), scope_of(info), self.inside, shapes, runs, left))


def _types(jaxpr: Any) -> list[Any]:
    return [variable.aval for variable in opened(jaxpr).invars]


def _in_words(type_: Any) -> str:
    return f"{type_.dtype}[{','.join(map(str, type_.shape))}]"
