"""A run's epochs for TensorBoard: event files in `<run>/tensorboard`, beside metrics.jsonl.

    with Events(folder) as events:                     # of a run that goes on after step 500: after_step=500
        for line in ...:                               # the lines of metrics.jsonl, as they come
            events.add(line)

The scalars are `loss/training`, `accuracy/training`, those of `validation` and `held-out` where a line has them,
`images_per_second`, `learning_rate` where a line has it, and `epoch`, each at the line's training step.

tensorboardX, which writes them, loads on use: `pip install 'jaxcnn[tensorboard]'`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from jaxcnn import runs

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

FOLDER = "tensorboard"
TAGS = {
    "loss": "loss/training",
    "accuracy": "accuracy/training",
    "validation_loss": "loss/validation",
    "validation_accuracy": "accuracy/validation",
    "test_loss": "loss/held-out",
    "test_accuracy": "accuracy/held-out",
    "images_per_second": "images_per_second",
    "learning_rate": "learning_rate",
    "epoch": "epoch",
}
_FLUSH_SECONDS = 1  # after which what was added can be read


def require() -> None:
    """Raise `RunError` unless tensorboardX is installed: to be asked before anything is trained."""
    if find_spec("tensorboardX") is None:
        raise runs.RunError("TensorBoard's files need tensorboardX: pip install 'jaxcnn[tensorboard]'")


class Events:
    """A context in which a run's lines of metrics are written for TensorBoard."""

    def __init__(self, folder: Path, *, after_step: int = 0) -> None:
        """Begin a file in `folder`/tensorboard.

        Args:
            folder: the run's, which is there.
            after_step: the last training step that is kept of the run so far; TensorBoard drops what earlier files
                have beyond it, as of an epoch that was interrupted and is trained again.

        Raises:
            RunError: tensorboardX is not installed.
        """
        require()
        from tensorboardX import SummaryWriter

        self._written: set[tuple[str, int]] = set()
        self._writer: SummaryWriter = SummaryWriter(
            str(folder / FOLDER),
            purge_step=after_step + 1,
            flush_secs=_FLUSH_SECONDS,
            # file names have a second's resolution, and are read in their order
            filename_suffix=f".{after_step:012d}",
        )

    def __enter__(self) -> Events:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def add(self, line: runs.Metrics) -> None:
        """Write a line of metrics.jsonl; of a line that was written before, only what it has gained since."""
        step = line["step"]
        for name, tag in TAGS.items():
            if name in line and (tag, step) not in self._written:
                self._writer.add_scalar(tag, line[name], step)
                self._written.add((tag, step))

    def close(self) -> None:
        """End the file; a second time does nothing."""
        self._writer.close()
