"""New classes from a few images of each: their codes, and low-quality images for the bank; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ctfgan.bundle.bundle import Bundle, Side, bank_images
from ctfgan.bundle.class_rows import NewClasses, check_conditional, rebuilt
from ctfgan.core.class_index import ClassIndex
from ctfgan.core.errors import ConfigError, DataError
from ctfgan.core.progress import Progress, silent
from ctfgan.core.text import a_few
from ctfgan.data.dataset import Subset
from ctfgan.data.images import Bytes
from ctfgan.data.low_quality_bank import degrade
from ctfgan.data.pack import pack
from ctfgan.data.packed import PackedImages
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.registry import open_source
from ctfgan.metrics.eval_classifier import TrainingImages
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS, table_spaces
from ctfgan.training.class_codes import ClassCodes, class_means

BLOCK = 64  # new classes that are compared with all old ones at a time


@dataclass(frozen=True)
class NewClass:
    """What became of a class that was added."""

    name: str
    images: int
    """That its code was made of."""
    nearest: str
    """The old class whose code is most like its own."""
    likeness: float
    """The cosine of the angle between the two codes."""


def add(
    bundle: Bundle,
    images: str,
    low_quality: str | None = None,
    device: torch.device | None = None,
    progress: Progress = silent,
) -> tuple[Bundle, list[NewClass]]:
    """The bundle with the classes that some images show behind its old ones; one image of each is enough.

    Every weight and every code of an old class stays as it is, so old classes make the same images as before.

    Args:
        bundle: the old classes, known by codes.
        images: where the new classes' images are, in any form that training takes.
        low_quality: with matched pairing their low-quality images; None degrades ``images`` as the recipe says.
        device: where the images are read; None for the CPU.
        progress: shows decoding and reading.

    Raises:
        ConfigError: a method without classes, tables in the place of codes, a class that exists already, or
            low-quality images of no use.
        DataError: unusable images, or none of a class.
    """
    check_conditional(bundle)
    bank = bundle.bank
    matched = bank is not None and bank.label_of_class is not None
    codes = _codes(bundle, matched=matched)
    if low_quality is not None and not matched:
        raise ConfigError(
            "this model draws no low-quality images by class, so new classes need none of their own; leave --lq out"
        )
    if matched and low_quality is None and bundle.recipe.data.has_own_low_quality:
        raise ConfigError(
            "this model was trained on low-quality images of their own kind, not on degraded copies; "
            "name those of the new classes with --lq PATH"
        )
    packed = _packed(bundle, images, bundle.recipe.data.resolution, "high_quality", progress)
    _check_classes(bundle, packed)
    low = _low_quality(bundle, packed, low_quality, progress) if matched else ()
    assert codes.encoder is not None, "codes of a bundle are of images"
    own = TrainingImages.of(Subset(packed, np.arange(len(packed))))
    means = class_means(codes.encoder.classifier, own, len(packed.names), device or torch.device("cpu"), progress)
    new = NewClasses(codes.encoder.codes(means), low)
    report = _report(bundle, packed, codes.classes, new.codes)
    details = {"images of each": {one.name: one.images for one in report}}
    names = bundle.classes + packed.classes
    change = f"added {a_few(packed.classes)}"
    return rebuilt(bundle, names, torch.arange(len(bundle.classes)), change, details, new), report


def _codes(bundle: Bundle, *, matched: bool) -> ClassCodes:
    """The codes of a bundle that has no tables with a row for each class."""
    spaces = table_spaces(bundle.generator).values()
    if bundle.codes is None or (matched and LOW_QUALITY_LABELS in spaces):
        setting = "class_tables=codes" if CLASSES in spaces else "label_tables=auto"
        raise ConfigError(
            "this model keeps learned rows of each class, which images alone cannot fill for a new one; train a model "
            f"with --set {setting} to add classes, or train this one on them with 'ctfgan train --from'"
        )
    return bundle.codes


def _report(bundle: Bundle, packed: PackedImages, old: Tensor, new: Tensor) -> list[NewClass]:
    wide = old.float().mT
    found: list[tuple[Tensor, Tensor]] = []
    for block in new.float().split(BLOCK):
        likeness, nearest = (block @ wide).max(dim=1)
        found += zip(likeness, nearest, strict=True)
    counts = packed.counts().tolist()
    return [
        NewClass(name, count, bundle.classes[int(label)], float(cosine))
        for name, count, (cosine, label) in zip(packed.classes, counts, found, strict=True)
    ]


def _packed(bundle: Bundle, location: str, size: int, side: Side, progress: Progress) -> PackedImages:
    source = open_source(location)
    if not source.classes:
        raise DataError(f"{location} holds images without labels; put one subfolder per new class in it")
    channels: Literal[1, 3] = 1 if bundle.data_spec.channels == 1 else 3
    survey, fit = scan_headers(source, progress), bundle.recipe.data.fit
    return pack(source, survey, size, channels, fit, progress, bundle.levels(side))


def _check_classes(bundle: Bundle, packed: PackedImages) -> None:
    known = ClassIndex(bundle.classes).find(packed.classes)
    for name, old, count in zip(packed.classes, known, packed.counts().tolist(), strict=True):
        if old >= 0:
            raise ConfigError(
                f"the model has a class {name!r} already; give the new one another name, or drop or rename the old one"
            )
        if not count:
            raise DataError(f"{packed.survey.location}: class {name!r} has no readable image; a new class needs one")


def _low_quality(bundle: Bundle, packed: PackedImages, location: str | None, progress: Progress) -> list[Bytes]:
    """A few low-quality images of each new class for the bank."""
    size, settings = bundle.data_spec.low_quality_size, bundle.recipe.data
    count = len(bundle.classes) + len(packed.names)
    quota = max(1, bank_images(count, size**2 * bundle.data_spec.channels) // count)
    if location is None:
        how = settings.degradation.model_copy(update={"size": size})
        rows = [packed.rows_of(label)[:quota] for label in range(len(packed.names))]
        return [degrade(np.asarray(packed.images[part]), how, settings.seed, part) for part in rows]
    low = _packed(bundle, location, size, "low_quality", progress)
    labels = ClassIndex(low.classes).find(packed.classes)
    rows = [low.rows_of(label)[:quota] if label >= 0 else np.empty(0, np.int64) for label in labels]
    for name, part in zip(packed.classes, rows, strict=True):
        if not len(part):
            raise DataError(f"{Path(location)} holds no images of the new class {name!r}; add some")
    return [low.images[part] for part in rows]
