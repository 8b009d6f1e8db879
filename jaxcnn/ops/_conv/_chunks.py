"""Some images at a time: what is made of each image, and sums over them.

On its way a kernel gradient makes arrays (patches, a tap's slices) that are larger than the images. For a whole batch
they do not fit the cache, and cost more to write than the products cost to compute; for a chunk they fill 1 MiB per
core, half of a second-level cache. Under `jax.vmap` each example has a sum of its own, and examples are cut into chunks
too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jaxcnn.ops._conv._problem import Problem

CHUNK_BYTES = 2**20 * (os.cpu_count() or 1)

Product = Callable[[Problem, jax.Array, jax.Array], jax.Array]
Arrays = list[jax.Array]
OfImages = Callable[..., tuple[Arrays, Arrays]]


def summed(product: Product, problem: Problem, x: jax.Array, dy: jax.Array) -> jax.Array:
    """product(problem, x, dy), a sum over images, in the dtype of the kernel."""
    dtype = problem.dtypes.of_gradients
    # a single tap sees x as it is, and makes nothing; of a symbolic size it is not known what fills a chunk
    if problem.window.tap_count == 1 or problem.window.is_symbolic:
        return product(problem, x.astype(dtype), dy.astype(dtype)).astype(problem.dtypes.kernel)
    of_one_example = custom_vmap(partial(_by_chunks_of_images, product, problem))
    of_one_example.def_vmap(partial(_by_chunks_of_examples, product, problem))
    return of_one_example(x.astype(dtype), dy.astype(dtype)).astype(problem.dtypes.kernel)


def images_per_chunk(problem: Problem, x: jax.Array) -> int:
    """How many images' patches fill a chunk, at least one."""
    image_bytes = x.dtype.itemsize * x.shape[-1] * problem.window.tap_count * prod(problem.window.out)
    return max(1, CHUNK_BYTES // max(1, image_bytes))


def _by_chunks_of_images(product: Product, problem: Problem, x: jax.Array, dy: jax.Array) -> jax.Array:
    _, (dk,) = in_chunks(lambda x, dy: ([], [product(problem, x, dy)]), images_per_chunk(problem, x), x, dy)
    return dk


def in_chunks(f: OfImages, chunk: int, *arrays: jax.Array) -> tuple[Arrays, Arrays]:
    """f(*arrays), some images at a time.

    Args:
        f: returns arrays with the batch first, and sums over images.
        chunk: how many images at a time.
        arrays: with the batch first.
    """
    batch = arrays[0].shape[0]
    if not isinstance(batch, int) or batch <= chunk:  # a symbolic batch (jax.export) cannot be cut
        return f(*arrays)

    chunk = _without_rest(batch, chunk)

    def of(start: jax.Array | int, images: int) -> tuple[Arrays, Arrays]:
        return f(*(lax.dynamic_slice_in_dim(array, start, images) for array in arrays))

    def with_more(found: tuple[Arrays, Arrays], start: jax.Array | int, images: int) -> tuple[Arrays, Arrays]:
        (of_each, sums), (own, more) = found, of(start, images)
        put = [lax.dynamic_update_slice_in_dim(whole, part, start, 0) for whole, part in zip(of_each, own, strict=True)]
        return put, [total + part for total, part in zip(sums, more, strict=True)]

    # the first chunk outside of the loop, where XLA:CPU is faster; the sums have its type, under shard_map too
    own, sums = of(0, chunk)
    of_each = [lax.pad(part, jnp.zeros((), part.dtype), _after(part, batch - chunk)) for part in own]
    found = lax.fori_loop(1, batch // chunk, lambda i, found: with_more(found, i * chunk, chunk), (of_each, sums))
    return with_more(found, batch - batch % chunk, batch % chunk) if batch % chunk else found


def _without_rest(batch: int, chunk: int) -> int:
    """The greatest size from chunk down to its half that leaves no rest, which is compiled by itself; or chunk."""
    return next((size for size in range(chunk, chunk // 2, -1) if batch % size == 0), chunk)


def _after(array: jax.Array, more: int) -> list[tuple[int, int, int]]:
    """lax's padding by so many images."""
    return [(0, more, 0), *[(0, 0, 0)] * (array.ndim - 1)]


def _by_chunks_of_examples(
    product: Product, problem: Problem, examples: int, mapped: Sequence[bool], x: jax.Array, dy: jax.Array
) -> tuple[jax.Array, bool]:
    """One dk per example. If all share x or dy, its patches are made once, or one product serves all."""
    of_one_example = partial(_by_chunks_of_images, product, problem)
    chunk = max(1, images_per_chunk(problem, x) // max(1, x.shape[1 if mapped[0] else 0]))
    if examples <= chunk or not all(mapped):
        axes = [0 if maps else None for maps in mapped]
        return jax.vmap(of_one_example, in_axes=axes, axis_size=examples)(x, dy), True
    return lax.map(lambda pair: of_one_example(*pair), (x, dy), batch_size=chunk), True
