"""Networks by name, with their options as JSON has them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax

from jaxcnn import nets
from jaxcnn._contract import Apply
from jaxcnn._names import unknown
from jaxcnn.nets import gap_cnn
from jaxcnn.runs._own import is_own, own

Params = dict[str, Any]


class Network(NamedTuple):
    """A network whose options are fixed: `init(key) -> params`, and `apply` as `jaxcnn.nets` says.

    `options` are `init`'s, as JSON has them; `init_state() -> state` gives the first state, () of a network without.
    """

    name: str
    options: dict[str, Any]
    init: Callable[[jax.Array], Params]
    apply: Apply
    init_state: Callable[[], Any] = tuple

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The images (H, W, C) that it takes; 28x28 where it takes any size.

        Example:
            >>> network("lenet", {"image_shape": (32, 32, 3)}).image_shape, network("gap_cnn").image_shape
            ((32, 32, 3), (28, 28, 1))
        """
        height, width, channels = self.options.get("image_shape", (28, 28, self.options.get("channels", 1)))
        return height, width, channels


def network(name: str, options: Mapping[str, Any] | None = None) -> Network:
    """The network `name`, with the options that its `init` takes; those not given are written out as they default.

    A network of one's own is "module:name", and its module imported before.

    Raises:
        ValueError: an unknown name or option, or one that JSON cannot hold.

    Example:
        >>> network("lenet", {"hidden": 64}).options
        {'image_shape': [28, 28, 1], 'filters': [32, 64], 'kernel': 3, 'hidden': 64, 'classes': 10}
    """
    if not is_own(name) and name not in nets.NETS:
        raise ValueError(unknown("net", name, nets.NETS))
    net = own(name) if is_own(name) else nets.NETS[name]
    chosen = _keyword_options(net.init)
    for option, value in (options or {}).items():
        if option not in chosen:
            raise ValueError(unknown(f"option of {name}", option, chosen))
        chosen[option] = _from_json(value, has_blocks=not is_own(name))
    _refuse_what_json_cannot_hold(name, chosen)
    init, apply, init_state = net.init, net.apply, getattr(net, "init_state", tuple)
    return Network(name, _to_json(chosen), *(_with(chosen, function) for function in (init, apply, init_state)))


def _with(chosen: Mapping[str, Any], function: Callable[..., Any]) -> Any:
    """The function with those of the options that it takes."""
    return partial(function, **{option: chosen[option] for option in _keyword_options(function) if option in chosen})


def _keyword_options(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {option.name: option.default for option in parameters if option.kind is option.KEYWORD_ONLY}


def _to_json(value: Any) -> Any:
    if isinstance(value, gap_cnn.Block):
        return _to_json(value._asdict())
    if isinstance(value, dict):
        return {key: _to_json(part) for key, part in value.items()}
    return [_to_json(part) for part in value] if isinstance(value, tuple) else value


def _from_json(value: Any, *, has_blocks: bool) -> Any:
    if isinstance(value, dict):
        parts = {key: _from_json(part, has_blocks=has_blocks) for key, part in value.items()}
        return gap_cnn.Block(**parts) if has_blocks else parts
    return tuple(_from_json(part, has_blocks=has_blocks) for part in value) if isinstance(value, list) else value


def _refuse_what_json_cannot_hold(name: str, chosen: Mapping[str, Any]) -> None:
    for option, value in chosen.items():
        try:
            json.dumps(_to_json(value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"net {name!r}: its option {option} is no JSON: {error}") from error
