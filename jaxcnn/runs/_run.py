"""A run as its folder tells of it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxcnn._contract import logits_and_state
from jaxcnn.runs._files import CONFIG, PARAMETERS, Config, RunError, one_line, read_config, read_parameters, require
from jaxcnn.runs._network import Network, Params, network


class Run(NamedTuple):
    """A run as read from its folder; `net_state` is () of a network without state."""

    folder: Path
    config: Config
    network: Network
    params: Params
    net_state: Any = ()


def read(folder: str | os.PathLike[str]) -> Run:
    """Read a run; ~ is the home folder.

    Raises:
        RunError: it is no run's folder, a file is damaged or missing, its format is newer, it was stopped before its
            first epoch's end, or the parameters are not those of its network, or not finite.
    """
    folder = Path(folder).expanduser()
    config = read_config(folder)
    path = folder / CONFIG
    require(path, config, {"net.name": (str,), "net.options": (dict,)})
    try:
        net = network(config["net"]["name"], config["net"]["options"])
        params = jax.eval_shape(net.init, jax.random.key(0))
        net_state = jax.eval_shape(net.init_state)
        x = jax.ShapeDtypeStruct((1, *net.image_shape), "float32")
        call = partial(logits_and_state, net.apply)
        logits, _ = jax.eval_shape(lambda params, x, state: call(params, x, state=state), params, x, net_state)
    except Exception as error:  # options of the wrong kind make each layer raise its own
        raise RunError(f"{path} names no network known here: {one_line(error)}") from error
    require(path, config, {"data.name": (str,), "data.classes": (list,)})
    classes = config["data"]["classes"]
    if len(classes) != logits.shape[-1] or not all(isinstance(name, str) and name.isprintable() for name in classes):
        raise RunError(f"{path} is damaged: data.classes is {classes!r:.60}, not {logits.shape[-1]} names")
    if not (folder / PARAMETERS).exists() and not is_finished(config):
        raise RunError(
            f"{folder} has no parameters: it has not come to its first epoch's end; if nothing trains in it any more, "
            f"jaxcnn train --resume {folder} goes on"
        )
    return Run(folder, config, net, *read_parameters(folder, params, net_state))


def is_finished(config: Config) -> bool:
    """Whether the run came to its end."""
    return config.get("status") == "finished"


def held_out(data: str) -> str:
    """What to call the held-out part of a data set: "test" only where the set itself has a test part.

    Example:
        >>> held_out("mnist"), held_out("mnist-10k")
        ('test', 'held-out')
    """
    return "held-out" if data == "mnist-10k" else "test"
