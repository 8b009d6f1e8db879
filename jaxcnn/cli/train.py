"""`jaxcnn train`: train a network and leave a run's folder."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from jaxcnn._whole import WHOLE
from jaxcnn.cli._examples import Examples, check_steps, examples_of
from jaxcnn.cli._failure import Failure
from jaxcnn.cli._folder import (
    folder_of,
    give_up,
    locked,
    quiet_orbax,
    refuse_odd_name,
    warn_of_other_surroundings,
)
from jaxcnn.cli._interrupt import interrupt
from jaxcnn.cli._keeping import Keeping
from jaxcnn.cli._place import Place, place_of
from jaxcnn.cli._processes import Processes, part, stand_by
from jaxcnn.cli._session import Session, initial_parameters, run
from jaxcnn.cli._settings import DEFAULTS, MAX_SEED, Settings, differences, parse_clip, settle
from jaxcnn.cli._summary import headline, summary

if TYPE_CHECKING:
    from jaxcnn import runs


def _by_net(setting: str) -> str:
    values = {net: getattr(of_net, setting) for net, of_net in DEFAULTS.items()}
    if len(set(values.values())) == 1:
        return str(values["single_filter"])
    return "; ".join(f"{value} for {net}" for net, value in values.items())


def train(
    net: Annotated[
        str | None, typer.Option(help=f"The network: {', '.join(DEFAULTS)}.", show_default="single_filter")
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
        "clip": None if clip is None else parse_clip(clip),
        "precision": precision,
        "validation": validation,
        "early_stopping": early_stopping,
        "seed": seed,
        "ops": ops,
        "stream": stream or None,
        "init_from": None if init_from is None else str(init_from.absolute()),
        "source": str(source.absolute()) if source is not None and data == "idx" else None,
    }
    from jaxcnn import runs

    asked = {name: value for name, value in choices.items() if value is not None}
    others = Processes(coordinator, processes, process_id)
    others.check()
    is_distributed = distributed or coordinator is not None
    if resume is not None and out is not None:
        raise Failure("give --resume or --out, not both: a run goes on in its own folder")
    if is_distributed and out is None and resume is None:
        raise Failure("several processes need --out: the folder that all of them know")
    keeping = Keeping()
    if resume is None:
        settings = settle(asked)
    else:
        config = runs.read_config(resume)
        settings, keeping = _settings_of(resume, config, asked), Keeping.of_config(resume / runs.CONFIG, config)
        if runs.is_finished(config) and settings.epochs == config["epochs"]:
            print(f"{resume} is finished: nothing is left to do")
            return
    keeping = keeping.but({"checkpoint_every": checkpoint_every, "keep": keep, "tensorboard": tensorboard})
    if keeping.tensorboard:
        from jaxcnn import tensorboard as event_files

        event_files.require()
    with contextlib.ExitStack() as among:
        if is_distributed:
            stand_by()
            others.join()
            among.callback(part)
        _train(settings, source, download, out, resume, keeping, devices)


def _settings_of(folder: Path, config: dict[str, Any], asked: dict[str, Any]) -> Settings:
    """The settings of the run to go on with.

    Raises:
        Failure: what is asked for differs.
        RunError: they are no settings.
    """
    from jaxcnn import runs

    settings = Settings.of_config(folder / runs.CONFIG, config)
    if asked.get("epochs", settings.epochs) != settings.epochs:
        settings = _of_other_epochs(folder, settings, asked["epochs"])
    differing = differences(asked, settings)
    if differing:
        raise Failure(
            f"{folder} was begun otherwise ({'; '.join(differing)}): leave the option out, or begin a new run"
        )
    return settings


def _of_other_epochs(folder: Path, settings: Settings, epochs: int) -> Settings:
    """The settings with as many epochs: the same bits as if so many had been asked for at once.

    Raises:
        Failure: the learning rates depend on how many there are, or more were trained already.
    """
    from jaxcnn import runs

    if settings.schedule != "constant_schedule":
        raise Failure(
            f"{folder} was begun with a {settings.schedule} over --epochs {settings.epochs}: with {epochs}, its rates "
            "would have been others from the start; begin a new run"
        )
    metrics = folder / runs.METRICS
    trained = len(runs.read_metrics(folder)) if metrics.exists() else 0
    if epochs < trained:
        raise Failure(f"{folder} has {trained} epochs behind it, more than --epochs {epochs}: ask for more")
    return settings._replace(epochs=epochs)


def _train(
    settings: Settings,
    source: Path | None,
    download: bool,
    out: Path | None,
    resume: Path | None,
    keeping: Keeping,
    devices: int | None,
) -> None:
    from jaxcnn import JaxcnnError, runs
    from jaxcnn.checkpoints import Checkpoints

    place = place_of(settings, devices)
    refuse_odd_name(out or resume or Path())
    if out is not None and place.leads:
        runs.refuse_taken(out)
    try:
        examples = examples_of(settings, source, download, place.processes)
        examples.network(settings.net)
    except (ValueError, JaxcnnError) as error:
        raise Failure(_with_options_named(str(error))) from error
    check_steps(settings, examples)
    if settings.init_from is not None and resume is None:
        initial_parameters(settings, examples)  # what is wrong with their file is said before there is a folder
    config = _config(settings, keeping, examples, place)
    console = Console(highlight=False, soft_wrap=True, quiet=not place.leads)
    session = Session(settings, examples, place, keeping, console)

    def recorder_of(**before: Any) -> runs.Recorder:
        console.print(headline(settings, examples, place))  # only now is it known to go on
        return runs.Recorder(folder, config, writes=place.leads, **before)

    try:
        with contextlib.ExitStack() as held:
            with WHOLE:
                folder = folder_of(settings, out, resume, place)
                held.enter_context(locked(folder, place))
                if resume is None and place.leads:
                    runs.write_config(folder, config)  # before all else: from here on --resume can go on
                if place.leads:
                    interrupt.last_words = partial(give_up, folder)
            if resume is not None:
                warn_of_other_surroundings(folder, config, place)
            held.enter_context(quiet_orbax())
            with Checkpoints(folder, keep=keeping.keep) as checkpoints:
                recorder = run(session, recorder_of, checkpoints)
    except (OSError, SystemExit):  # nobody reads any more what is printed: Rich exits then
        interrupt.last_words()
        raise
    console.print(summary(recorder, examples, place))


def _config(settings: Settings, keeping: Keeping, examples: Examples, place: Place) -> dict[str, Any]:
    from jaxcnn import provenance, runs

    return {
        "format": runs.FORMAT,
        "status": "running",
        "net": {"name": settings.net, "options": examples.network(settings.net).options},
        "data": {
            "name": settings.data,
            "train_images": examples.number,
            "test_images": len(examples.test.images),
            "classes": list(examples.classes),
        },
        **settings.to_config(),
        **keeping._asdict(),
        **provenance.surroundings(place.devices),
    }


def _with_options_named(message: str) -> str:
    """The library's message in the command's words."""
    return message.replace("download=True", "--download").replace("source=", "--source ")
