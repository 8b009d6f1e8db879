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
from jaxcnn.ops._conv import (
    _canonical,
    _direct,
    _fft,
    _im2col,
    _phases,
    _space_to_batch,
    _split,
    _taps,
    _toeplitz,
)
from jaxcnn.ops._conv._form import Form
from jaxcnn.ops._conv._winograd import Winograd

MAPS = ("correlate", "input_gradient", "kernel_gradient")
ALGORITHMS: dict[str, Any] = {
    "direct": _direct,
    "canonical": _canonical,
    "im2col": _im2col,
    "taps": _taps,
    "phases": _phases,
    "space_to_batch": _space_to_batch,
    "split": _split,
    "toeplitz": _toeplitz,
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


def _is_few(form: Form) -> bool:
    narrow = form.window.shape[-1] <= 16 * form.window.size[-1]
    return form.groups == 1 and form.c_in <= 2 and form.c_out <= 4 and narrow and form.window.tap_count > 1


def _is_thin(form: Form) -> bool:
    fewer, more = sorted((form.c_in, form.c_out))
    return form.groups == 1 and more <= min(16, 2 * fewer)


def _is_depthwise(form: Form) -> bool:
    return form.groups == form.c_in > 1


def _is_grouped(form: Form) -> bool:
    return form.groups > 1


def _is_strided(form: Form) -> bool:
    return max(form.window.stride) > 1


def _is_dilated(form: Form) -> bool:
    return max(form.window.dilation) > 1


def _is_one_tap(form: Form) -> bool:
    return form.groups == 1 and form.window.tap_count == 1


def _is_line(form: Form) -> bool:
    return form.groups == len(form.window.shape) == 1


def _has_volume(form: Form) -> bool:
    return form.groups == 1 and len(form.window.shape) > 2


# The first row that fits. Beside each: how many times as long lax's own takes on 2 cores, float32, over the forms of
# `jaxcnn bench ops --tune` that it is for; experiments/speed/results/tune.json has each of them.
# Kernel gradients are never `direct` on a CPU: in a loop's body XLA computes those naively, tens of times slower;
# `canonical` is the same without that. `winograd2` and `winograd4` were never the fastest. A sum of `taps` is fused
# into all that reads it, and computed again in each: of one channel it is two to four times as fast as `toeplitz`
# alone, and a third as fast in [V]'s training step. Elsewhere `direct` is cuDNN's or the TPU's own, but for dilated
# kernel gradients on a GPU, as programs compiled for an H100 show (`jaxcnn bench compiled`, experiments/accelerators).
TABLE: tuple[Row, ...] = (
    Row("cpu", "correlate", _is_few, "toeplitz"),
    Row("cpu", "correlate", _is_depthwise, "taps"),
    Row("cpu", "correlate", _is_grouped, "split"),
    Row("cpu", "correlate", lambda f: f.c_in == 1 and f.c_out <= 4, "taps"),
    Row("cpu", "correlate", lambda f: _is_one_tap(f) and f.c_in >= 32, "taps"),
    Row("cpu", "correlate", lambda f: _has_volume(f) and f.c_in == 1, "toeplitz"),
    Row("cpu", "correlate", _has_volume, "im2col"),
    Row("cpu", "input_gradient", _is_few, "toeplitz"),
    Row("cpu", "input_gradient", lambda f: _is_depthwise(f) and _is_strided(f) and f.window.tap_count > 9, "split"),
    Row("cpu", "input_gradient", _is_depthwise, "taps"),
    Row("cpu", "input_gradient", _is_grouped, "split"),
    Row("cpu", "input_gradient", lambda f: f.c_in == f.c_out == 1, "taps"),
    Row("cpu", "input_gradient", lambda f: _is_one_tap(f) and not 4 < f.c_in < 32, "taps"),
    Row("cpu", "input_gradient", lambda f: _has_volume(f) and f.c_in == 1, "toeplitz"),
    Row("cpu", "input_gradient", lambda f: f.c_in <= 4, "im2col"),
    Row("cpu", "input_gradient", _has_volume, "im2col"),
    Row("cpu", "input_gradient", lambda f: _is_strided(f) and f.c_in <= 16, "phases"),
    Row("cpu", "input_gradient", lambda f: _is_strided(f) and f.window.tap_count <= 9, "taps"),
    Row("cpu", "input_gradient", _is_strided, "phases"),
    Row("cpu", "kernel_gradient", _is_few, "toeplitz"),
    Row("cpu", "kernel_gradient", _is_grouped, "taps"),
    Row("cpu", "kernel_gradient", _is_one_tap, "taps"),
    Row("cpu", "kernel_gradient", lambda f: _is_line(f) and f.c_in >= 32, "canonical"),
    Row(
        "cpu",
        "kernel_gradient",
        lambda f: _is_thin(f) and not _is_strided(f) and (_is_dilated(f) or f.window.tap_count >= 25),
        "fft",
    ),
    Row("cpu", "kernel_gradient", lambda f: f.window.tap_count >= 100, "canonical"),
    Row(
        "cpu", "kernel_gradient", lambda f: 1 < f.c_in <= 8 and f.c_out <= 16 and f.window.tap_count >= 25, "canonical"
    ),
    Row("cpu", "kernel_gradient", lambda f: True, "im2col"),
    Row("cuda", "kernel_gradient", lambda f: f.groups == 1, "space_to_batch"),  # what it can; else not cuDNN's own
)


# Where it is chosen, not asked for, another under `jax.vmap`: a sum over one image pays for its spectrum alone, and
# convolutions of many examples become a grouped one.
UNDER_VMAP = {
    ("kernel_gradient", "fft"): "im2col",  # 5x5, 16 to 16 channels, 64 examples: 209 ms became 41
    ("kernel_gradient", "canonical"): "im2col",
}


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
