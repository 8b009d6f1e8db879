"""Checkpoints of a run, by Orbax: what training needs to go on as if it had never stopped.

    checkpoints/<step>/    the training state and the epoch's sums, and a note: JSON, with a digest of all three

A checkpoint is written in the background and counts once it is whole: one that a kill cut short is not there. The
digest tells one whose bits have changed since. The newest few are kept, and the best.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import JaxcnnError
from jaxcnn.runs import CHECKPOINTS
from jaxcnn.train import Totals, TrainState

Note = dict[str, Any]


class CheckpointError(JaxcnnError, RuntimeError):
    """A checkpoint cannot be written, or none can be read; the message says why in one line."""


class Checkpoint(NamedTuple):
    """What was saved: `note` is the JSON that came with it."""

    step: int
    state: TrainState
    totals: Totals
    note: Note


class Checkpoints:
    """The checkpoints in a run's folder; a context that waits at its end until all are written.

    Of several processes, all make one of the same folder and call the same methods.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        """Open `folder`/checkpoints, and make it. `keep` is how many of the newest are kept, beside the best."""
        import orbax.checkpoint as ocp

        policies = ocp.checkpoint_managers
        self.folder = folder.absolute() / CHECKPOINTS
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(keep),
                    policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
                ]
            ),
            best_fn=_score,
            cleanup_tmp_directories=True,
        )
        logging.getLogger("absl").addFilter(_is_news)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except Exception as error:  # of each file in it that is damaged
            raise CheckpointError(f"{self.folder} cannot be used for checkpoints: {_one_line(error)}") from error

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.wait()
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints that there are, the oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, totals: Totals, note: Note, *, score: float | None = None) -> None:
        """Begin to write a checkpoint, from copies; one of the same step is left as it is.

        Args:
            state, totals: as in a `jaxcnn.train.Report`.
            note: whatever JSON holds, given back with the checkpoint.
            score: how good the network is, the higher the better; the best of those that have one is kept.

        Raises:
            CheckpointError: this one or the one before cannot be written, as on a full disk.
        """
        import orbax.checkpoint as ocp

        arrays = _to_arrays(state, totals)
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardSave(arrays),
                    note=ocp.args.JsonSave({"digest": _digest(arrays, note), "note": note}),
                ),
                metrics=None if score is None else {"score": score},
            )
        except Exception as error:  # each file system and each of Orbax's parts raises its own
            raise CheckpointError(f"no checkpoint can be written to {self.folder}: {_one_line(error)}") from error

    def wait(self) -> None:
        """Return when all that was begun is written.

        Raises:
            CheckpointError: it cannot be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise CheckpointError(f"no checkpoint can be written to {self.folder}: {_one_line(error)}") from error

    def newest(self, like: TrainState) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is whole, if any, and a line about each newer one that is not.

        A damaged one is moved aside, to `damaged-<step>`, so that its step can be written again.

        Args:
            like: a state of the same network and optimizer, as before the first step.

        Raises:
            CheckpointError: there are some, and none can be read.
        """
        damaged: dict[int, str] = {}
        for step in reversed(self.steps):
            try:
                found = self._read(step, like)
            except Exception as error:  # what is damaged makes its reader raise almost anything
                damaged[step] = _one_line(error)
                continue
            for number in damaged:
                if jax.process_index() == 0:
                    (self.folder / str(number)).rename(self._aside(number))
            self._manager.reload()
            return found, [
                f"checkpoint {number} cannot be read ({reason}): it is moved aside, and checkpoint {step} is used"
                for number, reason in damaged.items()
            ]
        if damaged:
            reason = next(iter(damaged.values()))
            raise CheckpointError(
                f"no checkpoint in {self.folder} can be read: {reason}: damaged, or of another net or version"
            )
        return None, []

    def best(self, like: TrainState) -> Checkpoint:
        """The checkpoint of the highest score.

        Raises:
            CheckpointError: it cannot be read, or none has a score.
        """
        step = self._manager.best_step()
        if step is None:
            raise CheckpointError(f"{self.folder} has no checkpoint with a score")
        try:
            return self._read(step, like)
        except Exception as error:
            raise CheckpointError(f"checkpoint {step} in {self.folder} cannot be read: {_one_line(error)}") from error

    def _aside(self, step: int) -> Path:
        """A name for a damaged checkpoint that is not taken."""
        names = (self.folder / f"damaged-{step}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
        return next(name for name in names if not name.exists())

    def _read(self, step: int, like: TrainState) -> Checkpoint:
        import orbax.checkpoint as ocp

        expected = jax.eval_shape(lambda: _to_leaves(like, Totals.zero()))
        read = self._manager.restore(
            step,
            args=ocp.args.Composite(
                arrays=ocp.args.StandardRestore(jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), expected)),
                note=ocp.args.JsonRestore(),
            ),
        )
        arrays = read["arrays"]
        note = read["note"]["note"]
        if _digest(arrays, note) != read["note"]["digest"]:
            raise ValueError("its digest differs: bits have changed since it was written")
        if arrays["state"]["step"] != step:
            raise ValueError(f"it is of step {arrays['state']['step']}")
        state = TrainState(**jax.tree.map(jnp.asarray, arrays["state"]))
        key = jax.random.wrap_key_data(state.key, impl=jax.random.key_impl(like.key))
        totals = Totals(**jax.tree.map(jnp.asarray, arrays["totals"]))
        return Checkpoint(step, state._replace(key=key), totals, note)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether Orbax says more than that a checkpoint was given no score: most have none."""
    return "tracked_metric" not in str(record.msg)


def _score(scores: dict[str, float]) -> float:
    return scores["score"]


def _to_leaves(state: TrainState, totals: Totals) -> dict[str, Any]:
    """Plain arrays alone: a random key is its data."""
    return {
        "state": state._replace(key=jax.random.key_data(state.key))._asdict(),
        "totals": totals._asdict(),
    }


def _to_arrays(state: TrainState, totals: Totals) -> dict[str, Any]:
    """Copies on the host: the state's own buffers are the next step's."""
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), _to_leaves(state, totals))


def _digest(arrays: Any, note: Note) -> str:
    digest = hashlib.sha256(json.dumps(note, sort_keys=True).encode())
    for leaf in jax.tree.leaves(arrays):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    """Its first line: Orbax adds pages."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300].rstrip(':')}" if lines else type(error).__name__
