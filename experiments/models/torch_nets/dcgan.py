"""jax_nets/dcgan.py in PyTorch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

LATENT = 64


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(LATENT, 4 * 4 * 256, bias=False)
        self.body = nn.Sequential(
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.ConvTranspose2d(256, 128, 4, 2, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, 2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 3, 4, 2, padding=1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.body(self.dense(z).reshape(-1, 4, 4, 256).permute(0, 3, 1, 2))


class DCGAN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = Generator()
        self.discriminator = nn.Sequential(
            nn.Conv2d(3, 64, 4, 2, padding=1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 128, 4, 2, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2),
            nn.Conv2d(128, 256, 4, 2, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.LeakyReLU(0.2),
            nn.Conv2d(256, 1, 4, bias=False),
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        fake = self.generator(batch["latent"])
        of_real, of_fake = self.discriminator(batch["image"]), self.discriminator(fake.detach())
        self.discriminator.requires_grad_(False)
        fooled = self.discriminator(fake)
        self.discriminator.requires_grad_(True)
        return F.softplus(-of_real).mean() + F.softplus(of_fake).mean() + F.softplus(-fooled).mean()


def make() -> nn.Module:
    return DCGAN()
