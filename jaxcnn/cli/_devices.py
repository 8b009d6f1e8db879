"""The devices that jax has, or one line that says why it has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxcnn.cli._failure import Failure
from jaxcnn.cli._interrupt import interrupt

if TYPE_CHECKING:
    import jax


def devices() -> list[jax.Device]:
    """`jax.devices()`.

    Raises:
        Failure: jax cannot be started, as where JAX_PLATFORMS names what this machine lacks.
    """
    import os

    import jax

    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise Failure(f"jax finds no device with JAX_PLATFORMS={platforms!r} ({reason})") from error
    interrupt.catch()
    return found
