"""`jaxcnn train`: train a network and leave a run's folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from jaxcnn.cli._failure import Failure
from jaxcnn.cli._interrupt import interrupt
from jaxcnn.cli._own import import_own
from jaxcnn.cli._processes import Processes, stand_by
from jaxcnn.session._carry_out import carry_out
from jaxcnn.session._plan import plan_of
from jaxcnn.session._settings import DEFAULTS, MAX_SEED
from jaxcnn.session._train import console_of


def _by_net(setting: str) -> str:
    values = {net: getattr(of_net, setting) for net, of_net in DEFAULTS.items()}
    if len(set(values.values())) == 1:
        return str(values["single_filter"])
    return "; ".join(f"{value} for {net}" for net, value in values.items())


def train(
    net: Annotated[
        str | None,
        typer.Option(
            help=f"The network: {', '.join(DEFAULTS)}; or one of your own, MODULE:NAME.", show_default="single_filter"
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data set: mnist-10k, mnist, fashion_mnist, idx.", show_default="mnist-10k")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="The folder of idx's files, or of the original ones of mnist or fashion_mnist to prepare."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Prepare mnist or fashion_mnist by download.")] = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training images.", show_default=_by_net("epochs"))
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images a step.", show_default=_by_net("batch_size"))
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="The optimizer: sgd, adam, adamw.", show_default=_by_net("optimizer"))
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="The optimizer's step size, at its peak.", show_default=_by_net("learning_rate")),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="How the step size changes: one of optax's schedules.", show_default="constant_schedule"),
    ] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps over which a warmup_... schedule rises.")
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="Clip gradients: NAME=LIMIT, as clip_by_global_norm=1.0, by optax's names.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="What is computed in: float32, bfloat16.", show_default="float32")
    ] = None,
    validation: Annotated[
        int | None, typer.Option(min=1, help="Training images to set aside and evaluate on after each epoch.")
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            min=1, help="Stop after so many epochs without a lower validation loss, and keep the best epoch's."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="What parameters and shuffling are drawn from.", show_default="0"),
    ] = None,
    ops: Annotated[
        str | None, typer.Option(help="manual: gradients by hand; reference: autodiff's.", show_default="manual")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read batches from the disk as they are needed, not all images at once.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write, new or empty.", show_default="runs/<net>-<data>-<n>")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with the run in this folder from its newest checkpoint.")
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Start from the parameters of this run, or of this .npz file as a run has."),
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="A checkpoint after so many steps, beside the one at each epoch's end.")
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="How many of the newest checkpoints are kept, beside the best.", show_default="2"),
    ] = None,
    tensorboard: Annotated[
        bool | None,
        typer.Option(
            "--tensorboard/--no-tensorboard",
            help="Write event files for TensorBoard as well.",
            show_default="no-tensorboard",
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="Devices to share each batch among.", show_default="1; all, of several processes"),
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Several processes, found by jax: on SLURM, MPI and TPU pods.")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Several processes by hand: where process 0 is.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Several processes by hand: how many.")] = None,
    process_id: Annotated[int | None, typer.Option(min=0, help="Several processes by hand: which one this is.")] = None,
) -> None:
    """Train a network and leave a run's folder.

    In the folder: config.json, metrics.jsonl (a line per epoch), parameters.npz, checkpoints, and plots of the learning
    curve and of what is mistaken for what. Without options: the network of [V], on 8,000 real digits that come with the
    package. Ctrl-C saves and stops; --resume goes on, to the same bits.
    """
    choices = {
        "net": net,
        "data": data,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "warmup_steps": warmup_steps,
        "clip": None if clip is None else _clip(clip),
        "precision": precision,
        "validation": validation,
        "early_stopping": early_stopping,
        "seed": seed,
        "ops": ops,
        "stream": stream or None,
        "init_from": init_from,
    }
    others = Processes(coordinator, processes, process_id)
    others.check()
    is_distributed = distributed or coordinator is not None
    if is_distributed and out is None and resume is None:
        raise Failure("several processes need --out: the folder that all of them know")
    if net is not None and ":" in net:
        import_own([net])
    plan = plan_of(
        choices,
        {"checkpoint_every": checkpoint_every, "keep": keep, "tensorboard": tensorboard},
        source=source,
        download=download,
        out=out,
        resume=resume,
        devices=devices,
    )
    if plan.is_done:
        print(f"{resume} is finished: nothing is left to do")
        return
    with contextlib.ExitStack() as among:
        if is_distributed:
            stand_by()
            among.enter_context(others.joined())
        try:
            carry_out(plan, console_of(progress=True), interrupt)
        except KeyboardInterrupt as error:  # of which click would make an Abort without its words
            raise Failure(str(error), interrupt.code or 130) from None


def _clip(text: str) -> tuple[str, float]:
    """`--clip`'s NAME=LIMIT.

    Raises:
        Failure: it is written otherwise.

    Example:
        >>> _clip("clip_by_global_norm=1")
        ('clip_by_global_norm', 1.0)
    """
    name, equals, limit = text.partition("=")
    try:
        return name, float(limit)
    except ValueError:
        raise Failure(f"--clip must be NAME=LIMIT, as clip_by_global_norm=1.0, got {text!r}") from None
