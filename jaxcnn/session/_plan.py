"""A training as asked for, before anything is read except the run to resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcnn.session._error import SessionError
from jaxcnn.session._keeping import Keeping
from jaxcnn.session._settings import Settings, differences, settle


class Plan(NamedTuple):
    """What to train, and where. `is_done`: the run to resume is already finished."""

    settings: Settings
    keeping: Keeping
    source: Path | None
    download: bool
    out: Path | None
    resume: Path | None
    devices: int | None
    is_done: bool = False


def plan_of(
    asked: Mapping[str, Any],
    keeping: Mapping[str, Any],
    *,
    source: Path | None,
    download: bool,
    out: Path | None,
    resume: Path | None,
    devices: int | None,
) -> Plan:
    """The plan for these options, of which `asked` are `Settings` and `keeping` are `Keeping`, None where not given.

    Raises:
        SessionError: they are not valid, or differ from the run to resume.
        RunError: `resume` is no run.
    """
    from jaxcnn import runs

    asked = {name: value for name, value in asked.items() if value is not None}
    if "init_from" in asked:
        asked["init_from"] = str(asked["init_from"].absolute())
    if source is not None and asked.get("data") == "idx":
        asked["source"] = str(source.absolute())
    if resume is not None and out is not None:
        raise SessionError("give `resume` or `out`, not both: a run goes on in its own folder")
    if runs.is_own(asked.get("net", "")):
        try:
            runs.import_own(asked["net"])
        except ValueError as error:
            raise SessionError(str(error)) from error
    is_done, kept = False, Keeping()
    if resume is None:
        settings = settle(asked)
    else:
        config = runs.read_config(resume)
        settings, kept = _settings_of(resume, config, asked), Keeping.of_config(resume / runs.CONFIG, config)
        is_done = runs.is_finished(config) and settings.epochs == config["epochs"]
    kept = kept.but(keeping)
    if kept.tensorboard and not is_done:
        from jaxcnn import tensorboard

        tensorboard.require()
    return Plan(settings, kept, source, download, out, resume, devices, is_done)


def _settings_of(folder: Path, config: dict[str, Any], asked: Mapping[str, Any]) -> Settings:
    """The settings of the run to go on with.

    Raises:
        SessionError: what is asked for differs.
        RunError: they are no settings.
    """
    from jaxcnn import runs

    settings = Settings.of_config(folder / runs.CONFIG, config)
    if asked.get("epochs", settings.epochs) != settings.epochs:
        settings = _of_other_epochs(folder, settings, asked["epochs"])
    differing = differences(asked, settings)
    if differing:
        raise SessionError(
            f"{folder} was begun otherwise ({'; '.join(differing)}): leave the option out, or begin a new run"
        )
    return settings


def _of_other_epochs(folder: Path, settings: Settings, epochs: int) -> Settings:
    """The settings with as many epochs: the same bits as if so many had been asked for at once.

    Raises:
        SessionError: the learning rates depend on how many there are, or more were trained already.
    """
    from jaxcnn import runs

    if settings.schedule != "constant_schedule":
        raise SessionError(
            f"{folder} was begun with a {settings.schedule} over `epochs` {settings.epochs}: with {epochs}, its rates "
            "would have been others from the start; begin a new run"
        )
    metrics = folder / runs.METRICS
    trained = len(runs.read_metrics(folder)) if metrics.exists() else 0
    if epochs < trained:
        raise SessionError(f"{folder} has {trained} epochs behind it, more than `epochs` {epochs}: ask for more")
    return settings._replace(epochs=epochs)
