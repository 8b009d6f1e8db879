"""Which algorithm computes which map: as asked for, or the first row of a table that fits and can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.custom_batching import custom_vmap

from jaxcnn.ops._arguments import refuse
from jaxcnn.ops._conv import _direct, _fft, _im2col, _phases, _space_to_batch, _taps
from jaxcnn.ops._conv._form import Form
from jaxcnn.ops._conv._winograd import Winograd

MAPS = ("correlate", "input_gradient", "kernel_gradient")
ALGORITHMS: dict[str, Any] = {
    "direct": _direct,
    "im2col": _im2col,
    "taps": _taps,
    "phases": _phases,
    "space_to_batch": _space_to_batch,
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


def _is_depthwise(form: Form) -> bool:
    return form.groups == form.c_in > 1


def _is_thin(form: Form) -> bool:
    fewer, more = sorted((form.c_in, form.c_out))
    return form.groups == 1 and more <= min(16, 2 * fewer)


def _is_strided(form: Form) -> bool:
    return max(form.window.stride) > 1


def _is_one_tap(form: Form) -> bool:
    return form.groups == 1 and form.window.tap_count == 1


def _has_volume(form: Form) -> bool:
    return form.groups == 1 and len(form.window.shape) > 2


# The first row that fits. Beside each: how many times as long lax's own took on 2 cores, float32, over 90 or so maps
# whose times were not kept; experiments/speed has a tenth of the grid, and `jaxcnn bench ops --tune` measures it all.
# Kernel gradients are never `direct` on a CPU: in a loop body XLA computes those by a naive path, tens of times slower.
# `winograd2` and `winograd4` were never the fastest. Elsewhere `direct` is cuDNN's or the TPU's own, but for dilated
# kernel gradients on a GPU, as programs compiled for an H100 show (`jaxcnn bench compiled`, experiments/accelerators).
TABLE: tuple[Row, ...] = (
    Row("cpu", "correlate", _is_depthwise, "taps"),  # 3x3: 9 to 68; 5x5: 32
    Row("cpu", "correlate", lambda f: f.c_in == 1 and f.c_out <= 4, "taps"),  # 6x6: 15; of more, slow in a loop
    Row("cpu", "correlate", lambda f: _is_one_tap(f) and f.c_in >= 32, "taps"),  # 2.0 to 2.6
    Row("cpu", "correlate", _has_volume, "im2col"),  # 2.9
    Row("cpu", "input_gradient", _is_depthwise, "taps"),  # 51 to 160
    Row("cpu", "input_gradient", lambda f: f.c_in == f.c_out == 1, "taps"),  # 14
    Row("cpu", "input_gradient", lambda f: _is_one_tap(f) and not 4 < f.c_in < 32, "taps"),  # 1.3 to 4.8
    Row("cpu", "input_gradient", lambda f: f.groups == 1 and f.c_in <= 4, "im2col"),  # 1.6 to 4.3
    Row("cpu", "input_gradient", _has_volume, "im2col"),  # 7.8
    Row("cpu", "input_gradient", lambda f: _is_strided(f) and f.groups == 1 and f.c_in <= 16, "phases"),  # 3.8
    Row("cpu", "input_gradient", lambda f: _is_strided(f) and f.groups == 1 and f.window.tap_count <= 9, "taps"),  # 1.5
    Row("cpu", "input_gradient", _is_strided, "phases"),  # 5x5, 16 channels: 3.8; wide and grouped ones not measured
    Row("cpu", "kernel_gradient", lambda f: f.groups > 1, "taps"),  # grouped: 44 to 67; depthwise: 3 to 8
    Row("cpu", "kernel_gradient", _is_one_tap, "taps"),  # 2.3 to 5.3
    Row(
        "cpu", "kernel_gradient", lambda f: _is_thin(f) and f.window.tap_count >= 25 and not _is_strided(f), "fft"
    ),  # 1.1-11
    Row("cpu", "kernel_gradient", lambda f: True, "im2col"),  # dense 3x3: 1.4 to 2.3; larger: 0.4 to 1.8
    Row("cuda", "kernel_gradient", lambda f: f.groups == 1, "space_to_batch"),  # what it can; else not cuDNN's own
)


# Where it is chosen, not asked for, another under `jax.vmap`: a sum over one image pays for its spectrum alone.
UNDER_VMAP = {("kernel_gradient", "fft"): "im2col"}  # 5x5, 16 to 16 channels, 64 examples: 209 ms became 41


def asked_for(op: str, form: Form, algorithm: Algorithm, maps: tuple[str, ...] = MAPS) -> Form:
    """The form with the algorithms asked for: one for all of `maps`, or one a map; a `ValueError` naming `op`."""
    names = tuple(algorithm if which in maps else "auto" for which in MAPS) if isinstance(algorithm, str) else algorithm
    if not isinstance(names, tuple) or len(names) != 3 or not {*names} <= {"auto", *ALGORITHMS}:
        known = ", ".join(map(repr, ("auto", *ALGORITHMS)))
        refuse(op, f"algorithm must be one of {known}, or a tuple of three, for {', '.join(MAPS)}, got {algorithm!r}")
    for which, name in zip(MAPS, names, strict=True):
        if name != "auto" and (fault := unsupported(which, name, form)):
            own = tuple(name if hasattr(ALGORITHMS[name], each) else "auto" for each in MAPS)
            way_out = "use 'auto' for it" + ("" if own[MAPS.index(which)] == name else f", as in algorithm={own}")
            refuse(op, f"algorithm {name!r} cannot compute {which} of these arguments: {fault}; {way_out}")
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
    fitting = (
        row.algorithm
        for row in TABLE
        if (row.platform, row.map) == (platform, which)
        and row.fits(form)
        and unsupported(which, row.algorithm, form) is None
    )
    return next(fitting, "direct")


def run(which: str, form: Form, *args: jax.Array) -> jax.Array:
    """A map by the algorithm chosen where it is lowered: one exported program may serve several platforms."""
    names = {platform: chosen(which, platform, form) for platform in PLATFORMS}
    if len({*names.values()}) == 1:
        return _by(names["cpu"], which, form)(*args)
    branches = {platform: _by(name, which, form) for platform, name in names.items()}
    return lax.platform_dependent(*args, **branches, default=_by("direct", which, form))


def _by(name: str, which: str, form: Form) -> Callable[..., jax.Array]:
    computed = partial(getattr(ALGORITHMS[name], which), form)
    other = UNDER_VMAP.get((which, name))
    if other is None or form.algorithms[MAPS.index(which)] != "auto":
        return computed
    of_an_example = partial(getattr(ALGORITHMS[other], which), form)

    def of_examples(examples: int, mapped: Sequence[bool], *args: jax.Array) -> tuple[jax.Array, bool]:
        axes = [0 if maps else None for maps in mapped]
        return jax.vmap(of_an_example, in_axes=axes, axis_size=examples)(*args), True

    chosen_for_one = custom_vmap(computed)
    chosen_for_one.def_vmap(of_examples)
    return chosen_for_one
