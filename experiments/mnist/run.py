"""Each network on the whole of MNIST, by hand-derived gradients and by autodiff: see the README beside this file.

select      trains each candidate setting on 55,000 images and scores it on the last 5,000 of the training part
final       trains the best setting of a network on all 60,000, with `jaxcnn.ops` and with `jaxcnn.reference`, from the
            same parameters in the same order, and only then reads the test part, once
precision   trains it by hand-derived gradients again as `final` does, computing in bfloat16
report      writes the tables of the README
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import optax
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.report import insert, table, write
from jaxcnn import data, nets, ops, reference, runs, train

HERE = Path(__file__).parent
RESULTS = HERE / "results"
VALIDATION = 5_000
SEED = 0

Source = Annotated[Path | None, typer.Option(help="Folder of MNIST's original files, if it is not prepared yet.")]
app = typer.Typer(help=__doc__, no_args_is_help=True)


class Setting(NamedTuple):
    """One way to train one network; `schedule` is constant, or cosine to zero over the run."""

    net: str
    optimizer: str
    learning_rate: float
    batch_size: int
    schedule: str = "constant"


# single_filter: gradient descent, a sample a step, a constant rate [V 27, 28, 39]; the others: [R 1.9]'s Adam and AdamW
CANDIDATES = (
    Setting("single_filter", "sgd", 0.001, 1),
    Setting("single_filter", "sgd", 0.003, 1),
    Setting("single_filter", "sgd", 0.01, 1),
    Setting("gap_cnn", "adam", 0.003, 128, "cosine"),
    Setting("gap_cnn", "adamw", 0.006, 128, "cosine"),
    Setting("lenet", "adam", 0.001, 128, "cosine"),
    Setting("lenet", "adamw", 0.002, 128, "cosine"),
)
SELECTION_EPOCHS = 3
FINAL_EPOCHS = {"single_filter": 5, "gap_cnn": 15, "lenet": 12}


@app.command()
def select(source: Source = None) -> None:
    """Score every candidate on validation images; settings already scored are left as they are."""
    full = data.load("mnist", source=source).train
    training = data.Split(full.images[:-VALIDATION], full.labels[:-VALIDATION])
    held_back = data.Split(full.images[-VALIDATION:], full.labels[-VALIDATION:])
    path = RESULTS / "selection.json"
    scores = json.loads(path.read_text())["scores"] if path.exists() else []
    for setting in CANDIDATES:
        if any(score["setting"] == setting._asdict() for score in scores):
            continue
        params, seconds = run(setting, training, SELECTION_EPOCHS, ops)
        metrics, _ = train.evaluate(net_of(setting).apply, params, *held_back)
        scores.append({"setting": setting._asdict(), "validation": metrics, "seconds": round(seconds, 1)})
        write(path, SEED, {"epochs": SELECTION_EPOCHS, "scores": scores})


@app.command()
def final(net: str, source: Source = None) -> None:
    """Train the best setting of NET on all training images, both ways, and read the test part."""
    setting = best_setting(net)
    epochs = FINAL_EPOCHS[net]
    mnist = data.load("mnist", source=source)
    trained, rows = {}, {}
    for name, namespace in (("manual", ops), ("reference", reference)):
        trained[name], seconds = run(setting, mnist.train, epochs, namespace)
        images_per_second = len(mnist.train.labels) * epochs / seconds
        rows[name] = {"seconds": round(seconds, 1), "images_per_second": round(images_per_second)}
    for name, params in trained.items():
        rows[name] |= {
            f"test_{key}": value for key, value in train.evaluate(net_of(setting).apply, params, *mnist.test)[0].items()
        }
    differences = jax.tree.map(lambda a, b: float(np.max(np.abs(np.asarray(a) - np.asarray(b)))), *trained.values())
    largest = max(jax.tree_util.tree_leaves_with_path(differences), key=lambda item: item[1])
    write(
        RESULTS / f"{net}.json",
        SEED,
        {
            "setting": setting._asdict(),
            "epochs": epochs,
            "runs": rows,
            "largest_parameter_difference": {"parameter": jax.tree_util.keystr(largest[0]), "value": largest[1]},
        },
    )


@app.command()
def precision(net: str, source: Source = None) -> None:
    """Train the best setting of NET on all training images in bfloat16, and read the test part."""
    setting = best_setting(net)
    epochs = FINAL_EPOCHS[net]
    mnist = data.load("mnist", source=source)
    params, seconds = run(setting, mnist.train, epochs, ops, "bfloat16")
    tested, _ = train.evaluate(net_of(setting).apply, params, *mnist.test)
    outcome = {"seconds": round(seconds, 1)} | {f"test_{name}": value for name, value in tested.items()}
    write(RESULTS / f"{net}_bfloat16.json", SEED, {"setting": setting._asdict(), "epochs": epochs, "run": outcome})


@app.command()
def report() -> None:
    """Write the tables into this folder's README and into the project's."""
    selection = json.loads((RESULTS / "selection.json").read_text())
    paths = {net: RESULTS / f"{net}.json" for net in FINAL_EPOCHS}
    finals = {net: json.loads(path.read_text()) for net, path in paths.items() if path.exists()}
    candidates = [
        (*(str(value) for value in score["setting"].values()), f"{score['validation']['accuracy']:.2%}")
        for score in selection["scores"]
    ]
    outcomes = [
        (
            f"`{net}`",
            "{optimizer}, {learning_rate:g}, {schedule}, batch {batch_size}".format(**result["setting"]),
            str(result["epochs"]),
            *(f"{result['runs'][name]['test_accuracy']:.2%}" for name in ("manual", "reference")),
            *(f"{result['runs'][name]['seconds']:.0f} s" for name in ("manual", "reference")),
            "{value:.2g} in `{parameter}`".format(**result["largest_parameter_difference"]),
        )
        for net, result in finals.items()
    ]
    outcome_head = (
        "net",
        "training",
        "epochs",
        "test accuracy, hand-derived",
        "autodiff",
        "time, hand-derived",
        "autodiff",
        "largest parameter difference",
    )
    narrow = {net: RESULTS / f"{net}_bfloat16.json" for net in finals}
    narrow_rows = [
        (
            f"`{net}`",
            f"{finals[net]['runs']['manual']['test_accuracy']:.2%}",
            f"{json.loads(path.read_text())['run']['test_accuracy']:.2%}",
        )
        for net, path in narrow.items()
        if path.exists()
    ]
    insert(HERE / "README.md", "precision", table(("net", "float32", "bfloat16"), narrow_rows))
    made_by = next(iter(finals.values()))["made_by"]
    machine = "jax {jax}, optax {optax}, {device}; seed {seed}.".format(**made_by)
    outcome = f"{table(outcome_head, outcomes)}\n\n{machine}"
    insert(HERE / "README.md", "selection", table((*Setting._fields, "validation accuracy"), candidates))
    insert(HERE / "README.md", "outcome", outcome)
    insert(
        HERE.parents[1] / "README.md",
        "mnist",
        table(outcome_head[:1] + outcome_head[3:5], [row[:1] + row[3:5] for row in outcomes]),
    )


def net_of(setting: Setting) -> ModuleType:
    """The network's module."""
    return nets.NETS[setting.net]


