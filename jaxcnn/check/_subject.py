"""What a comparison is of: which result, of which derivative, in which dtype."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jax


class Kind(StrEnum):
    """The kinds of comparisons.

    Attributes:
        VALUE: what f gives, alone or under `jax.vjp`, against the reference's; without one, both against each other.
        GRADIENT: of one argument, against autodiff's.
        DIFFERENCE: the gradient along a random direction, against differences of values.
        TRANSFORMED: values and gradients inside of a transformation, such as "vmap".
    """

    VALUE = "value"
    GRADIENT = "gradient"
    DIFFERENCE = "difference"
    TRANSFORMED = "transformed"


@dataclass(frozen=True)
class Subject:
    """What an array, or a tree of them, is: `words` say it to people, the rest to programs.

    Example:
        >>> str(Subject(Kind.GRADIENT, "gradient of args", order=2, dtype="float32"))
        "float32 gradient's gradient of args"
    """

    kind: Kind
    words: str
    order: int = 1
    dtype: str | None = None

    def __str__(self) -> str:
        return (f"{self.dtype} " if self.dtype else "") + "gradient's " * (self.order - 1) + self.words

    def argument(self, path: tuple[Any, ...]) -> str | None:
        """Of a gradient, which argument's it is, as "args[0]"."""
        return "args" + jax.tree_util.keystr(path) if self.kind == Kind.GRADIENT else None
