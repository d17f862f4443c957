"""The Inception-v3 of 2015-12-05: the only extractor whose scores are called Inception score, FID and KID.

It differs from later Inception-v3s: 1,008 classes, average pools that leave the padding out of the mean, and a max pool
in the last block. Module names are those of the weights file that torch-fidelity publishes. The package itself cannot
be used: it wants torchvision, which is not to be had for every torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.core.errors import CtfganError
from ctfgan.core.files import sha256
from ctfgan.core.text import excerpt
from ctfgan.data.images import Bytes
from ctfgan.metrics.features import INCEPTION, ExtractorCard, as_colour

FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
SHA256_PREFIX = "6726825d"
EPSILON = 1e-3  # of the published network's batch norm
BATCH = 50
SIDE = 299
CLASSES = 1_008
LAST_BLOCKS = {"Mixed_6e": 768, "Mixed_7c": 2_048}
"""Blocks whose spatial mean serves as a feature vector, with its width."""

CARD = ExtractorCard(
    key=INCEPTION,
    name=f"inception-v3-2015-12-05-{SHA256_PREFIX}",
    width=LAST_BLOCKS["Mixed_7c"],
    resize="to 299x299, bilinear as in TensorFlow 1, without anti-aliasing",
    distance="FID",
    kernel="KID",
    score="Inception score",
    published_images=50_000,
)


class Inception:
    """Features are the 2,048 of the last pool; probabilities the softmax over all 1,008 outputs without their bias."""

    card = CARD

    def __init__(self, network: InceptionNetwork, device: torch.device) -> None:
        self._network = network.eval().requires_grad_(False).to(device)
        self._device = device

    @torch.no_grad()
    def read(self, images: Bytes) -> tuple[Tensor, Tensor]:
        """Features ``(N, 2048)`` and probabilities ``(N, 1008)`` of uint8 images ``(N, R, R, K)``."""
        features, probabilities = [], []
        for start in range(0, len(images), BATCH):
            extracted, logits = self._network(as_colour(images[start : start + BATCH], self._device))
            features.append(extracted.cpu())
            probabilities.append(logits.softmax(dim=1).cpu())
        return torch.cat(features), torch.cat(probabilities)


def load_inception(weights: Path | None, device: torch.device) -> Inception:
    """The published Inception.

    Args:
        weights: the published file; None looks where torch-fidelity and torch hub keep it, then downloads it there.
        device: where it runs.

    Raises:
        CtfganError: no file, no network, or other contents than the published ones.
    """
    file = _download() if weights is None else weights
    if not file.is_file():
        raise CtfganError(f"{file} does not exist; give the file {FILE} of torch-fidelity's release v0.2.0")
    digest = sha256(file)
    if not digest.startswith(SHA256_PREFIX):
        raise CtfganError(
            f"{file} is not the published Inception (SHA-256 {digest[:8]}..., not {SHA256_PREFIX}...), so its figures "
            "would not be FID; get it again, or use it under a name of its own with --extractor"
        )
    return Inception(fold_batch_norms(torch.load(file, map_location="cpu", weights_only=True)), device)


def fold_batch_norms(tensors: dict[str, Tensor]) -> InceptionNetwork:
    """The network from the tensors of the published file, each batch norm folded into its convolution."""
    with torch.device("meta"):
        network = InceptionNetwork()
    ours: dict[str, Tensor] = {"fc.weight": tensors["fc.weight"], "fc.bias": tensors["fc.bias"]}
    for name in network.convolutions():
        norm = f"{name}.bn."
        scale = tensors[norm + "weight"] / (tensors[norm + "running_var"] + EPSILON).sqrt()
        ours[f"body.{name}.weight"] = tensors[f"{name}.conv.weight"] * scale[:, None, None, None]
        ours[f"body.{name}.bias"] = tensors[norm + "bias"] - tensors[norm + "running_mean"] * scale
    network.load_state_dict({name: tensor.float() for name, tensor in ours.items()}, assign=True)
    return network


def _download() -> Path:
    """The weights in torch hub's cache, downloaded first if they are not there."""
    file = Path(torch.hub.get_dir(), "checkpoints", FILE)
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(file), hash_prefix=SHA256_PREFIX)
    except (URLError, OSError, RuntimeError) as error:
        raise CtfganError(
            f"the Inception weights are not at {file} and cannot be downloaded ({excerpt(error)}); get {FILE} from "
            "torch-fidelity's release v0.2.0 and name it with --inception-weights"
        ) from error
    return file


