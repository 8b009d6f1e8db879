"""Sums over images, a chunk of the batch at a time.

What a kernel gradient makes of each image on its way (patches, a tap's slices) is larger than the image. Of a whole
batch it would leave the cache, and costs more to write than the products cost to compute; of a chunk it fills 1 MiB a
core, half of a second-level cache. Under `jax.vmap` each example has a sum of its own, and the examples are cut like
images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import jax
from jax import lax
from jax.custom_batching import custom_vmap

from jaxcnn.ops._conv._problem import Problem

CHUNK_BYTES = 2**20 * (os.cpu_count() or 1)

Product = Callable[[Problem, jax.Array, jax.Array], jax.Array]


def summed(product: Product, problem: Problem, x: jax.Array, dy: jax.Array) -> jax.Array:
    """product(problem, x, dy), a sum over images, in the dtype of the kernel."""
    dtype = problem.dtypes.of_gradients
    if problem.window.tap_count == 1:  # sees x as it is, and makes nothing
        return product(problem, x.astype(dtype), dy.astype(dtype)).astype(problem.dtypes.kernel)
    of_one_example = custom_vmap(partial(_by_chunks_of_images, product, problem))
    of_one_example.def_vmap(partial(_by_chunks_of_examples, product, problem))
    return of_one_example(x.astype(dtype), dy.astype(dtype)).astype(problem.dtypes.kernel)


def images_a_chunk(problem: Problem, x: jax.Array) -> int:
    """How many images' patches fill a chunk, at least one."""
    image_bytes = x.dtype.itemsize * x.shape[-1] * problem.window.tap_count * prod(problem.window.out)
    return max(1, CHUNK_BYTES // max(1, image_bytes))


def _by_chunks_of_images(product: Product, problem: Problem, x: jax.Array, dy: jax.Array) -> jax.Array:
    batch, chunk = x.shape[0], images_a_chunk(problem, x)
    if not isinstance(batch, int) or batch <= chunk:  # a symbolic batch (jax.export) cannot be cut
        return product(problem, x, dy)

    def add_chunk(i: jax.Array, dk: jax.Array) -> jax.Array:
        part = [lax.dynamic_slice_in_dim(array, i * chunk, chunk) for array in (x, dy)]
        return dk + product(problem, *part)

    # the sum starts from the first chunk, not from zeros, so that it has the chunk's type under shard_map too
    whole = batch // chunk
    dk = lax.fori_loop(1, whole, add_chunk, product(problem, x[:chunk], dy[:chunk]))
    if batch % chunk:
        dk = dk + product(problem, x[whole * chunk :], dy[whole * chunk :])
    return dk


def _by_chunks_of_examples(
    product: Product, problem: Problem, examples: int, mapped: Sequence[bool], x: jax.Array, dy: jax.Array
) -> tuple[jax.Array, bool]:
    """One dk an example. Where one factor is the same for all, so are its patches, or one product does for all."""
    of_one_example = partial(_by_chunks_of_images, product, problem)
    chunk = max(1, images_a_chunk(problem, x) // max(1, x.shape[1 if mapped[0] else 0]))
    if examples <= chunk or not all(mapped):
        axes = [0 if maps else None for maps in mapped]
        return jax.vmap(of_one_example, in_axes=axes, axis_size=examples)(x, dy), True
    return lax.map(lambda pair: of_one_example(*pair), (x, dy), batch_size=chunk), True
