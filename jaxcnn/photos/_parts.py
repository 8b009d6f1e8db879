"""The connected parts of the ink on a picture: which of them are strokes, and which strokes make a digit.

What reaches in from the edge, printed lines, specks and patches too wide for the pen are no strokes. Parts that lie
above one another, as the bar of a five over its bow, are one digit; digits are read from left to right, line by line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SPECK = 0.04  # of the largest part's area: what is smaller is dirt
SMALL = 0.1  # of the picture: where nothing larger lies within, what reaches in from the edge may be the digit
LINE = 0.8  # of the picture's side: a thin part that spans more is a printed line
THIN = 0.03  # of the picture's side: how wide a printed line is at most
LOW = 0.5  # of the tallest digit: what is lower is a piece of another, or dirt


class Part(NamedTuple):
    """Connected ink, or several such parts put together: their numbers, their box, the last row and column not in it.

    `area` counts its pixels; `width` is its widest stroke's, in pixels; `ink` is its mean density.
    """

    numbers: tuple[int, ...]
    top: int
    left: int
    bottom: int
    right: int
    area: int
    width: float
    ink: float

    @property
    def rows(self) -> int:
        return self.bottom - self.top

    @property
    def columns(self) -> int:
        return self.right - self.left

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.top, self.left, self.bottom, self.right


def parts_of(mask: np.ndarray, ink: np.ndarray) -> tuple[np.ndarray, list[Part]]:
    """The number of the part at each place of a mask (H, W), 0 where there is none, and the parts."""
    import cv2

    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    numbers = np.asarray(labels, np.int32)
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    there = numbers > 0
    widths = np.zeros(count, np.float32)
    np.maximum.at(widths, numbers[there], 2 * depth[there])
    totals = np.bincount(numbers[there], weights=ink[there], minlength=count)
    parts = [
        Part((k,), top, left, top + rows, left + columns, area, float(widths[k]), float(totals[k] / area))
        for k, (left, top, columns, rows, area) in enumerate(boxes.tolist())
        if k > 0
    ]
    return numbers, parts


def is_within(part: Part, shape: tuple[int, ...]) -> bool:
    """Whether it does not reach the edge of a picture of a shape (H, W)."""
    return part.top > 0 and part.left > 0 and part.bottom < shape[0] and part.right < shape[1]


def inner(parts: list[Part], shape: tuple[int, ...]) -> list[Part]:
    """Without what reaches in from the edge, unless there is nothing else of some size, and without specks."""
    kept = [part for part in parts if is_within(part, shape)]
    if max((max(part.rows, part.columns) for part in kept), default=0) < SMALL * max(shape):
        kept = parts
    largest = max((part.area for part in kept), default=0)
    return [part for part in kept if part.area >= SPECK * largest]


def without_lines(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) without what is thin and spans the picture, across or down; where ink crosses it, ink remains."""
    return _without_lines_across(_without_lines_across(mask).T).T


def _without_lines_across(mask: np.ndarray) -> np.ndarray:
    import cv2

    ink, length = np.ascontiguousarray(mask, np.uint8), int(mask.shape[1])
    tall = cv2.dilate(ink, np.ones((3, 1), np.uint8))  # so that a line that is tilted is still in one piece
    long = cv2.morphologyEx(tall, cv2.MORPH_OPEN, np.ones((1, max(3, length // 4)), np.uint8))
    runs = (long > 0) & mask
    if not runs.any():
        return mask
    numbers, parts = parts_of(runs, ink)
    lines = [part for part in parts if part.columns >= LINE * length and part.area <= THIN * length * length]
    if not lines:
        return mask
    line = np.isin(numbers, [number for part in lines for number in part.numbers])
    thickness = round(max(part.area / part.columns for part in lines))
    wider = 2 * (thickness // 2) + 7  # than what the line leaves of a stroke: itself, a pixel either side, its tilt
    rest = (mask & ~line).astype(np.uint8)
    bridged = cv2.morphologyEx(rest, cv2.MORPH_CLOSE, np.ones((wider, 1), np.uint8))
    return (rest > 0) | (line & (bridged > 0))


def digits_of(parts: list[Part]) -> list[Part]:
    """Parts put together into digits, in the order in which they are read."""
    digits: list[Part] = []
    for part in sorted(parts, key=lambda part: -part.area):
        owner = next((k for k, digit in enumerate(digits) if _lies_over(part, digit)), None)
        if owner is None:
            digits.append(part)
        else:
            digits[owner] = _together(digits[owner], part)
    tallest = max((digit.rows for digit in digits), default=0)
    whole = [digit for digit in digits if max(digit.rows, digit.columns) >= LOW * tallest]
    for piece in [digit for digit in digits if digit not in whole]:
        nearest = min(range(len(whole)), key=lambda k: _distance(piece, whole[k]))
        if _distance(piece, whole[nearest]) <= 0.25 * whole[nearest].rows:
            whole[nearest] = _together(whole[nearest], piece)
    return _in_order(whole)


def _lies_over(part: Part, digit: Part) -> bool:
    """Whether half of the narrower one's columns are the other's too, and it is not far above or below."""
    shared = min(part.right, digit.right) - max(part.left, digit.left)
    gap = max(part.top, digit.top) - min(part.bottom, digit.bottom)
    return shared >= 0.5 * min(part.columns, digit.columns) and gap <= 0.35 * max(part.rows, digit.rows)


def _distance(one: Part, other: Part) -> float:
    down = max(0, max(one.top, other.top) - min(one.bottom, other.bottom))
    across = max(0, max(one.left, other.left) - min(one.right, other.right))
    return float(np.hypot(down, across))


def _together(one: Part, other: Part) -> Part:
    area = one.area + other.area
    return Part(
        numbers=one.numbers + other.numbers,
        top=min(one.top, other.top),
        left=min(one.left, other.left),
        bottom=max(one.bottom, other.bottom),
        right=max(one.right, other.right),
        area=area,
        width=max(one.width, other.width),
        ink=(one.ink * one.area + other.ink * other.area) / area,
    )


def _in_order(digits: list[Part]) -> list[Part]:
    lines: list[list[Part]] = []
    for digit in sorted(digits, key=lambda digit: digit.top + digit.bottom):
        middle = (digit.top + digit.bottom) / 2
        line = next((line for line in lines if any(one.top <= middle < one.bottom for one in line)), None)
        if line is None:
            lines.append([digit])
        else:
            line.append(digit)
    return [digit for line in lines for digit in sorted(line, key=lambda digit: digit.left)]
