"""The programs of a function: traced once for each structure and types of its arguments, rewritten once for each plan.

They are kept as long as the function is, and go with it. Nothing here refers to a function but weakly, nor to what is
static and told apart by its identity alone, as a module; jax keeps what it traced with what it traced. A function
that closes over arrays is traced at every call, as it may close over others then.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun

from jaxcnn._accelerate import _nnx
from jaxcnn._accelerate._call import Structure, apart, is_argument, is_result
from jaxcnn._accelerate._equations import closes_over_arrays, consts_of, opened
from jaxcnn._accelerate._rewrite import Options, Rewriting
from jaxcnn._accelerate._sites import Sites

KEPT = 64  # structures of arguments per function


@dataclass
class _Result:
    """How the arrays that a program gives are put together, and the program rewritten."""

    structure: Structure
    after: Any = None  # what is static in the arguments that are of nnx, then
    has_changed: Sequence[bool] = ()  # of each array of theirs
    rewritten: dict[Options, tuple[Any, Sites]] = field(default_factory=dict)


class _Flat:
    """A function of arrays alone, for one structure of its arguments: what jax traces."""

    def __init__(self, f: Callable[..., Any], structure: Structure) -> None:
        self._f, self._structure = _weakly(f), structure
        self._latest: _Result | None = None
        self._results: weakref.WeakKeyDictionary[Any, _Result] = weakref.WeakKeyDictionary()
        self.__name__ = self.__qualname__ = getattr(f, "__name__", type(f).__name__)

    def __call__(self, *arrays: Any) -> list[Any]:
        """The arrays of the result, and after them those of the arguments that are of nnx."""
        (args, kwargs), objects = self._structure.together(arrays)
        given = {id(static.value) for static in self._structure.statics if static is not None}
        out, structure, _ = apart(self._f()(*args, **kwargs), is_result, lambda leaf: id(leaf) not in given)
        self._latest = _Result(structure)
        if not objects:
            return out
        _, before = self._structure.parted(arrays)
        after, arrays_after = _nnx.apart(objects)
        is_alike = after == self._structure.nnx
        has_changed = [not is_alike or new is not before[index] for index, new in enumerate(arrays_after)]
        self._latest = _Result(structure, after, has_changed)
        return [*out, *arrays_after]

    def traced(self, arrays: Sequence[Any]) -> tuple[Any, _Result]:
        """The program for such arrays, and how its result is put together; traced where it was not yet."""
        self._latest = None
        closed = jax.make_jaxpr(self)(*arrays)
        if self._latest is not None:
            self._results[closed] = self._latest
        return closed, self._results[closed]


def _weakly(f: Callable[..., Any]) -> Callable[[], Any]:
    try:
        return weakref.ref(f)
    except TypeError:
        return lambda: f


_FLATS: dict[int, tuple[weakref.ref[Any], OrderedDict[Structure, _Flat]]] = {}  # by the function's id


def _kept(f: Callable[..., Any]) -> OrderedDict[Structure, _Flat] | None:
    """The flat functions of f, where they can be kept with it."""
    key = id(f)
    known = _FLATS.get(key)
    if known is None or known[0]() is not f:
        try:
            reference = weakref.ref(f, lambda _: _FLATS.pop(key, None))
        except TypeError:
            return None
        known = _FLATS[key] = reference, OrderedDict()
    return known[1]


def _traced(f: Callable[..., Any], structure: Structure, arrays: Sequence[Any]) -> tuple[Any, _Result]:
    kept = _kept(f)
    try:
        flat = kept.pop(structure, None) if kept is not None else None
    except TypeError:  # what is static has no hash
        kept, flat = None, None
    flat = flat or _Flat(f, structure)
    closed, result = flat.traced(arrays)
    if kept is not None and not closes_over_arrays(closed):
        kept[structure] = flat
        if len(kept) > KEPT:
            kept.popitem(last=False)
    return closed, result


def _rewritten(closed: Any, result: _Result, options: Options) -> tuple[Any, Sites]:
    """The program, its constants being its first arguments, with the sites replaced; and these."""
    if options not in result.rewritten:
        rewriting, consts = Rewriting(options), consts_of(closed)
        types = [jax.typeof(const) for const in consts] + [variable.aval for variable in opened(closed).invars]

        def evaluated(*args: Any) -> list[Any]:
            return rewriting.evaluated(closed, args[: len(consts)], args[len(consts) :])

        program = jax.make_jaxpr(evaluated)(*types)
        result.rewritten[options] = program, Sites(tuple(rewriting.sites))
    return result.rewritten[options]


def called(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Any:
    """f(*args, **kwargs), its sites replaced."""
    arrays, structure, objects = apart((args, kwargs), is_argument)
    closed, result = _traced(f, structure, arrays)
    program, _ = _rewritten(closed, result, options)
    results = jaxpr_as_fun(program)(*consts_of(closed), *arrays)
    if result.after is None:
        return result.structure.together(results)[0]
    own = len(results) - result.after.count
    result.after.update(objects, results[own:], result.has_changed)
    return result.structure.together(results[:own])[0]


def sites_of(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Sites:
    """The sites of f(*args, **kwargs), which is not computed."""
    arrays, structure, _ = apart((args, kwargs), is_argument)
    return _rewritten(*_traced(f, structure, arrays), options)[1]
