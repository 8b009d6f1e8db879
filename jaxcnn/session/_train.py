"""`jaxcnn train` as a function."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcnn.session._asked import as_asked
from jaxcnn.session._carry_out import carry_out
from jaxcnn.session._interrupts import Interrupts, NeverAsked
from jaxcnn.session._plan import plan_of

if TYPE_CHECKING:
    from jaxcnn import runs


def train(
    net: Any = None,
    data: str | None = None,
    *,
    source: str | os.PathLike[str] | None = None,
    download: bool = False,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    schedule: str | None = None,
    warmup_steps: int | None = None,
    clip: tuple[str, float] | None = None,
    precision: str | None = None,
    validation: int | None = None,
    early_stopping: int | None = None,
    seed: int | None = None,
    ops: str | None = None,
    stream: bool | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    init_from: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    keep: int | None = None,
    tensorboard: bool | None = None,
    devices: int | None = None,
    progress: bool = False,
    interrupts: Interrupts | None = None,
) -> runs.Run:
    """Train a network and leave a run's folder: the same as `jaxcnn train`, to the same bits.

    None stands for the command's default or, if a run is resumed, for what it was begun with. With several processes
    (`jax.distributed.initialize`), each calls this with the same `out`.

    Args:
        net: one of `jaxcnn.nets.NETS`, "single_filter" by default; or a network of one's own, as `jaxcnn.nets` says: a
            module, a class, or the place of either or of an object, as "my_module:my_net", which is imported.
        data: one of `jaxcnn.data.NAMES`; "mnist-10k" by default.
        source: the folder of idx's files, or of the original files of mnist or fashion_mnist.
        download: whether to prepare mnist or fashion_mnist by download.
        epochs, batch_size, optimizer, learning_rate: each net has defaults of its own; `optimizer` is one of
            `jaxcnn.train.OPTIMIZERS`.
        schedule, warmup_steps: one of `jaxcnn.train.SCHEDULES`, and over how many steps a warmup_... one rises.
        clip: one of `jaxcnn.train.CLIPS` and its limit, as ("clip_by_global_norm", 1.0).
        precision: "float32" or "bfloat16".
        validation: how many training images are set aside and evaluated on after each epoch.
        early_stopping: stop after so many epochs without a lower validation loss, and keep the best epoch's parameters.
        seed: what parameters and shuffling are drawn from.
        ops: "manual" for hand-derived gradients, "reference" for autodiff's.
        stream: whether batches are read from the disk as they are needed.
        out: the folder to write, new or empty; the next `runs/<net>-<data>-<n>` by default.
        resume: the folder of a run to go on with, from its newest checkpoint.
        init_from: a run, or a file like its parameters.npz, to start from.
        checkpoint_every: a checkpoint after so many steps, beside the one at each epoch's end.
        keep: how many of the newest checkpoints are kept, beside the best.
        tensorboard: whether to write event files for TensorBoard as well.
        devices: how many share each batch.
        progress: whether to show a bar and a line per epoch, on a terminal or in a notebook.
        interrupts: who may ask the training to save and stop; nobody by default, and Ctrl-C then stops at once, with
            what the last checkpoint has.

    Returns:
        The run, with the parameters that it ends with.

    Raises:
        SessionError: an option is wrong, or does not go with the others, the data, the folder or the devices.
        TrainingError: the loss became infinite or NaN, or the data cannot be read any more.
        RunError, CheckpointError: a folder cannot be read or written.
        KeyboardInterrupt: stopped; its message says what is kept and how to resume.

    Example:
        >>> run = train(epochs=1, out=getfixture("tmp_path") / "run")
        >>> run.config["status"], run.network.name
        ('finished', 'single_filter')
    """
    given = as_asked(
        {
            "net": net,
            "data": data,
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "schedule": schedule,
            "warmup_steps": warmup_steps,
            "clip": clip,
            "precision": precision,
            "validation": validation,
            "early_stopping": early_stopping,
            "seed": seed,
            "ops": ops,
            "stream": stream,
            "init_from": init_from,
        }
    )
    keeping = as_asked({"checkpoint_every": checkpoint_every, "keep": keep, "tensorboard": tensorboard})
    where = as_asked({"source": source, "download": download, "out": out, "resume": resume, "devices": devices})
    plan = plan_of(given, keeping, **where)
    if plan.resume is not None and plan.is_done:
        from jaxcnn import runs

        return runs.read(plan.resume)
    return carry_out(plan, console_of(progress), interrupts or NeverAsked())


def console_of(progress: bool) -> Console:
    """The console that shows a session's progress."""
    return Console(highlight=False, soft_wrap=True, quiet=not progress)
