"""Which algorithm computes which map: as asked for, or the first row of a table that fits and can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.custom_batching import custom_vmap

from jaxcnn._names import did_you_mean
from jaxcnn.ops._arguments import refuse
from jaxcnn.ops._bounds import UNROLLED, may_lay_out
from jaxcnn.ops._conv import (
    _canonical,
    _direct,
    _fft,
    _im2col,
    _overhang,
    _phases,
    _space_to_batch,
    _split,
    _taps,
    _toeplitz,
)
from jaxcnn.ops._conv._core import Core
from jaxcnn.ops._conv._finite import where_finite
from jaxcnn.ops._conv._form import Form
from jaxcnn.ops._conv._winograd import Winograd

MAPS = ("correlate", "input_gradient", "kernel_gradient")
ALGORITHMS: dict[str, Any] = {
    "direct": _direct,
    "overhang": _overhang,
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
    """This algorithm for the forms that fit, in words and as a predicate."""

    algorithm: str
    forms: str
    fits: Callable[[Form], bool]


def _is_few(form: Form) -> bool:
    narrow = form.window.shape[-1] <= 16 * form.window.size[-1]
    return form.groups == 1 and form.c_in <= 2 and form.c_out <= 4 and narrow and form.window.tap_count > 1


def _is_thin(form: Form) -> bool:
    fewer, more = sorted((form.c_in, form.c_out))
    return form.groups == 1 and more <= min(16, 2 * fewer) and not _is_strided(form)


def _is_depthwise(form: Form) -> bool:
    return form.groups == form.c_in > 1


def _is_grouped(form: Form) -> bool:
    return form.groups > 1


def _is_strided(form: Form) -> bool:
    return max(form.window.stride) > 1


def _leaves_wide_gaps(form: Form) -> bool:
    return max(form.window.stride) > 2 or (_is_strided(form) and form.window.tap_count > 25)


def _is_one_tap(form: Form) -> bool:
    return form.groups == 1 and form.window.tap_count == 1


def _is_1x1(form: Form) -> bool:
    return _is_one_tap(form) and len(form.window.shape) == 2


def _is_small(form: Form) -> bool:
    return form.groups == 1 and len(form.window.shape) == 2 and 1 < form.window.tap_count <= 4 and not _is_strided(form)


def _is_line(form: Form) -> bool:
    return form.groups == len(form.window.shape) == 1


def _has_volume(form: Form) -> bool:
    return form.groups == 1 and len(form.window.shape) > 2 and form.window.tap_count > 1


def _has_few_places(form: Form) -> bool:
    return form.images is not None and form.images * prod(form.window.out) <= 4096


def _has_many_elements(form: Form) -> bool:
    return form.images is not None and form.images * prod(form.window.shape) * form.c_in >= 2**22


# By platform and map, the first row that fits. experiments/speed has what each row was measured to give on 2 cores in
# float32 (`jaxcnn bench ops --tune`).
# - Kernel gradients are never `direct` on a CPU: in a loop's body XLA computes those naively, tens of times slower;
#   `canonical` is the same without that.
# - `winograd2` was never the fastest, `winograd4` of three forms, by at most 1.12. They and `fft` are not in the table:
#   what they round or spoil reaches further than a window. `toeplitz` and `split` are for what is finite (`_finite`).
# - A sum of `taps` is fused into all that reads it, and computed again in each: of one channel it is two to four times
#   as fast as `toeplitz` alone, and a third as fast in [V]'s training step.
# - `overhang` is `direct` kept from a library that computes on one core (jax 0.10).
# - Into a dx that leaves the cache, nine taps put one after another cost more than phases that are written once.
# - Elsewhere `direct` is cuDNN's or the TPU's own, but for dilated kernel gradients on a GPU, as programs compiled for
#   an H100 show (`jaxcnn bench compiled`, experiments/accelerators).
TABLE: dict[tuple[str, str], tuple[Row, ...]] = {
    ("cpu", "correlate"): (
        Row("toeplitz", "few channels", _is_few),
        Row("taps", "depthwise", _is_depthwise),
        Row("split", "grouped", _is_grouped),
        Row("taps", "1 to at most 4 channels, wide", lambda f: f.c_in == 1 and f.c_out <= 4),
        Row(
            "taps",
            "1x1, strided or of 1 or at least 32 channels",
            lambda f: _is_1x1(f) and (_is_strided(f) or not 1 < f.c_in < 32),
        ),
        Row("im2col", "2-D of at most 4 channels, 2 to 4 taps", lambda f: f.c_in <= 4 and _is_small(f)),
        Row("overhang", "2-D that direct computes on one core", _overhang.helps_correlate),
        Row("toeplitz", "3-D of 1 channel", lambda f: _has_volume(f) and f.c_in == 1),
        Row("im2col", "3-D", _has_volume),
    ),
    ("cpu", "input_gradient"): (
        Row("toeplitz", "few channels", _is_few),
        Row(
            "split",
            "depthwise, strided, over 9 taps",
            lambda f: _is_depthwise(f) and _is_strided(f) and f.window.tap_count > 9,
        ),
        Row("taps", "depthwise", _is_depthwise),
        Row("split", "grouped", _is_grouped),
        Row("taps", "1 to 1 channel, wide", lambda f: f.c_in == f.c_out == 1),
        Row("taps", "1x1 to at most 4 or at least 32 channels", lambda f: _is_1x1(f) and not 4 < f.c_in < 32),
        Row("toeplitz", "3-D to 1 channel", lambda f: _has_volume(f) and f.c_in == 1),
        Row(
            "toeplitz",
            "to at most 4 of at most 32 channels, strided by 2, over 25 taps",
            lambda f: (
                f.c_in <= 4
                and f.c_out <= 32
                and max(f.window.stride) == 2
                and f.window.tap_count > 25
                and f.window.shape[-1] <= 32
            ),
        ),
        Row(
            "direct",
            "to at most 4 channels, strided by over 2, or strided and over 25 taps",
            lambda f: f.c_in <= 4 and _leaves_wide_gaps(f),
        ),
        Row("im2col", "to at most 4 channels", lambda f: f.c_in <= 4 and f.window.tap_count > 1),
        Row("im2col", "3-D", _has_volume),
        Row("im2col", "2-D to at least 32 channels, 2 to 4 taps", lambda f: f.c_in >= 32 and _is_small(f)),
        Row("overhang", "2-D that direct computes on one core", _overhang.helps_input_gradient),
        Row(
            "phases",
            "strided, at most 16 to at most 16 channels",
            lambda f: _is_strided(f) and max(f.c_in, f.c_out) <= 16,
        ),
        Row("phases", "strided, dx of at least 4 million elements", lambda f: _is_strided(f) and _has_many_elements(f)),
        Row("taps", "strided, at most 9 taps", lambda f: _is_strided(f) and f.window.tap_count <= 9),
        Row("phases", "strided", _is_strided),
    ),
    ("cpu", "kernel_gradient"): (
        Row("toeplitz", "few channels, of 1", lambda f: f.c_in == 1 and _is_few(f)),
        Row("taps", "grouped", _is_grouped),
        Row("taps", "one tap", _is_one_tap),
        Row("canonical", "1-D of at least 32 channels", lambda f: _is_line(f) and f.c_in >= 32),
        Row("canonical", "thin, at least 9 taps", lambda f: _is_thin(f) and f.window.tap_count >= 9),
        Row("canonical", "at least 100 taps", lambda f: f.window.tap_count >= 100),
        Row(
            "canonical",
            "2 to 8 channels to at most 16, at least 25 taps",
            lambda f: 1 < f.c_in <= 8 and f.c_out <= 16 and f.window.tap_count >= 25,
        ),
        Row(
            "canonical",
            "at most 8 channels, strided, at least 25 taps",
            lambda f: f.c_in <= 8 and _is_strided(f) and f.window.tap_count >= 25,
        ),
        Row("canonical", "at least 25 taps, few places", lambda f: f.window.tap_count >= 25 and _has_few_places(f)),
        Row("im2col", "all others", lambda f: True),
    ),
    ("cuda", "kernel_gradient"): (
        Row("space_to_batch", "dilated, not strided", lambda f: f.groups == 1),  # what it can; else cuDNN's own
    ),
}


# Where it is chosen, not asked for, another under `jax.vmap`: convolutions of many examples become a grouped one.
UNDER_VMAP = {
    ("kernel_gradient", "canonical"): "im2col",
}


def asked_for(op: str, form: Form, algorithm: Algorithm, maps: tuple[str, ...] = MAPS) -> Form:
    """The form with the algorithms asked for: one for all of `maps`, or one a map; a `ValueError` naming `op`."""
    names = tuple(algorithm if which in maps else "auto" for which in MAPS) if isinstance(algorithm, str) else algorithm
    known = ("auto", *ALGORITHMS)
    if not isinstance(names, tuple) or len(names) != 3 or not all(name in known for name in names):
        odd = next((name for name in names if name not in known), "") if isinstance(names, tuple) else names
        refuse(
            op,
            f"algorithm must be one of {', '.join(map(repr, known))}, "
            f"or a tuple of three, for {', '.join(MAPS)}, got {algorithm!r}{did_you_mean(odd, known)}",
        )
    for which, name in zip(MAPS, names, strict=True):
        if name != "auto" and (fault := unsupported(which, name, Core.of(form).form)):
            own = tuple(name if hasattr(ALGORITHMS[name], each) else "auto" for each in MAPS)
            way_out = "use 'auto' for it" + ("" if own[MAPS.index(which)] == name else f", as in algorithm={own}")
            refuse(op, f"algorithm {name!r} cannot compute {which} of these arguments: {fault}; {way_out}")
    return replace(form, algorithms=names)


def unsupported(which: str, name: str, form: Form) -> str | None:
    """Why an algorithm cannot compute a map of a form, if so."""
    algorithm = ALGORITHMS[name]
    return algorithm.unsupported(form) if hasattr(algorithm, which) else "it has no such map"


def chosen(which: str, platform: str, form: Form) -> str:
    """The algorithm asked for, or that of the table's row, or `direct`."""
    asked = form.algorithms[MAPS.index(which)]
    if asked != "auto":
        return asked
    row = row_for(which, platform, form)
    return row.algorithm if row else "direct"