def best_setting(net: str) -> Setting:
    """The one that was best on validation images."""
    if net not in FINAL_EPOCHS:
        raise typer.BadParameter(runs.unknown("NET", net, FINAL_EPOCHS))
    scores = json.loads((RESULTS / "selection.json").read_text())["scores"]
    best = max(
        (score for score in scores if score["setting"]["net"] == net),
        key=lambda score: score["validation"]["accuracy"],
    )
    return Setting(**best["setting"])


def run(
    setting: Setting, split: data.Split, epochs: int, namespace: ModuleType, precision: str = "float32"
) -> tuple[Any, float]:
    """Trained parameters, and the seconds that the training took."""
    net = net_of(setting)
    steps = epochs * (len(split.labels) // setting.batch_size)
    rate = setting.learning_rate
    optimizer = train.OPTIMIZERS[setting.optimizer](
        optax.cosine_decay_schedule(rate, steps) if setting.schedule == "cosine" else rate
    )
    init_key, order_key = jax.random.split(jax.random.key(SEED))
    step = train.make_train_step(net.apply, optimizer, ops=namespace, precision=precision)
    state = train.init_state(net.init(init_key), optimizer, order_key)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    started = time.perf_counter()
    with Progress(*columns) as progress:
        task = progress.add_task(f"{setting.net} {setting.learning_rate:g} {namespace.__name__}", total=steps)
        for report in train.fit(
            state,
            step,
            *split,
            epochs=epochs,
            batch_size=setting.batch_size,
            in_one_program=namespace is ops,
        ):
            progress.update(task, completed=report.step)
            if report.ends_epoch:
                progress.print(f"epoch {report.epoch}: loss {report.loss:.4f}, accuracy {report.accuracy:.4f}")
    return report.state.params, time.perf_counter() - started


if __name__ == "__main__":
    app()
