"""What jax's meshes ask of a rule, which autodiff adds by itself.

    manual      inside `shard_map`, arrays that differ from device to device have a type that says so ("varying"), and
                a rule must return gradients of the types of its arguments. A parameter is the same on every device,
                the images are not: cast to varying first, it gets a varying gradient, and the cast's own gradient is
                the sum over the devices.
    explicit    shardings are part of the types, and a sum over an axis that is sharded in both factors must say how
                its result is sharded.

Without such a mesh these functions change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec


def varying_alike(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, each cast to vary over every manual axis that any of them varies over."""
    axes = [_varying_axes(array) for array in arrays]
    together = frozenset().union(*axes)
    missing = [tuple(sorted(together - own)) for own in axes]
    return tuple(
        lax.pcast(array, new, to="varying") if new else array for array, new in zip(arrays, missing, strict=True)
    )


def laid_out(
    f: Callable[..., Any], *args: jax.Array, shape: Sequence[Any], of_axes: Sequence[tuple[jax.Array, int] | None]
) -> Any:
    """f(*args), of that shape; under an explicit mesh XLA shards what is inside, and this shards the result.

    Each axis is sharded as the array's axis in `of_axes`. It is not sharded where `of_axes` has None, where the mesh
    axis does not divide it, or where that mesh axis shards another axis already.
    """
    mesh = next((_mesh(array) for array in args if _mesh(array).explicit_axes), None)
    if mesh is None:
        return f(*args)
    entries = [jax.typeof(of[0]).sharding.spec[of[1]] if of else None for of in of_axes]
    sharding = NamedSharding(mesh, _that_divides(mesh, entries, shape))
    return jax.sharding.auto_axes(f, axes=mesh.explicit_axes, out_sharding=sharding)(*args)


def over_places(f: Callable[..., Any], *args: jax.Array, shape: Sequence[Any]) -> Any:
    """f(*args), one array or several of one shape, sharded as the first arg: see `laid_out`."""
    return laid_out(f, *args, shape=shape, of_axes=[(args[0], axis) for axis in range(args[0].ndim)])


def dividing(x: jax.Array, shape: Sequence[Any]) -> jax.Array:
    """x, under an explicit mesh resharded where its mesh axes do not divide `shape`, the result's, too.

    A rule's gradients are then sharded as its arguments; the gradient of resharding is to reshard back.
    """
    mesh = _mesh(x)
    if not mesh.explicit_axes:
        return x
    spec = _that_divides(mesh, jax.typeof(x).sharding.spec, shape)
    return laid_out_as(x, jax.typeof(x).update(sharding=NamedSharding(mesh, spec)))


def whole_from(x: jax.Array, axis: int) -> jax.Array:
    """x, under an explicit mesh resharded so that no axis from `axis` on is sharded."""
    mesh = _mesh(x)
    if not mesh.explicit_axes:
        return x
    kept = jax.typeof(x).sharding.spec[:axis]
    spec = PartitionSpec(*kept, *[None] * (x.ndim - len(kept)))
    return laid_out_as(x, jax.typeof(x).update(sharding=NamedSharding(mesh, spec)))


def _that_divides(mesh: Any, entries: Iterable[Any], shape: Sequence[Any]) -> PartitionSpec:
    """The entries whose mesh axes divide their axis and shard no axis before it."""
    taken: set[Any] = set()
    spec: list[Any] = []
    for size, entry in zip(shape, entries, strict=True):
        names = () if entry is None else entry if isinstance(entry, tuple) else (entry,)
        fits = taken.isdisjoint(names) and size % prod(mesh.shape[name] for name in names) == 0
        taken.update(names if fits else ())
        spec.append(entry if fits else None)
    return PartitionSpec(*spec)


def laid_out_as(array: jax.Array, type_: Any) -> jax.Array:
    """`array`, under an explicit mesh sharded as that type is: a gradient as its argument."""
    sharding = type_.sharding
    if not sharding.mesh.explicit_axes or jax.typeof(array).sharding == sharding:
        return array
    return jax.sharding.reshard(array, sharding)


def is_explicitly_sharded(array: jax.Array) -> bool:
    """Whether it lies on an explicit mesh, on which to slice a batch is to gather it."""
    return bool(_mesh(array).explicit_axes)


def of_product(left: jax.Array, right: jax.Array, left_axes: Sequence[int], right_axes: Sequence[int]) -> Any:
    """`out_sharding` of a sum over the named axes: each axis that is left is sharded as it was in its factor."""
    mesh = _mesh(left)
    if not mesh.explicit_axes:
        return None
    kept = [
        jax.typeof(factor).sharding.spec[axis]
        for factor, summed in ((left, left_axes), (right, right_axes))
        for axis in range(factor.ndim)
        if axis not in summed
    ]
    return NamedSharding(mesh, PartitionSpec(*kept))


def varying_as(array: jax.Array, shape: Sequence[Any], dtype: np.dtype) -> jax.ShapeDtypeStruct:
    """The type of a result that varies as the array does, inside `shard_map`; elsewhere of that shape and dtype."""
    mesh, kind = _mesh(array), jax.typeof(array).manual_axis_type
    sharding = None if mesh.empty else NamedSharding(mesh, PartitionSpec())
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding, manual_axis_type=kind)


def _varying_axes(array: jax.Array) -> frozenset[Any]:
    return jax.typeof(array).manual_axis_type.varying


def _mesh(array: jax.Array) -> Any:
    return jax.typeof(array).sharding.mesh
