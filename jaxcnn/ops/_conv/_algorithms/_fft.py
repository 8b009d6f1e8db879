"""`fft`: the three maps as products of spectra, for kernels of many taps                                        [R 1.8]

With X, K and G the discrete Fourier transforms of padded x, of the kernel, its taps d apart, and of g, its rows s
apart, all of the padded input's size n = H + lo + hi, and conj the complex conjugate,

    correlate        Y  = X conj(K)       y[i]  = sum_u k[u] x_pad[i + u]
    input_gradient   DX = G K             dx[a] = sum_u k[u] g[a - u]
    kernel_gradient  DK = X conj(G)       dk[u] = sum_i g[i] x_pad[i + u]

each a sum over channels, or images, at every frequency. The indices i + u stay below n, so that nothing wraps around.
Computed in float32 or wider, up to three spatial axes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._conv._algorithm import Algorithm
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._lib._types import Kernel, X, Y


def unsupported(problem: Problem) -> str | None:
    """Why it cannot compute a problem, if so."""
    if problem.groups > 1:
        return f"groups must be 1, not {problem.groups}"
    return "there must be at most 3 spatial axes" if len(problem.window.shape) > 3 else None


def correlate(problem: Problem, x: X, kernel: Kernel) -> Y:
    """Y = X conj(K)."""
    product = jnp.einsum(
        "n...c,...cd->n...d", _of_x(problem, x), jnp.conj(_of_kernel(problem, kernel)), precision="highest"
    )
    y = _back(problem, product, first_axis=1)
    strides = (1, *problem.window.stride, 1)
    stops = [(out - 1) * s + 1 for out, s in zip(problem.window.out, problem.window.stride, strict=True)]
    return lax.slice(y, (0,) * y.ndim, (y.shape[0], *stops, y.shape[-1]), strides).astype(problem.dtypes.y)


def input_gradient(problem: Problem, dy: Y, kernel: Kernel) -> X:
    """DX = G K."""
    product = jnp.einsum("n...d,...cd->n...c", _of_dy(problem, dy), _of_kernel(problem, kernel), precision="highest")
    dx = _back(problem, product, first_axis=1)
    starts = [lo for lo, _ in problem.window.padding]
    stops = [lo + h for lo, h in zip(starts, problem.window.shape, strict=True)]
    return lax.slice(dx, (0, *starts, 0), (dx.shape[0], *stops, dx.shape[-1])).astype(problem.dtypes.x)


def kernel_gradient(problem: Problem, x: X, dy: Y) -> Kernel:
    """DK = X conj(G)."""
    product = jnp.einsum("n...c,n...d->...cd", _of_x(problem, x), jnp.conj(_of_dy(problem, dy)), precision="highest")
    dk = _back(problem, product, first_axis=0)
    strides = (*problem.window.dilation, 1, 1)
    return lax.slice(dk, (0,) * dk.ndim, (*problem.window.span, *dk.shape[-2:]), strides).astype(problem.dtypes.kernel)


def _of_x(problem: Problem, x: jax.Array) -> jax.Array:
    return _spectrum(problem, problem.window.pad(x.astype(problem.dtypes.of_sums)), first_axis=1)


def _of_kernel(problem: Problem, kernel: jax.Array) -> jax.Array:
    apart = [(0, 0, d - 1) for d in problem.window.dilation]
    kernel = kernel.astype(problem.dtypes.x).astype(problem.dtypes.of_sums)
    return _spectrum(
        problem, lax.pad(kernel, jnp.zeros((), kernel.dtype), [*apart, (0, 0, 0), (0, 0, 0)]), first_axis=0
    )


def _of_dy(problem: Problem, dy: jax.Array) -> jax.Array:
    apart = [(0, 0, s - 1) for s in problem.window.stride]
    dy = dy.astype(problem.dtypes.of_sums)
    return _spectrum(problem, lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *apart, (0, 0, 0)]), first_axis=1)


def _spectrum(problem: Problem, array: jax.Array, *, first_axis: int) -> jax.Array:
    return jnp.fft.rfftn(array, _sizes(problem), _axes(problem, first_axis))


def _back(problem: Problem, spectrum: jax.Array, *, first_axis: int) -> jax.Array:
    return jnp.fft.irfftn(spectrum, _sizes(problem), _axes(problem, first_axis))


def _sizes(problem: Problem) -> tuple[int, ...]:
    return tuple(h + lo + hi for h, (lo, hi) in zip(problem.window.shape, problem.window.padding, strict=True))


def _axes(problem: Problem, first: int) -> tuple[int, ...]:
    return tuple(range(first, first + len(problem.window.shape)))


FFT = Algorithm(
    "fft",
    {"correlate": correlate, "input_gradient": input_gradient, "kernel_gradient": kernel_gradient},
    unsupported=unsupported,
)
