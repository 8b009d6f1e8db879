"""What a network saw of pictures: where the digits are on each, and each as it was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxcnn.plots._style import BLUE, FAINT, INK, RED, new_figure, show_image, styled

PER_ROW = 8  # digits, before another row begins


class Seen(NamedTuple):
    """A picture (H, W, 3), uint8, called `name`, and its digits.

    Of each digit: its box (top, left, bottom, right) in pixels, the image (28, 28, 1), uint8, that the network was
    given, the answer, and whether that is sure.
    """

    name: str
    picture: np.ndarray
    boxes: Sequence[tuple[int, int, int, int]]
    images: Sequence[np.ndarray]
    answers: Sequence[str]
    is_sure: Sequence[bool]


def seen(pictures: Sequence[Seen]) -> Figure:
    """Each picture with a box around each digit, and beside it every digit as the network was given it.

    Blue is sure, red is not.

    Args:
        pictures: at least one, with at least one digit each.

    Example:
        >>> import numpy as np
        >>> paper, image = np.full((80, 60, 3), 255, np.uint8), np.zeros((28, 28, 1), np.uint8)
        >>> figure = seen([Seen("one.png", paper, [(10, 20, 70, 30)], [image], ["1"], [True])])
        >>> len(figure.axes)
        2
    """
    columns = min(PER_ROW, max(len(one.images) for one in pictures))
    heights = [-(-len(one.images) // PER_ROW) for one in pictures]
    with styled():
        figure = new_figure(2.4 + 1.15 * columns, sum(0.45 + 1.5 * rows for rows in heights))
        outer = figure.add_gridspec(len(pictures), 1, height_ratios=[0.45 + 1.5 * rows for rows in heights])
        figure.subplots_adjust(left=0.02, right=0.98, top=1 - 0.3 / figure.get_figheight(), bottom=0.01, hspace=0.25)
        for row, (one, rows) in enumerate(zip(pictures, heights, strict=True)):
            grid = outer[row].subgridspec(rows, 1 + columns, width_ratios=[2.1, *columns * [1]], hspace=0.35)
            photo = figure.add_subplot(grid[:, 0])
            photo.imshow(one.picture)
            photo.set_axis_off()
            photo.set_title(_shortened(one.name), fontsize=9, color=FAINT, loc="left")
            for k, (box, image, answer, is_sure) in enumerate(
                zip(one.boxes, one.images, one.answers, one.is_sure, strict=True)
            ):
                top, left, bottom, right = box
                colour = BLUE if is_sure else RED
                corner = (left - 1.5, top - 1.5)
                photo.add_patch(Rectangle(corner, right - left + 2, bottom - top + 2, fill=False, edgecolor=colour))
                axes = figure.add_subplot(grid[k // PER_ROW, 1 + k % PER_ROW])
                show_image(axes, image[:, :, 0] / 255)
                axes.spines[:].set_color(colour)
                axes.set_title(answer if is_sure else f"{answer}?", color=INK if is_sure else RED)
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= 24 else f"…{name[-23:]}"
