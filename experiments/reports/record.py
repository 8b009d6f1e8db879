"""What a report is: where it stands, what it says, and a program of our own that shows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

REPOSITORIES = {
    "equinox": "patrick-kidger/equinox",
    "flax": "google/flax",
    "haiku": "google-deepmind/dm-haiku",
    "jax": "jax-ml/jax",
    "jax-mps": "tillahoffmann/jax-mps",
    "keras": "keras-team/keras",
    "nx": "elixir-nx/nx",
    "pytorch": "pytorch/pytorch",
    "scico": "lanl/scico",
    "tensorflow": "tensorflow/tensorflow",
    "xla": "openxla/xla",
}
NUMBERED = re.compile(r"(?P<project>[a-z]+(?:-[a-z]+)*)#(?P<number>\d+)(?:-(?P<part>[a-z]+))?")
Function = Callable[..., Any]
Draw = Callable[[jax.Array], tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A public report and its program.

    Attributes:
        id: the project and its number, as "jax#12868"; a second program of the same report ends in a word.
        title: in our words.
        reported: what was reported, on what.
        shape: what the program here computes.
        f: the function that its user wrote.
        args: what f or `around(f)` is called with, by key.
        around: what the user does with f: its gradients, for each example, or nothing. `jaxcnn.accelerate` goes inside.
        scaled: what of the reported shape was made smaller, and why; "" where nothing was.
        also: ids of other reports of the same.
        measured: the time to "run", the time to "compile", or the "value".
        tolerance: the greatest difference of the accelerated from plain's, of the greatest number; 0 is to the bit.
        needs_float64: whether float64 is enabled while it runs.
        truth: of a "value", what is right, computed by NumPy from the same arguments.
        in_pytorch: makes a call of PyTorch from the same arguments as NumPy arrays; None where there is nothing alike.
    """

    id: str
    title: str
    reported: str
    shape: str
    f: Function
    args: Draw
    around: Callable[[Function], Function] = lambda f: f
    scaled: str = ""
    also: tuple[str, ...] = ()
    measured: Literal["run", "compile", "value"] = "run"
    tolerance: float = 1e-4
    needs_float64: bool = False
    truth: Callable[..., np.ndarray] | None = None
    in_pytorch: Callable[..., Callable[[], Sequence[Any]]] | None = None


def url(id: str) -> str:
    """Where a report stands.

    Example:
        >>> url("jax#12868-gradient")
        'https://github.com/jax-ml/jax/issues/12868'
    """
    found = NUMBERED.fullmatch(id)
    if found is None or found["project"] not in REPOSITORIES:
        raise ValueError(f"a report's id is a project of {sorted(REPOSITORIES)} and a number, as jax#12868; got {id!r}")
    return f"https://github.com/{REPOSITORIES[found['project']]}/issues/{found['number']}"


def value_and_gradients(f: Function) -> Function:
    """The value of f, and the gradients of all its arguments along a cotangent that differs from place to place."""

    def both(*args: jax.Array) -> Any:
        y, pull = jax.vjp(f, *args)
        return y, pull(jnp.cos(y))

    return both


def kernel_gradients(f: Function) -> Function:
    """The gradient of a loss in its first argument alone."""
    return jax.grad(f)


def per_example_gradients(loss: Function) -> Function:
    """For each image the gradient of its loss in the kernels."""
    return jax.vmap(jax.grad(loss), in_axes=(None, 0))


def normal(*shapes: tuple[int, ...], dtype: Any = jnp.float32) -> Draw:
    """Normal numbers in arrays of such shapes."""

    def draw(key: jax.Array) -> tuple[jax.Array, ...]:
        keys = jax.random.split(key, len(shapes))
        return tuple(jax.random.normal(k, shape, dtype) for k, shape in zip(keys, shapes, strict=True))

    return draw


def bytes_(*shapes: tuple[int, ...]) -> Draw:
    """Whole numbers of int8 in arrays of such shapes."""

    def draw(key: jax.Array) -> tuple[jax.Array, ...]:
        keys = jax.random.split(key, len(shapes))
        return tuple(jax.random.randint(k, shape, -128, 128, jnp.int8) for k, shape in zip(keys, shapes, strict=True))

    return draw
