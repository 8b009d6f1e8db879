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

from jaxcnn.ops._conv._form import Form
from jaxcnn.ops._types import Kernel, X, Y


def unsupported(form: Form) -> str | None:
    """Why it cannot compute a form, if so."""
    if form.groups > 1:
        return f"groups must be 1, not {form.groups}"
    return "there must be at most 3 spatial axes" if len(form.window.shape) > 3 else None


def correlate(form: Form, x: X, kernel: Kernel) -> Y:
    """Y = X conj(K)."""
    product = jnp.einsum("n...c,...cd->n...d", _of_x(form, x), jnp.conj(_of_kernel(form, kernel)), precision="highest")
    y = _back(form, product, first_axis=1)
    strides = (1, *form.window.stride, 1)
    stops = [(out - 1) * s + 1 for out, s in zip(form.window.out, form.window.stride, strict=True)]
    return lax.slice(y, (0,) * y.ndim, (y.shape[0], *stops, y.shape[-1]), strides).astype(form.dtypes.y)


def input_gradient(form: Form, kernel: Kernel, dy: Y) -> X:
    """DX = G K."""
    product = jnp.einsum("n...d,...cd->n...c", _of_dy(form, dy), _of_kernel(form, kernel), precision="highest")
    dx = _back(form, product, first_axis=1)
    starts = [lo for lo, _ in form.window.padding]
    stops = [lo + h for lo, h in zip(starts, form.window.shape, strict=True)]
    return lax.slice(dx, (0, *starts, 0), (dx.shape[0], *stops, dx.shape[-1])).astype(form.dtypes.x)


def kernel_gradient(form: Form, x: X, dy: Y) -> Kernel:
    """DK = X conj(G)."""
    product = jnp.einsum("n...c,n...d->...cd", _of_x(form, x), jnp.conj(_of_dy(form, dy)), precision="highest")
    dk = _back(form, product, first_axis=0)
    strides = (*form.window.dilation, 1, 1)
    return lax.slice(dk, (0,) * dk.ndim, (*form.window.span, *dk.shape[-2:]), strides).astype(form.dtypes.kernel)


def _of_x(form: Form, x: jax.Array) -> jax.Array:
    return _spectrum(form, form.window.pad(x.astype(form.dtypes.of_sums)), first_axis=1)


def _of_kernel(form: Form, kernel: jax.Array) -> jax.Array:
    apart = [(0, 0, d - 1) for d in form.window.dilation]
    kernel = kernel.astype(form.dtypes.x).astype(form.dtypes.of_sums)
    return _spectrum(form, lax.pad(kernel, jnp.zeros((), kernel.dtype), [*apart, (0, 0, 0), (0, 0, 0)]), first_axis=0)


def _of_dy(form: Form, dy: jax.Array) -> jax.Array:
    apart = [(0, 0, s - 1) for s in form.window.stride]
    dy = dy.astype(form.dtypes.of_sums)
    return _spectrum(form, lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *apart, (0, 0, 0)]), first_axis=1)


def _spectrum(form: Form, array: jax.Array, *, first_axis: int) -> jax.Array:
    return jnp.fft.rfftn(array, _sizes(form), _axes(form, first_axis))


def _back(form: Form, spectrum: jax.Array, *, first_axis: int) -> jax.Array:
    return jnp.fft.irfftn(spectrum, _sizes(form), _axes(form, first_axis))


def _sizes(form: Form) -> tuple[int, ...]:
    return tuple(h + lo + hi for h, (lo, hi) in zip(form.window.shape, form.window.padding, strict=True))


def _axes(form: Form, first: int) -> tuple[int, ...]:
    return tuple(range(first, first + len(form.window.shape)))
