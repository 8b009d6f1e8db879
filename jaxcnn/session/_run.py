"""A training from its first or its last checkpoint to its end, with its folder kept up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from jaxcnn._whole import WHOLE
from jaxcnn.session._before import before
from jaxcnn.session._display import Display
from jaxcnn.session._early_stopping import score_of, stops_early
from jaxcnn.session._error import TrainingError
from jaxcnn.session._examples import Examples, keys_of, steps_of
from jaxcnn.session._folder import interrupted
from jaxcnn.session._interrupts import Interrupts
from jaxcnn.session._keeping import Keeping
from jaxcnn.session._place import Place, warn
from jaxcnn.session._plots import draw
from jaxcnn.session._settings import Settings

if TYPE_CHECKING:
    from jaxcnn import runs
    from jaxcnn.checkpoints import Checkpoint, Checkpoints
    from jaxcnn.data import Split
    from jaxcnn.train import Report, Step, TrainState


class Session(NamedTuple):
    """What is trained how, on what and where; `console` is silent for all processes but the one that leads."""

    settings: Settings
    examples: Examples
    place: Place
    keeping: Keeping
    console: Console
    interrupts: Interrupts

    @property
    def steps_per_epoch(self) -> int:
        """How many whole batches the examples make."""
        return self.examples.number // self.settings.batch_size


def run(
    session: Session, recorder_of: Callable[..., runs.Recorder], checkpoints: Checkpoints
) -> tuple[runs.Recorder, runs.Run]:
    """Train to the end; returns the recorder, and the run with its last parameters.

    Args:
        session: what to do.
        recorder_of: makes the `runs.Recorder`, given what a checkpoint has for it as keywords.
        checkpoints: the folder's.

    Raises:
        TrainingError: the loss is not finite, or what is streamed cannot be read; what there is has been saved.
        SessionError, CheckpointError, RunError: the folder cannot be written, or its checkpoints are of another
            training.
        KeyboardInterrupt: stopped, with what has been saved.
    """
    import jaxcnn.ops
    import jaxcnn.reference
    from jaxcnn import runs
    from jaxcnn import train as training

    settings, examples, place = session.settings, session.examples, session.place
    namespace = jaxcnn.reference if settings.ops == "reference" else jaxcnn.ops
    network = examples.network(settings.net)
    optimizer = training.make_optimizer(settings.optimizer, _rates(settings, examples), clip=settings.clip)
    _, order_key = keys_of(settings)
    params, net_state = initial_parameters(settings, examples)
    fresh = training.init_state(params, optimizer, order_key, net_state)
    step = training.make_train_step(
        network.apply, optimizer, ops=namespace, precision=settings.precision, mesh=place.mesh
    )
    found, complaints = checkpoints.newest(fresh)
    for complaint in complaints:
        warn(complaint, place)
    recorder = recorder_of(**before(settings, session.steps_per_epoch, found, checkpoints.folder.parent))
    if found:
        session.console.print(f"goes on from the checkpoint at step {found.step}")
    reports = _reports(session, step, found, fresh, recorder)
    validate = partial(_validate, network.apply, namespace, examples.validation)
    with _events(session, recorder) as events:
        last = _follow(session, reports, validate, recorder, events, checkpoints)
        state, more = last or (found.state if found else fresh), {}
        if settings.early_stopping:
            best = checkpoints.best(fresh)
            state, more = best.state, {"test_epoch": best.step // session.steps_per_epoch}
        params, net_state = _here((state.params, state.net_state))
        tested, logits = training.evaluate(network.apply, params, *examples.test, ops=namespace, net_state=net_state)
        recorder.add_test(tested, params=params, net_state=net_state, **more)
        events.add(recorder.metrics[-1])
    if place.leads:
        draw(recorder, examples, logits.argmax(axis=-1))
    recorder.end_as("finished")  # last of all: a run that is killed before this line can be gone on with
    return recorder, runs.Run(recorder.folder, recorder.config, network, params, net_state)


def initial_parameters(settings: Settings, examples: Examples) -> tuple[Any, Any]:
    """Parameters drawn by the seed and the network's first state, or both as another run or file has them.

    Raises:
        RunError: they are not those of this network, or damaged.
    """
    from jaxcnn import runs

    network = examples.network(settings.net)
    drawn = network.init(keys_of(settings)[0]), network.init_state()
    return drawn if settings.init_from is None else runs.read_parameters(Path(settings.init_from), *drawn)


def _follow(
    session: Session,
    reports: Iterator[Report],
    validate: Callable[[TrainState], dict[str, float] | None],
    recorder: runs.Recorder,
    events: Any,
    checkpoints: Checkpoints,
) -> TrainState | None:
    """Record each report; returns the last one's state, or None if nothing was left to train.

    Raises:
        TrainingError: the loss is not finite, or what is streamed cannot be read.
        KeyboardInterrupt: stopped, with what has been saved.
    """
    from jaxcnn import runs
    from jaxcnn.data import DataError
    from jaxcnn.train import NotFiniteError

    settings, every, state = session.settings, session.keeping.checkpoint_every, None
    interrupts = session.interrupts
    try:
        with interrupts, Display(session.console, settings.epochs) as display:
            if session.place.processes > 1:  # which stop together
                interrupts.save_first()
            for report in reports:
                interrupts.save_first()
                state = report.state
                recorder.add(report, validate(state) if report.ends_epoch else None)
                display.show(report, recorder.images_per_second)
                if report.ends_epoch:
                    display.end_epoch(recorder.metrics[-1])
                    events.add(recorder.metrics[-1])
                is_asked = _any_process(interrupts.asked, session.place)
                if is_asked:
                    recorder.stop_at(report)
                if report.ends_epoch or is_asked or (every and report.step % every == 0):
                    note = {"seconds": 0.0 if report.ends_epoch else recorder.seconds, "settings": settings.to_config()}
                    score = score_of(recorder.metrics[-1]) if report.ends_epoch else None
                    checkpoints.save(state, report.totals, note, score=score)
                if is_asked:
                    raise KeyboardInterrupt
                if stops_early(recorder.metrics, settings):
                    break
        checkpoints.wait()
    except KeyboardInterrupt:
        checkpoints.wait()
        recorder.end_as("interrupted")
        raise KeyboardInterrupt(interrupted(recorder.folder)) from None
    except DataError as error:
        checkpoints.wait()
        recorder.end_as("interrupted")
        raise TrainingError(f"{error}; then jaxcnn train --resume {recorder.folder} goes on") from error
    except NotFiniteError as error:
        with WHOLE:
            recorder.end_as("failed")
        kept = runs.kept(recorder.folder)
        raise TrainingError(
            f"{error}: try a `learning_rate` below {settings.learning_rate:g}"
            + (f"; {recorder.folder} keeps {kept}" if kept else "")
        ) from error
    return state


def _validate(apply: Any, namespace: Any, split: Split | None, state: TrainState) -> dict[str, float] | None:
    from jaxcnn.train import evaluate

    if not split:
        return None
    params, net_state = _here((state.params, state.net_state))
    return evaluate(apply, params, *split, ops=namespace, net_state=net_state)[0]


def _rates(settings: Settings, examples: Examples) -> Any:
    from jaxcnn.train import learning_rates

    if settings.schedule == "constant_schedule":
        return settings.learning_rate
    return learning_rates(
        settings.schedule,
        settings.learning_rate,
        steps=steps_of(settings, examples),
        warmup_steps=settings.warmup_steps,
    )


def _reports(
    session: Session, step: Step, found: Checkpoint | None, fresh: TrainState, recorder: runs.Recorder
) -> Iterator[Report]:
    from jaxcnn import train as training
    from jaxcnn.data import Stream

    settings, examples, place, keeping = session.settings, session.examples, session.place, session.keeping
    if stops_early(recorder.metrics, settings):
        return
    state, totals = (found.state, found.totals) if found else (fresh, None)
    if found and found.step % session.steps_per_epoch == 0:
        totals = None
    if examples.in_memory is None:
        batches = Stream(examples.source, settings.batch_size, examples.chosen, place.process, place.processes)
        yield from training.fit_stream(
            state,
            step,
            batches,
            epochs=settings.epochs,
            in_one_program=settings.ops == "manual",
            pause_every=keeping.checkpoint_every,
            totals=totals,
            mesh=place.mesh,
        )
        return
    images, labels = examples.in_memory
    if examples.chosen is not None:
        images, labels = images[examples.chosen], labels[examples.chosen]
    yield from training.fit(
        state,
        step,
        images,
        labels,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        in_one_program=settings.ops == "manual",
        pause_every=keeping.checkpoint_every,
        totals=totals,
        mesh=place.mesh,
    )


def _here(tree: Any) -> Any:
    """Arrays that several devices have, as this process's default device has them."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)


def _events(session: Session, recorder: runs.Recorder) -> Any:
    """TensorBoard's files, where they are asked for."""
    from jaxcnn.tensorboard import Events

    if not (session.keeping.tensorboard and session.place.leads):
        return contextlib.nullcontext(_Nowhere())
    return Events(recorder.folder, after_step=recorder.metrics[-1]["step"] if recorder.metrics else 0)


class _Nowhere:
    """Stands for `Events` where none are asked for."""

    def add(self, line: runs.Metrics) -> None:
        """Nothing."""


def _any_process(asked: bool, place: Place) -> bool:
    """Whether any process was asked to stop: they stop together, at the same step."""
    if place.processes == 1:
        return asked
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(asked))))
