"""What is said of a training before it begins, and after it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from jaxcnn.session._examples import Examples
from jaxcnn.session._place import Place
from jaxcnn.session._settings import Settings

if TYPE_CHECKING:
    from jaxcnn import runs


def headline(settings: Settings, examples: Examples, place: Place) -> str:
    """The network, the data, and how it is trained."""
    parts = [
        f"{settings.net} on {examples.number:,} images of {settings.data}: {settings.optimizer}",
        f"learning rate {settings.learning_rate:g}"
        + ("" if settings.schedule == "constant_schedule" else f" ({settings.schedule})"),
        f"batch size {settings.batch_size}",
    ]
    if settings.precision != "float32":
        parts.append(settings.precision)
    if place.mesh is not None:
        parts.append(f"{place.mesh.size} devices" + (f" of {place.processes} processes" if place.processes > 1 else ""))
    return ", ".join(parts)


def summary(recorder: runs.Recorder, examples: Examples, place: Place) -> Table:
    """How good it is, how fast it was, and where it lies."""
    from jaxcnn import runs

    last = recorder.metrics[-1]
    held_out = runs.held_out(recorder.config["data"]["name"])
    table = Table(show_header=False)
    table.add_row(f"{held_out} accuracy", f"[bold]{last['test_accuracy']:.2%}[/]")
    table.add_row(f"{held_out} loss", f"{last['test_loss']:.4f}")
    table.add_row(f"{held_out} images", f"{len(examples.test.images):,}")
    epochs, asked = last["epoch"], recorder.config["epochs"]
    table.add_row("epochs", f"{epochs}" + (f" of {asked}: stopped early" if epochs < asked else ""))
    if "test_epoch" in last:
        table.add_row("epoch whose parameters are kept, the best", f"{last['test_epoch']}")
    table.add_row("training accuracy, last epoch", f"{last['accuracy']:.2%}")
    table.add_row("images/s", f"{last['images_per_second']:,.0f}")
    if place.mesh is not None:
        table.add_row("images/s per device", f"{last['images_per_second'] / place.mesh.size:,.0f}")
    table.add_row(*_memory(place))
    table.add_row("seconds", f"{sum(line['seconds'] for line in recorder.metrics):.1f}")
    table.add_row("folder", escape(str(recorder.folder)))
    return table


def _memory(place: Place) -> tuple[str, str]:
    """The most memory that was in use: of the fullest device, or of the process where devices do not tell."""
    import resource

    import jax

    used = [device.memory_stats() for device in jax.local_devices()]
    peaks = [stats["peak_bytes_in_use"] for stats in used if stats and "peak_bytes_in_use" in stats]
    if peaks:
        return "memory per device, peak", f"{max(peaks) / 2**20:,.0f} MiB"
    return "memory of the process, peak", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB"
