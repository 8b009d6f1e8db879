"""A plan carried out: its data read, its folder made and guarded, its training run."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcnn._whole import WHOLE
from jaxcnn.session._error import SessionError
from jaxcnn.session._examples import Examples, check_steps, examples_of
from jaxcnn.session._folder import (
    folder_of,
    give_up,
    locked,
    quiet_orbax,
    refuse_odd_name,
    warn_of_other_surroundings,
)
from jaxcnn.session._interrupts import Interrupts
from jaxcnn.session._place import Place, place_of
from jaxcnn.session._plan import Plan
from jaxcnn.session._run import Session, initial_parameters, run
from jaxcnn.session._summary import headline, summary

if TYPE_CHECKING:
    from jaxcnn import runs


def carry_out(plan: Plan, console: Console, interrupts: Interrupts) -> runs.Run:
    """Train, and leave the run's folder.

    Raises:
        SessionError: the data, the folder or the devices cannot be used so.
        TrainingError: the loss is not finite, or the data cannot be read any more.
        KeyboardInterrupt: stopped, with what is kept.
    """
    from jaxcnn import JaxcnnError, runs
    from jaxcnn.checkpoints import Checkpoints

    settings, keeping, out, resume = plan.settings, plan.keeping, plan.out, plan.resume
    place = place_of(settings, plan.devices)
    interrupts.catch()
    if place.processes > 1 and out is None and resume is None:
        raise SessionError("several processes need `out`: the folder that all of them know")
    refuse_odd_name(out or resume or Path())
    if out is not None and place.leads:
        runs.refuse_taken(out)
    try:
        examples = examples_of(settings, plan.source, plan.download, place.processes)
        examples.network(settings.net)
    except (ValueError, JaxcnnError) as error:
        raise SessionError(str(error)) from error
    check_steps(settings, examples)
    if settings.init_from is not None and resume is None:
        initial_parameters(settings, examples)  # a fault in their file is reported before there is a folder
    config = _config(plan, examples, place)
    console.quiet = console.quiet or not place.leads
    session = Session(settings, examples, place, keeping, console, interrupts)

    def recorder_of(**before: Any) -> runs.Recorder:
        console.print(headline(settings, examples, place))  # now it is sure to go on
        return runs.Recorder(folder, config, writes=place.leads, **before)

    try:
        with contextlib.ExitStack() as held:
            with WHOLE:
                folder = folder_of(settings, out, resume, place)
                held.enter_context(locked(folder, place))
                if resume is None and place.leads:
                    runs.write_config(folder, config)  # before all else: from here on a resumed training can go on
                if place.leads:
                    interrupts.last_words = partial(give_up, folder)
            if resume is not None:
                warn_of_other_surroundings(folder, config, place)
            held.enter_context(quiet_orbax())
            with Checkpoints(folder, keep=keeping.keep) as checkpoints:
                recorder, trained = run(session, recorder_of, checkpoints)
    except (OSError, SystemExit):  # the reader of the output has gone: Rich exits then
        interrupts.last_words()
        raise
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(*(error.args or [interrupts.last_words()])) from None
    console.print(summary(recorder, examples, place))
    return trained


def _config(plan: Plan, examples: Examples, place: Place) -> dict[str, Any]:
    from jaxcnn import provenance, runs

    settings = plan.settings
    return {
        "format": runs.FORMAT,
        "status": "running",
        "net": {"name": settings.net, "options": examples.network(settings.net).options},
        "data": {
            "name": settings.data,
            "train_images": examples.number,
            "test_images": len(examples.test.images),
            "classes": list(examples.classes),
        },
        **settings.to_config(),
        **plan.keeping._asdict(),
        **provenance.surroundings(place.devices),
    }
