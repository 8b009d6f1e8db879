"""`jaxcnn sites`: what `jaxcnn.accelerate` does to each convolution and pool of a function in a file."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import jaxcnn
from jaxcnn.cli._devices import devices
from jaxcnn.cli._failure import Failure


def sites(
    place: Annotated[str, typer.Argument(metavar="FILE.py:FUNCTION", help="A function of JAX, as train.py:loss.")],
    args: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of FILE.py: the arguments, a tuple, or a function that returns it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
) -> None:
    """Tell which convolutions and pools of a function jaxcnn.accelerate replaces.

    A row for each: the line, the shapes, who computes each of its maps on this machine, or why it is left to jax.lax.
    The file is imported, the function traced and not computed; jax.ShapeDtypeStruct may stand for arrays.
    """
    devices()
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name:
        raise Failure(f"name a function as FILE.py:FUNCTION, as in train.py:loss, got {place}")
    module = _imported(Path(file))
    function = _named(module, name, file)
    if not callable(function):
        raise Failure(f"{place} is no function")
    given = () if args is None else _arguments(_named(module, args, file), args)
    if args is None and (wanted := _needed(function)):
        raise Failure(f"{name} takes {', '.join(wanted)}: give --args NAME, of a tuple in {file}, or what returns one")
    try:
        found = jaxcnn.sites(function, *given)
    except Exception as error:
        raise Failure(f"{name} cannot be traced: {type(error).__name__}: {error}") from error
    print(found.to_json() if as_json else found)


def _imported(path: Path) -> Any:
    """The file as a module, what lies beside it at hand, as where Python runs it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise Failure(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Failure(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _named(module: Any, name: str, file: str) -> Any:
    if not hasattr(module, name):
        raise Failure(f"{file} has no {name}")
    return getattr(module, name)


def _arguments(value: Any, name: str) -> tuple[Any, ...]:
    found = value() if callable(value) else value
    if not isinstance(found, tuple | list):
        raise Failure(f"--args must name a tuple or what returns one; {name} is {type(found).__name__}")
    return tuple(found)


def _needed(function: Callable[..., Any]) -> list[str]:
    """The arguments without which it cannot be called."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    named = (each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))
    return [each.name for each in named if each.default is each.empty]
