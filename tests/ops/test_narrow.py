"""bfloat16 and float16, eagerly and under jit, against float64 of the same rounded numbers.

Products, sums and counts are kept in float32 or wider, so that a result is one rounding of what float64 has: half an
ulp of its own, and what float32 adds where up to 2^16 terms cancel, `SLACK` of the greatest term. Where more than one
number was rounded on the way (a mean that is subtracted, a quotient) the case states its own bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import mostly_long, normals
from catalogue import OPS

from jaxcnn import ops, reference

NARROW = (jnp.bfloat16, jnp.float16)
SLACK = 16 * float(np.finfo(np.float32).eps)
Numbers = Any  # what NumPy makes an array of


@dataclass(frozen=True, eq=False)
class Case:
    """`call(module, *args)` at args, along dy, or normals where None.

    Attributes:
        call: with module `ops` or `reference`.
        args: the floating arguments, in float64, to be rounded to the dtype.
        dy: the cotangent.
        roundings: by how much more than half an ulp of its own each number may be off, in eps of the greatest.
        greatest_term: of the products and sums that a result may be the difference of.
        wide: the numbers of the arguments that stay in float32.
    """

    call: Callable[..., jax.Array]
    args: tuple[Numbers, ...]
    dy: Numbers = None
    roundings: float = 0.0
    greatest_term: float = 0.0
    wide: tuple[int, ...] = ()


def with_a_peak(*shape: int) -> np.ndarray:
    """Zeros with one 1 in the middle, the maximum of every window that sees it."""
    x = np.zeros(shape)
    x.reshape(shape[0], -1, shape[-1])[:, x[0, ..., 0].size // 2] = 1  # sizes are odd
    return x


def ones_and_256(*shape: int) -> np.ndarray:
    """What bfloat16 cannot add up: 256 + 1 is 256 there."""
    dy = np.ones(shape)
    dy.reshape(-1)[-1] = 256
    return dy


def positive(*shape: int) -> np.ndarray:
    return np.abs(np.asarray(normals(shape))) + 0.5


CLASSES = jnp.array([2, 0, 1])
Z = np.asarray(normals((3, 4)))
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
POOL: dict[str, Any] = {"window": 5, "stride": 1}
X, K, B = normals((2, 6, 6, 2)), normals((3, 3, 2, 3)), normals((3,))
UP = normals((2, 3, 3, 3), seed=1)
LINE, TAPS = normals((2, 40, 1)), normals((5, 1, 1))
SPIKES = with_a_peak(1, 9, 1)

CASES: dict[str, Case] = {
    "max_pool first, overlapping": Case(lambda m, x: m.max_pool(x, **POOL), (SPIKES,), ones_and_256(1, 5, 1)),
    "max_pool all, overlapping": Case(lambda m, x: m.max_pool(x, ties="all", **POOL), (SPIKES,), ones_and_256(1, 5, 1)),
    "max_pool split, overlapping": Case(
        lambda m, x: m.max_pool(x, ties="split", **POOL), (SPIKES,), ones_and_256(1, 5, 1)
    ),
    "max_pool all, all tied": Case(
        lambda m, x: m.max_pool(x, ties="all", **POOL), (np.ones((1, 9, 1)),), ones_and_256(1, 5, 1)
    ),
    "max_pool split, all tied": Case(
        lambda m, x: m.max_pool(x, ties="split", **POOL), (np.ones((1, 9, 1)),), ones_and_256(1, 5, 1)
    ),
    "max_pool split, 289 ties": Case(lambda m, x: m.max_pool(x, 17, ties="split"), (np.ones((1, 17, 17, 1)),)),
    "max_pool first, a plane": Case(
        lambda m, x: m.max_pool(x, 3, stride=1, padding=1), (with_a_peak(1, 5, 5, 2),), ones_and_256(1, 5, 5, 2)
    ),
    "max_pool first, dilated": Case(
        lambda m, x: m.max_pool(x, 3, stride=1, dilation=2), (with_a_peak(1, 9, 1),), ones_and_256(1, 5, 1)
    ),
    "avg_pool, overlapping": Case(lambda m, x: m.avg_pool(x, **POOL), (LINE[:, :9],), 5 * ones_and_256(2, 5, 1)),
    "avg_pool, padding not counted": Case(
        lambda m, x: m.avg_pool(x, 3, stride=1, padding=1, count_include_pad=False), (X,), ones_and_256(2, 6, 6, 2)
    ),
    "avg_pool, one window of 4,096": Case(lambda m, x: m.avg_pool(x, 64), (positive(1, 64, 64, 1),)),
    "global_avg_pool, 4,096 places": Case(lambda m, x: m.global_avg_pool(x), (positive(2, 64, 64, 2),)),
    "relu": Case(lambda m, x: m.relu(x), (X,)),
    "flatten": Case(lambda m, x: m.flatten(x), (X,)),
    "one_hot_prediction": Case(lambda m, p: m.one_hot_prediction(p), (P,)),
    "unfold, overlapping": Case(lambda m, x: m.unfold(x, **POOL), (SPIKES,), ones_and_256(1, 5, 5)),
    "fold, overlapping": Case(lambda m, p: m.fold(p, (1, 9, 1), **POOL), (ones_and_256(1, 5, 5),)),
    "dense": Case(lambda m, x, k, b: m.dense(x, k, b), (normals((3, 8)), normals((8, 2)), normals((2,)))),
    "dense, 4,096 rows": Case(
        lambda m, x, k, b: m.dense(x, k, b), (positive(4096, 2), normals((2, 2)), normals((2,))), positive(4096, 2)
    ),
    "dense, 4,096 features": Case(
        lambda m, x, k: m.dense(x, k), (positive(2, 4096), positive(4096, 2) / 64), greatest_term=100
    ),
    "dense, products beyond float16": Case(
        lambda m, x, k: m.dense(x, k), (np.full((2, 1), 300.0), np.ones((1, 1))), np.array([[300.0], [-300.0]])
    ),
    "conv": Case(lambda m, x, k, b: m.conv(x, k, b, padding=1), (X, K, B), greatest_term=16),
    "conv, strided": Case(lambda m, x, k, b: m.conv(x, k, b, stride=2), (X, K, B), greatest_term=16),
    "conv, dilated": Case(lambda m, x, k: m.conv(x, k, dilation=2), (X, K), greatest_term=16),
    "conv, groups": Case(
        lambda m, x, k: m.conv(x, k, groups=2), (normals((2, 5, 5, 4)), normals((2, 2, 2, 4))), greatest_term=16
    ),
    "conv, depthwise": Case(lambda m, x, k: m.conv(x, k, groups=2), (X, normals((3, 3, 1, 2))), greatest_term=16),
    "conv, one channel": Case(lambda m, x, k: m.conv(x, k), (LINE, TAPS), greatest_term=16),
    "conv, float32 kernel": Case(
        lambda m, x, k, b: m.conv(x, k, b, padding=1), (X, K, B), greatest_term=16, wide=(1, 2)
    ),
    "conv, one channel, float32 kernel": Case(lambda m, x, k: m.conv(x, k), (LINE, TAPS), greatest_term=16, wide=(1,)),
    "conv, depthwise, float32 kernel": Case(
        lambda m, x, k: m.conv(x, k, groups=2), (X, normals((3, 3, 1, 2))), greatest_term=16, wide=(1,)
    ),
    "conv, small products over 4,096 places": Case(
        lambda m, x, k: m.conv(x, k), (np.full((1, 4096, 1), 1e-3), np.ones((1, 1, 1))), np.full((1, 4096, 1), 1e-4)
    ),
    "conv, small products, depthwise": Case(
        lambda m, x, k: m.conv(x, k, groups=2),
        (np.full((1, 4096, 2), 1e-3), np.ones((1, 1, 2))),
        np.full((1, 4096, 2), 1e-4),
    ),
    "conv, products beyond float16": Case(
        lambda m, x, k: m.conv(x, k), (np.full((1, 2, 1), 300.0), np.ones((1, 1, 1))), [[[300.0], [-300.0]]]
    ),
    "conv, products beyond float16, depthwise": Case(
        lambda m, x, k: m.conv(x, k, groups=2),
        (np.full((1, 2, 2), 300.0), np.ones((1, 1, 2))),
        [[[300.0, 300.0], [-300.0, -300.0]]],
    ),
    "conv, a bias over 4,096 places": Case(
        lambda m, x, k, b: m.conv(x, k, b),
        (positive(1, 4096, 1), np.ones((1, 1, 1)), np.ones(1)),
        ones_and_256(1, 4096, 1),
    ),
    "conv_transpose": Case(
        lambda m, x, k, b: m.conv_transpose(x, k, b, stride=2, padding=1), (UP, K, B[:2]), greatest_term=32
    ),
    "conv_transpose, float32 kernel": Case(
        lambda m, x, k, b: m.conv_transpose(x, k, b, stride=2), (UP, K, B[:2]), greatest_term=32, wide=(1, 2)
    ),
    "conv_transpose, overlapping": Case(
        lambda m, x, k: m.conv_transpose(x, k), (ones_and_256(1, 9, 1), np.ones((5, 1, 1))), np.ones((1, 13, 1))
    ),
    "conv_transpose, a bias over 4,096 places": Case(
        lambda m, x, k, b: m.conv_transpose(x, k, b),
        (positive(1, 4096, 1), np.ones((1, 1, 1)), np.ones(1)),
        ones_and_256(1, 4096, 1),
    ),
    "conv_transpose, products beyond float16": Case(
        lambda m, x, k: m.conv_transpose(x, k), (np.full((1, 2, 1), 300.0), np.ones((1, 1, 1))), [[[300.0], [-300.0]]]
    ),
    "correlate": Case(lambda m, x, k: m.correlate(x, k, stride=2), (X, K), greatest_term=16),
    "input_gradient": Case(
        lambda m, dy, k: m.input_gradient(dy, k, (2, 6, 6, 2)), (normals((2, 4, 4, 3)), K), greatest_term=16
    ),
    "kernel_gradient": Case(
        lambda m, x, dy: m.kernel_gradient(x, dy, (3, 3, 2, 3)), (X, normals((2, 4, 4, 3))), greatest_term=32
    ),
    "kernel_gradient, 4,096 places": Case(
        lambda m, x, dy: m.kernel_gradient(x, dy, (1, 1, 1)),
        (np.full((1, 4096, 1), 1e-3), np.full((1, 4096, 1), 1e-4)),
        np.ones((1, 1, 1)),
    ),
    "conv_general_dilated": Case(
        lambda m, x, k: m.conv_general_dilated(x, k, (1, 1), ((1, 1), (1, 1))),
        (normals((2, 2, 5, 5)), normals((3, 2, 3, 3))),
        greatest_term=32,
    ),
    "conv_relu_max_pool, overlapping": Case(
        lambda m, x, k, b: m.conv_relu_max_pool(x, k, b, 5, pool_stride=1),
        (SPIKES, np.ones((1, 1, 1)), np.zeros(1)),
        ones_and_256(1, 5, 1),
    ),
    "conv_relu_max_pool, overlapping, float32 kernel": Case(
        lambda m, x, k, b: m.conv_relu_max_pool(x, k, b, 5, pool_stride=1),
        (SPIKES, np.ones((1, 1, 1)), np.zeros(1)),
        ones_and_256(1, 5, 1),
        wide=(1, 2),
    ),
    "softmax": Case(lambda m, z: m.softmax(z), (Z,), greatest_term=2),
    "softmax, saturated": Case(lambda m, z: m.softmax(z), (np.array([6.0, 0.0]),), [1.0, 0.0], greatest_term=0.003),
    "softmax, a cotangent of 1000 everywhere": Case(
        lambda m, z: m.softmax(z), (np.array([0.0, 1.0, 2.3, -0.7]),), [1000.0] * 4, greatest_term=1000
    ),
    "softmax, of 4,096": Case(lambda m, z: m.softmax(z), (normals((1, 4096)),)),
    "cross_entropy": Case(lambda m, p: m.cross_entropy(p, CLASSES), (P,)),
    "cross_entropy of distributions": Case(lambda m, p, y: m.cross_entropy(p, y), (P, P[::-1])),
    "softmax_cross_entropy": Case(lambda m, z: m.softmax_cross_entropy(z, CLASSES), (Z,)),
    "softmax_cross_entropy, great cotangents": Case(
        lambda m, z: m.softmax_cross_entropy(z, CLASSES), (Z,), [256.0, 1.0, 30000.0], greatest_term=30000
    ),
    "softmax_cross_entropy of distributions": Case(
        lambda m, z, y: m.softmax_cross_entropy(z, y), (Z, P), greatest_term=2
    ),
    "softmax_cross_entropy of 4,096": Case(
        lambda m, z: m.softmax_cross_entropy(z, jnp.array([4000])), (normals((1, 4096)),)
    ),
    "layer_norm": Case(
        lambda m, x, s, b: m.layer_norm(x, s, b),
        (normals((4, 6)), normals((6,)), normals((6,), seed=1)),
        roundings=0.01,
    ),
    "layer_norm of 4,096": Case(
        lambda m, x, s, b: m.layer_norm(x, s, b), (positive(2, 4096), positive(4096), positive(4096)), roundings=0.01
    ),
    "layer_norm of great numbers": Case(
        lambda m, x, s, b: m.layer_norm(x, s, b), (30000 * P, np.ones(4), np.zeros(4)), roundings=0.01
    ),
}


WITH_A_CASE = {name.partition(" ")[0].rstrip(",") for name in CASES}
CASES |= {name: Case(op.of_module, op.args) for name, op in OPS.items() if name.split()[0] not in WITH_A_CASE}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", mostly_long(NARROW, (jnp.bfloat16,)), ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize(
    "compiled", [pytest.param(False, marks=pytest.mark.long, id="eagerly"), pytest.param(True, id="jit")]
)
def test_one_rounding_of_float64(name: str, dtype: Any, compiled: bool) -> None:
    case = CASES[name]
    args = [
        jnp.asarray(np.asarray(arg), np.float32 if number in case.wide else dtype)
        for number, arg in enumerate(case.args)
    ]
    like = jax.eval_shape(lambda *args: case.call(ops, *args), *args)
    dy = normals(like.shape, like.dtype) if case.dy is None else jnp.asarray(np.asarray(case.dy), like.dtype)

    def value_and_gradients(module: ModuleType) -> Callable[..., Any]:
        def pulled(dy: jax.Array, *args: jax.Array) -> Any:
            y, pull = jax.vjp(lambda *args: case.call(module, *args), *args)
            return y, *pull(dy)

        return pulled

    ours = value_and_gradients(ops)
    found = (jax.jit(ours) if compiled else ours)(dy, *args)
    as_rounded = [
        array.astype(dtype if number - 1 in case.wide and number == 2 else array.dtype)
        for number, array in enumerate((dy, *args))
    ]  # a float32 kernel is rounded to the dtype of x
    truth = jax.jit(value_and_gradients(reference))(*(array.astype(np.float64) for array in as_rounded))
    for ours_there, right in zip(found, truth, strict=True):
        a, b = np.asarray(ours_there, np.float64), np.asarray(right)
        allowed = ulps(b, ours_there.dtype) * 0.501 + SLACK * max(case.greatest_term, float(np.max(np.abs(b))))
        allowed += case.roundings * float(jnp.finfo(ours_there.dtype).eps) * np.max(np.abs(b))
        assert np.all(np.abs(a - b) <= allowed), (a, b)


def ulps(numbers: np.ndarray, dtype: Any) -> np.ndarray:
    """The distance of the dtype's neighbours at each number."""
    limits = jnp.finfo(dtype)
    _, exponent = np.frexp(np.maximum(np.abs(numbers), float(limits.tiny)))
    return np.ldexp(float(limits.eps), exponent - 1)
