"""jax_nets/convnext.py in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS, DEPTHS = (64, 128, 256), (2, 2, 3)


class Norm(nn.LayerNorm):
    """Over the channels of each place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scale(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Norm(channels),
            nn.Conv2d(channels, 4 * channels, 1),
            nn.GELU(approximate="tanh"),
            nn.Conv2d(4 * channels, channels, 1),
            Scale(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ConvNeXt(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, (channels, depth) in enumerate(zip(CHANNELS, DEPTHS, strict=True)):
            if stage == 0:
                layers += [nn.Conv2d(3, channels, 4, 4), Norm(channels)]
            else:
                before = CHANNELS[stage - 1]
                layers += [Norm(before), nn.Conv2d(before, channels, 2, 2)]
            layers += [Block(channels) for _ in range(depth)]
        self.body = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(CHANNELS[-1])
        self.head = nn.Linear(CHANNELS[-1], classes)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(self.head(self.norm(self.body(batch["image"]).mean((2, 3)))), batch["label"])


def make() -> nn.Module:
    return ConvNeXt(100)