def row_for(which: str, platform: str, form: Form) -> Row | None:
    """The first row that fits and whose algorithm can, within the bounds; none where a spatial size is symbolic."""
    rows = () if form.window.is_symbolic else TABLE.get((platform, which), ())
    return next((row for row in rows if row.fits(form) and _can_within_bounds(which, row.algorithm, form)), None)


def _can_within_bounds(which: str, name: str, form: Form) -> bool:
    """Whether an algorithm can compute a map, and spells out and lays out no more than `_bounds` allows."""
    if unsupported(which, name, form) is not None:
        return False
    unrolled = {"im2col": form.window.tap_count, "phases": prod(form.window.stride)}
    if name == "split":
        unrolled["split"] = _split.unrolls(form)
    laid_out = _im2col.lays_out(form) if name == "im2col" and which != "kernel_gradient" else 0
    return unrolled.get(name, 1) <= UNROLLED and may_lay_out(laid_out, form.bytes)


def run(which: str, form: Form, *args: jax.Array) -> jax.Array:
    """A map by the algorithm chosen where it is lowered: one exported program may serve several platforms."""
    names = {platform: chosen(which, platform, form) for platform in PLATFORMS}
    if len({*names.values()}) == 1:
        return _by(names["cpu"], which, form)(*args)
    branches = {platform: _by(name, which, form) for platform, name in names.items()}
    return lax.platform_dependent(*args, **branches, default=_by("direct", which, form))


