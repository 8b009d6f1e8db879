"""The page: what each run's part and the comparison hold, and the templates beside this file that lay them out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

import jaxcnn
import jaxcnn.data
from jaxcnn import plots
from jaxcnn.report import _pictures, _run, _write
from jaxcnn.report._held_out import HeldOut, predict

QUANTITIES = ("loss", "accuracy")
MISTAKES = 24  # shown as images
CONFUSIONS = 3  # named in a sentence
EPOCHS = 100  # in the table

# tell(done, what): how many of the page's steps are behind, and what is being done
Tell = Callable[[int, str], None]


def page(folders: Sequence[Path], *, tell: Tell = lambda done, what: None) -> str:
    """The report on some runs' folders, as HTML.

    Args:
        folders: at least one, no two the same.
        tell: called before each of `len(folders) + 1` steps.

    Raises:
        RunError: no folder is given, or one twice; one is no run's, or a file of it is damaged.
    """
    names = _run.names(folders)
    runs = [_run.read(folder, name) for folder, name in zip(folders, names, strict=True)]
    datasets: dict[str, jaxcnn.data.Dataset | str] = {}
    parts = []
    for number, run in enumerate(runs):
        tell(number, f"{run.name}: predicting")
        held_out = _held_out(run, datasets)
        parts.append(_part(number, run, held_out))
    tell(len(runs), "laying out the page")
    return _template("page.html").render(
        generator=Markup(_write.GENERATOR),
        title=runs[0].title if len(runs) == 1 else f"{len(runs)} runs compared",
        parts=parts,
        comparison=_comparison(runs, parts) if len(runs) > 1 else None,
        colours=_pictures.COLOURS,
        version=jaxcnn.__version__,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )


def _held_out(run: _run.Recorded, datasets: dict[str, jaxcnn.data.Dataset | str]) -> HeldOut | str:
    """The run's predictions, or why there are none; `datasets` keeps what was loaded, or why it was not."""
    if run.trained is None:
        return "This run has no parameters.npz: it is written at the end of an epoch."
    name, source = run.config["data"]["name"], run.config.get("source")
    data = name if source is None else f"{name} of {Path(source).name}"
    if (key := f"{name} {source}") not in datasets:
        try:
            datasets[key] = jaxcnn.data.load(name, source=source)
        except (jaxcnn.JaxcnnError, ValueError):  # their messages name folders, which a page sent round should not
            datasets[key] = (
                f"Where this page was made, the images of {data} are not prepared or cannot be read: "
                f"jaxcnn.data.load({name!r}) says which, and what to do."
            )
    dataset = datasets[key]
    if isinstance(dataset, str):
        return dataset
    here, then = len(dataset.test.images), run.config["data"]["test_images"]
    if here != then:
        return f"{data} holds out {here:,} images here, and held out {then:,} from this run: they are not the same."
    return predict(run.trained, dataset)


def _part(number: int, run: _run.Recorded, held_out: HeldOut | str) -> dict[str, Any]:
    """What the page tells of one run."""
    name, look = f"run-{number + 1}", plots.look(number)
    found = None if isinstance(held_out, str) else held_out
    filters = None if run.trained is None else _run.first_filters(run.trained.params)
    last = run.metrics[-1] if run.metrics else None
    return {
        "id": name,
        "run": run,
        "look": _seen(look),
        "result": _run.result(run, found),
        "ending": _run.ending(run),
        "precision": _run.precision(run.config),
        "images_per_second": last and last["images_per_second"],
        "seconds": sum(line["seconds"] for line in run.metrics) if run.metrics else None,
        "curves": _curves(name, [(look, run)]),
        "kinds": _kinds([run]),
        "epochs": _some(run.metrics),
        "columns": [
            column
            for column in ("validation_loss", "validation_accuracy", "learning_rate")
            if any(column in line for line in run.metrics)
        ],
        "missing": held_out if isinstance(held_out, str) else None,
        "held_out": found and _told(found),
        "filters": None if filters is None else _filters(filters),
        "config": _run.flat({key: value for key, value in run.config.items() if key not in ("format", "status")}),
    }


