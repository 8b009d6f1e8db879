"""The rectifier.

Legend
    x, y, dy    of one shape, any

Forward     y = max(x, 0)                                                                                   [R 1.3]
Backward    y = x where x > 0 and 0 elsewhere, so  dx = dy [x > 0]                                          [R 1.4]
Residuals   the mask [x > 0], one byte per element: neither x nor y is kept
Conventions the derivative at 0 is 0 ([R 1.4]'s strict inequality; `jnp.maximum` would give 1/2). relu(NaN) is NaN, with
            derivative 0.
Sources     [R] 1.3, 1.4.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import float_array
from jaxcnn.ops._lib._record import IMAGES, Example, Op
from jaxcnn.ops._lib._theorems import pointwise
from jaxcnn.ops._lib._types import Mask, Same


def reference(x: jax.Array) -> jax.Array:
    """The plain forward: a selection, whose autodiff is 0 at 0; the last case lets NaN through."""
    x = jnp.asarray(x)
    return jnp.where(x > 0, x, jnp.where(x <= 0, 0, jax.lax.stop_gradient(x)))


def relu(x: ArrayLike) -> jax.Array:
    """max(x, 0), elementwise.

    Args:
        x: any shape, floating.

    Returns:
        y of the shape and dtype of x.

    Raises:
        ValueError: x is not floating.

    Source:
        [R] 1.3, 1.4: its derivative is 1 where x > 0 and 0 elsewhere, 0 itself included.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 0.0, 2.0])
        >>> relu(x).tolist(), jax.grad(lambda x: relu(x).sum())(x).tolist()
        ([0.0, 0.0, 2.0], [0.0, 0.0, 1.0])
    """
    return _relu(float_array("relu", "x", x))


def _rectified(x: Same) -> Same:
    return jnp.maximum(x, 0)


def _is_positive(x: Same) -> Mask:
    return x > 0


def _gradient(is_positive: Mask, dy: Same) -> Same:
    return jnp.where(is_positive, dy, 0)  # [R 1.4]


_relu = pointwise(_rectified, keeps=_is_positive, gradient=_gradient)


OP = Op(
    relu,
    reference,
    equations="[R 1.3, 1.4]",
    kept="1 byte per element",
    at_kinks="derivative 0 at 0; NaN stays NaN, with derivative 0",
    elsewhere="`jax.nn.relu`, `torch.nn.functional.relu`",
    examples={"": Example(lambda m, x: m.relu(x), (IMAGES,), is_exact=True, has_kinks=True)},
    residual_bytes=lambda args, y: y.size,
)
