"""jax_nets/dqn.py in PyTorch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIONS = 18


class Torso(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Linear(7 * 7 * 64, 512), nn.ReLU(), nn.Linear(512, ACTIONS))

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.body(frames.to(self.head[0].weight) / 255).permute(0, 2, 3, 1).flatten(1))


class DQN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.online = Torso()
        self.targets: list[Torso] = []  # a list, so that it is not trained

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        if not self.targets:  # the first parameters have been set by now
            self.targets.append(copy.deepcopy(self.online))
        taken = self.online(batch["image"]).gather(1, batch["action"][:, None])[:, 0]
        with torch.no_grad():
            target = batch["reward"] + 0.99 * self.targets[0](batch["next_image"]).amax(1)
        return F.huber_loss(taken, target)


def make() -> nn.Module:
    return DQN()
