"""The pictures of a page, each as text that stands in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from PIL import Image

from jaxcnn import plots, runs
from jaxcnn.plots import _style

# the figures' colours, by what the page's style sheet calls them: there each is light or dark
COLOURS = {"ink": _style.INK, "faint": _style.FAINT, "line": _style.GRID} | {
    f"run-{number}": colour for number, colour in enumerate(_style.RUNS)
}


def curves(name: str, of_runs: Sequence[tuple[plots.Look, Sequence[runs.Metrics]]], quantity: str) -> str:
    """The learning curves as an <svg> element in the page's colours; `name` is its own in the page."""
    element = plots.svg(plots.learning_curves(of_runs, quantity), name)
    for variable, colour in COLOURS.items():
        element = element.replace(colour, f"var(--{variable})")
    return element


def grey(image: np.ndarray) -> str:
    """An image (H, W, 1), uint8, as the address of a picture, white on black."""
    return _address(Image.fromarray(image[:, :, 0]))


def signed(values: np.ndarray, limit: float) -> str:
    """A matrix as the address of a picture of a pixel a number: red above zero, blue below; `limit` has full colour."""
    shares = 0.5 + 0.5 * values / (limit or 1)
    return _address(Image.fromarray(mpl.colormaps[_style.SIGNED](shares, bytes=True)[..., :3]))


def scale(steps: int = 65) -> str:
    """The colours of `signed` from full negative to full positive, as the address of a picture one pixel high."""
    return signed(np.linspace(-1, 1, steps)[None], 1)


def shape(marker: str) -> str:
    """A marker's outline in a square from (-5, -5) to (5, 5), as an SVG path."""
    return {
        "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
        "s": "M-3.5-3.5h7v7h-7z",
        "^": "M0-4.5L4.5 3.5h-9z",
        "D": "M0-5L5 0L0 5L-5 0z",
    }[marker]


def _address(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
