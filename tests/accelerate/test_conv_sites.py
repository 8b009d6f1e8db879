"""Convolutions of every layout and option: by our rules, or left with a reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from programs import LAYOUT, assert_accelerates, assert_alike, conv, point

import jaxcnn
from jaxcnn import ops

OPTIONS: dict[str, dict[str, Any]] = {
    "NCHW": {"dimension_numbers": ("NCHW", "OIHW", "NCHW")},
    "mixed": {"dimension_numbers": ("CNHW", "IHWO", "NHCW")},
    "strided": {"dimension_numbers": LAYOUT, "window_strides": (2, 1)},
    "dilated": {"dimension_numbers": LAYOUT, "rhs_dilation": (1, 2)},
    "padded": {"dimension_numbers": LAYOUT, "padding": ((3, -1), (0, 2))},
    "precise": {"dimension_numbers": LAYOUT, "precision": lax.Precision.HIGHEST},
    "flat": {"dimension_numbers": LAYOUT, "padding": "VALID"},
    "transposed": {"dimension_numbers": LAYOUT, "padding": ((2, 1), (1, 0)), "lhs_dilation": (2, 1)},
    "in batch groups": {"dimension_numbers": LAYOUT, "batch_group_count": 2},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str) -> None:
    options = {"window_strides": (1, 1), "padding": "SAME"} | OPTIONS[name]
    random = np.random.default_rng(1)
    sizes = {"N": 2, "C": 4, "H": 6, "W": 5}, {"I": 4, "O": 6, "H": 3, "W": 2}
    layouts = options["dimension_numbers"][:2]
    x, kernel = (
        jnp.asarray(random.normal(size=[size[letter] for letter in layout]))
        for size, layout in zip(sizes, layouts, strict=True)
    )
    assert_accelerates(partial(lax.conv_general_dilated, **options), x, kernel, replaced=1)


def test_a_transposed_convolution_is_told_by_its_maps() -> None:
    def upsampled(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)

    (site,) = jaxcnn.sites(upsampled, *point())
    assert site.runs is not None and list(site.runs) == ["input_gradient", "correlate", "kernel_gradient"]
    assert_accelerates(upsampled, *point(), replaced=1)


def test_groups_and_axes() -> None:
    random = np.random.default_rng(2)
    for shape, kernel_shape, groups in [
        ((2, 8, 4), (3, 1, 8), 4),
        ((1, 4, 4, 4, 2), (2, 2, 2, 2, 3), 1),
        ((2, 6, 6, 4), (3, 3, 2, 6), 2),
    ]:
        spatial = "XYZ"[: len(shape) - 2]
        f = partial(
            lax.conv_general_dilated,
            window_strides=(1,) * len(spatial),
            padding="SAME",
            dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
            feature_group_count=groups,
        )
        assert_accelerates(
            f, jnp.asarray(random.normal(size=shape)), jnp.asarray(random.normal(size=kernel_shape)), replaced=1
        )


def test_one_example_under_vmap_as_equinox_has_it() -> None:
    random = np.random.default_rng(3)
    x, kernel = jnp.asarray(random.normal(size=(3, 2, 6, 6))), jnp.asarray(random.normal(size=(4, 2, 3, 3)))

    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return jax.vmap(lambda x: lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME")[0])(x)

    assert_accelerates(f, kernel, x, replaced=1)


@pytest.mark.parametrize(
    ("options", "dtype", "reason"),
    [
        ({}, jnp.int32, "of dtype int32"),
        ({}, jnp.complex64, "of dtype complex64"),
        ({}, jnp.float8_e4m3fn, "of dtype float8_e4m3fn"),
        ({"preferred_element_type": jnp.int32}, jnp.int8, "of dtype int8"),
        (
            {"window_strides": (2, 2), "padding": ((1, 1), (1, 1)), "lhs_dilation": (2, 2)},
            jnp.float32,
            "are both over 1",
        ),
    ],
)
def test_what_is_left_and_why(options: dict[str, Any], dtype: Any, reason: str) -> None:
    x, kernel = jnp.ones((2, 5, 5, 2), dtype), jnp.ones((3, 3, 2, 2), dtype)
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": LAYOUT} | options
    f: Callable[..., Any] = partial(lax.conv_general_dilated, **options)
    (site,) = jaxcnn.sites(f, x, kernel)
    assert site.runs is None and site.left is not None and reason in site.left
    assert_alike(jaxcnn.accelerate(f)(x, kernel).astype(complex).real, f(x, kernel).astype(complex).real)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_narrow_dtypes(dtype: Any) -> None:
    kernel, x = (each.astype(dtype) for each in point())
    y = jaxcnn.accelerate(conv)(x, kernel)
    assert_alike(y, conv(x, kernel), rtol=4 * float(jnp.finfo(dtype).eps))
    wide = partial(conv, preferred_element_type=jnp.float32)
    assert_alike(jaxcnn.accelerate(wide)(x, kernel), wide(x, kernel), rtol=1e-5)


def test_a_plan_is_taken_where_it_can_be() -> None:
    kernel, x = point()
    plans = {"correlate": "im2col", "kernel_gradient": "direct"}, ops.Plan("im2col", kernel_gradient="direct")
    for plan in plans:
        (site,) = jaxcnn.sites(jaxcnn.accelerate(conv, plan=plan), x, kernel)
        assert site.runs is not None
        assert site.runs["correlate"] == "im2col" and site.runs["kernel_gradient"] == "direct"
    strided = partial(lax.conv_general_dilated, window_strides=(2, 2), padding="SAME", dimension_numbers=LAYOUT)
    (site,) = jaxcnn.sites(jaxcnn.accelerate(strided, plan="winograd2"), x, kernel)
    assert site.runs is not None and "winograd2" not in site.runs.values()
    (site,) = jaxcnn.sites(jaxcnn.accelerate(conv, plan="winograd2"), x, kernel)
    assert site.runs is not None and site.runs["correlate"] == "winograd2"
    assert_alike(jaxcnn.accelerate(conv, plan="winograd2")(x, kernel), conv(x, kernel))
    remat = jax.checkpoint(conv)
    assert_alike(jaxcnn.accelerate(remat, plan="winograd2")(x, kernel), conv(x, kernel))


def test_a_plan_that_is_none() -> None:
    with pytest.raises(ValueError, match="accelerate: algorithm must be one of .* got 'wino'"):
        jaxcnn.accelerate(conv, plan="wino")
