"""The same networks as users of Flax and Equinox write them, where those are installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._contract import Apply
from jaxcnn.bench._run import BenchError


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """As `optax.softmax_cross_entropy_with_integer_labels`, which their users take."""
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def flax_applies(name: str) -> dict[str, Apply]:
    """`apply` of our parameters, which are Flax's own: with its convolution, and with ours in its place."""
    if name not in ("single_filter", "lenet") or find_spec("flax") is None:
        return {}
    return {"flax": _flax(name), "flax with ours": _flax(name, conv_general_dilated=ops.conv_general_dilated)}


def _flax(name: str, **convolution: Any) -> Apply:
    from flax import linen as nn

    def single_filter(x: jax.Array) -> jax.Array:
        x = nn.Conv(1, (6, 6), padding="VALID", use_bias=False, name="conv", **convolution)(x)
        x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(10, name="dense")(x.reshape(len(x), -1))

    def lenet(x: jax.Array) -> jax.Array:
        for block, channels in (("conv1", 32), ("conv2", 64)):
            x = nn.relu(nn.Conv(channels, (3, 3), name=block, **convolution)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(256, name="dense1")(x.reshape(len(x), -1)))
        return nn.Dense(10, name="dense2")(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return (single_filter if name == "single_filter" else lenet)(x)

    def apply(params: Any, x: jax.Array, *, state: Any = (), **_: Any) -> tuple[jax.Array, Any]:
        if name == "single_filter":
            params = {"conv": {"kernel": params["f"]}, "dense": {"kernel": params["w"], "bias": params["b"]}}
        logits: Any = Net().apply({"params": params}, x)
        return logits, state

    return apply


def equinox_step(name: str, apply: Apply, optimizer: Any) -> Callable[..., Callable[..., Any]] | None:
    """Makes a step from a first point: a module with its parameters, whose logits are held to `apply`'s; or None."""
    if name not in ("single_filter", "lenet") or find_spec("equinox") is None:
        return None

    def make(state: Any, images: jax.Array, labels: jax.Array) -> Callable[..., Any]:
        import equinox as eqx

        model = _equinox(name, state.params)
        opt_state = optimizer.init(eqx.filter(model, eqx.is_array))

        def logits(model: Any, images: jax.Array) -> jax.Array:
            return jax.vmap(model)(jnp.moveaxis(images, -1, 1) / np.float32(255))

        @eqx.filter_jit
        def updated(model: Any, opt_state: Any, images: jax.Array, labels: jax.Array) -> Any:
            def loss(model: Any) -> jax.Array:
                return jnp.mean(cross_entropy(logits(model, images), labels))

            updates, opt_state = optimizer.update(eqx.filter_grad(loss)(model), opt_state)
            return eqx.filter(eqx.apply_updates(model, updates), eqx.is_array), opt_state

        (ours, _), theirs = apply(state.params, images / np.float32(255)), logits(model, images)
        if not np.all(np.abs(ours - theirs) <= 1e-3 * np.max(np.abs(ours))):
            raise BenchError(f"{name}: Equinox's logits differ from ours; nothing was timed")
        jax.block_until_ready(updated(model, opt_state, images, labels))  # compiles
        return lambda state, images, labels: updated(model, opt_state, images, labels)

    return make


def _equinox(name: str, params: Any) -> Any:
    import equinox as eqx

    key, pool, flat = jax.random.key(0), eqx.nn.MaxPool2d(2, 2), eqx.nn.Lambda(jnp.ravel)
    relu = eqx.nn.Lambda(jax.nn.relu)

    def conv(kernel: jax.Array, bias: jax.Array | None, **options: Any) -> Any:
        *size, c_in, c_out = kernel.shape
        layer = eqx.nn.Conv2d(c_in, c_out, tuple(size), use_bias=bias is not None, key=key, **options)
        layer = eqx.tree_at(lambda layer: layer.weight, layer, jnp.transpose(kernel, (3, 2, 0, 1)))
        return layer if bias is None else eqx.tree_at(lambda layer: layer.bias, layer, bias[:, None, None])

    def dense(kernel: jax.Array, bias: jax.Array) -> Any:
        layer = eqx.nn.Linear(kernel.shape[0], kernel.shape[1], key=key)
        return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (kernel.T, bias))

    if name == "single_filter":
        return eqx.nn.Sequential([conv(params["f"], None), pool, flat, dense(params["w"], params["b"])])
    # ours flattens (row, column, channel), Equinox (channel, row, column)
    by_channel = params["dense1"]["kernel"].reshape(7, 7, 64, 256).transpose(2, 0, 1, 3).reshape(3136, 256)
    blocks = [
        layer
        for block in ("conv1", "conv2")
        for layer in (conv(params[block]["kernel"], params[block]["bias"], padding=1), relu, pool)
    ]
    hidden = dense(by_channel, params["dense1"]["bias"])
    return eqx.nn.Sequential([*blocks, flat, hidden, relu, dense(params["dense2"]["kernel"], params["dense2"]["bias"])])
