"""jax_nets/impala.py in PyTorch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

ACTIONS = 18


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Impala(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in ((4, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.MaxPool2d(3, 2, padding=1)]
            layers += [Residual(c_out), Residual(c_out)]
        self.body = nn.Sequential(*layers, nn.ReLU())
        self.dense, self.actor, self.critic = nn.Linear(11 * 11 * 32, 256), nn.Linear(256, ACTIONS), nn.Linear(256, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = self.body(batch["image"].to(self.dense.weight) / 255).permute(0, 2, 3, 1).flatten(1)
        x = F.relu(self.dense(x))
        log_policy, value = F.log_softmax(self.actor(x), 1), self.critic(x)[:, 0]
        taken = log_policy.gather(1, batch["action"][:, None])[:, 0]
        entropy = -(log_policy.exp() * log_policy).sum(1).mean()
        of_critic = 0.5 * (value - batch["target"]).square().mean()
        return of_critic - (batch["advantage"] * taken).mean() - 0.01 * entropy


def make() -> nn.Module:
    return Impala()