def _careful(which: str, form: Form) -> Callable[..., jax.Array]:
    """The map by what multiplies no zeros but those of x's padding, as lax's own does not, but for strided groups."""
    if which == "correlate":
        return partial(_direct.correlate, form)
    is_plain = form.groups == 1 and _is_strided(form)
    if is_plain:
        return partial(_direct.input_gradient, form)
    # in a loop, whatever the taps: what spelling them out would lay out is allocated, and costs, where it never runs
    return partial(_taps.put_together, form, unrolled=1)


def _by(name: str, which: str, form: Form) -> Callable[..., jax.Array]:
    computed = partial(getattr(ALGORITHMS[name], which), form)
    if form.algorithms[MAPS.index(which)] != "auto":
        return computed
    if spreads := getattr(ALGORITHMS[name], "SPREADS", {}).get(which):
        return where_finite(computed, _careful(which, form), spreads)
    other = UNDER_VMAP.get((which, name))
    if other is None:
        return computed
    of_an_example = partial(getattr(ALGORITHMS[other], which), form)

    def of_examples(examples: int, mapped: Sequence[bool], *args: jax.Array) -> tuple[jax.Array, bool]:
        axes = [0 if maps else None for maps in mapped]
        return jax.vmap(of_an_example, in_axes=axes, axis_size=examples)(*args), True

    chosen_for_one = custom_vmap(computed)
    chosen_for_one.def_vmap(of_examples)
    return chosen_for_one
