"""Each axis of each op's first argument shared out in turn, on explicit and automatic meshes of 2 and 8 devices.

Convolutions, pools and losses have more of it in their own files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import mostly_long, normals
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn import ops

IMAGE = (8, 16, 16, 8)
CASES: dict[str, tuple[Callable[..., jax.Array], tuple[tuple[int, ...], ...]]] = {
    "conv_relu_max_pool": (lambda x, k, b: ops.conv_relu_max_pool(x, k, b, window=2), (IMAGE, (3, 3, 8, 8), (8,))),
    "conv_transpose": (
        lambda x, k, b: ops.conv_transpose(x, k, b, stride=2, padding="SAME"),
        (IMAGE, (3, 3, 8, 8), (8,)),
    ),
    "conv_transpose in groups": (
        lambda x, k: ops.conv_transpose(x, k, padding=1, groups=2),
        (IMAGE, (3, 3, 8, 8)),
    ),
    "dense": (ops.dense, ((8, 16), (16, 8), (8,))),
    "dense of rows": (ops.dense, ((8, 8, 16), (16, 8), (8,))),
    "flatten": (ops.flatten, (IMAGE,)),
    "fold": (lambda p: ops.fold(p, IMAGE, (2, 2), stride=2), ((8, 8, 8, 32),)),
    "global_avg_pool": (ops.global_avg_pool, (IMAGE,)),
    "layer_norm": (ops.layer_norm, (IMAGE, (8,), (8,))),
    "relu": (ops.relu, (IMAGE,)),
    "softmax": (ops.softmax, ((8, 16),)),
    "unfold": (lambda x: ops.unfold(x, (2, 2)), (IMAGE,)),
}


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.long), 8])
@pytest.mark.parametrize("name", mostly_long(CASES, ("conv_relu_max_pool", "max_pool", "dense")))
def test_each_axis_may_be_shared_out(name: str, devices: int, kind: AxisType) -> None:
    f, shapes = CASES[name]
    args = [normals(shape, seed=seed) for seed, shape in enumerate(shapes)]
    numbers = tuple(range(len(args)))

    def loss(*args: Any) -> jax.Array:
        y = f(*args)
        return jnp.sum(y * y)

    value, gradients = f(*args), jax.grad(loss, numbers)(*args)
    mesh = jax.make_mesh((devices,), ("d",), axis_types=(kind,), devices=jax.devices()[:devices])
    for axis in range(args[0].ndim):
        if args[0].shape[axis] % devices:
            continue
        spec = PartitionSpec(*("d" if axis == other else None for other in range(args[0].ndim)))
        with jax.set_mesh(mesh):
            first = jax.device_put(args[0], NamedSharding(mesh, spec))
            rest = [jax.device_put(arg, NamedSharding(mesh, PartitionSpec())) for arg in args[1:]]
            there, of_there = jax.jit(f)(first, *rest), jax.jit(jax.grad(loss, numbers))(first, *rest)
        for got, expected in zip((there, *of_there), (value, *gradients), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-9 * float(np.abs(expected).max()))
        if kind == AxisType.Explicit:
            assert jax.typeof(of_there[0]).sharding.spec == spec
