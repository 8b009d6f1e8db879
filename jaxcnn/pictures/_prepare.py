"""A digit on any ground, made into a picture as MNIST's own were made.

    colours (H, W, 3)   the picture
    ink     (H, W)      how far a pixel is from its background, along the colour in which the ink differs most
    digit   (h, w)      the ink of the digit alone, from 0 to 1, cropped
    result  (28, 28)    its longer side 20 pixels, its centre of mass at the centre

The background is a quadratic surface in each colour, fitted to the border first and then to all that lies near it, so
that uneven light is part of it. What is wider than any stroke, as a shadow, is taken off after that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SIDE, LONGER_SIDE, CENTRE = 28, 20, 14  # MNIST's: the centre of mass is within half a pixel of (14, 14)
LEAST_CONTRAST = 12.0  # of 255: what differs less from its background is no ink
LEAST_CLEARANCE = 6.0  # and in deviations of the background's noise
EDGE = 0.35  # of the ink's usual strength, where the digit ends
SPECK = 0.06  # of the largest part: what is smaller is dirt
LEAST_SIDE = 8  # pixels of the digit's longer side: nobody could read it
LEAST_STROKE = 1.6  # in pixels of the result: 95 % of MNIST's strokes are wider
ENLARGED = 8  # times the result, where strokes are measured and thickened


def prepare(picture: np.ndarray) -> np.ndarray | None:
    """The digit on a picture as uint8 (28, 28, 1), white on black, or None where nothing stands out.

    Args:
        picture: (H, W) or (H, W, 3), brightness or colours from 0 to 255, at least 2x2; best of a few hundred pixels.
            The digit may be dark or light, of any size and anywhere, but whole, and alone on its ground.

    Raises:
        ValueError: another shape.

    Example:
        >>> import numpy as np
        >>> paper = np.full((300, 200), 240)
        >>> paper[60:180, 110:125] = 30  # a one, off-centre
        >>> one = prepare(paper)
        >>> one.shape, str(one.dtype), int(one.max())
        ((28, 28, 1), 'uint8', 255)
        >>> rows, columns = np.nonzero(one[:, :, 0] > 127)
        >>> int(rows.min()), int(rows.max())
        (4, 23)
        >>> prepare(np.full((300, 200), 240)) is None
        True
    """
    colours = np.asarray(picture, np.float32)
    if colours.ndim == 2:
        colours = np.repeat(colours[:, :, None], 3, axis=2)
    if colours.ndim != 3 or colours.shape[2] != 3 or min(colours.shape[:2]) < 2:
        raise ValueError(f"prepare: picture must be (H, W) or (H, W, 3), at least 2x2, got {np.shape(picture)}")
    digit = max(_digits(colours), key=np.size, default=None)  # strokes span more than what they enclose
    return None if digit is None else _centred(_scaled(digit))[:, :, None]


def _digits(colours: np.ndarray) -> Iterator[np.ndarray]:
    """The digit as what is on one side of the background, dark or light; as either, where much lies on both."""
    background, is_close = _background(colours)
    apart = colours - background
    flat = apart.reshape(-1, 3)
    axis = np.linalg.eigh(flat.T @ flat)[1][:, -1]  # in which they vary most
    cubes = (apart @ axis) ** 3  # noise, though everywhere, is little in them
    above, below = np.sum(cubes[cubes > 0]), -np.sum(cubes[cubes < 0])
    is_on_both = not is_close and min(above, below) > 0.02 * max(above, below)  # as paper in a shadow and out of it
    for sign, is_ink in ((1, is_on_both or above >= below), (-1, is_on_both or above < below)):
        digit = _digit(_ink(background, apart, sign * axis)) if is_ink else None
        if digit is not None:
            yield digit


def _ink(background: np.ndarray, apart: np.ndarray, axis: np.ndarray) -> np.ndarray:
    along = apart @ axis
    if min(along.shape) > 64:
        along = _blurred(along)
    ground = _opened(along, max(3, min(along.shape) // 3))
    ink = along - ground
    if axis.sum() < -0.5:  # dark ink is fainter in a shadow, as its paper is darker
        light = np.maximum((background + ground[:, :, None] * axis).mean(axis=2), 16)
        ink = ink * (np.median(light) / light)
    return ink


def _background(colours: np.ndarray) -> tuple[np.ndarray, bool]:
    """A constant, then a plane, then a quadratic surface, each through what the one before leaves near.

    And whether the border lies close to the last; where it does not, as with a shadow's edge, it is the constant.
    """
    height, width, _ = colours.shape
    grid = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij"
    )
    y, x = (part.ravel() for part in grid)
    terms = np.stack([np.ones_like(y), y, x, y**2, y * x, x**2], axis=1)
    flat = colours.reshape(-1, 3)
    is_border = np.maximum(np.abs(y), np.abs(x)) > 0.85
    everywhere = np.ones_like(is_border)
    constant = np.broadcast_to(np.median(flat[is_border], axis=0), flat.shape)
    distance = np.linalg.norm(flat - constant, axis=1)
    for among, degree in ((is_border, 3), (is_border, 6), (everywhere, 6), (everywhere, 6)):
        near = among & (distance <= 3 * np.median(distance[is_border]) + 4)
        basis = terms[near, :degree]
        surface = terms[:, :degree] @ np.linalg.lstsq(basis.T @ basis, basis.T @ flat[near], rcond=None)[0]
        distance = np.linalg.norm(flat - surface, axis=1)
    is_close = np.quantile(distance[is_border], 0.75) <= LEAST_CONTRAST + 4 * _noise(colours)
    return (surface if is_close else constant).reshape(colours.shape), bool(is_close)


def _noise(values: np.ndarray) -> float:
    """The deviation of what changes from one pixel to the next, by the median: strokes do not count."""
    return float(np.median(np.abs(np.diff(values, axis=1)))) / (0.6745 * np.sqrt(2))


def _opened(values: np.ndarray, width: int) -> np.ndarray:
    """A landscape with every peak narrower than `width` cut off."""
    return _greatest_nearby(-_greatest_nearby(-values, width), width)


def _greatest_nearby(values: np.ndarray, width: int) -> np.ndarray:
    """The maximum of each square of `width`: of twos, of those the maxima of fours, and so on."""
    values = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    span = 1
    while span < width:
        step = min(span, width - span)
        values = np.maximum(values[step:], values[:-step])
        values = np.maximum(values[:, step:], values[:, :-step])
        span += step
    return values


def _blurred(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, 1, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean(axis=(-2, -1))


def _digit(ink: np.ndarray) -> np.ndarray | None:
    ground, noise = _ground(ink)
    ink = ink - ground
    strong = ink > max(LEAST_CONTRAST, LEAST_CLEARANCE * noise, 0.25 * ink.max())
    if not strong.any():
        return None
    level = np.median(ink[strong])
    parts = _parts(ink > max(EDGE * level, 3 * noise))
    kept = np.isin(parts, _parts_of_the_digit(parts))
    rows, columns = (np.nonzero(kept.any(axis=axis))[0] for axis in (1, 0))
    if max(np.ptp(rows), np.ptp(columns)) + 1 < LEAST_SIDE:
        return None
    around = _greatest_nearby(kept, 3)
    digit = np.where(around, np.clip(ink / level, 0, 1), 0)
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _ground(ink: np.ndarray) -> tuple[float, float]:
    """Where the values without ink lie, and their deviation: by the shortest interval that holds a quarter of them."""
    low = np.sort(ink[ink <= ink.min() + 0.75 * np.ptp(ink)])
    quarter = len(low) // 4
    widths = low[quarter:] - low[: len(low) - quarter]
    first = int(np.argmin(widths))
    return float(low[first : first + quarter + 1].mean()), float(widths[first]) / 0.637  # as a normal distribution's


def _parts(mask: np.ndarray) -> np.ndarray:
    """A number a connected part, 0 where there is none: the greatest number of its pixels, spread until all have it."""
    parts = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.where(mask, _greatest_nearby(parts, 3), 0)
        spread = np.concatenate([[0], spread.ravel()])[spread]  # and on from there
        if np.array_equal(spread, parts):
            return parts
        parts = spread


def _parts_of_the_digit(parts: np.ndarray) -> np.ndarray:
    """Without specks, and without what reaches in from the edge, unless that is nearly all there is."""
    names, sizes = np.unique(parts[parts > 0], return_counts=True)
    at_edge = np.isin(names, np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    if sizes[~at_edge].sum() > 0.1 * sizes.sum():
        names, sizes = names[~at_edge], sizes[~at_edge]
    return names[sizes >= SPECK * sizes.max()]


def _scaled(digit: np.ndarray) -> np.ndarray:
    """Its longer side at 20 pixels, strokes that would be too thin thickened."""
    large = _resized(digit, ENLARGED * LONGER_SIDE)
    lacking = ENLARGED * LEAST_STROKE - _stroke_width(large > 0.5)
    if lacking >= 1:
        margin = round(lacking)
        large = _resized(_greatest_nearby(np.pad(large, margin), margin + 1), ENLARGED * LONGER_SIDE)
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
