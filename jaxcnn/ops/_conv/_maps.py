"""The three maps of convolution as functions of their own: the rule and its algebra are in `_rule`.

    correlate(x, kernel)                        dT/dg   [R 1; V 1]
    input_gradient(dy, kernel, x_shape)         dT/dx   [R 6, 8; V 34, 38]
    kernel_gradient(x, dy, kernel_shape)        dT/dk   [R 5, 7; V 33, 37]

for T(x, k, g) = sum(correlate(x, k) g), so that

    <correlate(x, k), g> = <x, input_gradient(g, k)> = <k, kernel_gradient(x, g)>.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxcnn.ops._conv import _rule
from jaxcnn.ops._conv._plan import Algorithms, asked_for
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._arguments import float_array, image_array, refuse, shape_tuple
from jaxcnn.ops._lib._dtypes import Dtypes, preferred
from jaxcnn.ops._lib._meshes import varying_alike
from jaxcnn.ops._lib._record import COTANGENTS, IMAGES, KERNELS, WINDOW, Example, Op, bytes_of, terms
from jaxcnn.ops._lib._window import Count, Padding, PerAxis, Shape


def reference_correlate(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """The plain `correlate`: convolution's own plain forward."""
    return _rule.reference(
        x,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def reference_input_gradient(
    dy: jax.Array,
    kernel: jax.Array,
    x_shape: Shape,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """The plain `input_gradient`: autodiff's transpose of the plain forward in x."""
    dy = jnp.asarray(dy)

    def forward(x: jax.Array) -> jax.Array:
        return _rule.reference(
            x,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            precision=precision,
            preferred_element_type=dy.dtype,
        )

    (dx,) = jax.vjp(forward, jnp.zeros(x_shape, preferred_element_type or dy.dtype))[1](dy)
    return dx


def reference_kernel_gradient(
    x: jax.Array,
    dy: jax.Array,
    kernel_shape: Shape,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """The plain `kernel_gradient`: autodiff's transpose of the plain forward in the kernel."""
    x, dy = jnp.asarray(x), jnp.asarray(dy)

    def forward(kernel: jax.Array) -> jax.Array:
        return _rule.reference(
            x,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            precision=precision,
            preferred_element_type=dy.dtype,
        )

    (dk,) = jax.vjp(forward, jnp.zeros(kernel_shape, preferred_element_type or x.dtype))[1](dy)
    return dk


def correlate(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """Cross-correlate images with a bank of kernels: `conv` without its bias.

    Args:
        x: images (N, *spatial, C_in), floating.
        kernel: (*k, C_in/groups, C_out), floating.
        stride, padding, dilation, groups, precision: as in `conv`.
        preferred_element_type: dtype of the result; that of x where None.
        algorithm: as in `conv`; a name applies to this map only: its derivatives are "auto".

    Returns:
        y (N, *out, C_out).

    Raises:
        ValueError: as `conv`.

    Source:
        [R 1], [V 1].

    Example:
        >>> import jax.numpy as jnp
        >>> correlate(jnp.arange(5.0).reshape(1, 5, 1), jnp.array([1.0, 10.0]).reshape(2, 1, 1)).ravel().tolist()
        [10.0, 21.0, 32.0, 43.0]
    """
    x = image_array("correlate", "x", x)
    kernel = float_array("correlate", "kernel", kernel)
    problem = Problem.of(
        "correlate",
        x.shape,
        kernel.shape,
        Dtypes.of("correlate", x, kernel, preferred_element_type),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        precision=precision,
    )
    planned = asked_for("correlate", problem, algorithm, ("correlate",))
    return _rule.correlate(planned, *varying_alike(x, kernel))


def input_gradient(
    dy: ArrayLike,
    kernel: ArrayLike,
    x_shape: Shape,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """The gradient of `sum(correlate(x, kernel) * dy)` in x: the transposed convolution of dy.

    Args:
        dy: (N, *out, C_out), floating.
        kernel: (*k, C_in/groups, C_out), floating.
        x_shape: (N, *spatial, C_in): dy's shape does not determine it.
        stride, padding, dilation, groups, precision: those of the forward, as in `conv`.
        preferred_element_type: dtype of the result; that of dy where None.
        algorithm: as in `conv`; a name applies to this map only: its derivatives are "auto".

    Returns:
        dx of shape x_shape.

    Raises:
        ValueError: as `conv`; dy that is not of the shape that x_shape and the kernel give.

    Source:
        [R 6, 8], [V 34, 38] with the kernel flipped.

    Example:
        >>> import jax.numpy as jnp
        >>> dy, kernel = jnp.array([1.0, 2.0]).reshape(1, 2, 1), jnp.array([1.0, 10.0]).reshape(2, 1, 1)
        >>> input_gradient(dy, kernel, (1, 3, 1)).ravel().tolist()
        [1.0, 12.0, 20.0]
    """
    dy = image_array("input_gradient", "dy", dy)
    kernel = float_array("input_gradient", "kernel", kernel)
    x_shape = shape_tuple("input_gradient", "x_shape", x_shape)
    x_dtype = preferred("input_gradient", preferred_element_type, dy.dtype)
    problem = Problem.of(
        "input_gradient",
        x_shape,
        kernel.shape,
        Dtypes(x_dtype, kernel.dtype, dy.dtype),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        precision=precision,
    )
    planned = asked_for("input_gradient", problem, algorithm, ("input_gradient",))
    _refuse_other_dy("input_gradient", problem, dy, x_shape, kernel.shape)
    return _rule.input_gradient(planned, *varying_alike(dy, kernel))


def kernel_gradient(
    x: ArrayLike,
    dy: ArrayLike,
    kernel_shape: Shape,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: Count = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithms = "auto",
) -> jax.Array:
    """The gradient of `sum(correlate(x, kernel) * dy)` in the kernel: a cross-correlation of x and dy.

    Args:
        x: images (N, *spatial, C_in), floating.
        dy: (N, *out, C_out), floating.
        kernel_shape: (*k, C_in/groups, C_out): dy's shape does not determine it.
        stride, padding, dilation, groups, precision: those of the forward, as in `conv`.
        preferred_element_type: dtype of the result; that of x where None.
        algorithm: as in `conv`; a name applies to this map only: its derivatives are "auto".

    Returns:
        dk of shape kernel_shape.

    Raises:
        ValueError: as `conv`; dy that is not of the shape that x and kernel_shape give.

    Source:
        [R 5, 7, 9], [V 33, 37].

    Example:
        >>> import jax.numpy as jnp
        >>> x, dy = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1), jnp.array([1.0, 10.0]).reshape(1, 2, 1)
        >>> kernel_gradient(x, dy, (2, 1, 1)).ravel().tolist()
        [21.0, 32.0]
    """
    x = image_array("kernel_gradient", "x", x)
    dy = float_array("kernel_gradient", "dy", dy)
    kernel_shape = shape_tuple("kernel_gradient", "kernel_shape", kernel_shape)
    kernel_dtype = preferred("kernel_gradient", preferred_element_type, x.dtype)
    problem = Problem.of(
        "kernel_gradient",
        x.shape,
        kernel_shape,
        Dtypes(x.dtype, kernel_dtype, dy.dtype),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        precision=precision,
    )
    planned = asked_for("kernel_gradient", problem, algorithm, ("kernel_gradient",))
    _refuse_other_dy("kernel_gradient", problem, dy, x.shape, kernel_shape)
    return _rule.kernel_gradient(planned, *varying_alike(x, dy))


def _refuse_other_dy(op: str, problem: Problem, dy: jax.Array, x_shape: Shape, kernel_shape: Shape) -> None:
    expected = (x_shape[0], *problem.window.out, kernel_shape[-1])
    if dy.shape != expected:
        refuse(
            op,
            f"dy must be {expected} for x {tuple(x_shape)} and kernel {tuple(kernel_shape)}, got shape {dy.shape}",
        )


CORRELATE = Op(
    correlate,
    reference_correlate,
    equations="[R 1]",
    kept="x and the kernel, once",
    at_kinks="its gradients are the other two maps",
    elsewhere="`jax.lax.conv_general_dilated` of channels last",
    examples={"": Example(lambda m, x, k: m.correlate(x, k, groups=2, **WINDOW), (IMAGES, KERNELS), is_exact=True)},
    multiply_adds=terms("y"),
    residual_bytes=bytes_of("x", "kernel"),
)
INPUT_GRADIENT = Op(
    input_gradient,
    reference_input_gradient,
    equations="[R 6, 8]",
    kept="dy and the kernel, once",
    at_kinks="its gradients are the other two maps",
    elsewhere="`torch.nn.grad.conv2d_input`; read forwards, a transposed convolution",
    examples={
        "": Example(
            lambda m, dy, k: m.input_gradient(dy, k, (dy.shape[0], *IMAGES.shape[1:]), groups=2, **WINDOW),
            (COTANGENTS, KERNELS),
            is_exact=True,
        )
    },
    multiply_adds=terms("dy"),
    residual_bytes=bytes_of("dy", "kernel"),
)
KERNEL_GRADIENT = Op(
    kernel_gradient,
    reference_kernel_gradient,
    equations="[R 5, 7, 9]",
    kept="x and dy, once",
    at_kinks="its gradients are the other two maps",
    elsewhere="`torch.nn.grad.conv2d_weight`",
    examples={
        "": Example(
            lambda m, x, dy: m.kernel_gradient(x, dy, KERNELS.shape, groups=2, **WINDOW),
            (IMAGES, COTANGENTS),
            is_exact=True,
            batched=2,
            result_is_batched=False,
        )
    },
    multiply_adds=terms("dy"),
    residual_bytes=bytes_of("x", "dy"),
)
