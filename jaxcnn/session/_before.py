"""What a run's folder has of the training before the checkpoint to resume from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcnn.session._error import SessionError
from jaxcnn.session._settings import Settings

if TYPE_CHECKING:
    from jaxcnn.checkpoints import Checkpoint

MAX_UNSAVED = 2  # epochs in metrics.jsonl while the first checkpoint is being written


def before(settings: Settings, steps_per_epoch: int, found: Checkpoint | None, folder: Path) -> dict[str, Any]:
    """What a `runs.Recorder` needs to know of the training before the checkpoint, as keywords.

    Raises:
        SessionError: the checkpoint or the folder's metrics belong to another training than config.json.
        RunError: the metrics cannot be read.
    """
    from jaxcnn import runs

    lines = runs.read_metrics(folder) if (folder / runs.METRICS).exists() else []
    if found is None:
        if len(lines) > MAX_UNSAVED:
            raise SessionError(
                f"{folder} has {len(lines)} epochs and no checkpoint to go on from; it would begin anew and overwrite "
                "them: begin a new run"
            )
        return {}
    trained_as = found.note["settings"]
    may_differ = {"epochs"} if settings.schedule == "constant_schedule" else set()
    changed = [
        f"{name} is {value} in config.json, {trained_as.get(name)} in the checkpoint"
        for name, value in settings.to_config().items()
        if trained_as.get(name) != value and name not in may_differ
    ]
    if changed:
        raise SessionError(f"{folder} cannot go on: {'; '.join(changed)}")
    lines = [
        {name: value for name, value in line.items() if name != "interrupted"}
        for line in lines
        if line["step"] <= found.step and line["step"] % steps_per_epoch == 0
    ]
    if [line["step"] for line in lines] != list(range(steps_per_epoch, found.step + 1, steps_per_epoch)):
        epochs = found.step // steps_per_epoch
        raise SessionError(
            f"{folder / runs.METRICS} does not have the {epochs} epochs before the checkpoint's step {found.step}"
        )
    return {"metrics": lines, "step": found.step, "seconds": found.note["seconds"]}
