"""Networks of the user's own: by their place, "module:name", or "module:" where the module itself is one.

Reading a folder never imports what it names: a network is found in a module that was imported before.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def is_own(name: str) -> bool:
    """Whether a network's name is a place.

    Example:
        >>> is_own("my_module:my_net"), is_own("lenet")
        (True, False)
    """
    return ":" in name


def import_own(name: str) -> None:
    """Import the module that a name such as "my_module:my_net" begins with, because the user asks for it.

    Raises:
        ValueError: that fails; whatever it raises is said in one line.
    """
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        if attribute and attribute not in vars(found) and hasattr(found, "__path__"):
            importlib.import_module(f"{module}.{attribute}")
    except Exception as error:  # their code may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"net {name!r}: {module} cannot be imported ({reason:.300})") from error


def own(name: str) -> Any:
    """The network at this place.

    Raises:
        ValueError: its module was not imported, has nothing of the name, or that is no network.
    """
    module, _, attribute = name.partition(":")
    if module not in sys.modules:
        raise ValueError(
            f"net {name!r} is of your own, and {module} is not imported: import it first, as the command does by "
            f"--import {module}, and jaxcnn train by --net {name}"
        )
    net = vars(sys.modules[module]).get(attribute) if attribute else sys.modules[module]
    if not all(callable(getattr(net, function, None)) for function in ("init", "apply")):
        raise ValueError(f"net {name!r} is no network: it must have the functions init(key) and apply, as jaxcnn.nets")
    return net


def place_of(net: Any) -> str:
    """The name that finds a network again.

    Raises:
        ValueError: it is neither a module nor a class at a module's top.

    Example:
        >>> from jaxcnn import nets
        >>> place_of(nets.lenet)
        'jaxcnn.nets:lenet'
    """
    if isinstance(net, ModuleType):
        package, _, child = net.__name__.rpartition(".")
        name = f"{package}:{child}" if package else f"{child}:"
    else:
        name = f"{getattr(net, '__module__', '')}:{getattr(net, '__qualname__', '')}"
    module, _, attribute = name.partition(":")
    holder = sys.modules.get(module)
    if holder is None or net is not (vars(holder).get(attribute) if attribute else holder):
        raise ValueError("a net that is neither a module nor a class is given by its place, as 'my_module:my_net'")
    return name
