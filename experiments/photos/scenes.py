"""Photographs as people take them, drawn from digits whose labels are known.

ink     (H, W)      0 to 1: where the pen has been
sheet   (H, W, 3)   paper and ink in even light, 0 to 255
light   (H, W)      the share of the light that reaches each place
photo   (H, W, 3)   uint8: the sheet in that light, a little blurred and noisy, as a phone's camera keeps it
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

HEIGHT, WIDTH = 400, 300
PAPER, PEN = (238, 234, 224), (45, 45, 60)
Scene = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def ink_of(digit: np.ndarray, size: int, left: int, top: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """The ink (H, W) of a digit (28, 28), uint8, enlarged to `size` pixels and set down at a place."""
    ink = np.zeros(shape, np.float32)
    large = cv2.resize(digit.astype(np.float32) / 255, (size, size), interpolation=cv2.INTER_CUBIC)
    ink[top : top + size, left : left + size] = np.clip(large, 0, 1)
    return ink


def placed(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Its ink, of any size from a third of the sheet's width to two thirds, anywhere on the sheet."""
    size = int(rng.integers(WIDTH // 3, 2 * WIDTH // 3))
    left, top = (int(rng.integers(5, length - size - 5)) for length in (WIDTH, HEIGHT))
    return ink_of(digit, size, left, top)


def sheet_of(ink: np.ndarray, paper: tuple[int, ...] = PAPER, pen: tuple[int, ...] = PEN) -> np.ndarray:
    return np.array(paper) + (np.array(pen) - np.array(paper)) * ink[:, :, None]


def kept(sheet: np.ndarray, light: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
    """What the camera makes of it."""
    seen = sheet * (light[:, :, None] if isinstance(light, np.ndarray) else light)
    seen = cv2.GaussianBlur(seen, (0, 0), 0.8) + rng.normal(0, 3, seen.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def shade(ink: np.ndarray, depth: float, rng: np.random.Generator) -> np.ndarray:
    """A shadow that takes `depth` of the light, its edge at any angle through the ink, up to 12 pixels wide."""
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    total = ink.sum()
    angle, width = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 12)
    off = rng.uniform(-0.15, 0.15) * np.sqrt(np.count_nonzero(ink > 0.5))
    beyond = (x - (x * ink).sum() / total) * np.cos(angle) + (y - (y * ink).sum() / total) * np.sin(angle) - off
    return 1 - depth * np.clip(beyond / width + 0.5, 0, 1)


def shadow(depth: float) -> Scene:
    """The edge of a shadow across the digit."""

    def scene(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ink = placed(digit, rng)
        return kept(sheet_of(ink), shade(ink, depth, rng), rng)

    return scene


def two_shadows(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two edges that cross, each taking a third of the light."""
    ink = placed(digit, rng)
    return kept(sheet_of(ink), shade(ink, 0.33, rng) * shade(ink, 0.33, rng), rng)


def chalk_in_shadow(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light on dark, and a shadow of 40 % across it."""
    ink = placed(digit, rng)
    return kept(sheet_of(ink, (60, 75, 65), (235, 235, 230)), shade(ink, 0.4, rng), rng)


def gradient(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A lamp on one side: the far corner has a third of the light."""
    ink = placed(digit, rng)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    angle = rng.uniform(0, 2 * np.pi)
    along = x / WIDTH * np.cos(angle) + y / HEIGHT * np.sin(angle)
    return kept(sheet_of(ink), 0.33 + 0.67 * ((along - along.min()) / np.ptp(along)) ** 1.5, rng)


def lamp(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A lamp's cone at night: bright near the digit, a fifth of the light at the corners."""
    ink = placed(digit, rng)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(x - rng.uniform(0.2, 0.8) * WIDTH, y - rng.uniform(0.2, 0.8) * HEIGHT) / WIDTH
    return kept(sheet_of(ink), 0.2 + 0.8 / (1 + 3 * distance**2), rng)


def lines(sheet: np.ndarray, rng: np.random.Generator, *, both_ways: bool, strength: float) -> np.ndarray:
    """Printed lines across a sheet, pale blue, of the width and distance of an exercise book's, tilted a little."""
    y, x = np.mgrid[: sheet.shape[0], : sheet.shape[1]].astype(np.float32)
    tilt, distance, first = rng.uniform(-0.06, 0.06), rng.uniform(26, 40), rng.uniform(0, 26)
    width = rng.uniform(1.5, 2.5)
    across = [y + tilt * x - first, *([x - tilt * y - first] if both_ways else [])]
    printed = np.zeros(sheet.shape[:2], np.float32)
    for along in across:
        printed = np.maximum(
            printed, np.clip(width / 2 + 0.5 - np.abs((along + distance / 2) % distance - distance / 2), 0, 1)
        )
    blue = np.array((120, 150, 200)) * strength + np.array(PAPER) * (1 - strength)
    return np.minimum(sheet, sheet + (blue - np.array(PAPER)) * printed[:, :, None])


def ruled(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paper with pale lines."""
    return kept(lines(sheet_of(placed(digit, rng)), rng, both_ways=False, strength=0.6), 1.0, rng)


def ruled_strongly(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paper with lines as strong as a ball pen's."""
    return kept(lines(sheet_of(placed(digit, rng)), rng, both_ways=False, strength=1.0), 1.0, rng)


def squared(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paper with squares, and a shadow of 30 %."""
    ink = placed(digit, rng)
    return kept(lines(sheet_of(ink), rng, both_ways=True, strength=0.6), shade(ink, 0.3, rng), rng)


def perspective(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sheet seen at an angle, lying on a dark table, in uneven light."""
    ink = placed(digit, rng)
    sheet = sheet_of(ink).astype(np.float32)
    corners = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], np.float32)
    inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * rng.uniform(0.02, 0.16, (4, 2))
    seen_at = (corners + inward * (WIDTH, HEIGHT)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, seen_at)
    photo = cv2.warpPerspective(sheet, matrix, (WIDTH, HEIGHT), borderValue=(95, 70, 50))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return kept(photo, 0.6 + 0.4 * (x / WIDTH + y / HEIGHT) / 2, rng)


def creased(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sheet that was folded in four: creases darker on one side and lighter on the other."""
    ink = placed(digit, rng)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    light = np.ones((HEIGHT, WIDTH))
    for along, middle in ((x, WIDTH / 2), (y, HEIGHT / 2)):
        off = (along - middle - rng.uniform(-20, 20)) / 12
        light *= 1 - 0.25 * off * np.exp(-(off**2))
    return kept(sheet_of(ink), light, rng)


def pencil(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A faint pencil on grey paper, a shadow of 20 % across it."""
    ink = placed(digit, rng)
    return kept(sheet_of(ink, (200, 198, 190), (120, 120, 125)), shade(ink, 0.2, rng), rng)


def hand(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The shadow of a hand or a phone: a rounded shape that reaches in from the edge, 40 % deep."""
    ink = placed(digit, rng)
    shape = np.zeros((HEIGHT, WIDTH), np.float32)
    centre = (int(rng.uniform(0.2, 0.8) * WIDTH), HEIGHT)
    cv2.ellipse(
        shape, centre, (int(rng.uniform(50, 110)), int(rng.uniform(150, 330))), rng.uniform(-30, 30), 0, 360, 1, -1
    )
    return kept(sheet_of(ink), 1 - 0.4 * cv2.GaussianBlur(shape, (0, 0), rng.uniform(0.5, 6)), rng)


SCENES: dict[str, Scene] = {
    **{f"shadow of {depth} %": shadow(depth / 100) for depth in (20, 30, 40, 50, 60)},
    "two shadows": two_shadows,
    "hand's shadow": hand,
    "chalk, shadow of 40 %": chalk_in_shadow,
    "pencil, shadow of 20 %": pencil,
    "gradient": gradient,
    "lamp": lamp,
    "ruled": ruled,
    "ruled strongly": ruled_strongly,
    "squared, shadow of 30 %": squared,
    "perspective": perspective,
    "creased": creased,
}


def row_of_digits(digits: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Several digits beside each other, of nearly one size, on a line that climbs or falls a little."""
    sizes = rng.integers(110, 150, len(digits))
    climb = rng.uniform(-0.15, 0.15)
    shape = (HEIGHT, int(40 + sum(sizes) + 10 * len(digits)))
    ink, left = np.zeros(shape, np.float32), 20
    for digit, size in zip(digits, sizes, strict=True):
        top = int(HEIGHT / 2 - size / 2 + climb * (left - shape[1] / 2) + rng.uniform(-8, 8))
        ink = np.maximum(ink, ink_of(digit, int(size), left, top, shape))
        left += int(size + rng.uniform(-5, 10))
    return kept(sheet_of(ink), shade(ink, 0.3, rng), rng)
