"""`split`: a grouped convolution as dense ones, of a few groups each.

The groups share nothing, so any m of them side by side are a convolution of their own; and m groups are a dense one of
m times the channels, whose kernel has each group's own on its diagonal:

    k_dense[u, (a, c), (b, d)] = [a = b] k[u, c, (a, d)]        a, b groups; c, d a group's own channels

That is m times the multiplications, m - 1 of m by zeros, in products m times as wide. With m the least that makes them
WIDTH channels wide, XLA:CPU's dense convolutions are together faster than its grouped one. Each is by `overhang` where
that helps, or by `phases` where dx is strided.
Zeros add no rounding, but make NaN of what is not finite, in the m - 1 groups beside its own (`SPREADS`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops._conv import _direct, _overhang, _phases
from jaxcnn.ops._conv._form import Form
from jaxcnn.ops._types import Kernel, X, Y

WIDTH = 16
SPREADS = {"correlate": (0,), "input_gradient": (0, 1)}  # per map, the arguments of which what is not finite spreads


def unsupported(form: Form) -> str | None:
    """Why it cannot compute a form, if so."""
    return None if form.groups > 1 else "groups must be more than 1"


def unrolls(form: Form) -> int:
    """How many convolutions it spells out, for dx of a stride each in phases."""
    return form.c_in // max(1, _part(form).c_in) * prod(form.window.stride)


def correlate(form: Form, x: X, kernel: Kernel) -> Y:
    """y, some groups at a time [R 1]."""
    part = _part(form)
    dense = _overhang if _overhang.helps_correlate(part) else _direct
    parts = zip(_apart(x, form, part), _dense_kernels(form, part, kernel), strict=True)
    return jnp.concatenate([dense.correlate(part, *each) for each in parts], axis=-1)


def input_gradient(form: Form, kernel: Kernel, dy: Y) -> X:
    """dx, some groups at a time [R 6]."""
    part = _part(form)
    dense = _overhang if _overhang.helps_input_gradient(part) else _direct
    gradient = (dense if _phases.unsupported(part) else _phases).input_gradient
    parts = zip(_dense_kernels(form, part, kernel), _apart(dy, form, part), strict=True)
    return jnp.concatenate([gradient(part, *each) for each in parts], axis=-1)


def _part(form: Form) -> Form:
    """The dense form of m groups."""
    narrow = min(form.c_in, form.c_out) // form.groups
    m = next(m for m in range(1, form.groups + 1) if form.groups % m == 0 and (m * narrow >= WIDTH or m == form.groups))
    return replace(form, c_in=form.c_in // form.groups * m, c_out=form.c_out // form.groups * m, groups=1)


def _apart(array: jax.Array, form: Form, part: Form) -> list[jax.Array]:
    """The channels of each part."""
    return jnp.split(array, form.c_in // part.c_in, axis=-1)


def _dense_kernels(form: Form, part: Form, kernel: jax.Array) -> Iterator[jax.Array]:
    """For each part, k_dense: (*k, m C_in/groups, m C_out/groups)."""
    own, merged = kernel.shape[-2], part.c_in // kernel.shape[-2]
    for each in _apart(kernel, form, part):
        by_group = each.reshape(*each.shape[:-2], 1, own, merged, -1)
        is_own = np.eye(merged, dtype=bool).reshape(merged, 1, merged, 1)
        yield jnp.where(is_own, by_group, 0).reshape(*each.shape[:-2], part.c_in, part.c_out)
