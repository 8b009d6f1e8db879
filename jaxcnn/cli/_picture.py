"""Pictures of digits as a person has them: PNG files, white on black, of the size that the networks were trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIDE = 28


class PictureError(ValueError):
    """A file is no picture that a network here can read; the message says why in one line."""


def read_picture(path: Path) -> np.ndarray:
    """A PNG file as uint8 (28, 28, 1): colours as their brightness, what is transparent as black.

    Raises:
        PictureError: it is missing, not a PNG, of another size, of one brightness only, or dark on light.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG"]) as file:
            file.load()
            if file.size != (SIDE, SIDE):
                width, height = file.size
                raise PictureError(f"{path} is {width}x{height} pixels, not {SIDE}x{SIDE}: scale it first")
            if file.mode.startswith("I"):  # 16 bits of grey
                grey = (np.asarray(file, np.uint32) >> 8).astype(np.uint8)
            else:
                black = Image.new("RGBA", file.size, "black")
                grey = np.array(Image.alpha_composite(black, file.convert("RGBA")).convert("L"))
    except UnidentifiedImageError as error:
        raise PictureError(f"{path} is not a PNG file") from error
    except (OSError, SyntaxError) as error:  # Pillow's for a damaged PNG
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"damaged: {error}"
        raise PictureError(f"{path} cannot be read ({reason})") from error
    if grey.min() == grey.max():
        raise PictureError(f"{path} is blank: every pixel is equally bright")
    if _is_dark_on_light(grey):
        raise PictureError(f"{path} is dark on light; the networks know white on black: invert it first")
    return grey[:, :, None]


def _is_dark_on_light(grey: np.ndarray) -> bool:
    corners = np.array([grey[:4, :4], grey[:4, -4:], grey[-4:, :4], grey[-4:, -4:]])
    return bool(np.median(corners) > 127 and grey.mean() > 127)
