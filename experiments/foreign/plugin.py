"""A pytest plugin: convolutions and pools of `jax.lax` replaced by ours, in whatever tests then run.

Two ways, the environment's JAXCNN_WAY:

    accelerate   each of lax's public functions below, accelerated: the rewriter finds its convolution or pool
    op           `jax.lax.conv_general_dilated` is `ops.conv_general_dilated`
    lax          nothing is replaced: what the tests do without us
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from types import SimpleNamespace
from typing import Any

import jax.test_util
import pytest
from jax import lax

from jaxcnn import accelerate, ops

WAY = os.environ.get("JAXCNN_WAY", "accelerate")
LAYERS = ("flax.linen.linear", "flax.linen.pooling", "flax.nnx.nn.linear")
ACCELERATED = (
    "conv",
    "conv_general_dilated",
    "conv_general_dilated_local",
    "conv_general_dilated_patches",
    "conv_transpose",
    "conv_with_general_padding",
    "reduce_window",
)


def pytest_configure() -> None:
    """Before the tests are imported, so that their `from jax.test_util import check_grads` takes ours."""
    if WAY != "lax":
        jax.test_util.check_grads = _in_reverse_mode(jax.test_util.check_grads)


def pytest_collection_finish(session: pytest.Session) -> None:
    """In the modules of the tests and of the layers only: our own rules call lax itself."""
    if WAY == "lax":
        return
    replaced = SimpleNamespace(**vars(lax))
    if WAY == "op":
        replaced.conv_general_dilated = ops.conv_general_dilated
    else:
        for name in ACCELERATED:
            setattr(replaced, name, _accelerated(getattr(lax, name)))
    modules: set[Any] = {item.module for item in session.items if isinstance(item, pytest.Function)}
    modules |= {sys.modules[name] for name in LAYERS if name in sys.modules}
    for module in modules:
        if hasattr(module, "lax"):
            module.lax = replaced


def _accelerated(f: Callable[..., Any]) -> Callable[..., Any]:
    """f whose arrays are accelerated; numbers, such as what a window begins with, stay as they are."""

    @wraps(f)
    def call(*args: Any, **options: Any) -> Any:
        places = [number for number, arg in enumerate(args) if _is_array(arg)]

        def of_arrays(*arrays: Any) -> Any:
            whole = list(args)
            for number, array in zip(places, arrays, strict=True):
                whole[number] = array
            return f(*whole, **options)

        return accelerate(of_arrays)(*(args[number] for number in places))

    return call


def _is_array(arg: Any) -> bool:
    return getattr(arg, "ndim", 0) > 0


def _in_reverse_mode(check_grads: Callable[..., None]) -> Callable[..., None]:
    """Hand-derived rules have no forward mode; the checks of reverse mode stay, of every order."""

    @wraps(check_grads)
    def check(f: Any, args: Any, order: int, modes: Iterable[str] = ("rev",), *more: Any, **options: Any) -> None:
        if "rev" in modes:
            check_grads(f, args, order, ("rev",), *more, **options)

    return check
