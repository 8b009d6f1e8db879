"""jax_nets/mobilenet_v2.py in PyTorch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = (  # expansion, channels, repeats, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU6(),
    ]


class InvertedResidual(nn.Module):
    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * c_in
        self.body = nn.Sequential(
            *(conv(c_in, hidden, 1) if expansion > 1 else ()),
            *conv(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.is_joined = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.is_joined else self.body(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        layers, c_in = conv(3, 32, 3, 2), 32
        for expansion, channels, repeats, stride in BLOCKS:
            for repeat in range(repeats):
                layers.append(InvertedResidual(c_in, channels, expansion, 1 if repeat else stride))
                c_in = channels
        self.body = nn.Sequential(*layers, *conv(c_in, 1280, 1))
        self.head = nn.Linear(1280, classes)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(self.head(self.body(batch["image"]).mean((2, 3))), batch["label"])


def make() -> nn.Module:
    return MobileNetV2(100)
