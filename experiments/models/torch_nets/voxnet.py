"""jax_nets/voxnet.py in PyTorch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class VoxNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(1, 32, 5, 2),
            nn.LeakyReLU(0.1),
            nn.Conv3d(32, 32, 3),
            nn.LeakyReLU(0.1),
            nn.MaxPool3d(2),
            nn.Flatten(),
            nn.Linear(32 * 6**3, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(self.body(batch["image"]), batch["label"])


def make() -> nn.Module:
    return VoxNet(10)
