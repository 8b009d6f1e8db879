"""The dense layer.

Legend
    x   (N, *more, F)       k   (F, C)       b   (C,)       y, dy   (N, *more, C);  p stands for the axes N, *more

Forward     y[p, c] = b[c] + sum_f x[p, f] k[f, c]      in rows, y = x k + b; [V] has columns, W = k^T    [V 2; R 1.6]

Backward    as in convolution, the product of the three is one number, linear in each:

                T(x, k, g) = sum_(p, c) g[p, c] sum_f x[p, f] k[f, c]                                            (B2)

                in g   product(x, k)           the forward
                in x   input_gradient(g, k)    dx = dy k^T               [V 11, 25, 26: W^T dL/dz]
                in k   kernel_gradient(x, g)   dk = x^T dy               [V 9, 20, 21: dL/dz x^T, transposed]

            so each of the three has the other two as its derivatives.  The bias: `_add_bias` [V 10, 22-24].

Residuals   x and k, once
Conventions y, dx and dk come back in the dtypes of x, x and k, and are summed in float32 or wider
Sources     [V] 2.3, 3.1, 3.2; [R] 1.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.typing import ArrayLike

from jaxcnn.ops._lib import _add_bias
from jaxcnn.ops._lib._arguments import float_array, refuse
from jaxcnn.ops._lib._dtypes import Dtypes, accumulator
from jaxcnn.ops._lib._meshes import of_product, varying_alike
from jaxcnn.ops._lib._record import ROWS, Example, Op, bytes_of, shape, terms
from jaxcnn.ops._lib._theorems import trilinear
from jaxcnn.ops._lib._types import Matrix, Products, Rows


def reference(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """The plain forward: one product in float32 or wider."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    wide = accumulator(x.dtype)
    y = x.astype(wide) @ kernel.astype(x.dtype).astype(wide)
    return (y if bias is None else _add_bias.reference(y, jnp.asarray(bias))).astype(x.dtype)


def dense(x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None = None) -> jax.Array:
    """Multiply each row of features by a matrix and add a bias.

    Args:
        x: (N, *more, F), floating.
        kernel: (F, C), floating; rounded to the dtype of x.
        bias: (C,), floating, or None.

    Returns:
        y (N, *more, C), in the dtype of x.

    Raises:
        ValueError: wrong rank or dtype, features that do not fit.

    Source:
        [V 2] with W = kernel^T, [R] 1.6; its gradients [V 20-26].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, kernel = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0]])
        >>> dense(x, kernel, jnp.array([10.0, 20.0, 30.0])).tolist()
        [[11.0, 22.0, 41.0]]
        >>> jax.grad(lambda kernel: dense(x, kernel).sum())(kernel).tolist()
        [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    x, kernel = float_array("dense", "x", x), float_array("dense", "kernel", kernel)
    if x.ndim < 2:
        refuse("dense", f"x must be (N, *more, F), got shape {x.shape}; add the batch axis, as by x[None]")
    if kernel.ndim != 2 or kernel.shape[0] != x.shape[-1]:
        refuse("dense", f"kernel must be (F, C) with F = {x.shape[-1]} for x {x.shape}, got shape {kernel.shape}")
    dtypes = Dtypes.of("dense", x, kernel, None)
    if bias is None:
        return product(dtypes, *varying_alike(x, kernel))
    return _add_bias.add_bias("dense", product(dtypes.unrounded, *varying_alike(x, kernel)), bias, dtypes.y)


def _product(dtypes: Dtypes, x: Rows, kernel: Matrix) -> Products:
    """dT/dg: y = x k [V 2]."""
    y = _contract(x, kernel.astype(dtypes.x), [x.ndim - 1], [0], dtypes)
    return y.astype(dtypes.y)


def _input_gradient(dtypes: Dtypes, dy: Products, kernel: Matrix) -> Rows:
    """dT/dx: dx = dy k^T [V 26]."""
    dx = _contract(dy, kernel.astype(dtypes.x), [dy.ndim - 1], [1], dtypes)
    return dx.astype(dtypes.x)


def _kernel_gradient(dtypes: Dtypes, x: Rows, dy: Products) -> Matrix:
    """dT/dk: dk = x^T dy [V 21]."""
    of_one_example = custom_vmap(partial(_sum_over_rows, dtypes))
    of_one_example.def_vmap(partial(_sum_of_each_example, dtypes))
    return of_one_example(x, dy)


product, input_gradient, kernel_gradient = trilinear(_product, _input_gradient, _kernel_gradient)  # (B2)


def _sum_over_rows(dtypes: Dtypes, x: Rows, dy: Products) -> Matrix:
    rows = list(range(x.ndim - 1))
    return _contract(x, dy, rows, rows, dtypes).astype(dtypes.kernel)


def _sum_of_each_example(
    dtypes: Dtypes, examples: int, mapped: Sequence[bool], x: jax.Array, dy: jax.Array
) -> tuple[jax.Array, bool]:
    """Under `jax.vmap`, a dk per example.

    Where each has one row, all are one elementwise product, into which XLA on a CPU fuses what dy is made of and
    computes it again for every feature. There they are taken in turns, which leaves dy to be computed once.
    """
    together = jax.vmap(partial(_sum_over_rows, dtypes), [0 if maps else None for maps in mapped], axis_size=examples)
    if not all(mapped) or prod(x.shape[1:-1]) != 1:
        return together(x, dy), True

    def in_turns(x: jax.Array, dy: jax.Array) -> jax.Array:
        return lax.map(lambda example: _sum_over_rows(dtypes, *example), (x, dy))

    return lax.platform_dependent(x, dy, cpu=in_turns, default=together), True


def _contract(
    left: jax.Array, right: jax.Array, left_axes: list[int], right_axes: list[int], dtypes: Dtypes
) -> jax.Array:
    """The sum of products over the named axes, kept in the accumulator's dtype."""
    return lax.dot_general(
        left,
        right,
        ((left_axes, right_axes), ((), ())),
        preferred_element_type=dtypes.of_sums,
        out_sharding=of_product(left, right, left_axes, right_axes),
    )


OP = Op(
    dense,
    reference,
    equations="[V 2, 9-11, 20-26], [R 1.6]",
    kept="x and the kernel, once",
    at_kinks="smooth",
    elsewhere="`flax.linen.Dense`, `equinox.nn.Linear`, `torch.nn.functional.linear`",
    examples={"": Example(lambda m, x, k, b: m.dense(x, k, b), (ROWS, shape(4, 2), shape(2)), is_exact=True)},
    multiply_adds=terms("y"),
    residual_bytes=bytes_of("x", "kernel"),
)
