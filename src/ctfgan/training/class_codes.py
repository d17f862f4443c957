"""Codes of classes: where a class's training images lie in the features of a small classifier (decision 31).

Classes that look alike have codes that lie close, so that what is learned of one serves the others. The classifier is
another one than the recogniser that measures, and sees nothing but the GAN's own training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ctfgan.data.image_view import ImageView
from ctfgan.data.sources.base import Labels
from ctfgan.errors import CtfganError
from ctfgan.metrics.extractor import Pixels
from ctfgan.metrics.recogniser import Recogniser, prepared
from ctfgan.metrics.settings import RecogniserSettings
from ctfgan.progress import Progress, silent

AT_ONCE = 512  # images
FLAT = 1e-4  # of the largest variance: directions with less, such as those that C < width classes leave, are dropped
CLASSIFIER = "classifier."


@dataclass(frozen=True)
class ClassEncoder:
    """From images of classes to their codes: the classes' mean features, centred and whitened, at norm 1."""

    classifier: Recogniser
    """In evaluation mode."""
    mean: Tensor
    """Of the classes' mean features, ``(code,)``."""
    whitening: Tensor
    """``(code, code)``, symmetric: makes their covariance the identity."""

    @classmethod
    def fitted(cls, classifier: Recogniser, means: Tensor) -> ClassEncoder:
        """Centred and whitened for classes with mean features ``(C, code)``; those that are not finite do not count."""
        wide = means[means.isfinite().all(dim=1)].double()
        mean = wide.mean(dim=0)
        variances, directions = torch.linalg.eigh((wide - mean).mT @ (wide - mean) / len(wide))
        scales = torch.where(variances > FLAT * variances[-1], variances.clamp_min(1e-30).rsqrt(), 0)
        whitening = (directions * scales) @ directions.mT
        return cls(classifier, mean.float(), whitening.float())

    def codes(self, means: Tensor) -> Tensor:
        """Codes ``(N, code)`` float16 of classes with mean features ``(N, code)``; 0 where these are not finite."""
        return F.normalize((means - self.mean) @ self.whitening, dim=1).nan_to_num(0.0).half()


@dataclass(frozen=True)
class ClassCodes:
    """What networks are given of classes that are known by codes."""

    classes: Tensor
    """``(C, code)`` float16."""
    low_quality_labels: Tensor | None = None
    """``(c_L + 1, code)``, the last of images without a label, which is 0; None where labels have tables."""
    with_reals: Tensor | None = None
    """``(C,)`` bool: classes that have high-quality images; None if all have. To the discriminator the others have the
    code 0, so that it judges their images without regard to the class (decision 32)."""
    encoder: ClassEncoder | None = None
    """What makes codes of new classes; None for codes that are not of images."""

    @property
    def for_discriminator(self) -> Tensor:
        """``(C, code)``."""
        return self.classes if self.with_reals is None else self.classes * self.with_reals[:, None]

    def save(self) -> bytes:
        """As a file of safetensors."""
        assert self.encoder is not None, "codes of no images are not kept"
        tensors = {"classes": self.classes, "mean": self.encoder.mean, "whitening": self.encoder.whitening}
        tensors |= {} if self.low_quality_labels is None else {"low_quality_labels": self.low_quality_labels}
        tensors |= {} if self.with_reals is None else {"with_reals": self.with_reals}
        network = self.encoder.classifier.state_dict(prefix=CLASSIFIER)
        return save({name: tensor.cpu().contiguous() for name, tensor in (tensors | network).items()})


def random_codes(classes: int, code: int, low_quality_labels: int | None = None) -> ClassCodes:
    """Codes of no images, for those who count and time what networks do with them."""

    def drawn(count: int) -> Tensor:
        return F.normalize(torch.randn(count, code), dim=1).half()

    return ClassCodes(drawn(classes), None if low_quality_labels is None else drawn(low_quality_labels + 1))


def load_codes(file: Path, settings: RecogniserSettings) -> ClassCodes:
    """What :meth:`ClassCodes.save` wrote.

    Args:
        file: of a run or of a bundle.
        settings: of the recipe that it belongs to.

    Raises:
        CtfganError: it is missing or damaged.
    """
    try:
        tensors = load_file(file)
        return ClassCodes(
            tensors["classes"],
            tensors.get("low_quality_labels"),
            tensors.get("with_reals"),
            _encoder(tensors, settings),
        )
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise CtfganError(f"class codes {file} are missing or damaged ({error}); train a new run") from error


def _encoder(tensors: Mapping[str, Tensor], settings: RecogniserSettings) -> ClassEncoder:
    network = {name.removeprefix(CLASSIFIER): value for name, value in tensors.items() if name.startswith(CLASSIFIER)}
    code, classes = len(tensors["mean"]), len(network["to_logits.bias"])
    with torch.device("meta"):  # its own initial weights would be drawn for nothing
        classifier = Recogniser(network["trunk.0.weight"].shape[1], classes, for_codes(settings, code))
    classifier.load_state_dict(network, assign=True)
    return ClassEncoder(classifier.eval().requires_grad_(False), tensors["mean"], tensors["whitening"])


def for_codes(settings: RecogniserSettings, code: int) -> RecogniserSettings:
    """Of the classifier whose features become codes: the recogniser's, but for their number and for chance."""
    return settings.model_copy(update={"features": code, "seed": settings.seed + 1})


@torch.no_grad()
def class_means(
    classifier: Recogniser,
    images: Pixels | ImageView,
    labels: Labels,
    count: int,
    device: torch.device,
    progress: Progress = silent,
) -> Tensor:
    """Mean features of each class, ``(C, features)``; not a number for a class without images.

    Args:
        classifier: whose features, on the device.
        images: uint8 ``(N, R, R, K)``, read a few at a time.
        labels: their classes, ``(N,)``.
        count: C.
        device: where.
        progress: shows the reading.
    """
    sums = torch.zeros(count, classifier.to_features.out_features)
    starts = range(0, len(labels), AT_ONCE)
    for start in progress(starts, len(starts), "reading the classes' images"):
        rows = np.arange(start, min(start + AT_ONCE, len(labels)))
        sums.index_add_(0, torch.from_numpy(labels[rows]), classifier.features(prepared(images[rows], device)).cpu())
    return sums / torch.from_numpy(np.bincount(labels, minlength=count))[:, None]
