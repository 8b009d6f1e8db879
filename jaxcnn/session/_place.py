"""Where a training runs: on which devices, and as which of how many processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from jaxcnn.session._devices import devices as started
from jaxcnn.session._error import SessionError
from jaxcnn.session._settings import Settings

if TYPE_CHECKING:
    import jax
    from jax.sharding import Mesh


class Place(NamedTuple):
    """Where the training runs; of several processes one leads: it writes and speaks."""

    mesh: Mesh | None
    process: int
    processes: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.process == 0

    @property
    def devices(self) -> list[jax.Device] | None:
        """Those of the mesh; None where the first is used."""
        return None if self.mesh is None else list(self.mesh.devices.flat)


def place_of(settings: Settings, devices: int | None) -> Place:
    """The devices to use.

    Raises:
        SessionError: there are fewer, or they cannot share a batch equally.
    """
    import jax

    from jaxcnn.train import mesh_of

    found = started()
    processes = jax.process_count()
    wanted = devices or (len(found) if processes > 1 else 1)
    if wanted > len(found):
        hint = f"; JAX_NUM_CPU_DEVICES={wanted} makes a CPU so many" if found[0].platform == "cpu" else ""
        raise SessionError(f"`devices` {wanted}, but jax finds {len(found)}{hint}")
    if processes > 1 and wanted != len(found):
        raise SessionError(f"several processes use all their {len(found)} devices, got `devices` {wanted}")
    if settings.batch_size % wanted:
        raise SessionError(
            f"{wanted} devices cannot share a batch of {settings.batch_size} equally: give another `batch_size`"
        )
    mesh = mesh_of(found[:wanted]) if wanted > 1 else None
    return Place(mesh, jax.process_index(), processes)


def warn(message: str, place: Place | None = None) -> None:
    """Print a line to standard error, of several processes only by the leading one."""
    if place is None or place.leads:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"jaxcnn: {message}", markup=False)
