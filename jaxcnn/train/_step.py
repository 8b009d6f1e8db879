"""The training step: forward, loss, gradient, update; on one device or shared among several."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh

import jaxcnn.ops
import jaxcnn.reference
from jaxcnn.train._mesh import AXIS, IN_PARTS, ON_ALL

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Apply = Callable[..., jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]

PRECISIONS = ("float32", "bfloat16")


class TrainState(NamedTuple):
    """What a step takes and gives back, a pytree.

    `params` and `opt_state` as the net and the optimizer have them; `step` the number of steps taken, int32; `key` the
    random key that the order of each epoch is drawn from.
    """

    params: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array

    def __repr__(self) -> str:
        numbers = sum(jnp.size(leaf) for leaf in jax.tree.leaves(self.params))
        is_gone = isinstance(self.step, jax.Array) and self.step.is_deleted()
        return f"TrainState({numbers:,} parameters, step={'donated' if is_gone else self.step})"


# step(state, batch) -> (state, {"loss", "accuracy"})
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def init_state(params: Any, optimizer: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """The state before the first step, with copies of params and key: a step takes its state's buffers."""
    params, key = jax.tree.map(jnp.copy, (params, key))
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key)


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
        apply: `apply(params, x, *, ops) -> logits`, as the nets have it; `functools.partial` fixes further options.
        optimizer: an optax optimizer.
        ops: the namespace to compute with: `jaxcnn.ops` for hand-derived gradients, `jaxcnn.reference` for autodiff's.
        loss: `loss(logits, labels) -> (N,)`; `ops.softmax_cross_entropy` where None.
        reduction: "mean" over the batch, or "sum" as in [R 1.6].
        precision: "float32" computes in the images' own dtype, "bfloat16" in that; parameters, what the rules
            accumulate, the loss, gradients and the optimizer stay in float32.
        mesh: devices to share each batch among, as from `mesh_of`: the step is then a `shard_map`, in which every
            device takes its part of the batch and one explicit sum over the devices, in the parameters' dtype, makes
            the gradients whole. Its result is that of one device but for the order of float32 sums.

    Returns:
        `step(state, batch)` with batch {"image": (N, *spatial, C), "label": (N,)}: uint8 images are scaled by 1/255,
        floats taken as they are. The given state's buffers are donated to the new state: use the new one.

    Raises:
        ValueError: an unknown reduction or precision, or an argument of another kind, as a net where its `apply` is
            meant; from the step: a batch without image or label, or one that the devices cannot share equally.

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
    for name, given, expected, is_right in (
        ("apply", apply, "a function, as nets.lenet.apply", callable(apply)),
        ("optimizer", optimizer, "an optax optimizer, as optax.adam(1e-3)", hasattr(optimizer, "update")),
        ("ops", ops, "jaxcnn.ops or jaxcnn.reference", hasattr(ops, "softmax_cross_entropy")),
    ):
        if not is_right:
            raise ValueError(f"make_train_step: {name} must be {expected}, got {given!r}")
    parts = 1 if mesh is None else mesh.shape[AXIS]
    is_shared = parts > 1  # one device has nobody to share with: the program is that of no mesh
    loss_of = ops.softmax_cross_entropy if loss is None else loss

    def objective(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """This device's share of the loss, and its logits."""
        x = as_floats(batch["image"])
        if precision == "bfloat16":
            x = x.astype(jnp.bfloat16)
        logits = apply(params, x, ops=ops)
        losses = loss_of(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), batch["label"])
        return jnp.sum(losses) if reduction == "sum" else jnp.mean(losses) / parts, logits

    def of_this_device(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # cast to vary, so that the parameters' gradients are this device's own: the sum below is the only one
        params = jax.tree.map(_varying, state.params) if is_shared else state.params
        (value, logits), gradients = jax.value_and_grad(objective, has_aux=True)(params, batch)
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"], dtype=jnp.float32) / parts
        if is_shared:
            gradients, value, accuracy = lax.psum((gradients, value, accuracy), AXIS)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        new_params = optax.apply_updates(state.params, updates)  # [V 27, 28, 39]
        return TrainState(new_params, opt_state, state.step + 1, state.key), {"loss": value, "accuracy": accuracy}

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
        _LOGITS[step] = lambda params, images: apply(params, as_floats(images), ops=ops)
    return step


# of each step with the loss of classes, how it computes logits: `fit` compares labels with their number
_LOGITS: WeakKeyDictionary[Step, Callable[[Any, jax.Array], jax.Array]] = WeakKeyDictionary()


def classes_of(step: Step, params: Any, images: jax.Array | jax.ShapeDtypeStruct) -> int | None:
    """How many classes the step's network tells apart on such images; None for a step or a loss of one's own."""
    try:
        logits = _LOGITS.get(step)
    except TypeError:  # a callable that cannot be referred to weakly or hashed is one's own
        return None
    return None if logits is None else jax.eval_shape(logits, params, images).shape[-1]


def as_floats(images: jax.Array) -> jax.Array:
    """uint8 images scaled to [0, 1] in float32; floating ones as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def _varying(leaf: jax.Array) -> jax.Array:
    return lax.pcast(leaf, AXIS, to="varying")
