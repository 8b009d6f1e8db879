"""A model's twin in PyTorch: the same parameters, laid out as PyTorch has them, and the same training step.

Both have their layers in the order in which they are used, so that the n-th parameter that the one uses is the n-th of
the other; shapes and gradients are then held to be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor, nn

from experiments.models.model import Batch, Model, PyTree

PICTURES = ("image", "next_image")
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class Twin:
    """A model's network in PyTorch, eager and in channels_last, as its users train it."""

    def __init__(self, name: str, model: Model, batch: Batch) -> None:
        self.is_channels_last = model.framework != "equinox"
        leaves = jax.tree.leaves(model.params)
        made: nn.Module = import_module(f"experiments.models.torch_nets.{name}").make()
        self.module = made.to(getattr(torch, leaves[0].dtype.name))
        self.order = in_order_of_use(model, batch)
        parameters = list(self._parameters())
        if len(leaves) != len(parameters):
            raise ValueError(f"{name}: {len(leaves)} parameters in JAX, {len(parameters)} in PyTorch")
        with torch.no_grad():
            for place, (owner, parameter) in zip(self.order, parameters, strict=True):
                parameter.copy_(torch.from_numpy(self._as_torch(np.asarray(leaves[place]), owner, parameter)))
        for dimensions, layout in LAST.items():
            for parameter in self.module.parameters():
                if parameter.dim() == dimensions:
                    parameter.data = parameter.data.contiguous(memory_format=layout)
        trained = self.module.parameters()
        if model.optimizer == "sgd":
            self.optimizer: Any = torch.optim.SGD(trained, model.rate, momentum=0.9)
        else:
            self.optimizer = torch.optim.Adam(trained, model.rate)

    def tensors(self, batch: Batch) -> dict[str, Tensor]:
        """The batch as PyTorch takes it."""
        found = {}
        for key, array in batch.items():
            tensor = torch.from_numpy(np.array(array))
            if key in PICTURES and self.is_channels_last:
                tensor = tensor.movedim(-1, 1)
            elif key in PICTURES:
                tensor = tensor.contiguous(memory_format=LAST[tensor.dim()])
            found[key] = tensor.long() if tensor.dtype == torch.int32 else tensor
        return found

    def step(self, batch: dict[str, Tensor]) -> Tensor:
        """Trains by one batch; its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss: Tensor = self.module(batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def gradients(self, batch: dict[str, Tensor], params: PyTree) -> tuple[float, PyTree]:
        """The loss, and its gradients as `params` is laid out."""
        self.module.zero_grad(set_to_none=True)
        loss = self.module(batch)
        loss.backward()
        leaves, tree = jax.tree.flatten(params)
        for place, (owner, parameter) in zip(self.order, list(self._parameters()), strict=True):
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            leaves[place] = self._as_jax(gradient.numpy(), owner, leaves[place].shape)
        return float(loss.detach()), jax.tree.unflatten(tree, leaves)

    def _parameters(self) -> Iterator[tuple[nn.Module, nn.Parameter]]:
        for owner in self.module.modules():
            for parameter in owner.parameters(recurse=False):
                yield owner, parameter

    def _as_torch(self, array: np.ndarray, owner: nn.Module, parameter: nn.Parameter) -> np.ndarray:
        """From (*kernel, C_in, C_out) to (C_out, C_in, *kernel); Equinox has PyTorch's layout."""
        if array.ndim > 1 and self.is_channels_last:
            spatial = range(array.ndim - 2)
            if isinstance(owner, TRANSPOSED):  # as a gradient, whose kernel is flipped
                array = np.flip(array, tuple(spatial)).transpose(-2, -1, *spatial)
            else:
                array = array.transpose(-1, -2, *spatial)
        if array.size != parameter.numel():
            raise ValueError(f"{type(owner).__name__} has {tuple(parameter.shape)} in PyTorch, {array.shape} in JAX")
        return array.reshape(parameter.shape).copy()

    def _as_jax(self, array: np.ndarray, owner: nn.Module, shape: tuple[int, ...]) -> np.ndarray:
        if array.ndim > 1 and self.is_channels_last:
            spatial = tuple(range(array.ndim - 2))
            if isinstance(owner, TRANSPOSED):
                array = np.flip(np.moveaxis(array, (0, 1), (-2, -1)), spatial)
            else:
                array = np.moveaxis(array, (0, 1), (-1, -2))
        return array.reshape(shape)


def in_order_of_use(model: Model, batch: Batch) -> list[int]:
    """The places of the parameters among the leaves, as the loss comes to use them."""
    jaxpr = jax.make_jaxpr(lambda params: model.loss(params, model.state, batch))(model.params).jaxpr
    return list(dict.fromkeys(_uses(jaxpr, {variable: place for place, variable in enumerate(jaxpr.invars)})))


def _uses(jaxpr: Any, places: dict[Any, int]) -> Iterator[int]:
    for equation in jaxpr.eqns:
        read = [None if hasattr(atom, "val") else places.get(atom) for atom in equation.invars]
        if all(place is None for place in read):
            continue
        called = next((value for name, value in equation.params.items() if name in ("jaxpr", "call_jaxpr")), None)
        inner = getattr(called, "jaxpr", called)
        if inner is not None and len(inner.invars) == len(read):
            named = zip(inner.invars, read, strict=True)
            yield from _uses(inner, {variable: place for variable, place in named if place is not None})
        else:
            yield from (place for place in read if place is not None)
