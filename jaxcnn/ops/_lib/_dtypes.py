"""The dtypes of a bilinear op y = x k: what each of its three maps computes in, sums in and returns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxcnn.ops._lib._arguments import FLOATS, refuse


def widest(*dtypes: DTypeLike) -> np.dtype:
    """The narrowest float that holds all of these: float32 for float16 with bfloat16.

    As `jnp.promote_types`, which raises under strict promotion.
    """
    first, *others = {jnp.dtype(dtype) for dtype in dtypes}
    for other in others:
        if first.itemsize == other.itemsize:
            first = jnp.dtype(jnp.float32)
        elif other.itemsize > first.itemsize:
            first = other
    return first


def accumulator(*dtypes: DTypeLike) -> np.dtype:
    """The dtype in which sums of these are kept: float32 for the narrow floats, their own otherwise."""
    return widest(*dtypes, jnp.float32)


@dataclass(frozen=True)
class Dtypes:
    """The dtypes of x, kernel and y; dx, dk and dy have the same.

    y is computed in the dtype of x, to which the kernel is rounded; so are dx and dk, unless y is wider. Every sum is
    kept in float32 or wider, so that bfloat16 activations with a float32 kernel give a float32 kernel gradient that
    was never rounded to bfloat16.
    """

    x: np.dtype
    kernel: np.dtype
    y: np.dtype
    dy: np.dtype | None = None  # the gradient's, if y stays in its sums' dtype until a bias is added
    products: np.dtype | None = None  # the input gradient's, if that comes first, as in `conv_transpose`

    @classmethod
    def of(cls, op: str, x: jax.Array, kernel: jax.Array, preferred_element_type: DTypeLike | None) -> Dtypes:
        """The dtypes of y = x k, y as preferred or as x, or a `ValueError` naming `op`."""
        return cls(x.dtype, kernel.dtype, preferred(op, preferred_element_type, x.dtype))

    @property
    def unrounded(self) -> Dtypes:
        """The same with y in the dtype of its sums, so that y plus a bias is rounded once."""
        return replace(self, y=self.of_sums, dy=self.y)

    @property
    def rounded(self) -> Dtypes:
        """Those of the gradients' maps, which take dy in the dtype that y was rounded to."""
        return self if self.dy is None else replace(self, y=self.dy, dy=None)

    def of_gradients_along(self, dy: jax.Array) -> tuple[Dtypes, jax.Array]:
        """Those of the gradients' maps, and dy as they take it: exactly, for y was rounded to that dtype."""
        return self.rounded, dy.astype(self.rounded.y)

    @property
    def of_gradients(self) -> np.dtype:
        """The dtype that products with dy are computed in: holds x and dy exactly, if nothing else was asked for."""
        return widest(self.x, self.y) if self.products is None else self.products

    @property
    def of_sums(self) -> np.dtype:
        """The dtype that every sum is kept in."""
        return accumulator(self.x, self.y)


def preferred(op: str, preferred_element_type: DTypeLike | None, otherwise: np.dtype) -> np.dtype:
    """The result's dtype, or a `ValueError` naming `op` where that is no floating dtype."""
    if preferred_element_type is None:
        return otherwise
    try:
        dtype = jax.dtypes.canonicalize_dtype(preferred_element_type)
    except TypeError:
        dtype = None
    if dtype is None or dtype not in FLOATS:
        names = "bfloat16, float16, float32, float64"
        refuse(op, f"preferred_element_type must be None or one of {names}, got {preferred_element_type!r}")
    return dtype
