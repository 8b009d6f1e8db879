"""The training step: forward, loss, gradient, update; on one device or shared among several."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh

import jaxcnn.ops
import jaxcnn.reference
from jaxcnn._contract import Apply, logits_and_state, refuse_no_network, refuse_other_state
from jaxcnn.train._mesh import AXIS, IN_PARTS, ON_ALL

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]

PRECISIONS = ("float32", "bfloat16")
NO_EPOCH = np.uint32(2**32 - 1)  # epochs, whose orders are drawn from the same key, count to 2**31 at most


class TrainState(NamedTuple):
    """What a step takes and gives back, a pytree.

    `params` and `opt_state` as the net and the optimizer have them; `step` the number of steps taken, int32; `key` the
    random key that the order of each epoch, and what the net draws in each step, are drawn from: it stays as it is, so
    that training goes on from any step as if it had never stopped; `net_state` as the net has it, () where it has none.
    """

    params: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array
    net_state: Any = ()

    def __repr__(self) -> str:
        numbers = sum(jnp.size(leaf) for leaf in jax.tree.leaves(self.params))
        is_gone = isinstance(self.step, jax.Array) and self.step.is_deleted()
        return f"TrainState({numbers:,} parameters, step={'donated' if is_gone else self.step})"


# step(state, batch) -> (state, {"loss", "accuracy"})
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def init_state(params: Any, optimizer: optax.GradientTransformation, key: jax.Array, net_state: Any = ()) -> TrainState:
    """The state before the first step, with copies of what is given: a step takes its state's buffers.

    Args:
        params: as from the net's `init`.
        optimizer: an optax optimizer.
        key: what the orders of epochs, and what the net draws, are drawn from.
        net_state: of a net that has state, its first one: a pytree of arrays, as from the net's `init_state`.
    """
    params, key, net_state = jax.tree.map(jnp.copy, (params, key, net_state))
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key, net_state)


def make_train_step(
    apply: Apply,
    optimizer: optax.GradientTransformation,
    *,
    ops: ModuleType = jaxcnn.ops,
    loss: Loss | None = None,
    reduction: str = "mean",
    precision: str = "float32",
    mesh: Mesh | None = None,
) -> Step:
    """The jit-compiled step of one batch.

    Args:
        apply: `apply(params, x, *, ops, state, key, train) -> (logits, state)`, as `jaxcnn.nets` says;
            `functools.partial` fixes further options. A step calls it with train=True, the state's `net_state`, and a
            key of its own: the state's, folded with the step's number.
        optimizer: an optax optimizer.
        ops: the namespace to compute with: `jaxcnn.ops` for hand-derived gradients, `jaxcnn.reference` for autodiff's.
        loss: `loss(logits, labels) -> (N,)`; `ops.softmax_cross_entropy` where None.
        reduction: "mean" over the batch, or "sum" as in [R 1.6].
        precision: "float32" computes in the images' own dtype, "bfloat16" in that; parameters, what the rules
            accumulate, the loss, gradients and the optimizer stay in float32.
        mesh: devices to share each batch among, as from `mesh_of`: the step is then a `shard_map`, in which every
            device takes its part of the batch and one explicit sum over the devices, in the parameters' dtype, makes
            the gradients whole. Its result is that of one device but for the order of float32 sums. What the net draws
            differs from device to device: each folds its index into the key. A floating array of the net's new state
            that depends on the device's part of the batch, or on its key, becomes the mean over the devices, which for
            a mean over the batch is the mean over the whole of it; all else is the same on all of them, and stays.

    Returns:
        `step(state, batch)` with batch {"image": (N, *spatial, C), "label": (N,)}: uint8 images are scaled by 1/255,
        floats taken as they are. The given state's buffers are donated to the new state: use the new one.

    Raises:
        ValueError: an unknown reduction or precision, or an argument of another kind, as a net where its `apply` is
            meant; from the step: a batch without image or label, or one that the devices cannot share equally; an
            `apply` that returns anything but logits and a state like the one it is given, or under a mesh a whole
            number in it that differs from device to device.

    Source:
        [V 27, 28, 39], [R 1.9].

    Example:
        >>> import jax, optax, numpy as np
        >>> from jaxcnn.nets import single_filter
        >>> from jaxcnn.train import init_state, make_train_step
        >>> optimizer = optax.sgd(0.1)
        >>> step = make_train_step(single_filter.apply, optimizer)
        >>> state = init_state(single_filter.init(jax.random.key(0)), optimizer, jax.random.key(1))
        >>> state, metrics = step(state, {"image": np.zeros((4, 28, 28, 1), "uint8"), "label": np.arange(4)})
        >>> int(state.step), sorted(metrics)
        (1, ['accuracy', 'loss'])
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"make_train_step: reduction must be 'mean' or 'sum', got {reduction!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"make_train_step: precision must be 'float32' or 'bfloat16', got {precision!r}")
    refuse_no_network("make_train_step", apply, ops)
    if not hasattr(optimizer, "update"):
        raise ValueError(
            f"make_train_step: optimizer must be an optax optimizer, as optax.adam(1e-3), got {optimizer!r}"
        )
    parts = 1 if mesh is None else mesh.shape[AXIS]
    is_shared = parts > 1  # one device has nobody to share with: the program is that of no mesh
    loss_of = ops.softmax_cross_entropy if loss is None else loss

    def objective(params: Any, state: TrainState, batch: Batch) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        """This device's share of the loss, its logits, and its net's new state."""
        x = as_floats(batch["image"])
        if precision == "bfloat16":
            x = x.astype(jnp.bfloat16)
        key = jax.random.fold_in(jax.random.fold_in(state.key, NO_EPOCH), state.step)
        if is_shared:
            key = jax.random.fold_in(key, lax.axis_index(AXIS))
        logits, net_state = logits_and_state(apply, params, x, ops=ops, state=state.net_state, key=key, train=True)
        refuse_other_state(state.net_state, net_state)
        losses = loss_of(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), batch["label"])
        return jnp.sum(losses) if reduction == "sum" else jnp.mean(losses) / parts, (logits, net_state)

    def of_this_device(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # cast to vary, so that the parameters' gradients are this device's own: the sum below is the only one
        params = jax.tree.map(_varying, state.params) if is_shared else state.params
        (value, (logits, net_state)), gradients = jax.value_and_grad(objective, has_aux=True)(params, state, batch)
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"], dtype=jnp.float32) / parts
        if is_shared:
            gradients, value, accuracy = lax.psum((gradients, value, accuracy), AXIS)
            net_state = jax.tree_util.tree_map_with_path(_same_on_all, net_state)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        new_params = optax.apply_updates(state.params, updates)  # [V 27, 28, 39]
        new_state = TrainState(new_params, opt_state, state.step + 1, state.key, net_state)
        return new_state, {"loss": value, "accuracy": accuracy}

    @partial(jax.jit, donate_argnames="state")
    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if not {"image", "label"} <= set(batch):
            raise ValueError(f"step: batch must have 'image' and 'label', got {', '.join(map(repr, batch))}")
        if not is_shared:
            return of_this_device(state, batch)
        if len(batch["label"]) % parts:
            raise ValueError(f"step: {parts} devices cannot share a batch of {len(batch['label'])} equally")
        shared = jax.shard_map(of_this_device, mesh=mesh, in_specs=(ON_ALL, IN_PARTS), out_specs=ON_ALL)
        return shared(state, {name: batch[name] for name in ("image", "label")})

    if loss is None:
        _LOGITS[step] = lambda params, net_state, images: logits_and_state(
            apply, params, as_floats(images), ops=ops, state=net_state
        )[0]
    return step


# of each step with the loss of classes, how it computes logits: `fit` compares labels with their number
_LOGITS: WeakKeyDictionary[Step, Callable[[Any, Any, jax.Array], jax.Array]] = WeakKeyDictionary()


def classes_of(step: Step, params: Any, net_state: Any, images: jax.Array | jax.ShapeDtypeStruct) -> int | None:
    """How many classes the step's network tells apart on such images; None for a step or a loss of one's own."""
    try:
        logits = _LOGITS.get(step)
    except TypeError:  # a callable that cannot be referred to weakly or hashed is one's own
        return None
    return None if logits is None else jax.eval_shape(logits, params, net_state, images).shape[-1]


def as_floats(images: jax.Array) -> jax.Array:
    """uint8 images scaled to [0, 1] in float32; floating ones as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def _same_on_all(path: Any, leaf: jax.Array) -> jax.Array:
    """A leaf of the net's new state: its mean over the devices, where it depends on what each has of its own."""
    if AXIS not in jax.typeof(leaf).manual_axis_type.varying:
        return leaf
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        raise ValueError(
            f"step: {name} of the net's state is {leaf.dtype} and differs from device to device: only floats, whose "
            "mean is taken, may depend on the batch or the key"
        )
    return lax.pmean(leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), AXIS).astype(leaf.dtype)


def _varying(leaf: jax.Array) -> jax.Array:
    return lax.pcast(leaf, AXIS, to="varying")
