"""What is trained on, and for how many steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxcnn.session._error import SessionError
from jaxcnn.session._settings import Settings

if TYPE_CHECKING:
    import jax
    import numpy as np

    from jaxcnn.data import Source, Split
    from jaxcnn.runs import Network


MAX_STEPS = 2**31 - 1  # of the state's int32


class Examples(NamedTuple):
    """What is trained on: `chosen` of `source`, which is the split `in_memory` unless it is streamed."""

    source: Source
    in_memory: Split | None
    chosen: np.ndarray | None
    validation: Split | None
    test: Split
    classes: tuple[str, ...]

    @property
    def number(self) -> int:
        """How many images an epoch goes through."""
        return len(self.source) if self.chosen is None else len(self.chosen)

    def network(self, name: str) -> Network:
        """The network `name`, with the options that these images and classes ask for.

        Raises:
            SessionError: it takes images of another size, or has another number of classes.
        """
        from jaxcnn import runs

        shape, classes = self.test.images.shape[1:], len(self.classes)
        fitting = {"image_shape": list(shape), "channels": shape[-1], "classes": classes}
        plain = runs.network(name)
        try:
            net = runs.network(name, {option: fitting[option] for option in fitting.keys() & plain.options.keys()})
        except ValueError as error:
            raise SessionError(str(error)) from error
        if runs.is_own(name):
            _check_own(net, shape, classes)
            return net
        takes_any = "channels" in plain.options
        if (not takes_any and net.image_shape != shape) or net.options.get("classes", 10) != classes:
            size = "x".join(map(str, shape))
            raise SessionError(
                f"{name} takes images of 28x28x1 in 10 classes, got {size} in {classes}: give `net` lenet"
            )
        return net


def _check_own(net: Network, shape: tuple[int, ...], classes: int) -> None:
    """Raise SessionError unless the user's network makes logits (N, classes) of such images."""
    import jax

    from jaxcnn._contract import logits_and_state

    if net.image_shape != shape:
        raise SessionError(
            f"net {net.name!r} takes images {net.image_shape}, got {shape}: let its init have the keyword image_shape "
            "or channels"
        )
    try:
        params = jax.eval_shape(net.init, jax.random.key(0))
        state, x = jax.eval_shape(net.init_state), jax.ShapeDtypeStruct((2, *shape), "float32")
        logits, _ = jax.eval_shape(
            lambda params, x, state: logits_and_state(net.apply, params, x, state=state), params, x, state
        )
    except Exception as error:  # their code may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SessionError(f"net {net.name!r} cannot be applied to images {(2, *shape)}: {reason:.300}") from error
    if logits.shape != (2, classes):
        raise SessionError(
            f"net {net.name!r} must make logits (2, {classes}) of images {(2, *shape)}, got {logits.shape}"
        )


def examples_of(settings: Settings, source: Path | None, download: bool, processes: int) -> Examples:
    """The data set, with the validation images set aside: the first of an order drawn from the seed."""
    import numpy as np

    from jaxcnn import data
    from jaxcnn.train import epoch_order

    source = Path(settings.source) if settings.source is not None else source
    if settings.stream or processes > 1:
        in_memory = None
        train, test, classes = data.stream(settings.data, source=source, download=download)
    else:
        in_memory, test, classes = data.load(settings.data, source=source, download=download)
        train = data.ArraySource(in_memory)
    if not settings.validation:
        return Examples(train, in_memory, None, None, test, classes)
    if settings.validation >= len(train):
        raise SessionError(f"`validation` must be fewer than the {len(train)} images, got {settings.validation}")
    # epochs are 1, 2, ...: no epoch uses the order of 0
    numbers = np.asarray(epoch_order(keys_of(settings)[1], 0, len(train)))
    aside, chosen = np.sort(numbers[: settings.validation]), np.sort(numbers[settings.validation :])
    return Examples(train, in_memory, chosen, train.read(aside), test, classes)


def check_steps(settings: Settings, examples: Examples) -> None:
    """Raise SessionError unless there is a step, at most `MAX_STEPS`, and more steps than the warm-up has."""
    if settings.batch_size > examples.number:
        raise SessionError(f"`batch_size` must be at most the {examples.number} images, got {settings.batch_size}")
    steps = steps_of(settings, examples)
    if steps > MAX_STEPS:
        raise SessionError(
            f"`epochs` {settings.epochs} are {steps:,} steps, more than the {MAX_STEPS:,} that are counted"
        )
    if settings.warmup_steps >= steps:
        raise SessionError(f"`warmup_steps` must be fewer than the {steps} steps, got {settings.warmup_steps}")


def steps_of(settings: Settings, examples: Examples) -> int:
    """How many steps the training has."""
    return settings.epochs * (examples.number // settings.batch_size)


def keys_of(settings: Settings) -> tuple[jax.Array, jax.Array]:
    """What the parameters, and what the orders of the epochs, are drawn from."""
    import jax

    init_key, order_key = jax.random.split(jax.random.key(settings.seed))
    return init_key, order_key
