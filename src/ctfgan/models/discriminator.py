"""The residual discriminator of SN-GAN and of CTF-GAN (D_LH): a trunk, and heads by how it learns of the class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.models.heads import ClassHead, PatchBoxHead, ProjectionHead, RealnessHead
from ctfgan.models.settings import Conditioning
from ctfgan.models.widths import Plan
from ctfgan.nn.blocks import DiscriminatorBlock
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.embed import concat_tiled

CONCAT_AFTER = 3  # blocks, in the authors' 128x128 network; one less where a network has only three
CONCAT_WIDTH = 128  # length of the concatenated vector where the last block has 1,024 channels
CONCAT_SHARE = 1_024 // CONCAT_WIDTH


class Discriminator(nn.Module):
    """Residual blocks, ReLU, sum pooling, a head; with ``boxes`` also a patch-box head (Task 3).

    Args:
        plan: channels and halvings.
        channels: K of the images.
        classes: C classes, and how they are kept.
        conditioning: how the class is used.
        boxes: whether the box of a pasted patch can be asked for.
        normalised: spectral norm on every layer.
    """

    def __init__(
        self,
        plan: Plan,
        channels: int,
        classes: ClassSpace,
        conditioning: Conditioning = "projection",
        *,
        boxes: bool = False,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        outputs = plan.discriminator
        self._concat_after = min(CONCAT_AFTER, len(outputs) - 1)
        label_width = max(8, outputs[-1] // CONCAT_SHARE) if conditioning == "concat" else 0
        self.label_maps = classes.embedding(label_width, normalised=normalised) if label_width else None
        inputs = [channels, *outputs[:-1]]
        inputs[self._concat_after] += label_width
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(count, output, down=index < plan.downs, first=index == 0, normalised=normalised)
            for index, (count, output) in enumerate(zip(inputs, outputs, strict=True))
        )
        self.head = _head(outputs[-1], classes, conditioning, bias=plan.realness_bias, normalised=normalised)
        self.box_head = PatchBoxHead(outputs[-1], plan.final_size, normalised=normalised) if boxes else None

    def features(self, images: Tensor, labels: Tensor) -> Tensor:
        """Last maps ``(N, width, size, size)`` of images ``(N, K, R, R)`` in [-1, 1] and labels ``(N,)``."""
        maps = images
        for index, block in enumerate(self.blocks):
            if self.label_maps is not None and index == self._concat_after:
                maps = concat_tiled(maps, self.label_maps(labels))
            maps = block(maps)
        return F.relu(maps)

    def judge(self, features: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N,)`` of the last maps; high means a real image (of its class)."""
        return self.head(features.sum(dim=(2, 3)), labels)

    def classify(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Logits ``(N, L)`` of the last maps for classes ``(L,)``; only with the conditioning ``classifier``."""
        assert isinstance(self.head, ClassHead), "this discriminator was built without an auxiliary classifier"
        return self.head.classify(features.sum(dim=(2, 3)), candidates)

    def locate(self, features: Tensor) -> Tensor:
        """Boxes ``(N, 4)`` of pasted patches."""
        assert self.box_head is not None, "this discriminator was built without a patch-box head"
        return self.box_head(features)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.judge(self.features(images, labels), labels)


def _head(width: int, classes: ClassSpace, conditioning: Conditioning, *, bias: bool, normalised: bool) -> RealnessHead:
    if conditioning == "projection":
        return ProjectionHead(width, classes, bias=bias, normalised=normalised)
    if conditioning == "classifier":
        return ClassHead(width, classes, bias=bias, normalised=normalised)
    return RealnessHead(width, bias=bias, normalised=normalised)
