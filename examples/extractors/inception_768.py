"""FID-768 and KID-768: the 768 features of the FID Inception's mixed_7, for weights that end before the last blocks.

    CTFGAN_INCEPTION_768=weights.npz ctfgan evaluate RUN --extractor examples/extractors/inception_768.py

The environment variable ``CTFGAN_INCEPTION_768`` names an ``.npz`` of the Inception-v3 of 2015-12-05 with batch norm
folded in: for each convolution of the TensorFlow graph, up to mixed_7, ``<layer>/w`` (output, input, height, width)
and ``<layer>/b``. Any float type will do. Figures on these features are no FID: they compare with each other only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctfgan.metrics.inception import InceptionNetwork

NAME = "768"
RESIZE = "to 299x299, bilinear as in TensorFlow 1, without anti-aliasing"
VARIABLE = "CTFGAN_INCEPTION_768"

STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e")
"""Blocks of the network in order; in the graph they are mixed, mixed_1 ... mixed_7."""
TOWERS = {
    "branch1x1": "",
    "branch3x3": "",
    "branch5x5": "tower",
    "branch7x7": "tower",
    "branch3x3dbl": "tower_1",
    "branch7x7dbl": "tower_1",
    "branch_pool": "tower_2",
}
"""Where a branch stands in the graph, but in 6a: there branch3x3dbl comes first."""


class Features(nn.Module):
    """uint8 images ``(N, 3, H, W)`` to features ``(N, 768)``."""

    def __init__(self, network: InceptionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Without the logits, which these weights do not reach."""
        return self.network(images)[0]


def load(device: torch.device) -> nn.Module:
    """The network with the weights that the environment variable names."""
    if VARIABLE not in os.environ:
        raise RuntimeError(f"the environment variable {VARIABLE} is not set; let it name the .npz with the weights")
    with np.load(os.environ[VARIABLE], allow_pickle=False) as archive:
        return Features(network_of(archive)).to(device)


def network_of(arrays: Mapping[str, NDArray[Any]]) -> InceptionNetwork:
    """The network up to mixed_7 from arrays named as in the graph."""
    with torch.device("meta"):
        network = InceptionNetwork("Mixed_6e")
    tensors = {}
    for name in network.convolutions():
        for ours, theirs in (("weight", "w"), ("bias", "b")):
            array = arrays[f"{graph_name(name)}/{theirs}"]
            tensors[f"body.{name}.{ours}"] = torch.from_numpy(array.astype(np.float32))
    network.load_state_dict(tensors, assign=True)
    return network


def graph_name(name: str) -> str:
    """Name of a convolution in the graph: Mixed_5c.branch5x5_2 is mixed_1_tower_conv_1."""
    if name in STEM:
        return _numbered("conv", STEM.index(name))
    block, layer = name.removeprefix("Mixed_").split(".")
    found = re.fullmatch(r"(branch\dx\d(?:dbl)?|branch_pool)(?:_(\d))?", layer)
    assert found is not None, layer
    branch, number = found.groups(default="1")
    tower = "tower" if (block, branch) == ("6a", "branch3x3dbl") else TOWERS[branch]
    parts = [_numbered("mixed", BLOCKS.index(block)), tower, _numbered("conv", int(number) - 1)]
    return "_".join(part for part in parts if part)


def _numbered(word: str, number: int) -> str:
    return f"{word}_{number}" if number else word
