"""The devices that jax has, its signals taken back from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jaxcnn
from jaxcnn.cli._interrupt import interrupt

if TYPE_CHECKING:
    import jax


def devices() -> list[jax.Device]:
    """`jax.devices()`.

    Raises:
        SessionError: jax cannot be started.
    """
    found = jaxcnn.session._devices.devices()
    interrupt.catch()
    return found
