"""The devices that jax has, its signals taken back from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxcnn.cli._interrupt import interrupt
from jaxcnn.session._devices import devices as started

if TYPE_CHECKING:
    import jax


def devices() -> list[jax.Device]:
    """`jax.devices()`.

    Raises:
        SessionError: jax cannot be started.
    """
    found = started()
    interrupt.catch()
    return found
