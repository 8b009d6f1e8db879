"""jax_nets/densenet.py in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROWTH, UNITS, BLOCKS = 24, 4, 3


def norm(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, eps=1.001e-5), nn.ReLU()]


class Unit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *norm(channels),
            nn.Conv2d(channels, 4 * GROWTH, 1, bias=False),
            *norm(4 * GROWTH),
            nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


class DenseNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        channels = 2 * GROWTH
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for block in range(BLOCKS):
            if block:
                layers += [*norm(channels), nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
                channels //= 2
            layers += [Unit(channels + unit * GROWTH) for unit in range(UNITS)]
            channels += UNITS * GROWTH
        self.body = nn.Sequential(*layers, *norm(channels))
        self.head = nn.Linear(channels, classes)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(self.head(self.body(batch["image"]).mean((2, 3))), batch["label"])


def make() -> nn.Module:
    return DenseNet(10)
