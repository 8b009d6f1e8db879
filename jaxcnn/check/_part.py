"""One part of a check: a function at a point, with its reference. The gradient of a part is a part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.check._compare import allowed_ulps
from jaxcnn.check._points import normals_like, whole_like
from jaxcnn.check._pull import Function, PyTree, floats_of, gradient
from jaxcnn.check._subject import Kind, Subject


@dataclass(frozen=True)
class Part:
    """A function to check, and how.

    Attributes:
        f, args, reference, exact, tolerance: as `check_vjp` takes them.
        directions: how many random directions the differences are taken along.
        random: draws cotangents and directions.
        dtype: what args were converted to, None where they are as they were given.
        order: 1 where f is the function that was given, 2 where it is that one's gradient, and so on.
    """

    f: Function
    args: tuple[PyTree, ...]
    reference: Function | None
    exact: bool
    tolerance: float
    directions: int
    random: np.random.Generator
    dtype: str | None = None
    order: int = 1

    @property
    def plain(self) -> Function:
        """The reference, or f itself where there is none."""
        return self.f if self.reference is None else self.reference

    @property
    def dtypes(self) -> list[Any]:
        """Those of args' floating leaves."""
        return [jnp.result_type(leaf) for leaf in floats_of(self.args)]

    def of_gradient(self, cotangent: PyTree) -> Part:
        """The same of f's vector-Jacobian product, a function of args and cotangent."""
        return replace(
            self,
            f=partial(gradient, self.f),
            args=(self.args, cotangent),
            reference=None if self.reference is None else partial(gradient, self.reference),
            order=self.order + 1,
        )

    def cotangent(self, value: PyTree) -> PyTree:
        """A random one for a value."""
        return (whole_like if self.exact else normals_like)(self.random, value)

    def allowed(self, growth: float) -> float:
        """(C1), or nothing in exact mode."""
        return 0.0 if self.exact else allowed_ulps(self.tolerance, growth, self.dtypes)

    def subject(self, kind: Kind, words: str) -> Subject:
        """The subject of a comparison."""
        return Subject(kind, words, self.order, self.dtype)
