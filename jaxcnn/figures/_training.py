"""How training went, and what is mistaken for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxcnn.figures import _style


def learning_curve(metrics: Sequence[dict[str, Any]], *, title: str, held_out: str = "held-out") -> Figure:
    """Loss and accuracy over the epochs, with the held-out part's at the last where the metrics have it.

    Args:
        metrics: the lines of a run's metrics.jsonl, at least one.
        title: what was trained on what.
        held_out: what to call the part that was held out.

    Example:
        >>> line = {"epoch": 1, "loss": 0.5, "accuracy": 0.8, "test_loss": 0.6, "test_accuracy": 0.75}
        >>> [axes.get_ylabel() for axes in learning_curve([line], title="a run").axes]
        ['loss', 'accuracy']
    """
    epochs = [line["epoch"] for line in metrics]
    with _style.styled():
        figure = _style.new_figure(9, 3.8)
        figure.suptitle(title, fontsize=12, fontweight="bold", x=0.02, ha="left")
        for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            values = [line[quantity] for line in metrics]
            axes.plot(epochs, values, "o-", color=_style.BLUE, markersize=4, label="training, mean over the epoch")
            if f"test_{quantity}" in metrics[-1]:
                result = metrics[-1][f"test_{quantity}"]
                shown = f"{result:.2%}" if quantity == "accuracy" else f"{result:.3f}"
                axes.plot(epochs[-1:], [result], "D", color=_style.RED, markersize=7, label=f"{held_out}: {shown}")
            axes.set_xlabel("epoch")
            axes.set_ylabel(quantity)
            axes.grid(color=_style.GRID, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if quantity == "accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
            axes.legend(frameon=False, fontsize=9, loc="upper right" if quantity == "loss" else "lower right")
        figure.subplots_adjust(left=0.08, right=0.98, bottom=0.14, top=0.87, wspace=0.22)
    return figure


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
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, predictions), 1)
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
