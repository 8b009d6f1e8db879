"""How training went, and what is mistaken for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxcnn.plots import _style

_MANY = 30  # epochs, above which not each has its mark


class Look(NamedTuple):
    """How one of several runs is drawn: `colour` as "#rrggbb", `marker` as matplotlib names it."""

    colour: str
    marker: str


def look(number: int) -> Look:
    """The look of run `number`, from 0: no two of the first 24 are alike.

    Example:
        >>> look(0), look(8)
        (Look(colour='#2166ac', marker='o'), Look(colour='#2166ac', marker='s'))
    """
    markers = "os^"
    return Look(_style.RUNS[number % len(_style.RUNS)], markers[number // len(_style.RUNS) % len(markers)])


def learning_curve(metrics: Sequence[dict[str, Any]], *, title: str, held_out: str = "held-out") -> Figure:
    """Loss and accuracy over the epochs: training, validation and, at the last, held-out, where the metrics have them.

    Args:
        metrics: the lines of a run's metrics.jsonl, at least one.
        title: what was trained on what.
        held_out: what to call the part that was held out.

    Example:
        >>> line = {"epoch": 1, "loss": 0.5, "accuracy": 0.8, "test_loss": 0.6, "test_accuracy": 0.75}
        >>> [axes.get_ylabel() for axes in learning_curve([line], title="a run").axes]
        ['loss', 'accuracy']
    """
    with _style.styled():
        figure = _style.new_figure(9, 3.8)
        figure.suptitle(title, fontsize=12, fontweight="bold", x=0.02, ha="left")
        for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            _draw_run(axes, metrics, quantity, look(0), held_out_colour=_style.RED, held_out=held_out)
            _label_axes(axes, quantity)
            axes.legend(frameon=False, fontsize=9, loc="upper right" if quantity == "loss" else "lower right")
        figure.subplots_adjust(left=0.08, right=0.98, bottom=0.14, top=0.87, wspace=0.22)
    return figure


def learning_curves(runs: Sequence[tuple[Look, Sequence[dict[str, Any]]]], quantity: str) -> Figure:
    """One quantity of one or several runs over their epochs, without a legend: solid in training, dashed in validation,
    a diamond held-out.

    Args:
        runs: each one's look and the lines of its metrics.jsonl.
        quantity: "loss" or "accuracy".

    Example:
        >>> lines = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4, "test_loss": 0.6}]
        >>> (axes,) = learning_curves([(look(0), lines), (look(1), lines[:1])], "loss").axes
        >>> [line.get_ydata().tolist() for line in axes.lines]
        [[0.5, 0.4], [0.6], [0.5]]
    """
    with _style.styled():
        figure = _style.new_figure(4.8, 3.1)
        axes = figure.subplots()
        for run_look, metrics in runs:
            _draw_run(axes, metrics, quantity, run_look, held_out_colour=run_look.colour, held_out="held-out")
        _label_axes(axes, quantity)
        figure.subplots_adjust(left=0.165, right=0.97, bottom=0.16, top=0.96)
    return figure


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (a row) was predicted as each (a column): (classes, classes), integers.

    Example:
        >>> confusion_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str], *, title: str) -> Figure:
    """How often each class (a row) was predicted as each (a column), coloured by its share of the row.

    Args:
        labels, predictions: (N,), integers that index `classes`.
        classes: their names.
        title: what was predicted by what.

    Example:
        >>> figure = confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), ("no", "yes"), title="a run")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['1', '1', '', '1']
    """
    counts = confusion_counts(labels, predictions, len(classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with _style.styled():
        figure = _style.new_figure(7.2, 7)
        figure.suptitle(title, fontsize=12, fontweight="bold", x=0.02, ha="left")
        axes = figure.subplots()
        axes.imshow(shares, cmap=_style.AMOUNT, vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else _style.INK
            axes.text(column, row, str(count or ""), ha="center", va="center", color=colour, fontsize=9.5)
        _style.draw_cells(axes, len(classes), len(classes))
        names_are_long = max(map(len, classes)) > 2
        slant: dict[str, Any] = {"rotation": 40, "ha": "right"} if names_are_long else {}
        axes.set_xticks(range(len(classes)), classes, **slant)
        axes.set_yticks(range(len(classes)), classes)
        axes.tick_params(length=0, labelcolor=_style.INK)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        left, bottom = (0.16, 0.14) if names_are_long else (0.09, 0.08)
        figure.subplots_adjust(left=left, right=0.98, bottom=bottom, top=0.93)
    return figure


def _draw_run(
    axes: Axes,
    metrics: Sequence[dict[str, Any]],
    quantity: str,
    run_look: Look,
    *,
    held_out_colour: str,
    held_out: str,
) -> None:
    colour, marker = run_look
    every = max(1, len(metrics) // _MANY)
    for prefix, dashes, label in (
        ("", "-", "training, mean over the epoch"),
        ("validation_", "--", "validation, after the epoch"),
    ):
        points = [(line["epoch"], line[prefix + quantity]) for line in metrics if prefix + quantity in line]
        if points:
            epochs, values = zip(*points, strict=True)
            drawn: dict[str, Any] = {"linestyle": dashes, "marker": marker, "markersize": 4, "markevery": every}
            axes.plot(list(epochs), list(values), color=colour, label=label, **drawn)
    if metrics and f"test_{quantity}" in metrics[-1]:
        result = metrics[-1][f"test_{quantity}"]
        shown = f"{result:.2%}" if quantity == "accuracy" else f"{result:.3f}"
        at = metrics[-1]["epoch"]
        axes.plot([at], [result], "D", color=held_out_colour, markersize=7, label=f"{held_out}: {shown}")


def _label_axes(axes: Axes, quantity: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.grid(color=_style.GRID, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
