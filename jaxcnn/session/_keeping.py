"""What is kept along the way: options that do not change a training's result, as in config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcnn.session._error import SessionError

KINDS: dict[str, tuple[type, ...]] = {
    "checkpoint_every": (int, type(None)),
    "keep": (int,),
    "tensorboard": (bool,),
}


class Keeping(NamedTuple):
    """A checkpoint each `checkpoint_every` steps beside each epoch's, the newest `keep` of them, and event files."""

    checkpoint_every: int | None = None
    keep: int = 2
    tensorboard: bool = False

    def but(self, asked: Mapping[str, Any]) -> Keeping:
        """The same with those asked for."""
        return self._replace(**{name: value for name, value in asked.items() if value is not None})

    @classmethod
    def of_config(cls, path: Path, config: dict[str, Any]) -> Keeping:
        """A run's, from its config.json at `path`, with defaults for what is not in it.

        Raises:
            SessionError, RunError: a value is not valid.
        """
        from jaxcnn import runs

        values = {name: config[name] for name in cls._fields if name in config}
        runs.require(path, config, {name: KINDS[name] for name in values})
        for name in ("checkpoint_every", "keep"):
            if values.get(name) is not None and values[name] < 1:
                raise SessionError(f"{path} is damaged: {name} is {values[name]!r:.60}")
        return cls(**values)
