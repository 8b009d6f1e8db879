"""jax_nets/wavenet.py in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS, CHANNELS, SKIPPED = 256, 32, 128
DILATIONS = tuple(2**power for power in range(10))


class Causal(nn.Conv1d):
    def __init__(self, c_in: int, c_out: int, dilation: int = 1) -> None:
        super().__init__(c_in, c_out, 2, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.dilation[0], 0)))


class Layer(nn.Module):
    def __init__(self, dilation: int, is_last: bool) -> None:
        super().__init__()
        self.filtered, self.gate = Causal(CHANNELS, CHANNELS, dilation), Causal(CHANNELS, CHANNELS, dilation)
        self.skip = nn.Conv1d(CHANNELS, SKIPPED, 1)
        self.residual = None if is_last else nn.Conv1d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.tanh(self.filtered(x)) * torch.sigmoid(self.gate(x))
        return x if self.residual is None else x + self.residual(y), self.skip(y)


class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Causal(LEVELS, CHANNELS)
        self.layers = nn.ModuleList(Layer(dilation, dilation == DILATIONS[-1]) for dilation in DILATIONS)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(SKIPPED, SKIPPED, 1), nn.ReLU(), nn.Conv1d(SKIPPED, LEVELS, 1))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        sound = batch["sound"]
        x, skips = self.first(F.one_hot(sound[:, :-1], LEVELS).to(self.first.weight).mT), []
        for layer in self.layers:
            x, skip = layer(x)
            skips.append(skip)
        return F.cross_entropy(self.head(sum(skips[1:], skips[0])), sound[:, 1:])


def make() -> nn.Module:
    return WaveNet()
