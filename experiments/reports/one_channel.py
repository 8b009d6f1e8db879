"""Images and volumes of one channel, convolved with large kernels: filters, not networks."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import jax.scipy.signal

from experiments.reports.record import Report, normal


def filtered(frames: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each frame mirrored at its edges and convolved, by vmap."""

    def one(frame: jax.Array) -> jax.Array:
        edges = [(size // 2, size // 2) for size in kernel.shape]
        return jax.scipy.signal.convolve(jnp.pad(frame, edges, mode="reflect"), kernel, mode="valid")

    return jax.vmap(one)(frames)


REPORTS = (
    Report(
        id="jax#25461",
        title="frames of one channel, filtered by vmap",
        reported="20 s on a GPU, for finding out how to compute it",
        shape="8 frames of 200x200, 30x30",
        scaled="8 frames of 200x200 for 100 of 501x1401: it was a GPU's",
        f=filtered,
        args=normal((8, 200, 200), (30, 30)),
    ),
    Report(
        id="jax#5227",
        title="jax.scipy.signal.convolve of two images of one size",
        reported="200 times slower on a CPU than SciPy, which goes by Fourier transforms",
        shape="100x100 with 100x100, float32",
        scaled="100x100 for 300x300, a minute per call; float32, which is the default, for float64",
        f=partial(jax.scipy.signal.convolve, mode="same"),
        args=normal((100, 100), (100, 100)),
    ),
    Report(
        id="jax#5227-double",
        title="jax.scipy.signal.convolve of two images of one size, in float64",
        reported="200 times slower on a CPU than SciPy, which goes by Fourier transforms",
        shape="200x200 with 200x200, float64",
        scaled="200x200 for 300x300",
        f=partial(jax.scipy.signal.convolve, mode="same"),
        args=normal((200, 200), (200, 200), dtype="float64"),
        tolerance=1e-10,
        needs_float64=True,
    ),
    Report(
        id="scico#287",
        title="a volume, filtered along one of its axes",
        reported="2 minutes on a CPU to compute, and 26 to set up",
        shape="48x48x1150 with 1x1x100",
        scaled="48x48x1150 for 512x512x2300: 2 minutes per call",
        f=partial(jax.scipy.signal.convolve, mode="same"),
        args=normal((48, 48, 1150), (1, 1, 100)),
    ),
)
