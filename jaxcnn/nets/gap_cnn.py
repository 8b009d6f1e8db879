"""The network of [R 1.9]: L blocks of convolution, ReLU, optional pooling and normalization; then GAP and a head.

    for each block     Y = Conv(X; K, b),  X = max(Y, 0),  then, "optionally", X = MaxPool(X),  X = Norm(X)      [R 1.9]
    head               r = GAP(X) W_cls + b_cls                                                             [R 1.6, 1.9]

Each block has its own channels, kernel, padding, stride and dilation. The normalization, which [R] leaves open, is
layer normalization over the channels of each place. Kernels start normal with variance 2 / fan-in (He's), W_cls with
1 / fan-in.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxcnn.ops
from jaxcnn.ops import Padding, PerAxis


class Block(NamedTuple):
    """One block: convolution, ReLU, max-pooling by `pool` where given, layer normalization where `norm`."""

    channels: int
    kernel: tuple[int, ...] = (3, 3)
    padding: Padding = "SAME"
    stride: PerAxis = 1
    dilation: PerAxis = 1
    pool: PerAxis | None = None
    norm: bool = False


Params = dict[str, dict[str, jax.Array]]

BLOCKS = (Block(24, pool=2, norm=True), Block(48, pool=2, norm=True), Block(96, norm=True))


def init(key: jax.Array, *, blocks: tuple[Block, ...] = BLOCKS, channels: int = 1, classes: int = 10) -> Params:
    """Fresh parameters for images of `channels` channels, float32: one entry per block, and the head.

    Example:
        >>> import jax
        >>> blocks = Block(8), Block(16, kernel=(5, 5), stride=2, norm=True)
        >>> params = jax.eval_shape(lambda key: init(key, blocks=blocks), jax.random.key(0))
        >>> {name: {part: value.shape for part, value in layer.items()} for name, layer in params.items()}
        {'block1': {'bias': (8,), 'kernel': (3, 3, 1, 8)},
         'block2': {'bias': (16,), 'kernel': (5, 5, 8, 16), 'scale': (16,), 'shift': (16,)},
         'head': {'bias': (10,), 'kernel': (16, 10)}}
    """
    if not blocks:
        raise ValueError("gap_cnn: blocks must hold at least one Block, got none")
    *block_keys, head_key = jax.random.split(key, len(blocks) + 1)
    params = {}
    for number, (block_key, block) in enumerate(zip(block_keys, blocks, strict=True), start=1):
        shape = (*block.kernel, channels, block.channels)
        params[f"block{number}"] = layer = {
            "kernel": jax.nn.initializers.he_normal()(block_key, shape, jnp.float32),
            "bias": jnp.zeros(block.channels, jnp.float32),
        }
        if block.norm:
            layer["scale"] = jnp.ones(block.channels, jnp.float32)
            layer["shift"] = jnp.zeros(block.channels, jnp.float32)
        channels = block.channels
    params["head"] = {
        "kernel": jax.nn.initializers.lecun_normal()(head_key, (channels, classes), jnp.float32),
        "bias": jnp.zeros(classes, jnp.float32),
    }
    return params


def layers(
    params: Params, x: jax.Array, *, blocks: tuple[Block, ...] = BLOCKS, ops: ModuleType = jaxcnn.ops
) -> dict[str, jax.Array]:
    """What each block makes of images x (N, *spatial, C) in [0, 1], then `g`, GAP's output, and `r`, the logits.

    Example:
        >>> import jax
        >>> images = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
        >>> seen = jax.eval_shape(lambda x: layers(init(jax.random.key(0)), x), images)
        >>> {name: value.shape for name, value in seen.items()}
        {'block1': (2, 14, 14, 24), 'block2': (2, 7, 7, 48), 'block3': (2, 7, 7, 96), 'g': (2, 96), 'r': (2, 10)}
    """
    if len(params) != len(blocks) + 1:
        raise ValueError(
            f"gap_cnn: params hold {len(params) - 1} blocks, {len(blocks)} were given; give the blocks that init had"
        )
    seen = {}
    for number, block in enumerate(blocks, start=1):
        layer = params[f"block{number}"]
        kernel, bias = layer["kernel"], layer["bias"]
        how: dict[str, Any] = {"stride": block.stride, "padding": block.padding, "dilation": block.dilation}
        if block.pool is None:
            x = ops.relu(ops.conv(x, kernel, bias, **how))
        else:
            x = ops.conv_relu_max_pool(x, kernel, bias, block.pool, **how)
        if block.norm:
            x = ops.layer_norm(x, layer["scale"], layer["shift"])
        seen[f"block{number}"] = x
    seen["g"] = ops.global_avg_pool(x)  # [R 1.6]
    seen["r"] = ops.dense(seen["g"], params["head"]["kernel"], params["head"]["bias"])
    return seen


def apply(
    params: Params,
    x: jax.Array,
    *,
    blocks: tuple[Block, ...] = BLOCKS,
    ops: ModuleType = jaxcnn.ops,
    state: Any = (),
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[jax.Array, Any]:
    """The logits r (N, K) of images x (N, *spatial, C) in [0, 1], and `state` as it came; `blocks` as given to `init`.

    Example:
        >>> import jax
        >>> images = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
        >>> logits, state = jax.eval_shape(lambda x: apply(init(jax.random.key(0)), x), images)
        >>> logits.shape, state
        ((2, 10), ())
    """
    return layers(params, x, blocks=blocks, ops=ops)["r"], state
