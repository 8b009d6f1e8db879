"""Images and labels as people give them: refused with a reason before anything is compiled, or made plain arrays."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Generator, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NO_CLASS = np.iinfo(np.int32).max  # whatever their number is
UNSCALED = 64  # floats from 0 to more than this are pixels that nobody has divided by 255


class Examples(NamedTuple):
    """Images (N, *spatial, C), uint8 or floating, and their classes, int32 (N,)."""

    images: np.ndarray | jax.Array
    labels: np.ndarray


def checked_examples(name: str, images: Any, labels: Any) -> Examples:
    """The examples that `name`, a function of this package, is given.

    Labels of any integer type become int32, so that no number of classes is beyond their type; bool is 0 and 1.

    Raises:
        ValueError: they are no images and classes, or not as many of one as of the other; says which and where.
    """
    images, labels = _native(_array(name, "images", images)), np.asarray(_array(name, "labels", labels))
    if images.ndim < 3:
        _refuse(name, f"images must be (N, *spatial, C), got {images.shape}: a single image needs images[None]")
    if labels.ndim == 2 and len(labels) == len(images):
        way_out = "take labels[:, 0]" if labels.shape[1] == 1 else "if one-hot, take labels.argmax(axis=1)"
        _refuse(name, f"labels must be (N,) classes, got {labels.dtype} {labels.shape}: {way_out}")
    if labels.shape != (len(images),):
        _refuse(name, f"labels must be (N,), one per image, got labels {labels.shape} for images {images.shape}")
    if not len(images):
        _refuse(name, f"needs at least one image, got images {images.shape}")
    checked_labels(name, labels, None)  # compared before they are made int32: beyond it they would wrap into a class
    _refuse_bad_pixels(name, images)
    return Examples(images, labels.astype(np.int32))


def refuse_bad_labels(name: str, labels: np.ndarray, classes: int) -> None:
    """Raise a `ValueError` that names the first label outside [0, classes), if there is one."""
    labels = labels if labels.dtype.itemsize > 1 else labels.astype(np.int32)  # 4 bits cannot be compared with more
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        more = f" and {bad.size - 1} more" if bad.size > 1 else ""
        known = f"in [0, {classes})" if classes < NO_CLASS else "at least 0 and below 2**31"
        _refuse(name, f"labels must be {known}, counted from 0, got {labels[bad[0]]} at labels[{bad[0]}]{more}")


def checked_labels(name: str, labels: np.ndarray, classes: int | None) -> None:
    """Raise a `ValueError` unless a batch's labels are integers in [0, classes); below 2^31 if that is not known."""
    is_integer = jnp.issubdtype(labels.dtype, jnp.integer) and labels.dtype.kind != "m"  # no spans of time
    if labels.dtype != bool and not is_integer:
        _refuse(name, f"labels must be integers, got {labels.dtype}: if whole numbers, take labels.astype(int)")
    refuse_bad_labels(name, labels, NO_CLASS if classes is None else classes)


@contextmanager
def hinted(name: str, shape: tuple[Any, ...]) -> Iterator[None]:
    """Where a network refuses images of a shape that is laid out as others do, say that instead.

    Raises:
        ValueError: the channels come first or are missing, and the network refused the images.
    """
    try:
        yield
    except Exception as error:
        if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4):
            hint = "are (N, C, H, W), it seems, and (N, H, W, C) is expected: take images.transpose(0, 2, 3, 1)"
        elif len(shape) == 3 and shape[2] not in (1, 3, 4):
            hint = "have no axis for the channels, it seems, and (N, H, W, C) is expected: take images[..., None]"
        else:
            raise
        raise ValueError(f"{name}: images {shape} {hint}") from error


def _array(name: str, what: str, given: Any) -> Any:
    """An array as it is, a list or tuple as an array of NumPy."""
    kind = type(given).__name__
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        _refuse(name, f"{what} must have no masked entries, got {np.ma.count_masked(given)}: leave those examples out")
    if isinstance(given, np.ndarray | jax.Array):
        return given
    if isinstance(given, Iterator | Generator | Set):
        _refuse(name, f"{what} must be an array, got: {kind}, which comes one by one: collect it in a list")
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__len__") and not hasattr(given, "__array__"):
        _refuse(name, f"{what} must be an array, got: {kind}")
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name}: {what} must be of one shape, got a {type(given).__name__} of several") from error


def checked_count(name: str, what: str, value: Any) -> int:
    """A number of epochs, steps or images as an int, or a `ValueError` where it is none, or below 1."""
    try:
        count = 0 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        _refuse(name, f"{what} must be a whole number, at least 1, got {value!r}")
    return count


def refuse_other_kinds(name: str, state: Any, step: Any, mesh: Any, totals: Any) -> None:
    """Raise a `ValueError` where one of them is nothing of its kind."""
    if not callable(step):
        _refuse(name, f"step must be as from jaxcnn.train.make_train_step, got: {type(step).__name__}")
    for what, value, fields, maker in (
        ("state", state, ("params", "opt_state", "step", "key", "net_state"), "jaxcnn.train.init_state"),
        ("totals", totals, ("loss", "accuracy"), "a report's totals"),
        ("mesh", mesh, ("devices", "axis_names"), "jaxcnn.train.mesh_of"),
    ):
        if (value is not None or what == "state") and not all(hasattr(value, field) for field in fields):
            _refuse(name, f"{what} must be as from {maker}, got: {type(value).__name__}")


def _native(array: Any) -> Any:
    """An array in this machine's order of bytes, which jax wants."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _refuse_bad_pixels(name: str, images: Any) -> None:
    is_floating = jnp.issubdtype(images.dtype, jnp.floating)
    if images.dtype != jnp.uint8 and not (is_floating and images.dtype.itemsize <= 8):
        _refuse(name, f"images must be uint8, or floats, usually in [0, 1], got {images.dtype}: convert them")
    if not is_floating or not images.size:
        return
    kept = jax.dtypes.canonicalize_dtype(images.dtype)
    with np.errstate(over="ignore"):
        finite = np.asarray(jnp.isfinite(images.astype(kept)))
    if not finite.all():
        if kept != images.dtype and np.isfinite(images).all():
            _refuse(
                name, f"images must fit {kept}, as which they are computed, got {np.abs(images).max():g}: scale them"
            )
        first = int(np.argmin(finite.reshape(len(images), -1).all(axis=1)))
        _refuse(name, f"images must be finite, got NaN or infinite pixels, first in images[{first}]")
    least, greatest = float(images.min()), float(images.max())
    if least >= 0 and greatest > UNSCALED:
        warnings.warn(
            f"{name}: images are floats from {least:g} to {greatest:g}, taken as they are: divide them by 255, or give "
            "them as uint8, which is scaled",
            stacklevel=4,
        )


def _refuse(name: str, complaint: str) -> None:
    raise ValueError(f"{name}: {complaint}")
