"""Files of pictures, from anywhere: nothing in them is believed before it is checked."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from jaxcnn import JaxcnnError
from jaxcnn.photos._prepare import SIDE, Digit
from jaxcnn.photos._prepare import digits as digits_on

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 64_000_000  # a phone's largest photos have 50
MAX_BYTES = 128 * 2**20
MEASURED = 192  # pixels of the longer side, at which the digit is looked for
MEASURED_FOR_SEVERAL = 640  # where there may be as many as stand in a line
DARK = 16  # of 255: half of the border of every digit of MNIST is darker


class PictureError(JaxcnnError, ValueError):
    """A file is no picture that a network here can read; the message says why in one line."""


class Found(NamedTuple):
    """A picture as uint8 (H, W, 3), made smaller if it was large, and what is on it, boxes in its pixels.

    `as_it_was` where the picture is 28x28 pixels and white on black already, and was taken as it is.
    """

    picture: np.ndarray
    digits: list[Digit]
    as_it_was: bool


def read(source: Path | BinaryIO, *, name: str | None = None, digits: bool = True) -> np.ndarray:
    """A picture as uint8 (28, 28, 1), white on black, as MNIST's.

    What is 28x28 pixels and white on black already is taken as it is, to the bit; on every other the digit is found.
    Of an animation it is the first frame; a photo is turned as its camera says; what is transparent is the ground.

    Args:
        source: a file of PNG, JPEG, WebP, BMP, GIF or TIFF, or one opened for reading bytes, read from its beginning.
        name: what to call it in an error; its path if None.
        digits: whether it is of a digit: False takes 28x28 pixels alone, and as they are.

    Raises:
        PictureError: it is missing, no picture or damaged, of more than 64 million pixels or 128 MiB, of one brightness
            only, nothing on it stands out, or several digits do; without `digits` also of another size, or dark on
            light.

    Example:
        >>> import io
        >>> from PIL import Image, ImageDraw
        >>> paper = Image.new("RGB", (300, 400), "lightyellow")
        >>> ImageDraw.Draw(paper).line([(90, 90), (200, 90), (120, 320)], fill="navy", width=18)
        >>> photo = io.BytesIO()
        >>> paper.save(photo, "JPEG")
        >>> seven = read(photo, name="seven.jpg")
        >>> seven.shape, int(seven[0, 0, 0]), int(seven.max())
        ((28, 28, 1), 0, 255)
    """
    name = str(source) if name is None else name
    found = find(source, name=name, digits=digits)
    if len(found.digits) > 1:
        raise PictureError(f"{name} shows {len(found.digits)} digits, and one is expected: split it, or cut one out")
    return found.digits[0].image


def find(source: Path | BinaryIO, *, name: str | None = None, digits: bool = True, several: bool = False) -> Found:
    """Every digit on a picture, from left to right and line by line; there is at least one.

    Args:
        source, name, digits: as for `read`.
        several: whether a line of digits is expected: then they are looked for in more detail.

    Raises:
        PictureError: as for `read`, but that there may be several digits.

    Example:
        >>> import io
        >>> from PIL import Image, ImageDraw
        >>> paper = Image.new("L", (400, 200), "white")
        >>> for left in (80, 180, 280):
        ...     ImageDraw.Draw(paper).line([(left, 50), (left, 150)], fill="black", width=12)
        >>> photo = io.BytesIO()
        >>> paper.save(photo, "PNG")
        >>> len(find(photo, name="111.png", several=True).digits)
        3
    """
    name = str(source) if name is None else name
    picture = _decoded(_content(source, name), name, MEASURED_FOR_SEVERAL if several else MEASURED)
    colours = np.asarray(_on(picture, _ground(picture)))
    if picture.size == (SIDE, SIDE):
        grey = np.array(_on(picture, "black").convert("L"))[:, :, None]
        is_fit = _is_as_mnists(grey) if digits else not _is_dark_on_light(grey)
        if is_fit and grey.min() < grey.max():
            return Found(np.repeat(grey, 3, axis=2), [Digit(grey, (0, 0, SIDE, SIDE))], as_it_was=True)
    elif not digits:
        width, height = picture.size
        raise PictureError(f"{name} is {width}x{height} pixels, not {SIDE}x{SIDE}: only digits are cut out and scaled")
    if (colours == colours[0, 0]).all():
        raise PictureError(f"{name} is blank: every pixel is equally bright")
    if not digits:
        raise PictureError(f"{name} is dark on light; the network knows white on black: invert it first")
    found = digits_on(colours) if min(picture.size) > 1 else []
    if not found:
        raise PictureError(f"{name} shows no digit: nothing on it stands out from its background")
    return Found(colours, found, as_it_was=False)


def _content(source: Path | BinaryIO, name: str) -> bytes:
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        else:
            if source.seekable():
                source.seek(0)
            content = source.read(MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(f"{name} cannot be read ({error.strerror or error})") from error
    if not content:
        raise PictureError(f"{name} is empty")
    if len(content) > MAX_BYTES:
        raise PictureError(f"{name} is larger than {MAX_BYTES >> 20} MiB, the most that is read")
    return content


def _decoded(content: bytes, name: str, longest: int) -> Picture:
    """In RGBA, turned upright, its longer side at most `longest` pixels."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Pillow mends, and of sizes, which are looked at here
            with Image.open(io.BytesIO(content), formats=FORMATS) as file:
                width, height = file.size
                if width * height > MAX_PIXELS:
                    raise _too_large(name, f"{width}x{height}")
                file.draft("RGB", (2 * longest, 2 * longest))  # a JPEG's decoder can scale, at no cost
                wide = _wide_colours(file, content)
                file.load()
                return ImageOps.exif_transpose(_reduced(_as_rgba(file, wide, longest), longest))
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"{name} is no picture in a format known here ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, "far more") from error
    except Exception as error:  # a damaged file makes decoders raise anything
        raise PictureError(f"{name} cannot be read (damaged: {error or type(error).__name__})") from error


