"""What `conv` would do: its plan, with the reasons."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxcnn.ops._conv import _rule
from jaxcnn.ops._conv._plan import PLATFORMS, Algorithms, Plan, Planned, own_platform, resolved
from jaxcnn.ops._lib._arguments import refuse
from jaxcnn.ops._lib._window import Count, Padding, PerAxis


def conv_plan(
    x: ArrayLike | jax.ShapeDtypeStruct,
    kernel: ArrayLike | jax.ShapeDtypeStruct,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
    padding_mode: str = "zeros",
    platform: str | None = None,
) -> Plan:
    """Who would compute `conv` of such arrays and its gradients, and why; nothing is computed.

    Args:
        x, kernel: arrays, or their `jax.ShapeDtypeStruct`s.
        stride, padding, dilation, groups, precision, preferred_element_type, algorithm, padding_mode: as in `conv`.
        platform: "cpu", "cuda", "rocm" or "tpu"; that of the default device where None.

    Returns:
        a plan without "auto". Printed, it gives the reasons; as `algorithm=` it fixes the choice, guarded as "auto" is.

    Raises:
        ValueError: as `conv`; another platform.

    Source:
        the choice among the algorithms of [R 1.8] and others, from measurements: `experiments/speed`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, kernel = jax.ShapeDtypeStruct((8, 32, 32, 16), jnp.float32), jnp.ones((3, 3, 1, 16))
        >>> plan = conv_plan(x, kernel, padding=1, groups=16, platform="cpu")
        >>> plan.correlate
        'taps'
        >>> conv_plan(x, kernel, padding=1, groups=16, platform="tpu").correlate
        'direct'
    """
    if platform is not None and platform not in PLATFORMS:
        refuse("conv_plan", f"platform must be one of {', '.join(map(repr, PLATFORMS))}, got {platform!r}")
    found: list[Planned] = []

    def plan(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x, kernel, planned = _rule.planned(
            "conv_plan",
            x,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            precision=precision,
            preferred_element_type=preferred_element_type,
            algorithm=algorithm,
            padding_mode=padding_mode,
        )
        found.append(planned)
        return x

    arrays = (array if isinstance(array, jax.ShapeDtypeStruct) else jnp.asarray(array) for array in (x, kernel))
    jax.eval_shape(plan, *arrays)
    return resolved(found[0], platform or own_platform())
