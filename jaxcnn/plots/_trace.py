"""Every quantity of [V] for one image, forwards and backwards, each by its own step of the chain rule."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn.ops
from jaxcnn.nets import single_filter


class Trace(NamedTuple):
    """[V]'s quantities for one image, by its names; d... is the gradient of the loss in it."""

    x_conv: np.ndarray  # (28, 28) the image
    x_pool: np.ndarray  # (23, 23) the feature map [V 1]
    x_full: np.ndarray  # (11, 11) the maxima, before flattening
    z: np.ndarray  # (10,) [V 2]
    y_hat: np.ndarray  # (10,) [V 3]
    prediction: np.ndarray  # (10,) one-hot [V 2.3]
    y: np.ndarray  # (10,) the label, one-hot
    dz: np.ndarray  # (10,) [V 17]
    dw: np.ndarray  # (121, 10) [V 21]
    db: np.ndarray  # (10,) [V 24]
    dx_full: np.ndarray  # (11, 11) [V 26]
    dx_pool: np.ndarray  # (23, 23) [V 3.3]
    df: np.ndarray  # (6, 6) [V 37]
    dx_conv: np.ndarray  # (28, 28) [V 38]


EQUATIONS = {
    "dz": "[V 17]",
    "dw": "[V 21]",
    "db": "[V 24]",
    "dx_full": "[V 26]",
    "dx_pool": "[V 3.3]",
    "df": "[V 37]",
    "dx_conv": "[V 38]",
}


def trace(params: single_filter.Params, image: np.ndarray, label: int, *, ops: ModuleType = jaxcnn.ops) -> Trace:
    """Take one image through `single_filter` and back, with the gradients of `ops`.

    Args:
        params: as from `single_filter.init`.
        image: (28, 28, 1), floating, in [0, 1].
        label: its class.
        ops: `jaxcnn.ops`, or `jaxcnn.reference` for autodiff's gradients.

    Example:
        >>> import jax, numpy as np
        >>> seen = trace(single_filter.init(jax.random.key(0)), np.ones((28, 28, 1), "float32"), label=7)
        >>> bool(np.allclose(seen.dz, seen.y_hat - seen.y))  # [V 17]
        True
    """
    with jax.default_matmul_precision("highest"):
        x_pool, back_conv = jax.vjp(ops.conv, jnp.asarray(image)[None], params["f"])
        x_full, back_pool = jax.vjp(lambda x: ops.flatten(ops.max_pool(x, 2)), x_pool)
        z, back_dense = jax.vjp(ops.dense, x_full, params["w"], params["b"])
        loss, back_loss = jax.vjp(lambda z: ops.softmax_cross_entropy(z, jnp.array([label])), z)
        y_hat = ops.softmax(z)

        (dz,) = back_loss(jnp.ones_like(loss))
        dx_full, dw, db = back_dense(dz)
        (dx_pool,) = back_pool(dx_full)
        dx_conv, df = back_conv(dx_pool)
    return Trace(
        x_conv=_plane(image, 28),
        x_pool=_plane(x_pool, 23),
        x_full=_plane(x_full, 11),
        z=np.asarray(z[0]),
        y_hat=np.asarray(y_hat[0]),
        prediction=np.asarray(ops.one_hot_prediction(y_hat)[0]),
        y=np.eye(len(z[0]), dtype=np.float32)[label],
        dz=np.asarray(dz[0]),
        dw=np.asarray(dw),
        db=np.asarray(db),
        dx_full=_plane(dx_full, 11),
        dx_pool=_plane(dx_pool, 23),
        df=_plane(df, 6),
        dx_conv=_plane(dx_conv, 28),
    )


def differences(by_hand: Trace, by_autodiff: Trace) -> dict[str, float]:
    """The largest absolute difference in each gradient; NaN where either has one."""
    return {
        name: float(np.max(np.abs(np.float64(getattr(by_hand, name)) - getattr(by_autodiff, name))))
        for name in EQUATIONS
    }


def _plane(array: jax.Array | np.ndarray, side: int) -> np.ndarray:
    return np.asarray(array).reshape(side, side)