class Convolution(nn.Conv2d):
    """Convolution, bias, ReLU; batch norm is part of weight and bias."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` to maps without negative values."""
        return F.relu(super().forward(maps), inplace=True)


@dataclass(frozen=True)
class ConvSpec:
    """A convolution: name in the weights file, output channels, kernel, stride; padded to keep the size, or not."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True

    def build(self, inputs: int) -> Convolution:
        """The module for that many input channels."""
        padding = (self.kernel[0] // 2, self.kernel[1] // 2) if self.padded else (0, 0)
        return Convolution(inputs, self.channels, self.kernel, self.stride, padding)


@dataclass(frozen=True)
class Branch:
    """A pool or none, convolutions one after the other, then perhaps several side by side."""

    layers: tuple[ConvSpec, ...] = ()
    fork: tuple[ConvSpec, ...] = ()
    pool: Callable[[Tensor], Tensor] | None = None


class Mixed(nn.Module):
    """Branches on the same input, their maps concatenated."""

    def __init__(self, inputs: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.channels = 0
        self._branches = branches
        for branch in branches:
            width = inputs
            for layer in branch.layers:
                self.add_module(layer.name, layer.build(width))
                width = layer.channels
            for layer in branch.fork:
                self.add_module(layer.name, layer.build(width))
            self.channels += sum(layer.channels for layer in branch.fork) if branch.fork else width

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(N, inputs, H, W)`` to ``(N, channels, H', W')``."""
        outputs = []
        for branch in self._branches:
            current = maps if branch.pool is None else branch.pool(maps)
            for layer in branch.layers:
                current = self.get_submodule(layer.name)(current)
            outputs += [self.get_submodule(layer.name)(current) for layer in branch.fork] or [current]
        return torch.cat(outputs, dim=1)


