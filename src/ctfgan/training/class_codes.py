"""Codes of classes: where a class's training images lie in the features of a small classifier (decision 31).

Classes that look alike have codes that lie close, so that what is learned of one serves the others. The classifier is
another one than the recogniser that measures, and sees nothing but the GAN's own training images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ctfgan.core.files import make_room, write_file
from ctfgan.core.progress import Progress, silent
from ctfgan.core.text import excerpt
from ctfgan.data.dataset import Dataset
from ctfgan.data.images import to_float
from ctfgan.data.sources.base import Labels
from ctfgan.metrics.eval_classifier import EvalClassifier, TrainingImages
from ctfgan.metrics.settings import EvalClassifierSettings
from ctfgan.storage.checkpoints import below, read_finite_tensors, tensor_forms

AT_ONCE = 512  # images
CLASSIFIER = "classifier."


@dataclass(frozen=True)
class ClassEncoder:
    """From images of classes to their codes: the classes' mean features, centred, at norm 1."""

    classifier: EvalClassifier
    """In evaluation mode."""
    mean: Tensor
    """Of the classes' mean features, ``(code,)``."""

    @classmethod
    def fitted(cls, classifier: EvalClassifier, means: Tensor) -> ClassEncoder:
        """Centred for classes with mean features ``(C, code)``; those that are not finite do not count."""
        return cls(classifier, means[means.isfinite().all(dim=1)].mean(dim=0))

    def codes(self, means: Tensor) -> Tensor:
        """Codes ``(N, code)`` float16 of classes with mean features ``(N, code)``; 0 where these are not finite."""
        return F.normalize(means - self.mean, dim=1).nan_to_num(0.0).half()


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
        tensors = {"classes": self.classes, "mean": self.encoder.mean}
        tensors |= {} if self.low_quality_labels is None else {"low_quality_labels": self.low_quality_labels}
        tensors |= {} if self.with_reals is None else {"with_reals": self.with_reals}
        network = self.encoder.classifier.state_dict(prefix=CLASSIFIER)
        return save({name: tensor.cpu().contiguous() for name, tensor in (tensors | network).items()})


def codes_of_labels(codes: Tensor, label_of_class: Labels, count: int) -> Tensor:
    """Codes of low-quality labels that stand for classes, ``(c_L + 1, code)``; 0 for others, and images without one.

    Args:
        codes: of the classes, ``(C, code)``.
        label_of_class: the label of each, ``(C,)``; -1 for a class without.
        count: c_L.
    """
    labels = codes.new_zeros(count + 1, codes.shape[1])
    has_own = np.flatnonzero(label_of_class >= 0)
    labels[label_of_class[has_own]] = codes[has_own]
    return labels


def random_codes(classes: int, code: int, low_quality_labels: int | None = None) -> ClassCodes:
    """Codes of no images, always the same, for those who count and time what networks do with them."""
    rng = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Tensor:
        return F.normalize(torch.randn(count, code, generator=rng), dim=1).half()

    return ClassCodes(drawn(classes), None if low_quality_labels is None else drawn(low_quality_labels + 1))


def load_codes(file: Path, code: int, *, classes: int, low_quality_labels: int, channels: int) -> ClassCodes:
    """What :meth:`ClassCodes.save` wrote, or anybody: types and shapes are compared before any memory is taken.

    Args:
        file: of a run or of a bundle.
        code: length of a code.
        classes: C.
        low_quality_labels: c_L, for the codes of labels if there are any.
        channels: of the images.

    Raises:
        ValueError: codes of other numbers, a classifier that makes none such, or values that are not finite.
        OSError: the file cannot be read.
    """
    forms = tensor_forms(file)
    expected = {
        "classes": (torch.float16, (classes, code)),
        "mean": (torch.float32, (code,)),
        "low_quality_labels": (torch.float16, (low_quality_labels + 1, code)),
        "with_reals": (torch.bool, (classes,)),
    }
    for name in {"low_quality_labels", "with_reals"} - forms.keys():
        del expected[name]
    classifier = _classifier_of(forms, code, channels)
    for name, tensor in classifier.state_dict(prefix=CLASSIFIER).items():
        expected[name] = (tensor.dtype, tuple(tensor.shape))
    tensors = read_finite_tensors(file, expected)
    classifier.load_state_dict(below(tensors, CLASSIFIER), assign=True)
    encoder = ClassEncoder(classifier.eval().requires_grad_(False), tensors["mean"])
    return ClassCodes(tensors["classes"], tensors.get("low_quality_labels"), tensors.get("with_reals"), encoder)


