"""The devices that jax has, or one line that says why it has none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jaxcnn.session._error import SessionError

if TYPE_CHECKING:
    import jax


def devices() -> list[jax.Device]:
    """`jax.devices()`.

    Raises:
        SessionError: jax cannot be started, as where JAX_PLATFORMS names what this machine lacks.
    """
    import jax

    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise SessionError(f"jax finds no device with JAX_PLATFORMS={platforms!r} ({reason})") from error
