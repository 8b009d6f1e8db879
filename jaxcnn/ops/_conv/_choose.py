"""Which algorithm computes which map: as asked for, or the first row of a table that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import lax

from jaxcnn.ops._arguments import refuse
from jaxcnn.ops._conv import _direct, _fft, _im2col, _phases, _taps
from jaxcnn.ops._conv._form import Form
from jaxcnn.ops._conv._winograd import Winograd

MAPS = ("correlate", "input_gradient", "kernel_gradient")
ALGORITHMS: dict[str, Any] = {
    "direct": _direct,
    "im2col": _im2col,
    "taps": _taps,
    "phases": _phases,
    "winograd2": Winograd(2),
    "winograd4": Winograd(4),
    "fft": _fft,
}
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
Algorithm = str | tuple[str, ...]


class Row(NamedTuple):
    """On one platform, this algorithm for this map of the forms that fit."""

    platform: str
    map: str
    fits: Callable[[Form], bool]
    algorithm: str


TABLE: tuple[Row, ...] = (
    Row("cpu", "kernel_gradient", lambda form: form.groups > 1, "taps"),
    Row("cpu", "kernel_gradient", lambda form: True, "im2col"),
)


def asked_for(op: str, form: Form, algorithm: Algorithm, maps: tuple[str, ...] = MAPS) -> Form:
    """The form with the algorithms asked for: one for all of `maps`, or one a map; a `ValueError` naming `op`."""
    names = tuple(algorithm if which in maps else "auto" for which in MAPS) if isinstance(algorithm, str) else algorithm
    if not isinstance(names, tuple) or len(names) != 3 or not {*names} <= {"auto", *ALGORITHMS}:
        known = ", ".join(map(repr, ("auto", *ALGORITHMS)))
        refuse(op, f"algorithm must be one of {known}, or a tuple of three, for {', '.join(MAPS)}, got {algorithm!r}")
    for which, name in zip(MAPS, names, strict=True):
        if name != "auto" and (fault := unsupported(which, name, form)):
            refuse(op, f"algorithm {name!r} cannot compute {which} of these arguments: {fault}; use 'auto' for it")
    return replace(form, algorithms=names)


def unsupported(which: str, name: str, form: Form) -> str | None:
    """Why an algorithm cannot compute a map of a form, if so."""
    algorithm = ALGORITHMS[name]
    return algorithm.unsupported(form) if hasattr(algorithm, which) else "it has no such map"


def chosen(which: str, platform: str, form: Form) -> str:
    """The algorithm asked for, or the first row that fits, or `direct`."""
    asked = form.algorithms[MAPS.index(which)]
    if asked != "auto":
        return asked
    fitting = (row for row in TABLE if (row.platform, row.map) == (platform, which) and row.fits(form))
    return next((row.algorithm for row in fitting), "direct")


def run(which: str, form: Form, *args: jax.Array) -> jax.Array:
    """A map by the algorithm chosen where it is lowered: one exported program may serve several platforms."""
    names = {platform: chosen(which, platform, form) for platform in PLATFORMS}
    if len({*names.values()}) == 1:
        return _by(names["cpu"], which, form)(*args)
    branches = {platform: _by(name, which, form) for platform, name in names.items()}
    return lax.platform_dependent(*args, **branches, default=_by("direct", which, form))


def _by(name: str, which: str, form: Form) -> Callable[..., jax.Array]:
    return partial(getattr(ALGORITHMS[name], which), form)
