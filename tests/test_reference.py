"""The twin namespaces: the same names, the same signatures."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from jaxcnn import ops, reference


def public_functions(module: ModuleType) -> list[str]:
    return sorted(name for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_")


def test_the_names_are_equal() -> None:
    assert public_functions(ops) == public_functions(reference) == sorted(reference.__all__)


@pytest.mark.parametrize("name", public_functions(reference))
def test_the_signatures_are_equal(name: str) -> None:
    ours, plain = (
        [(parameter.name, parameter.kind, parameter.default) for parameter in inspect.signature(f).parameters.values()]
        for f in (getattr(ops, name), getattr(reference, name))
    )
    assert ours == plain


@pytest.mark.parametrize("name", public_functions(ops))
def test_every_op_says_what_it_takes_gives_and_follows(name: str) -> None:
    text = inspect.getdoc(getattr(ops, name)) or ""
    for section in ("Args:", "Returns:", "Raises:", "Source:", "Example:"):
        assert section in text
