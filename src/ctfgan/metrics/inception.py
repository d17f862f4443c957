"""The published Inception: the only extractor whose figures are called Inception score, FID and KID."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from ctfgan.core.errors import CtfganError
from ctfgan.core.files import sha256
from ctfgan.metrics.extractor import INCEPTION, ExtractorCard, Pixels, as_colour
from ctfgan.metrics.inception_network import LAST_BLOCKS, InceptionNetwork

FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
SHA256_PREFIX = "6726825d"
EPSILON = 1e-3  # of the published network's batch norm
BATCH = 50

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
    def read(self, images: Pixels) -> tuple[Tensor, Tensor]:
        """Features ``(N, 2048)`` and probabilities ``(N, 1008)`` of uint8 images ``(N, R, R, K)``."""
        features, probabilities = [], []
        for start in range(0, len(images), BATCH):
            seen, logits = self._network(as_colour(images[start : start + BATCH], self._device))
            features.append(seen.cpu())
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
    found = sha256(file)
    if not found.startswith(SHA256_PREFIX):
        raise CtfganError(
            f"{file} is not the published Inception (SHA-256 {found[:8]}..., not {SHA256_PREFIX}...), so its figures "
            "would not be FID; get it again, or use it under a name of its own with --extractor"
        )
    return Inception(folded(torch.load(file, map_location="cpu", weights_only=True)), device)


def folded(tensors: dict[str, Tensor]) -> InceptionNetwork:
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
        reason = " ".join(str(error).split())
        raise CtfganError(
            f"the Inception weights are not at {file} and cannot be downloaded ({reason}); get {FILE} from "
            "torch-fidelity's release v0.2.0 and name it with --inception-weights"
        ) from error
    return file
