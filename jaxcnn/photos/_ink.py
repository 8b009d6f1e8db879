"""Where the ink is on a picture: what differs from the ground around it, in whatever light.

    colours (H, W, 3)   the picture, 0 to 255
    density (H, W)      the logarithm of its colours along the direction in which ink and ground differ most
    ink     (H, W)      how far the density is from its ground's

Light multiplies colours, so a shadow adds one number to all densities in it. The ground is a morphological opening: it
goes along with the edge of a shadow, with uneven light and with a table beside the paper, all of which are wider than a
stroke, so that only strokes stand out of it.
"""

from __future__ import annotations

import numpy as np

DIM = 16.0  # of 255, added before the logarithm, so that noise in the dark counts for little
LEAST_CONTRAST = 0.06  # in density: what differs less from its ground is no ink
LEAST_CLEARANCE = 7.0  # and in deviations of the noise
FINE = 64  # pixels: a picture of fewer has no noise to be smoothed


def densities(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The density of colours (H, W, 3) twice, ink above its ground: for the likelier of light and dark ink first."""
    import cv2

    logarithms = np.log(colours + DIM)
    if min(logarithms.shape[:2]) > FINE:
        logarithms = cv2.GaussianBlur(logarithms, (0, 0), 1.0)
    apart = (logarithms - _usual(logarithms)).reshape(-1, 3)
    direction = np.linalg.eigh(apart.T @ apart)[1][:, -1]
    cubes = (apart @ direction) ** 3  # noise, though everywhere, is little in them
    density = (logarithms @ direction).astype(np.float32)
    return (density, -density) if cubes.sum() > 0 else (-density, density)


def ink_of(density: np.ndarray, width: int) -> np.ndarray:
    """What stands out of its ground: of a density (H, W), all that no square of `width` pixels, an odd number, fits."""
    import cv2

    padded = cv2.copyMakeBorder(density, *4 * (width,), cv2.BORDER_REPLICATE)  # a square may reach beyond the edge
    ground = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
    ink = density - ground[width:-width, width:-width]
    return ink - _most_common(ink)


def level_of(ink: np.ndarray, noise: float, among: np.ndarray | None = None) -> float | None:
    """The usual density of ink (H, W), if need be in a mask alone; None where nothing stands out of the noise."""
    strong = ink > max(LEAST_CONTRAST, LEAST_CLEARANCE * noise, 0.4 * float(np.quantile(ink, 0.999)))
    if among is not None:
        strong &= among
    return float(np.median(ink[strong])) if strong.any() else None


def noise_of(density: np.ndarray) -> float:
    """The deviation of a density (H, W) from its neighbours', by the median: strokes do not count."""
    import cv2

    off = np.diff(density, axis=1) / np.sqrt(2)
    if min(density.shape) > FINE:  # and was smoothed, so that neighbours share their noise
        off = density - cv2.blur(density, (9, 9))
    return float(np.median(np.abs(off))) / 0.6745  # as a normal distribution's


def _most_common(ink: np.ndarray) -> float:
    """Where the values without ink lie: the mean of the shortest interval that holds a quarter of them."""
    ink = ink[::2, ::2] if min(ink.shape) > FINE else ink
    low = np.sort(ink[ink <= ink.min() + 0.75 * np.ptp(ink)])
    quarter = len(low) // 4
    first = int(np.argmin(low[quarter:] - low[: len(low) - quarter]))
    return float(low[first : first + quarter + 1].mean())


def _usual(logarithms: np.ndarray) -> np.ndarray:
    """The median of each place's neighbourhood, which a third of the picture's shorter side is wide."""
    import cv2

    height, width, _ = logarithms.shape
    factor = min(1, 128 / max(height, width))
    small = cv2.resize(logarithms, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    low, span = float(small.min()), max(float(np.ptp(small)), 1e-6)
    levels = np.rint(255 * (small - low) / span).astype(np.uint8)
    usual = cv2.medianBlur(levels, max(3, 2 * (min(levels.shape[:2]) // 6) + 1)).astype(np.float32)
    return cv2.resize(low + span * usual / 255, (width, height), interpolation=cv2.INTER_LINEAR)
