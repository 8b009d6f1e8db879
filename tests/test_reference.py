"""The twin namespaces: the same names, the same signatures."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops, reference
from jaxcnn.examples import OPS as EXAMPLES


def public_functions(module: ModuleType) -> list[str]:
    return sorted(name for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_")


def test_the_names_are_equal() -> None:
    assert public_functions(reference) == sorted(reference.__all__)
    assert set(public_functions(ops)) == {*reference.__all__, "conv_plan", "engines"}


@pytest.mark.parametrize("name", public_functions(reference))
def test_the_signatures_are_equal(name: str) -> None:
    ours, plain = (
        [(parameter.name, parameter.kind, parameter.default) for parameter in inspect.signature(f).parameters.values()]
        for f in (getattr(ops, name), getattr(reference, name))
    )
    assert ours == plain


@pytest.mark.parametrize("name", sorted({*public_functions(ops)} - {"engines"}))  # which takes nothing
def test_every_op_says_what_it_takes_gives_and_follows(name: str) -> None:
    text = inspect.getdoc(getattr(ops, name)) or ""
    for section in ("Args:", "Returns:", "Raises:", "Source:", "Example:"):
        assert section in text


def own_functions(file: ModuleType) -> list[str]:
    """What a file of ops defines and can call: functions, and functions with a rule."""
    return [
        name
        for name, value in vars(file).items()
        if callable(value) and not inspect.isclass(value) and getattr(value, "__module__", "") == file.__name__
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_neither_calls_the_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison of a function with itself says nothing: without any reference the ops still run, values and
    gradients, and without any code of the ops' own files so do the references."""
    example = EXAMPLES[name]
    args = example.distinct(jax.random.key(0), "float64")

    def value_and_gradients(f: Callable[..., Any]) -> list[jax.Array]:
        @jax.jit
        def traced_anew(*args: Any) -> Any:
            value, pull = jax.vjp(f, *args)
            return value, pull(jnp.ones_like(value))

        return jax.tree.leaves(traced_anew(*args))

    def nobody_calls(*args: Any, **options: Any) -> Any:
        raise AssertionError("one twin calls the other")

    files = [file for path, file in sys.modules.items() if path.startswith("jaxcnn.ops._")]
    references = {(file, name) for file in files for name in own_functions(file) if name.startswith("reference")}
    assert len(references) >= len(reference.__all__) - 1  # one is lax's own
    others = {(file, name) for file, _ in references for name in own_functions(file)} - references
    expected = value_and_gradients(example.by_autodiff)
    for left_out, twin in ((references, example.by_hand), (others, example.by_autodiff)):
        with monkeypatch.context() as patch:
            for file, function in left_out:
                patch.setattr(file, function, nobody_calls)
            found = value_and_gradients(twin)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
