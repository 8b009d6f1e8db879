"""The network of [V], exactly: one 6x6 filter without a bias, no ReLU, max-pooling, one dense layer.

    x_conv  (N, 28, 28, 1)      the image, the convolution's input
    x_pool  (N, 23, 23, 1)      the feature map, the pooling's input:  x_pool = correlate(x_conv, f)               [V 1]
    x_full  (N, 121)            11 x 11 maxima of 2x2 windows, flattened: row and column 22 reach no window [V 2.2, 2.3]
    z       (N, 10)             z = W x_full + b, here in rows: x_full w + b with w = W^T                          [V 2]
    y_hat   (N, 10)             softmax of z                                                                       [V 3]

[V] gives no initialisation. Ours: f and w normal with variance 1 / fan-in (LeCun's, for there is no ReLU), b zero.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

import jaxcnn.ops

Params = dict[str, jax.Array]


def init(key: jax.Array) -> Params:
    """Fresh parameters: f (6, 6, 1, 1), w (121, 10), b (10,), float32.

    Example:
        >>> import jax
        >>> params = jax.eval_shape(init, jax.random.key(0))
        >>> {name: value.shape for name, value in params.items()}
        {'b': (10,), 'f': (6, 6, 1, 1), 'w': (121, 10)}
    """
    filter_key, dense_key = jax.random.split(key)
    normal = jax.nn.initializers.lecun_normal()
    return {
        "f": normal(filter_key, (6, 6, 1, 1), jnp.float32),
        "w": normal(dense_key, (121, 10), jnp.float32),
        "b": jnp.zeros(10, jnp.float32),
    }


def layers(params: Params, x: jax.Array, *, ops: ModuleType = jaxcnn.ops) -> dict[str, jax.Array]:
    """What each layer makes of images x (N, 28, 28, 1) in [0, 1]: `x_pool`, `x_full` and `z`, as in the table above.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> seen = layers(init(jax.random.key(0)), jnp.zeros((2, 28, 28, 1)))
        >>> {name: value.shape for name, value in seen.items()}
        {'x_pool': (2, 23, 23, 1), 'x_full': (2, 121), 'z': (2, 10)}
    """
    x_pool = ops.conv(x, params["f"])  # [V 1]
    x_full = ops.flatten(ops.max_pool(x_pool, 2))  # [V 2.2, 2.3]
    z = ops.dense(x_full, params["w"], params["b"])  # [V 2]
    return {"x_pool": x_pool, "x_full": x_full, "z": z}


def apply(
    params: Params,
    x: jax.Array,
    *,
    ops: ModuleType = jaxcnn.ops,
    state: Any = (),
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[jax.Array, Any]:
    """The logits z (N, 10) of images x (N, 28, 28, 1) in [0, 1], and `state` as it came; y_hat is `ops.softmax(z)`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> z, state = apply(init(jax.random.key(0)), jnp.zeros((2, 28, 28, 1)))
        >>> z.shape, state
        ((2, 10), ())
    """
    return layers(params, x, ops=ops)["z"], state
