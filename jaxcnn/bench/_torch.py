"""The same networks and steps in PyTorch (channels_last, eager, as its users run them), where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from jaxcnn._contract import Apply
from jaxcnn.bench._run import BenchError


def torch_step(name: str, apply: Apply) -> Callable[..., Callable[..., Any]] | None:
    """Makes a step from a first point: a module with its parameters, whose logits are held to `apply`'s; or None."""
    if name not in ("single_filter", "lenet") or find_spec("torch") is None:
        return None
    return lambda state, images, labels: _stepper(name, apply, state, images)


def _stepper(name: str, apply: Apply, state: Any, images: jax.Array) -> Callable[..., Any]:
    import torch
    from torch.nn import functional as F

    module = _single_filter(state.params) if name == "single_filter" else _lenet(state.params)
    module = module.to(memory_format=torch.channels_last)
    parameters = module.parameters()
    optimizer = torch.optim.SGD(parameters, 1e-3) if name == "single_filter" else torch.optim.Adam(parameters, 1e-3)

    def logits(images: jax.Array) -> Any:
        x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
        return module(x.contiguous(memory_format=torch.channels_last))

    ours = np.asarray(apply(state.params, images / np.float32(255))[0])
    theirs = logits(images).detach().numpy()
    if not np.all(np.abs(ours - theirs) <= 1e-3 * np.max(np.abs(ours))):
        raise BenchError(f"{name}: PyTorch's logits differ from ours; nothing was timed")

    def step(state: Any, images: jax.Array, labels: jax.Array) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits(images), torch.from_numpy(np.array(labels)).long()).backward()
        optimizer.step()

    return step


def _single_filter(params: Any) -> Any:
    from torch import nn

    conv, dense = nn.Conv2d(1, 1, 6, bias=False), nn.Linear(121, 10)
    _fill(conv.weight, params["f"], (3, 2, 0, 1))
    _fill(dense.weight, params["w"], (1, 0))
    _fill(dense.bias, params["b"], (0,))
    return nn.Sequential(conv, nn.MaxPool2d(2), nn.Flatten(), dense)


def _lenet(params: Any) -> Any:
    from torch import nn

    layers: list[Any] = []
    for name, channels in (("conv1", (1, 32)), ("conv2", (32, 64))):
        conv = nn.Conv2d(*channels, 3, padding=1)
        _fill(conv.weight, params[name]["kernel"], (3, 2, 0, 1))
        _fill(conv.bias, params[name]["bias"], (0,))
        layers += [conv, nn.ReLU(), nn.MaxPool2d(2)]
    dense1, dense2 = nn.Linear(3136, 256), nn.Linear(256, 10)
    # ours flattens (row, column, channel), PyTorch (channel, row, column)
    by_place = params["dense1"]["kernel"].reshape(7, 7, 64, 256)
    _fill(dense1.weight, by_place.transpose(2, 0, 1, 3).reshape(3136, 256), (1, 0))
    _fill(dense2.weight, params["dense2"]["kernel"], (1, 0))
    _fill(dense1.bias, params["dense1"]["bias"], (0,))
    _fill(dense2.bias, params["dense2"]["bias"], (0,))
    return nn.Sequential(*layers, nn.Flatten(), dense1, nn.ReLU(), dense2)


def _fill(parameter: Any, array: jax.Array, axes: tuple[int, ...]) -> None:
    import torch

    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.array(array).transpose(axes).copy()))
