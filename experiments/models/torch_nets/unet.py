"""jax_nets/unet.py in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (32, 64, 128)
CLASSES = 3


def pair(c_in: int, c_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(), nn.Conv2d(c_out, c_out, 3, padding=1), nn.ReLU()
    )


class Level(nn.Module):
    """Down, all that is below, and up again."""

    def __init__(self, c_in: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        here, *below = channels
        self.down = pair(c_in, here)
        self.below = pair(here, below[0]) if len(below) == 1 else Level(here, tuple(below))
        self.up = nn.ConvTranspose2d(below[0], here, 2, 2)
        self.joined = pair(2 * here, here)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return self.joined(torch.cat([x, self.up(self.below(F.max_pool2d(x, 2)))], 1))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Level(3, (*CHANNELS, 2 * CHANNELS[-1])), nn.Conv2d(CHANNELS[0], CLASSES, 1))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(self.body(batch["image"]), batch["label"])


def make() -> nn.Module:
    return UNet()
