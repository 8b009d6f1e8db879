"""The options that a training's result depends on, named as in config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcnn._names import unknown
from jaxcnn.session._error import SessionError


class Defaults(NamedTuple):
    """How a net is trained where nothing else is asked for; chosen on images split from mnist-10k's training part."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float


DEFAULTS = {
    "single_filter": Defaults(epochs=12, batch_size=32, optimizer="adam", learning_rate=0.003),
    "gap_cnn": Defaults(epochs=5, batch_size=64, optimizer="adam", learning_rate=0.01),
    "lenet": Defaults(epochs=5, batch_size=64, optimizer="adam", learning_rate=0.001),
}
OF_OWN = Defaults(epochs=5, batch_size=64, optimizer="adam", learning_rate=0.001)  # of networks "module:name"
OPS = ("manual", "reference")
MAX_SEED = 2**63 - 1  # of jax's keys
MAX_RATE = float.fromhex("0x1.fffffep127")  # the greatest float32: rates are computed in that
LEAST = {"epochs": 1, "batch_size": 1, "seed": 0, "warmup_steps": 0, "validation": 0, "early_stopping": 1}
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("net.name", "data.name", "optimizer", "ops"), (str,)),
    **dict.fromkeys(("epochs", "batch_size", "seed"), (int,)),
    "learning_rate": (int, float),
}
OPTIONAL_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("schedule", "precision"), (str,)),
    **dict.fromkeys(("warmup_steps", "validation"), (int,)),
    "early_stopping": (int, type(None)),
    **dict.fromkeys(("init_from", "source"), (str, type(None))),
    "clip": (list, type(None)),
    "stream": (bool,),
}


class Settings(NamedTuple):
    """All that decides a training's last parameters, except devices and versions.

    `clip`: a name and a limit. `validation`: how many images are set aside. `early_stopping`: how many epochs without a
    lower validation loss stop training. `stream`: whether batches are read as they are needed. `init_from`: the run or
    file with the first parameters. `source`: the folder of a set of one's own.
    """

    net: str
    data: str
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    seed: int = 0
    ops: str = "manual"
    schedule: str = "constant_schedule"
    warmup_steps: int = 0
    clip: tuple[str, float] | None = None
    precision: str = "float32"
    validation: int = 0
    early_stopping: int | None = None
    stream: bool = False
    init_from: str | None = None
    source: str | None = None

    def to_config(self) -> dict[str, Any]:
        """As in config.json, without network and data set: these have entries of their own there."""
        config = self._asdict() | {"clip": None if self.clip is None else list(self.clip)}
        del config["net"], config["data"]
        return config

    @classmethod
    def of_config(cls, path: Path, config: dict[str, Any]) -> Settings:
        """A run's settings, from its config.json at `path`.

        Raises:
            SessionError, RunError: something is missing or not valid.
        """
        from jaxcnn import runs

        runs.require(path, config, KINDS | {name: kinds for name, kinds in OPTIONAL_KINDS.items() if name in config})
        values = {name: config[name] for name in cls._fields if name in config}
        values |= {"net": config["net"]["name"], "data": config["data"]["name"]}
        if values.get("clip") is not None:
            match values["clip"]:
                case [str(name), int() | float() as limit]:
                    values["clip"] = (name, float(limit))
                case other:
                    raise SessionError(f"{path} is damaged: clip is {other!r:.60}, not a name and a limit")
        for name, least in LEAST.items():
            if values.get(name) is not None and not least <= values[name] <= MAX_SEED:
                raise SessionError(f"{path} is damaged: {name} is {values[name]!r:.60}")
        try:
            return checked(cls(**values))
        except SessionError as error:
            raise SessionError(f"{path} is damaged: {error}") from error


def settle(asked: Mapping[str, Any]) -> Settings:
    """The settings asked for, with defaults for the others.

    Raises:
        SessionError: an unknown name, a number out of range, or options that do not go together.
    """
    net = asked.get("net", "single_filter")
    defaults = DEFAULTS.get(net, OF_OWN)
    return checked(Settings(**({"net": net, "data": "mnist-10k"} | defaults._asdict() | dict(asked))))


def checked(settings: Settings) -> Settings:
    """The same settings.

    Raises:
        SessionError: an unknown name, a number out of range, or options that do not go together.
    """
    from jaxcnn import runs
    from jaxcnn.train import CLIPS, OPTIMIZERS, PRECISIONS, SCHEDULES

    for option, value, known in (
        ("net", settings.net, [settings.net] if runs.is_own(settings.net) else DEFAULTS),
        ("optimizer", settings.optimizer, OPTIMIZERS),
        ("`ops`", settings.ops, OPS),
        ("schedule", settings.schedule, SCHEDULES),
        ("`precision`", settings.precision, PRECISIONS),
        ("clip", settings.clip[0] if settings.clip else "clip", CLIPS),
    ):
        if value not in known:
            raise SessionError(unknown(option, value, known))
    if not 0 < settings.learning_rate <= MAX_RATE:
        raise SessionError(
            f"`learning_rate` must be positive and finite in float32, got {settings.learning_rate!r:.60}"
        )
    if settings.clip and not 0 < settings.clip[1] <= MAX_RATE:
        raise SessionError(f"`clip`'s limit must be positive and finite in float32, got {settings.clip[1]!r:.60}")
    if settings.warmup_steps and not settings.schedule.startswith("warmup_"):
        raise SessionError(
            f"`warmup_steps` needs a schedule that warms up, as warmup_cosine_decay_schedule, got {settings.schedule}"
        )
    if settings.schedule.startswith("warmup_") and not settings.warmup_steps:
        raise SessionError(f"`schedule` {settings.schedule} needs `warmup_steps`")
    if settings.early_stopping and not settings.validation:
        raise SessionError("`early_stopping` needs `validation`: it watches the loss of images that are set aside")
    return settings


def differences(asked: Mapping[str, Any], settings: Settings) -> list[str]:
    """What is asked for and differs, in words."""
    return [
        f"{name} is {getattr(settings, name)}, asked for {value}"
        for name, value in asked.items()
        if getattr(settings, name) != value
    ]
