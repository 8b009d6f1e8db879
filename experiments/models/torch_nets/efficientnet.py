"""jax_nets/efficientnet.py in PyTorch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = (  # expansion, channels, repeats, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 2, 2, 3),
    (6, 112, 1, 1, 5),
)


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.SiLU(),
    ]


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.SiLU(), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.body(x.mean((2, 3), keepdim=True))


class Block(nn.Module):
    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        hidden = expansion * c_in
        self.body = nn.Sequential(
            *(conv(c_in, hidden, 1) if expansion > 1 else ()),
            *conv(hidden, hidden, kernel, stride, hidden),
            SqueezeExcite(hidden, c_in // 4),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.is_joined = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.is_joined else self.body(x)


class EfficientNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        layers, c_in = conv(3, 32, 3, 2), 32
        for expansion, channels, repeats, stride, kernel in BLOCKS:
            for repeat in range(repeats):
                layers.append(Block(c_in, channels, expansion, 1 if repeat else stride, kernel))
                c_in = channels
        self.body = nn.Sequential(*layers, *conv(c_in, 640, 1))
        self.head = nn.Linear(640, classes)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(self.head(self.body(batch["image"]).mean((2, 3))), batch["label"])


def make() -> nn.Module:
    return EfficientNet(100)