def _classifier_of(forms: Mapping[str, tuple[str, tuple[int, ...]]], code: int, channels: int) -> EvalClassifier:
    """The classifier of a file without its weights.

    Its width and how many classes it was trained to tell apart are its own affair: it may come from another run, whose
    weights this one began with.
    """
    width, told_apart = (
        prod(forms.get(f"{CLASSIFIER}{name}", ("", ()))[1][:1]) for name in ("trunk.0.weight", "to_logits.bias")
    )
    settings = EvalClassifierSettings().model_copy(update={"width": max(1, width), "features": code})
    try:
        with torch.device("meta"):  # its own initial weights would be drawn for nothing
            return EvalClassifier(channels, max(1, told_apart), settings)
    except (RuntimeError, OverflowError, TypeError) as error:  # sizes that no tensor can have
        raise ValueError(f"its tensors are of no classifier ({excerpt(error)})") from error


def for_codes(settings: EvalClassifierSettings, code: int) -> EvalClassifierSettings:
    """Of the classifier whose features become codes: the recogniser's, but for their number and for chance."""
    return settings.model_copy(update={"features": code, "seed": settings.seed + 1})


@torch.no_grad()
def class_means(
    classifier: EvalClassifier, images: TrainingImages, count: int, device: torch.device, progress: Progress = silent
) -> Tensor:
    """Mean features of each class, ``(C, features)``; not a number for a class without images.

    Args:
        classifier: whose features; it stays where it is.
        images: read a few at a time.
        count: C.
        device: where.
        progress: shows the reading.
    """
    network = deepcopy(classifier).to(device)
    sums = torch.zeros(count, network.to_features.out_features)
    starts = range(0, len(images.rows), AT_ONCE)
    for start in progress(starts, len(starts), "reading the classes' images"):
        part = slice(start, start + AT_ONCE)
        features = network.features(to_float(images.images[images.rows[part]], device))
        sums.index_add_(0, torch.from_numpy(images.labels[part]), features.cpu())
    return sums / torch.from_numpy(np.bincount(images.labels, minlength=count))[:, None]


def kept_class_means(
    classifier: EvalClassifier,
    images: TrainingImages,
    count: int,
    cache: Path,
    device: torch.device,
    progress: Progress = silent,
) -> Tensor:
    """The same, from the cache if these images were read before: of millions it takes an hour (docs/log.md)."""
    key = hashlib.sha256(f"{images.identity} {count} class-means-1".encode())
    for content in (images.rows, images.labels, *(tensor.numpy() for tensor in classifier.state_dict().values())):
        key.update(np.ascontiguousarray(content).data)
    file = cache / "class-means" / f"{key.hexdigest()[:24]}.safetensors"
    if file.is_file():
        with suppress(SafetensorError):  # a damaged one is made again
            return load_file(file)["means"]
    make_room(file)
    means = class_means(classifier, images, count, device, progress)
    write_file(file, save({"means": means}))
    return means


class SeenImages:
    """What a GAN trains on, as a classifier reads it: high-quality images, and, where some classes have no others,
    low-quality ones enlarged to their size.
    """

    def __init__(self, dataset: Dataset) -> None:
        packed, side = dataset.high_quality, dataset.low_quality
        rows = dataset.training
        self._high = TrainingImages(packed.images, rows, dataset.labels(rows), packed.fingerprint)
        self._low: TrainingImages | None = None
        if side is not None and len(dataset.lq_only):
            self._low = TrainingImages.of_low_quality(side.bank, packed, np.arange(dataset.num_classes))

    @property
    def high_quality(self) -> TrainingImages:
        """Labelled by class."""
        return self._high

    @property
    def low_quality(self) -> TrainingImages | None:
        """Likewise; None where every class has high-quality images."""
        return self._low

    def of(self, classes: Labels) -> TrainingImages:
        """All images of some classes, ascending, labelled 0 ... in the order of these."""
        parts = [part for part in (self._high, self._low) if part is not None]
        rows, labels = (np.concatenate(found) for found in zip(*((p.rows, p.labels) for p in parts), strict=True))
        place = np.searchsorted(classes, labels)
        known = classes[np.minimum(place, len(classes) - 1)] == labels
        return TrainingImages(parts[-1].images, rows[known], place[known], parts[-1].identity)


def codes_of_classes(encoder: ClassEncoder, high_quality: Tensor, low_quality: Tensor | None) -> Tensor:
    """Codes ``(C, code)``, of classes without high-quality images by their low-quality ones.

    The features of the two sides differ: their mean difference, over the classes that have both, is taken off.

    Args:
        encoder: which makes them.
        high_quality: mean features of each class, ``(C, code)``; not a number for a class without such images.
        low_quality: likewise; None where every class has high-quality images.
    """
    codes = encoder.codes(high_quality)
    if low_quality is not None:
        has_both = (low_quality + high_quality).isfinite().all(dim=1)
        only = ~high_quality.isfinite().all(dim=1)
        codes[only] = encoder.codes(low_quality[only] - (low_quality - high_quality)[has_both].mean(dim=0))
    return codes
