"""Digits on any ground, made into pictures as MNIST's own were made.

    colours (H, W, 3)   the picture
    density (H, W)      where ink is above its ground (`_ink`), once as light ink and once as dark
    mask    (H, W)      where there is ink, in connected parts, some of which are strokes (`_parts`)
    cover   (h, w)      one digit's ink, 0 to 1, cropped
    result  (28, 28)    its longer side 20 pixels, its centre of mass at the centre

How wide the pen is, nobody says. So the ink is looked for with squares of every width, and of all the readings that one
is taken whose strokes are the longest and darkest that stay as they are from width to width: what a square cuts out of
something larger, of a shadow or a table, changes with the square.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxcnn.photos import _ink, _parts

SIDE, LONGER_SIDE, CENTRE = 28, 20, 14  # MNIST's: the centre of mass is within half a pixel of (14, 14)
WIDTHS = 0.5 * 0.78 ** np.arange(13)  # of the picture's longer side: the squares
CLEAR = 1.6  # so many times a stroke's width is the square that shows all of it
EDGE = 0.45  # of the ink's usual density, where a stroke ends
FAINT = 0.55  # of the ink's usual density: a part that is fainter is none of the pen's
LASTS = 4  # widths: what stays as it is over so many is a stroke
AT_EDGE = 0.3  # the worth of a stroke that reaches the picture's edge
LEAST_SIDE = 8  # pixels of a digit's longer side: nobody could read it
LEAST_STROKE = 1.6  # in pixels of the result: 95 % of MNIST's strokes are wider
VARIATIONS = ((-10, 1.0), (10, 1.0), (0, 0.88))  # degrees, scale
ENLARGED = 8  # times the result, where strokes are measured and thickened


class Digit(NamedTuple):
    """A digit as uint8 (28, 28, 1), and where it is: its first row and column, and the ones after its last."""

    image: np.ndarray
    box: tuple[int, int, int, int]


class Reading(NamedTuple):
    """The ink that squares of one width show, its usual density, the number of the part at each place, the strokes."""

    ink: np.ndarray
    level: float
    numbers: np.ndarray
    strokes: list[_parts.Part]


def digits(picture: np.ndarray) -> list[Digit]:
    """The digits on a picture, white on black, line by line from left to right; none where nothing stands out.

    Args:
        picture: (H, W) or (H, W, 3), brightness or colours from 0 to 255, at least 2x2; best of a few hundred pixels.
            The digits may be dark or light, of any size and anywhere, but whole, in any light, and apart.

    Raises:
        ValueError: another shape.

    Example:
        >>> import numpy as np
        >>> paper = np.full((300, 200), 240)
        >>> paper[60:180, 60:75] = paper[60:180, 110:125] = 30  # eleven
        >>> paper[100:] //= 2  # the edge of a shadow
        >>> [digit.box for digit in digits(paper)]
        [(60, 60, 180, 75), (60, 110, 180, 125)]
    """
    colours = np.asarray(picture, np.float32)
    if colours.ndim == 2:
        colours = np.repeat(colours[:, :, None], 3, axis=2)
    if colours.ndim != 3 or colours.shape[2] != 3 or min(colours.shape[:2]) < 2:
        raise ValueError(f"picture must be (H, W) or (H, W, 3), at least 2x2, got {np.shape(picture)}")
    reading = _best_reading(colours)
    if reading is None:
        return []
    found = (digit for digit in _parts.digits_of(reading.strokes) if max(digit.rows, digit.columns) >= LEAST_SIDE)
    return [Digit(_centred(_scaled(_cover(reading, digit)))[:, :, None], digit.box) for digit in found]


def prepare(picture: np.ndarray) -> np.ndarray | None:
    """The largest digit on a picture as uint8 (28, 28, 1), white on black, or None where nothing stands out.

    Args:
        picture: as for `digits`.

    Raises:
        ValueError: another shape.

    Example:
        >>> import numpy as np
        >>> paper = np.full((300, 200), 240)
        >>> paper[60:180, 110:125] = 30  # a one, off-centre
        >>> one = prepare(paper)
        >>> one.shape, str(one.dtype), int(one.max())
        ((28, 28, 1), 'uint8', 255)
        >>> int(np.count_nonzero(one.max(axis=(1, 2)) > 127))  # rows
        20
        >>> prepare(np.full((300, 200), 240)) is None
        True
    """
    found = digits(picture)
    return max(found, key=_area).image if found else None


def varied(image: np.ndarray) -> np.ndarray:
    """A digit (28, 28, 1) as it is, turned a little either way, and a little smaller: (4, 28, 28, 1), uint8.

    A network whose answer depends on such a change does not know the digit, however sure it is of one of the four.

    Example:
        >>> import numpy as np
        >>> varied(np.full((28, 28, 1), 255, np.uint8)).shape
        (4, 28, 28, 1)
    """
    import cv2

    middle = ((SIDE - 1) / 2, (SIDE - 1) / 2)
    changes = [cv2.getRotationMatrix2D(middle, angle, scale) for angle, scale in VARIATIONS]
    changed = [cv2.warpAffine(image[:, :, 0], change, (SIDE, SIDE)) for change in changes]
    return np.stack([image[:, :, 0], *changed])[:, :, :, None]


def _area(digit: Digit) -> int:
    top, left, bottom, right = digit.box
    return (bottom - top) * (right - left)


def _best_reading(colours: np.ndarray) -> Reading | None:
    longer_side = max(colours.shape[:2])
    widths = sorted({2 * round(share * longer_side / 2) + 1 for share in WIDTHS} - {1})
    best, most = None, 0.0
    for density in _ink.densities(colours):
        noise = _ink.noise_of(density)
        readings = [reading for width in widths if (reading := _reading(density, width, noise)) is not None]
        for reading in readings:
            worth = sum(_worth(stroke, reading, readings) for stroke in reading.strokes)
            if worth > 1.1 * most:  # of equals the first, which has the narrower squares
                best, most = reading, worth
    return best


def _reading(density: np.ndarray, width: int, noise: float) -> Reading | None:
    ink = _ink.ink_of(density, width)
    level = _ink.level_of(ink, noise)
    if level is None:
        return None
    numbers, parts = _parts.parts_of(_parts.without_lines(ink > EDGE * level), ink)
    among = _is_any_of(numbers, _parts.inner(parts, ink.shape))
    level = _ink.level_of(ink, noise, among) or level  # the digit's own, and not that of the table beside it
    numbers, parts = _parts.parts_of(_parts.without_lines(ink > EDGE * level), ink)
    pens = [part for part in parts if CLEAR * part.width <= width and part.ink > FAINT * level]
    strokes = _parts.inner(pens, ink.shape)
    return Reading(ink, level, numbers, strokes) if strokes else None


def _worth(stroke: _parts.Part, reading: Reading, readings: list[Reading]) -> float:
    """Its length, times its density squared, times how many of the readings have it as well."""
    near = max(2.0, 0.05 * max(stroke.rows, stroke.columns))
    lasting = sum(
        any(max(abs(a - b) for a, b in zip(stroke.box, one.box, strict=True)) <= near for one in other.strokes)
        for other in readings
    )
    share = 1 if _parts.is_within(stroke, reading.ink.shape) else AT_EDGE
    return share * (min(lasting, LASTS) - 0.9) * stroke.ink**2 * stroke.area / stroke.width


def _is_any_of(numbers: np.ndarray, parts: list[_parts.Part]) -> np.ndarray:
    return np.isin(numbers, [number for part in parts for number in part.numbers])


def _cover(reading: Reading, digit: _parts.Part) -> np.ndarray:
    import cv2

    mask = _is_any_of(reading.numbers, [digit]).astype(np.uint8)
    around = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
    cover = np.where(around, np.clip(reading.ink / reading.level, 0, 1), 0)
    return cover[digit.top : digit.bottom, digit.left : digit.right]


def _scaled(digit: np.ndarray) -> np.ndarray:
    """Its longer side at 20 pixels, strokes that would be too thin thickened."""
    import cv2

    large = _resized(digit, ENLARGED * LONGER_SIDE)
    lacking = ENLARGED * LEAST_STROKE - _stroke_width(large > 0.5)
    if lacking >= 1:
        margin = round(lacking)
        thick = cv2.dilate(np.pad(large, margin), np.ones((margin + 1, margin + 1), np.uint8))
        large = _resized(thick, ENLARGED * LONGER_SIDE)
    small = _resized(large, LONGER_SIDE)
    return small / small.max()


def _resized(values: np.ndarray, longer_side: int) -> np.ndarray:
    from PIL import Image

    factor = longer_side / max(values.shape)
    height, width = (max(1, round(factor * length)) for length in values.shape)
    image = Image.fromarray(values.astype(np.float32))
    return np.clip(np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)), 0, 1)


def _stroke_width(mask: np.ndarray) -> float:
    """A line's area over half its outline, whose length is pi/4 of the sides of pixels along it, on the average."""
    padded = np.pad(mask, 1)
    outline = sum(np.count_nonzero(np.diff(padded, axis=axis)) for axis in (0, 1)) * np.pi / 4
    return 2 * np.count_nonzero(mask) / max(outline, 1)


def _centred(digit: np.ndarray) -> np.ndarray:
    place = []
    for axis in (0, 1):
        mass = digit.sum(axis=1 - axis)
        offset = round(CENTRE - float(np.arange(len(mass)) @ mass / mass.sum()))
        start = min(max(offset, 0), SIDE - len(mass))
        place.append(slice(start, start + len(mass)))
    field = np.zeros((SIDE, SIDE), np.uint8)
    field[tuple(place)] = np.round(255 * digit)
    return field
