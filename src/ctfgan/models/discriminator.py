"""The discriminator D_LH: a spectrally normalised residual trunk and its heads."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.models.widths import Plan
from ctfgan.nn.blocks import DiscriminatorBlock
from ctfgan.nn.layers import embedding, linear


class ProjectionHead(nn.Module):
    """Realness and class fit of sum-pooled features: ``w . h + <E[c], h>`` (Miyato and Koyama 2018)."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.realness = linear(width, 1, normalised=True)
        self.classes = embedding(num_classes, width, normalised=True)

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N,)`` of features ``(N, width)`` and labels ``(N,)``."""
        return self.realness(pooled).squeeze(1) + (self.classes(labels) * pooled).sum(dim=1)


class PatchBoxHead(nn.Module):
    """Box of a pasted patch, read off the last maps before pooling, which would lose the place (Task 3)."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.box = linear(width * size**2, 4, normalised=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Boxes ``(N, 4)`` = (x0, y0, x1, y1) / R in (0, 1) of maps ``(N, width, size, size)``."""
        return torch.sigmoid(self.box(maps.flatten(1)))


class Discriminator(nn.Module):
    """Residual blocks, ReLU, sum pooling, projection head; with ``boxes`` also a patch-box head."""

    def __init__(self, plan: Plan, channels: int, num_classes: int, *, boxes: bool) -> None:
        super().__init__()
        counts = (channels, *plan.discriminator)
        self.blocks = nn.Sequential(
            *(
                DiscriminatorBlock(inputs, outputs, down=index < plan.downs, first=index == 0)
                for index, (inputs, outputs) in enumerate(itertools.pairwise(counts))
            )
        )
        self.head = ProjectionHead(counts[-1], num_classes)
        self.box_head = PatchBoxHead(counts[-1], plan.final_size) if boxes else None

    def features(self, images: Tensor) -> Tensor:
        """Last maps ``(N, width, size, size)`` of images ``(N, K, R, R)`` in [-1, 1]."""
        return F.relu(self.blocks(images))

    def judge(self, maps: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N,)`` of the last maps; high means a real image of its class."""
        return self.head(maps.sum(dim=(2, 3)), labels)

    def locate(self, maps: Tensor) -> Tensor:
        """Boxes ``(N, 4)`` of pasted patches."""
        assert self.box_head is not None, "this discriminator was built without a patch-box head"
        return self.box_head(maps)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.judge(self.features(images), labels)
