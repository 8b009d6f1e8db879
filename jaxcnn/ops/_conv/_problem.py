"""What a convolution computes: the geometry that the three maps of its trilinear form share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import jax
from jax import lax

from jaxcnn.ops._lib._arguments import checked_precision, refuse
from jaxcnn.ops._lib._dtypes import Dtypes
from jaxcnn.ops._lib._window import Count, Padding, PerAxis, Shape, Window, as_int, is_symbolic


@dataclass(frozen=True)
class Problem:
    """T(x, k, g) = sum(correlate(x, k) * g) for one geometry: static and hashable."""

    window: Window
    c_in: int
    c_out: int
    groups: int
    dtypes: Dtypes
    precision: lax.PrecisionLike
    images: int | None  # the batch, where it is known

    @classmethod
    def of(
        cls,
        op: str,
        x_shape: Shape,
        kernel_shape: Shape,
        dtypes: Dtypes,
        *,
        stride: PerAxis,
        padding: Padding,
        dilation: PerAxis,
        groups: Count,
        precision: lax.PrecisionLike,
    ) -> Problem:
        """The problem of x (N, *spatial, C_in) and kernel (*k, C_in/groups, C_out), or a `ValueError` naming `op`."""
        x_shape, kernel_shape = tuple(x_shape), tuple(kernel_shape)
        if len(x_shape) < 3:
            refuse(op, f"x must be (N, *spatial, C_in) with at least one spatial axis, got shape {x_shape}")
        if len(kernel_shape) != len(x_shape):
            refuse(
                op,
                "x must be (N, *spatial, C_in) and kernel (*k, C_in/groups, C_out), of as many spatial axes, "
                f"got x {x_shape} and kernel {kernel_shape}"
                + ("; for one image without its batch axis, give x[None]" * (len(kernel_shape) == len(x_shape) + 1)),
            )
        c_in, (kernel_in, c_out) = x_shape[-1], kernel_shape[-2:]
        try:
            count = as_int(groups)
        except TypeError:
            count = 0
        if count < 1 or c_in % count or c_out % count:
            refuse(
                op,
                f"groups must be a positive int that divides C_in = {c_in} and C_out = {c_out}, got {groups!r} "
                f"(x {x_shape}, kernel {kernel_shape})",
            )
        groups = count
        if kernel_in * groups != c_in:
            refuse(
                op,
                f"kernel must have C_in/groups = {c_in}/{groups} = {c_in // groups} input channels for x {x_shape}, "
                f"got {kernel_in} in shape {kernel_shape}",
            )
        window = Window.of(op, x_shape, kernel_shape[:-2], stride, padding, dilation, may_see_nothing=True)
        images = None if is_symbolic(x_shape[0]) else int(x_shape[0])
        return cls(window, c_in, c_out, groups, dtypes, checked_precision(op, precision), images)

    def of_gradients_along(self, dy: jax.Array) -> tuple[Problem, jax.Array]:
        """The problem of the gradients' maps, and dy as they take it."""
        dtypes, dy = self.dtypes.of_gradients_along(dy)
        return replace(self, dtypes=dtypes), dy

    @property
    def elements(self) -> tuple[int, int, int]:
        """How many x, kernel and y have; for one image if the batch is not known."""
        images, window = 1 if self.images is None else self.images, self.window
        kernel = prod(window.size) * (self.c_in // self.groups) * self.c_out
        return images * prod(window.shape) * self.c_in, kernel, images * prod(window.out) * self.c_out

    @property
    def bytes(self) -> int:
        """Of x, kernel and y together."""
        dtypes = self.dtypes.x, self.dtypes.kernel, self.dtypes.y
        return sum(count * dtype.itemsize for count, dtype in zip(self.elements, dtypes, strict=True))

    def layout(self, lhs: str, rhs: str, out: str) -> tuple[str, str, str]:
        """lax's dimension numbers, '*' standing for the spatial axes, as in ("N*C", "*IO", "N*C")."""
        axes = "012345678"[: len(self.window.shape)]
        return lhs.replace("*", axes), rhs.replace("*", axes), out.replace("*", axes)
