"""A small LeNet, the yardstick of speed: conv 3x3x32, pool, conv 3x3x64, pool, dense 256, dense 10.

    x (N, H, W, C) -> conv, ReLU, max-pool 2 -> conv, ReLU, max-pool 2 -> flatten -> dense, ReLU -> dense -> z (N, K)

Convolutions pad to "SAME" size. Kernels start normal with variance 2 / fan-in (He's), biases zero.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

import jaxcnn.ops

Params = dict[str, dict[str, jax.Array]]


def init(
    key: jax.Array,
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    filters: tuple[int, int] = (32, 64),
    kernel: int = 3,
    hidden: int = 256,
    classes: int = 10,
) -> Params:
    """Fresh parameters, float32: `kernel` and `bias` of conv1, conv2, dense1 and dense2.

    Example:
        >>> import jax
        >>> params = jax.eval_shape(init, jax.random.key(0))
        >>> {name: layer["kernel"].shape for name, layer in params.items()}
        {'conv1': (3, 3, 1, 32), 'conv2': (3, 3, 32, 64), 'dense1': (3136, 256), 'dense2': (256, 10)}
    """
    height, width, channels = image_shape
    features = (height // 4) * (width // 4) * filters[1]
    if not features:
        raise ValueError(f"lenet: image_shape must be at least 4x4, to be pooled twice, got {image_shape}")
    shapes = {
        "conv1": (kernel, kernel, channels, filters[0]),
        "conv2": (kernel, kernel, *filters),
        "dense1": (features, hidden),
        "dense2": (hidden, classes),
    }
    normal = jax.nn.initializers.he_normal()
    return {
        name: {"kernel": normal(layer_key, shape, jnp.float32), "bias": jnp.zeros(shape[-1], jnp.float32)}
        for layer_key, (name, shape) in zip(jax.random.split(key, len(shapes)), shapes.items(), strict=True)
    }


def layers(params: Params, x: jax.Array, *, ops: ModuleType = jaxcnn.ops) -> dict[str, jax.Array]:
    """What each layer makes of images x (N, H, W, C) in [0, 1]: `pool1`, `pool2`, `dense1` and `dense2`, the logits.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> seen = layers(init(jax.random.key(0)), jnp.zeros((2, 28, 28, 1)))
        >>> {name: value.shape for name, value in seen.items()}
        {'pool1': (2, 14, 14, 32), 'pool2': (2, 7, 7, 64), 'dense1': (2, 256), 'dense2': (2, 10)}
    """
    seen = {}
    for conv, pool in (("conv1", "pool1"), ("conv2", "pool2")):
        seen[pool] = x = ops.conv_relu_max_pool(x, params[conv]["kernel"], params[conv]["bias"], 2, padding="SAME")
    seen["dense1"] = ops.relu(ops.dense(ops.flatten(x), params["dense1"]["kernel"], params["dense1"]["bias"]))
    seen["dense2"] = ops.dense(seen["dense1"], params["dense2"]["kernel"], params["dense2"]["bias"])
    return seen


def apply(
    params: Params,
    x: jax.Array,
    *,
    ops: ModuleType = jaxcnn.ops,
    state: Any = (),
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[jax.Array, Any]:
    """The logits (N, K) of images x (N, H, W, C) in [0, 1], and `state` as it came.

    Example:
        >>> import jax
        >>> images = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
        >>> logits, state = jax.eval_shape(lambda x: apply(init(jax.random.key(0)), x), images)
        >>> logits.shape, state
        ((2, 10), ())
    """
    return layers(params, x, ops=ops)["dense2"], state