def _too_large(name: str, size: str) -> PictureError:
    return PictureError(f"{name} declares {size} pixels, more than the {MAX_PIXELS:,} that are read: scale it first")


def _wide_colours(file: Picture, content: bytes) -> np.ndarray | None:
    """The colours (H, W, 3 or 4) of a file with 16 bits per channel, of which Pillow keeps 8; None for every other."""
    import cv2

    bits = getattr(file, "tag_v2", {}).get(258, ())  # a TIFF's per channel
    is_wide = content[24:26] in (b"\x10\x02", b"\x10\x04", b"\x10\x06") if file.format == "PNG" else set(bits) == {16}
    if not is_wide or file.mode.startswith("I"):
        return None
    colours = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if colours is None or colours.dtype != np.uint16 or colours.ndim != 3 or colours.shape[2] not in (3, 4):
        return None
    return colours[:, :, [2, 1, 0, 3][: colours.shape[2]]]


def _as_rgba(file: Picture, wide: np.ndarray | None, longest: int) -> Picture:
    from PIL import Image

    exif = file.getexif()
    if wide is not None:
        planes = [wide[:, :, k].astype(np.float32) for k in range(wide.shape[2])]
        small = [np.asarray(_reduced(Image.fromarray(plane), longest)) for plane in planes]
        colours = _by_range(np.stack(small[:3], axis=2))
        opacity = [np.rint(plane / 257).astype(np.uint8)[:, :, None] for plane in small[3:]]
        converted = Image.fromarray(np.concatenate([colours, *opacity], axis=2)).convert("RGBA")
    elif file.mode in ("I", "F") or file.mode.startswith("I;16"):
        grey = np.asarray(_reduced(Image.fromarray(np.asarray(file).astype(np.float32)), longest), np.float64)
        converted = Image.fromarray(_by_range(grey)).convert("RGBA")
    else:
        converted = file.convert("RGBA")
    converted.info["exif"] = exif.tobytes() if exif else b""
    return converted


def _by_range(values: np.ndarray) -> np.ndarray:
    """As uint8, from the least to the greatest: a camera of 12 bits fills a sixteenth of 16."""
    span = np.ptp(values)
    if not np.isfinite(span):
        raise ValueError("it has values that are not finite")
    return np.rint(255 * (values - values.min()) / (span or 1)).astype(np.uint8)


def _reduced(picture: Picture, longest: int) -> Picture:
    if max(picture.size) > longest:
        picture.thumbnail((longest, longest), reducing_gap=2.0)
    return picture


def _on(picture: Picture, ground: str) -> Picture:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", picture.size, ground), picture).convert("RGB")


def _ground(picture: Picture) -> str:
    """Black or white for what is transparent, whichever is further from what can be seen."""
    pixels = np.asarray(picture, np.float64)
    opacity = pixels[:, :, 3]
    seen = (pixels[:, :, :3].mean(axis=2) * opacity).sum() / max(opacity.sum(), 1)
    return "white" if seen < 128 else "black"


def _is_as_mnists(grey: np.ndarray) -> bool:
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    return bool(np.median(border) <= DARK)


def _is_dark_on_light(grey: np.ndarray) -> bool:
    corners = np.array([grey[:4, :4], grey[:4, -4:], grey[-4:, :4], grey[-4:, -4:]])
    return bool(np.median(corners) > 127 and grey.mean() > 127)
