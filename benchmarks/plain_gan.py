"""What "plain" means: SN-GAN + Projection at 32x32 as a straightforward PyTorch program does it.

Networks, loss and schedule are the authors' (Miyato and Koyama 2018), as in the recipe ``table1-cifar10-projection``,
and so is the number of parameters. Nothing is done for speed but what everybody does: the fakes of a discriminator step
are made without a graph. So tensors are plain NCHW; a block convolves what it has upscaled and pools what it has
convolved, in the shortcut too; real and fake images pass the discriminator one after the other; Adam loops over the
tensors; a generator step also computes the gradients of the discriminator's weights, which nobody reads.

It stands alone on purpose: no layer of ctfgan is used here, so that none of its ideas can slip in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

BASE = 4  # side of the generator's first maps; three blocks double it to 32
BATCH_NORM_EPSILON = 2e-5


class ClassBatchNorm(nn.Module):
    """Batch norm, then the class's scale and shift: maps ``(N, C, H, W)``, labels ``(N,)``."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, affine=False)
        self.gamma = nn.Embedding(num_classes, channels)
        self.beta = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.gamma.weight)
        nn.init.zeros_(self.beta.weight)

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        """The same shape."""
        return self.gamma(labels)[:, :, None, None] * self.normalize(maps) + self.beta(labels)[:, :, None, None]


class UpBlock(nn.Module):
    """Residual block that doubles the side."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm_1 = ClassBatchNorm(channels, num_classes)
        self.conv_1 = _conv(channels, channels, 3)
        self.norm_2 = ClassBatchNorm(channels, num_classes)
        self.conv_2 = _conv(channels, channels, 3)
        self.shortcut = _conv(channels, channels, 1)

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, 2H, 2W)``."""
        hidden = self.conv_1(F.interpolate(F.relu(self.norm_1(maps, labels)), scale_factor=2.0))
        hidden = self.conv_2(F.relu(self.norm_2(hidden, labels)))
        return hidden + self.shortcut(F.interpolate(maps, scale_factor=2.0))


class Generator(nn.Module):
    """Noise ``(N, noise)`` and labels ``(N,)`` to images ``(N, K, 32, 32)``."""

    def __init__(self, width: int, noise: int, num_classes: int, channels: int) -> None:
        super().__init__()
        self.width = width
        self.from_noise = nn.Linear(noise, width * BASE**2)
        nn.init.xavier_uniform_(self.from_noise.weight)
        nn.init.zeros_(self.from_noise.bias)
        self.blocks = nn.ModuleList(UpBlock(width, num_classes) for _ in range(3))
        self.norm = nn.BatchNorm2d(width, eps=BATCH_NORM_EPSILON)
        self.to_image = _conv(width, channels, 3)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Images in [-1, 1]."""
        maps = self.from_noise(noise).view(-1, self.width, BASE, BASE)
        for block in self.blocks:
            maps = block(maps, labels)
        return torch.tanh(self.to_image(F.relu(self.norm(maps))))


class DownBlock(nn.Module):
    """Residual block of the discriminator; ``down`` halves the side, ``first`` has no ReLU at its input."""

    def __init__(self, inputs: int, outputs: int, *, down: bool, first: bool = False) -> None:
        super().__init__()
        self.down = down
        self.first = first
        self.conv_1 = spectral_norm(_conv(inputs, outputs, 3))
        self.conv_2 = spectral_norm(_conv(outputs, outputs, 3))
        self.shortcut = spectral_norm(_conv(inputs, outputs, 1)) if down else None

    def forward(self, maps: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, D, H/2, W/2)`` or ``(N, D, H, W)``."""
        hidden = self.conv_2(F.relu(self.conv_1(maps if self.first else F.relu(maps))))
        shortcut = maps if self.shortcut is None else self.shortcut(maps)
        if not self.down:
            return hidden + shortcut
        return F.avg_pool2d(hidden, 2) + F.avg_pool2d(shortcut, 2)


class Discriminator(nn.Module):
    """Images ``(N, K, 32, 32)`` and labels ``(N,)`` to logits ``(N,)``."""

    def __init__(self, width: int, num_classes: int, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            DownBlock(channels, width, down=True, first=True),
            DownBlock(width, width, down=True),
            DownBlock(width, width, down=False),
            DownBlock(width, width, down=False),
        )
        self.realness = spectral_norm(nn.Linear(width, 1, bias=False))
        self.classes = spectral_norm(nn.Embedding(num_classes, width))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """High means real and of its class."""
        features = F.relu(self.blocks(images)).sum(dim=(2, 3))
        return self.realness(features).squeeze(1) + (self.classes(labels) * features).sum(dim=1)


class PlainTrainer:
    """The two players and their optimisers.

    Args:
        generator_width: 256 in the authors' network.
        discriminator_width: 128 in the authors' network.
        noise: length of the latent vector.
        num_classes: C.
        channels: K.
        rate: Adam's learning rate.
    """

    def __init__(
        self, generator_width: int, discriminator_width: int, noise: int, num_classes: int, channels: int, rate: float
    ) -> None:
        self.noise = noise
        self.num_classes = num_classes
        self.generator = Generator(generator_width, noise, num_classes, channels)
        self.discriminator = Discriminator(discriminator_width, num_classes, channels)
        self._generator_adam = _adam(self.generator, rate)
        self._discriminator_adam = _adam(self.discriminator, rate)

    def update_discriminator(self, real: Tensor, labels: Tensor) -> None:
        """One step on real images ``(N, K, 32, 32)``, their labels ``(N,)`` and as many fakes."""
        with torch.no_grad():
            fake, fake_labels = self._fakes(len(real))
        loss = F.relu(1 - self.discriminator(real, labels)).mean()
        loss = loss + F.relu(1 + self.discriminator(fake, fake_labels)).mean()
        self._discriminator_adam.zero_grad()
        loss.backward()
        self._discriminator_adam.step()

    def update_generator(self, count: int) -> None:
        """One step on ``count`` fakes."""
        fake, labels = self._fakes(count)
        loss = -self.discriminator(fake, labels).mean()
        self._generator_adam.zero_grad()
        loss.backward()
        self._generator_adam.step()

    def _fakes(self, count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(self.num_classes, (count,))
        return self.generator(torch.randn(count, self.noise), labels), labels


def _conv(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    nn.init.xavier_uniform_(layer.weight, gain=2**0.5 if size == 3 else 1.0)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _adam(network: nn.Module, rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=rate, betas=(0.0, 0.9), foreach=False, fused=False)
