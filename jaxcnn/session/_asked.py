"""Options from Python, converted to what config.json can hold, or refused."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcnn.session._error import SessionError
from jaxcnn.session._settings import LEAST, MAX_SEED

TEXTS = ("data", "optimizer", "schedule", "precision", "ops")
WHOLE_NUMBERS = LEAST | {"checkpoint_every": 1, "keep": 1, "devices": 1}  # and the least of each
FLAGS = ("stream", "tensorboard", "download")
PATHS = ("source", "out", "resume", "init_from")


def as_asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, each as its own type; None where not given.

    Raises:
        SessionError: one is of another kind, or a whole number out of range.

    Example:
        >>> import numpy as np
        >>> as_asked({"epochs": np.int64(3), "learning_rate": 1, "clip": ["clip", 2], "out": None})
        {'epochs': 3, 'learning_rate': 1.0, 'clip': ('clip', 2.0), 'out': None}
    """
    return {name: None if value is None else _of_its_kind(name, value) for name, value in options.items()}


def _of_its_kind(name: str, value: Any) -> Any:
    try:
        if name == "net":
            return _net(value)
        if name in WHOLE_NUMBERS:
            return _whole_number(name, value)
        if name in FLAGS:
            return _instance(bool, value)
        if name in TEXTS:
            return _instance(str, value)
        if name in PATHS:
            return Path(os.fsdecode(value)).expanduser()
        if name == "clip":
            kind, limit = value
            return _instance(str, kind), _number(limit)
        return _number(value)
    except (TypeError, ValueError) as error:
        raise SessionError(f"`{name}` must be {_kind_of(name)}, got {value!r:.60}") from error


def _net(value: Any) -> str:
    if isinstance(value, str):
        return value
    from jaxcnn import nets, runs

    known = {id(net): name for name, net in nets.NETS.items()}
    return known.get(id(value)) or runs.place_of(value)


def _whole_number(name: str, value: Any) -> int:
    number = operator.index(value)
    if isinstance(value, bool) or not WHOLE_NUMBERS[name] <= number <= MAX_SEED:
        raise ValueError(value)
    return number


def _number(value: Any) -> float:
    if isinstance(value, str | bytes | bool):
        raise TypeError(value)
    return float(value)


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(value)
    return value


def _kind_of(name: str) -> str:
    if name in WHOLE_NUMBERS:
        return f"a whole number of at least {WHOLE_NUMBERS[name]}"
    if name == "net":
        return "a name, a module, a class or a place, as 'my_module:my_net'"
    if name in FLAGS:
        return "True or False"
    if name in TEXTS:
        return "a name"
    if name in PATHS:
        return "a path"
    return "a name and a limit, as ('clip_by_global_norm', 1.0)" if name == "clip" else "a number"
