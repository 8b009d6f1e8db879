"""`jaxcnn train`: train a network and leave a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxcnn.cli._display import Display
from jaxcnn.cli._failure import Failure
from jaxcnn.cli._interrupt import Interrupt

if TYPE_CHECKING:
    from jaxcnn import runs
    from jaxcnn.data import Dataset


class Defaults(NamedTuple):
    """How a net is trained where nothing else is asked for; chosen on images split from mnist-10k's training part."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float


DEFAULTS = {
    "single_filter": Defaults(epochs=12, batch_size=32, optimizer="adam", learning_rate=0.003),
    "gap_cnn": Defaults(epochs=5, batch_size=64, optimizer="adam", learning_rate=0.01),
    "lenet": Defaults(epochs=5, batch_size=64, optimizer="adam", learning_rate=0.001),
}


def _by_net(setting: str) -> str:
    values = {net: getattr(of_net, setting) for net, of_net in DEFAULTS.items()}
    if len(set(values.values())) == 1:
        return str(values["single_filter"])
    return "; ".join(f"{value} for {net}" for net, value in values.items())


def train(
    net: Annotated[str, typer.Option(help=f"The network: {', '.join(DEFAULTS)}.")] = "single_filter",
    data: Annotated[str, typer.Option(help="The data set: mnist-10k, mnist, fashion_mnist.")] = "mnist-10k",
    source: Annotated[
        Path | None, typer.Option(help="Prepare mnist or fashion_mnist from the original files in this folder.")
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
        float | None, typer.Option(help="The optimizer's step size.", show_default=_by_net("learning_rate"))
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="What the parameters and the shuffling are drawn from.")] = 0,
    ops: Annotated[str, typer.Option(help="manual: gradients by hand; reference: autodiff's.")] = "manual",
    out: Annotated[
        Path | None, typer.Option(help="The folder to write, new or empty.", show_default="runs/<net>-<data>-<n>")
    ] = None,
) -> None:
    """Train a network and leave a run's folder.

    In the folder: config.json, metrics.jsonl (a line an epoch), parameters.npz, and plots of the learning curve and of
    what is mistaken for what. Without options: the network of [V], on 8,000 real digits that come with the package.
    """
    import jax

    import jaxcnn.data
    import jaxcnn.ops
    import jaxcnn.reference
    from jaxcnn import runs
    from jaxcnn import train as training

    namespaces = {"manual": jaxcnn.ops, "reference": jaxcnn.reference}
    try:
        network = runs.network(net)
        defaults = DEFAULTS[net]
        settings = Defaults(
            epochs=defaults.epochs if epochs is None else epochs,
            batch_size=defaults.batch_size if batch_size is None else batch_size,
            optimizer=defaults.optimizer if optimizer is None else optimizer,
            learning_rate=defaults.learning_rate if learning_rate is None else learning_rate,
        )
        if settings.optimizer not in training.OPTIMIZERS:
            raise ValueError(runs.unknown("optimizer", settings.optimizer, training.OPTIMIZERS))
        if ops not in namespaces:
            raise ValueError(runs.unknown("--ops", ops, namespaces))
        if not 0 < settings.learning_rate < float("inf"):
            raise ValueError(f"--learning-rate must be positive and finite, got {settings.learning_rate}")
        if out is not None:
            runs.refuse_taken(out)
        dataset = jaxcnn.data.load(data, source=source, download=download)
    except (ValueError, jaxcnn.data.DataError) as error:
        raise Failure(_with_options_named(str(error))) from error
    if settings.batch_size > len(dataset.train.images):
        raise Failure(f"--batch-size must be at most the {len(dataset.train.images)} images, got {batch_size}")

    folder = runs.claim_next(f"{net}-{data}") if out is None else runs.claim(out)
    config = {
        "net": {"name": net, "options": network.options},
        "data": {
            "name": data,
            "train_images": len(dataset.train.images),
            "test_images": len(dataset.test.images),
            "classes": list(dataset.classes),
        },
        "seed": seed,
        "ops": ops,
        **settings._asdict(),
        **runs.surroundings(),
    }
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{net} on {len(dataset.train.images):,} images of {data}: {settings.optimizer}, learning rate "
        f"{settings.learning_rate:g}, batch size {settings.batch_size}"
    )
    rule = training.OPTIMIZERS[settings.optimizer](settings.learning_rate)
    init_key, order_key = jax.random.split(jax.random.key(seed))
    state = training.init_state(network.init(init_key), rule, order_key)
    step = training.make_train_step(network.apply, rule, ops=namespaces[ops])
    recorder = runs.Recorder(folder, config)
    try:
        with Interrupt() as interrupt, Display(console, settings.epochs) as display:
            for report in training.fit(
                state,
                step,
                *dataset.train,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                in_one_program=ops == "manual",
            ):
                recorder.add(report)
                display.show(report)
                if report.ends_epoch:
                    display.end_epoch(recorder.metrics[-1])
                if interrupt.asked:
                    recorder.stop_at(report)
                    raise KeyboardInterrupt
        tested, logits = training.evaluate(network.apply, report.state.params, *dataset.test, ops=namespaces[ops])
        recorder.finish(tested)
        _draw(recorder, dataset, logits.argmax(axis=-1))
    except KeyboardInterrupt:
        recorder.end_as("interrupted")
        raise Failure(f"interrupted: {folder} keeps {recorder.kept()}", 130) from None
    except training.NotFiniteError as error:
        recorder.end_as("failed")
        kept = recorder.kept()
        raise Failure(
            f"{error}: try a --learning-rate below {settings.learning_rate:g}"
            + (f"; {folder} keeps {kept}" if kept else ""),
            1,
        ) from error
    console.print(_table(recorder, dataset))


def _with_options_named(message: str) -> str:
    """The library's message in the command's words."""
    return message.replace("download=True", "--download").replace("source=", "--source ")


def _draw(recorder: runs.Recorder, dataset: Dataset, predictions: Any) -> None:
    from jaxcnn import figures, runs

    config, tested = recorder.config, recorder.metrics[-1]
    name = f"{config['net']['name']} on {config['data']['name']}"
    held_out = runs.held_out(config["data"]["name"])
    curve = figures.learning_curve(recorder.metrics, title=name, held_out=held_out)
    confusion = figures.confusion_matrix(
        dataset.test.labels,
        predictions,
        dataset.classes,
        title=f"{name}, {held_out}: {tested['test_accuracy']:.2%} of {len(predictions):,}",
    )
    for file, figure in (("learning_curve.png", curve), ("confusion_matrix.png", confusion)):
        runs.write_whole(recorder.folder / file, figures.png(figure))


def _table(recorder: runs.Recorder, dataset: Dataset) -> Table:
    from jaxcnn import runs

    last = recorder.metrics[-1]
    held_out = runs.held_out(recorder.config["data"]["name"])
    table = Table(show_header=False)
    table.add_row(f"{held_out} accuracy", f"[bold]{last['test_accuracy']:.2%}[/]")
    table.add_row(f"{held_out} loss", f"{last['test_loss']:.4f}")
    table.add_row(f"{held_out} images", f"{len(dataset.test.images):,}")
    table.add_row("training accuracy, last epoch", f"{last['accuracy']:.2%}")
    table.add_row("images/s", f"{last['images_per_second']:,.0f}")
    table.add_row("seconds", f"{sum(line['seconds'] for line in recorder.metrics):.1f}")
    table.add_row("folder", escape(str(recorder.folder)))
    return table
