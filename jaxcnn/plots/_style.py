"""One look for every picture: sequential colours for amounts, diverging ones, centred at zero, for signed numbers."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

Number = float | int

IMAGE = "gray"
AMOUNT = "Blues"
SIGNED = "RdBu_r"
INK, FAINT, GRID, TRACK = "#1f2933", "#6b7785", "#d5dae0", "#eef1f4"
BLUE, RED, GOLD, GREEN = "#2166ac", "#b2182b", "#f2a900", "#1b7f5c"
RUNS = (BLUE, "#c2410c", GREEN, "#8e44ad", "#a66f00", "#0e7490", "#be185d", "#57606a")  # to tell eight runs apart

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "mathtext.fontset": "dejavusans",
}


def styled() -> Any:
    """A context in which what is drawn has this look."""
    return mpl.rc_context(_SETTINGS)


def show_image(axes: Axes, values: np.ndarray) -> AxesImage:
    """Draw values in [0, 1], white on black."""
    return _show(axes, values, IMAGE, 0, 1)


def show_signed(axes: Axes, values: np.ndarray, limit: Number | None = None) -> AxesImage:
    """Draw signed values: red above zero, blue below, white at it; `limit` is the magnitude of the full colours."""
    limit = float(np.max(np.abs(values))) if limit is None else limit
    return _show(axes, values, SIGNED, -(limit or 1), limit or 1)


def write_numbers(axes: Axes, values: np.ndarray, *, limit: Number | None, size: Number) -> None:
    """Write each value of a drawn matrix into its cell, dark on light cells and light on dark ones.

    `limit` is the magnitude of the full colours, None for an image in [0, 1].
    """
    for (row, column), value in np.ndenumerate(values):
        is_dark = bool(value < 0.5 if limit is None else abs(value) > 0.6 * limit)
        colour = "white" if is_dark else INK
        axes.text(column, row, short(float(value)), ha="center", va="center", fontsize=size, color=colour)


def short(value: Number) -> str:
    """A number for a small cell.

    Example:
        >>> [short(value) for value in (0.0, 0.25, -0.125, 1.0, -12.34)]
        ['0', '.25', '−.12', '1.00', '−12.3']
    """
    size = abs(value)
    digits = 0 if size == 0 else 1 if size >= 9.995 else 2
    text = f"{size:.{digits}f}"
    if 0 < size < 1:
        text = text.removeprefix("0")
    return f"−{text}" if value < 0 else text


def draw_cells(axes: Axes, rows: int, columns: int, *, every: int = 1, colour: str = GRID, width: Number = 0.5) -> None:
    """Draw lines between the cells of a drawn matrix."""
    for row in range(0, rows + 1, every):
        axes.plot([-0.5, columns - 0.5], [row - 0.5] * 2, color=colour, linewidth=width, clip_on=False)
    for column in range(0, columns + 1, every):
        axes.plot([column - 0.5] * 2, [-0.5, rows - 0.5], color=colour, linewidth=width, clip_on=False)


def amount_colour(amount: Number) -> tuple[float, float, float, float]:
    """The colour of an amount in [0, 1]."""
    red, green, blue, alpha = mpl.colormaps[AMOUNT](amount)
    return red, green, blue, alpha


class ShownFigure(Figure):
    """A figure that a notebook shows where a cell ends with it."""

    def _repr_png_(self) -> bytes:
        return png(self)


def new_figure(width: Number, height: Number) -> Figure:
    """An empty white figure, in inches."""
    return ShownFigure(figsize=(width, height), facecolor="white")


def png(figure: Figure) -> bytes:
    """A figure as a PNG file, at 100 pixels per inch, in the colours of this file alone: a third of the bytes.

    Example:
        >>> png(new_figure(2, 1))[1:4]
        b'PNG'
    """
    drawn, few = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    with Image.open(drawn) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.int32)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    codes, places = np.unique((red << 16) + (green << 8) + blue, return_inverse=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
    palette = _palette()
    # the nearest of the palette, exactly: Pillow's own mapping tints white
    nearest = np.argmin([((colours - one) ** 2).sum(axis=-1) for one in palette.astype(int)], axis=0)
    indexed = Image.fromarray(nearest.astype(np.uint8)[places].reshape(pixels.shape[:2]))
    indexed.putpalette(palette.tobytes())
    indexed.save(few, format="png", optimize=True)
    return few.getvalue()


def photograph(figure: Figure) -> bytes:
    """A figure with photographs in it as a PNG file, at 100 pixels per inch, in all its colours.

    Example:
        >>> photograph(new_figure(2, 1))[1:4]
        b'PNG'
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    return drawn.getvalue()


def svg(figure: Figure, name: str) -> str:
    """A figure as an <svg> element to stand in a page: see-through, with text as text, in one of the page's fonts.

    `name` sets its ids apart from those of the page's other figures.

    Example:
        >>> svg(new_figure(2, 1), "empty")[:4]
        '<svg'
    """
    drawn = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    element = drawn.getvalue()[drawn.getvalue().index("<svg") :]
    # its style sheet would hold for the whole page
    element = re.sub(r" <defs>\s*<style.*?</style>\s*</defs>\n", "", element, flags=re.DOTALL)
    element = re.sub(r" font-family: [^;]*;", "", element)
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", element)


def _palette() -> np.ndarray:
    """Every colour map in steps too small to see, and the single colours: (K, 3), uint8; `SIGNED`'s zero is a step."""
    steps = {IMAGE: 64, SIGNED: 129, AMOUNT: 48}
    of_maps = [mpl.colormaps[name](np.linspace(0, 1, count))[:, :3] for name, count in steps.items()]
    singles = [mpl.colors.to_rgb(colour) for colour in (INK, FAINT, GRID, TRACK, BLUE, RED, GOLD, GREEN)]
    return (np.concatenate([*of_maps, singles]) * 255).round().astype(np.uint8)


def _show(axes: Axes, values: np.ndarray, colours: str, low: Number, high: Number) -> AxesImage:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    return axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