def _told(held_out: HeldOut) -> dict[str, Any]:
    """The confusion matrix, and the mistakes that the network was surest of."""
    counts = plots.confusion_counts(held_out.labels, held_out.predictions, len(held_out.classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    worst = max(int(wrong.max()), 1)
    rows = [
        [
            {
                "count": int(count),
                "is_right": row == column,
                "depth": round(float(shares[row, column] if row == column else count / worst), 3),
            }
            for column, count in enumerate(of_class)
        ]
        for row, of_class in enumerate(counts)
    ]
    often = [divmod(int(place), len(counts)) for place in np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]]
    mistaken = np.flatnonzero(held_out.predictions != held_out.labels)
    surest = mistaken[np.argsort(-held_out.probabilities[mistaken], kind="stable")][:MISTAKES]
    classes = held_out.classes
    return {
        "accuracy": held_out.accuracy,
        "loss": held_out.loss,
        "images": len(held_out.labels),
        "classes": classes,
        "has_long_names": max(map(len, classes)) > 2,
        "rows": rows,
        "often": [
            (classes[row], classes[column], int(wrong[row, column])) for row, column in often if wrong[row, column]
        ],
        "wrong": len(mistaken),
        "mistakes": [
            {
                "index": int(index),
                "picture": _pictures.grey(held_out.images[index]),
                "true": classes[held_out.labels[index]],
                "predicted": classes[held_out.predictions[index]],
                "probability": float(held_out.probabilities[index]),
            }
            for index in surest
        ],
    }


def _filters(filters: np.ndarray) -> dict[str, Any]:
    limit = float(np.abs(filters).max())
    return {
        "shape": filters.shape,
        "limit": limit,
        "pictures": [_pictures.signed(one, limit) for one in filters],
        "scale": _pictures.scale(),
    }


def _comparison(runs: Sequence[_run.Recorded], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    looks = [plots.look(number) for number in range(len(runs))]
    return {
        "curves": _curves("all-runs", list(zip(looks, runs, strict=True))),
        "kinds": _kinds(runs),
        "differences": _run.differences([run.config for run in runs]),
        "nets_differ": len({run.config["net"]["name"] for run in runs}) > 1,
        "has_one_data_set": len({run.config["data"]["name"] for run in runs}) == 1,
        "has_computed": any(part["result"] and not part["result"].is_recorded for part in parts),
    }


def _curves(name: str, of_runs: Sequence[tuple[plots.Look, _run.Recorded]]) -> list[dict[str, Any]]:
    """Of each quantity its picture and its words; none where no epoch has ended."""
    drawn = [(look, run) for look, run in of_runs if run.metrics]
    if not drawn:
        return []
    lines = [(look, run.metrics) for look, run in drawn]
    return [
        {
            "quantity": quantity,
            "svg": Markup(_pictures.curves(f"{name}-{quantity}", lines, quantity)),
            "words": " ".join(_in_words(run, quantity, names_run=len(of_runs) > 1) for _, run in drawn),
        }
        for quantity in QUANTITIES
    ]


def _in_words(run: _run.Recorded, quantity: str, *, names_run: bool) -> str:
    form = "{:.2%}" if quantity == "accuracy" else "{:.4f}"
    first, last = run.metrics[0], run.metrics[-1]
    words = f"training {form.format(first[quantity])} in epoch {first['epoch']}"
    if last is not first:
        words += f", {form.format(last[quantity])} in epoch {last['epoch']}"
    for prefix, kind in (("validation_", "validation"), ("test_", run.held_out)):
        if prefix + quantity in last:
            words += f", {kind} {form.format(last[prefix + quantity])} at the end"
    return f"{run.name}: {words}." if names_run else f"{words[0].upper()}{words[1:]}."


def _kinds(runs: Iterable[_run.Recorded]) -> dict[str, Any]:
    """Which kinds of numbers the curves show, for the legend."""
    lines = [line for run in runs for line in run.metrics]
    names = dict.fromkeys(run.held_out for run in runs if run.metrics and "test_loss" in run.metrics[-1])
    return {"validation": any("validation_loss" in line for line in lines), "held_out": " or ".join(names)}


def _some(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines for the table: all of them, or so many of them at equal distances, the last among them."""
    every = -(-len(metrics) // EPOCHS) or 1
    return list(metrics[::-1][::every][::-1])


def _seen(look: plots.Look) -> dict[str, str]:
    variable = next(name for name, colour in _pictures.COLOURS.items() if colour == look.colour)
    return {"colour": variable, "shape": _pictures.shape(look.marker)}


def _template(name: str) -> jinja2.Template:
    """A template beside this file; whatever it is given is text, escaped, unless it is marked as HTML here."""
    beside = resources.files("jaxcnn.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda file: beside.joinpath(file).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": "{:.2%}".format,
        "loss": "{:.4f}".format,
        "count": "{:,.0f}".format,
        "seconds": _seconds,
    }
    environment.globals["diamond"] = _pictures.shape("D")
    return environment.get_template(name)


def _seconds(seconds: float) -> str:
    """A duration for a person.

    Example:
        >>> _seconds(12.34), _seconds(754), _seconds(8000)
        ('12.3 s', '12 min 34 s', '2 h 13 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