class InceptionNetwork(nn.Module):
    """Input: images ``(N, 3, H, W)`` in 0 ... 255, uint8 or float.

    Args:
        last: one of :data:`LAST_BLOCKS`; the class layer exists only behind ``Mixed_7c``.
    """

    def __init__(self, last: str = "Mixed_7c") -> None:
        super().__init__()
        self.body = nn.Sequential()
        channels = 3
        for layer in STEM:
            if layer.name in BEHIND_A_POOL:
                self.body.append(nn.MaxPool2d(3, stride=2))
            self.body.add_module(layer.name, layer.build(channels))
            channels = layer.channels
        self.body.append(nn.MaxPool2d(3, stride=2))
        for name, branches in BLOCKS.items():
            block = Mixed(channels, branches)
            self.body.add_module(name, block)
            channels = block.channels
            if name == last:
                break
        assert channels == LAST_BLOCKS[last]
        self.fc = nn.Linear(channels, CLASSES) if last == "Mixed_7c" else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features ``(N, width)``; logits ``(N, 1008)`` without the bias, as the Inception score uses them, or None."""
        maps = (resize_like_tensorflow_1(images.float(), SIDE) - 128) / 128
        features = self.body(maps).mean(dim=(2, 3))
        return features, None if self.fc is None else features @ self.fc.weight.T

    def convolutions(self) -> dict[str, Convolution]:
        """All convolutions by their name in the weights file, in the order of the network."""
        return {name: module for name, module in self.body.named_modules() if isinstance(module, Convolution)}


def resize_like_tensorflow_1(images: Tensor, side: int) -> Tensor:
    """Bilinear resize of ``(N, C, H, W)`` to ``(N, C, side, side)`` without anti-aliasing or half-pixel offset.

    Output pixel i looks at input position i * H / side, as TensorFlow 1 did and so every published figure.
    """
    for axis in (2, 3):
        length = images.shape[axis]
        position = torch.arange(side, device=images.device, dtype=torch.float32) * (length / side)
        low = position.floor().long().clamp_max(length - 1)
        high = (low + 1).clamp_max(length - 1)
        weight = (position - low).reshape((-1, 1) if axis == 2 else (-1,))
        images = torch.lerp(images.index_select(axis, low), images.index_select(axis, high), weight)
    return images


def _average(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, 3, stride=1, padding=1)


def _halved(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, 3, stride=2)


def _at_35(pooled: int) -> list[Branch]:
    return [
        Branch((ConvSpec("branch1x1", 64),)),
        Branch((ConvSpec("branch5x5_1", 48), ConvSpec("branch5x5_2", 64, (5, 5)))),
        Branch((
            ConvSpec("branch3x3dbl_1", 64),
            ConvSpec("branch3x3dbl_2", 96, (3, 3)),
            ConvSpec("branch3x3dbl_3", 96, (3, 3)),
        )),
        Branch((ConvSpec("branch_pool", pooled),), pool=_average),
    ]  # fmt: skip


def _to_17() -> list[Branch]:
    return [
        Branch((ConvSpec("branch3x3", 384, (3, 3), stride=2, padded=False),)),
        Branch((
            ConvSpec("branch3x3dbl_1", 64),
            ConvSpec("branch3x3dbl_2", 96, (3, 3)),
            ConvSpec("branch3x3dbl_3", 96, (3, 3), stride=2, padded=False),
        )),
        Branch(pool=_halved),
    ]  # fmt: skip


def _at_17(width: int) -> list[Branch]:
    return [
        Branch((ConvSpec("branch1x1", 192),)),
        Branch((
            ConvSpec("branch7x7_1", width),
            ConvSpec("branch7x7_2", width, (1, 7)),
            ConvSpec("branch7x7_3", 192, (7, 1)),
        )),
        Branch((
            ConvSpec("branch7x7dbl_1", width),
            ConvSpec("branch7x7dbl_2", width, (7, 1)),
            ConvSpec("branch7x7dbl_3", width, (1, 7)),
            ConvSpec("branch7x7dbl_4", width, (7, 1)),
            ConvSpec("branch7x7dbl_5", 192, (1, 7)),
        )),
        Branch((ConvSpec("branch_pool", 192),), pool=_average),
    ]  # fmt: skip


def _to_8() -> list[Branch]:
    return [
        Branch((
            ConvSpec("branch3x3_1", 192),
            ConvSpec("branch3x3_2", 320, (3, 3), stride=2, padded=False),
        )),
        Branch((
            ConvSpec("branch7x7x3_1", 192),
            ConvSpec("branch7x7x3_2", 192, (1, 7)),
            ConvSpec("branch7x7x3_3", 192, (7, 1)),
            ConvSpec("branch7x7x3_4", 192, (3, 3), stride=2, padded=False),
        )),
        Branch(pool=_halved),
    ]  # fmt: skip


def _at_8(pool: Callable[[Tensor], Tensor]) -> list[Branch]:
    return [
        Branch((ConvSpec("branch1x1", 320),)),
        Branch(
            (ConvSpec("branch3x3_1", 384),),
            fork=(ConvSpec("branch3x3_2a", 384, (1, 3)), ConvSpec("branch3x3_2b", 384, (3, 1))),
        ),
        Branch(
            (ConvSpec("branch3x3dbl_1", 448), ConvSpec("branch3x3dbl_2", 384, (3, 3))),
            fork=(ConvSpec("branch3x3dbl_3a", 384, (1, 3)), ConvSpec("branch3x3dbl_3b", 384, (3, 1))),
        ),
        Branch((ConvSpec("branch_pool", 192),), pool=pool),
    ]


STEM = (
    ConvSpec("Conv2d_1a_3x3", 32, (3, 3), stride=2, padded=False),
    ConvSpec("Conv2d_2a_3x3", 32, (3, 3), padded=False),
    ConvSpec("Conv2d_2b_3x3", 64, (3, 3)),
    ConvSpec("Conv2d_3b_1x1", 80, padded=False),
    ConvSpec("Conv2d_4a_3x3", 192, (3, 3), padded=False),
)
BEHIND_A_POOL = {"Conv2d_3b_1x1"}
BLOCKS = {
    "Mixed_5b": _at_35(32),
    "Mixed_5c": _at_35(64),
    "Mixed_5d": _at_35(64),
    "Mixed_6a": _to_17(),
    "Mixed_6b": _at_17(128),
    "Mixed_6c": _at_17(160),
    "Mixed_6d": _at_17(160),
    "Mixed_6e": _at_17(192),
    "Mixed_7a": _to_8(),
    "Mixed_7b": _at_8(_average),
    "Mixed_7c": _at_8(_maximum),
}
