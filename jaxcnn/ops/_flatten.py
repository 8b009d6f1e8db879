"""Flattening: (N, ...) -> (N, everything else), row-major [V 2.3]. A reshape; its gradient is the reshape back."""

from __future__ import annotations

from math import prod

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.ops._lib._arguments import float_array, refuse
from jaxcnn.ops._lib._meshes import whole_from
from jaxcnn.ops._lib._record import IMAGES, Example, Op


def reference(x: jax.Array) -> jax.Array:
    """The plain forward: each example unravelled by itself."""
    return jax.vmap(jnp.ravel)(jnp.asarray(x))


def flatten(x: ArrayLike) -> jax.Array:
    """Each example as one row of features.

    Args:
        x: (N, ...), floating.

    Returns:
        (N, F), F the product of the other axes, which keep their row-major order.

    Raises:
        ValueError: x has no axis or is not floating.

    Source:
        [V] 2.3: 11 x 11 becomes 121.

    Example:
        >>> import jax.numpy as jnp
        >>> flatten(jnp.zeros((2, 11, 11, 1))).shape
        (2, 121)
    """
    x = float_array("flatten", "x", x)
    if x.ndim == 0:
        refuse("flatten", "x must be (N, ...), got a scalar")
    x = whole_from(x, 2)  # jax merges axes on an explicit mesh only where the first of them alone is shared out
    return jnp.reshape(x, (x.shape[0], prod(x.shape[1:])))


OP = Op(
    flatten,
    reference,
    equations="[V 2.3]",
    kept="nothing",
    at_kinks="a reshape",
    elsewhere="`jax.numpy.reshape`, `torch.flatten`",
    examples={"": Example(lambda m, x: m.flatten(x), (IMAGES,), is_exact=True)},
    has_rule=False,
    moves=False,
)
