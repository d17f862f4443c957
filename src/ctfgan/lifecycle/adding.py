"""New classes from folders of images: rows that begin as learned mixtures, low-quality images for the bank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np
import torch

from ctfgan.bundle import BANK_IMAGES, Bundle
from ctfgan.data.degradation import degrade
from ctfgan.data.images import Bytes
from ctfgan.data.packed import PackedImages
from ctfgan.data.packing import look, pack
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS
from ctfgan.data.sources.opening import open_source
from ctfgan.errors import ConfigError, DataError
from ctfgan.lifecycle.mixtures import Mixture, MixtureSettings, learn_mixtures
from ctfgan.lifecycle.rows import Rows, check_conditional, rebuilt
from ctfgan.progress import Progress, silent

TOP = 3  # parts of a mixture that are reported


@dataclass(frozen=True)
class Added:
    """A bundle with new classes behind its old ones."""

    bundle: Bundle
    names: tuple[str, ...]
    """The new classes."""
    mixtures: list[Mixture]
    """What each of them begins as."""


def add(
    bundle: Bundle,
    images: str,
    low_quality: str | None = None,
    settings: MixtureSettings | None = None,
    device: torch.device | None = None,
    progress: Progress = silent,
) -> Added:
    """The bundle with the classes that some images show.

    Each new class begins as the mixture of old classes that looks most like it; every weight that is no row of a class
    stays as it is, and old classes make the same images as before.

    Args:
        bundle: the old classes.
        images: where the new classes' images are, in any form that training takes.
        low_quality: with matched pairing their low-quality images; None degrades ``images`` as the recipe says.
        settings: how mixtures are learned; None for the usual way.
        device: where; None for the CPU.
        progress: shows decoding and learning.

    Raises:
        ConfigError: a method without classes, a class that exists already, or low-quality images of no use.
        DataError: unusable images, or too few of a class.
    """
    check_conditional(bundle)
    bank = bundle.bank
    matched = bank is not None and bank.label_of_class is not None
    if low_quality is not None and not matched:
        raise ConfigError(
            "this model draws no low-quality images by class, so new classes need none of their own; leave --lq out"
        )
    if matched and low_quality is None and bundle.recipe.data.low_quality is not None:
        raise ConfigError(
            "this model was trained on low-quality images of their own kind, not on degraded copies; "
            "name those of the new classes with --lq PATH"
        )
    packed = _packed(bundle, images, bundle.recipe.data.resolution, progress)
    _check_classes(bundle, packed)
    own = [packed.images[packed.rows_of(label)] for label in range(len(packed.names))]
    low = _low_quality(bundle, packed, low_quality, progress) if matched else None
    mixtures = learn_mixtures(bundle, own, low, settings or MixtureSettings(), device or torch.device("cpu"), progress)
    count = len(bundle.classes)
    sizes = torch.tensor([len(mixture.parts) for mixture in mixtures])
    rows = Rows(
        torch.cat([torch.arange(count), *(mixture.parts[:1] for mixture in mixtures)]),
        (count + torch.arange(len(mixtures))).repeat_interleave(sizes),
        torch.cat([mixture.parts for mixture in mixtures]),
        torch.cat([mixture.weights for mixture in mixtures]),
    )
    names = packed.classes
    shown = ", ".join(names[:TOP]) + (f" and {len(names) - TOP:,} more" if len(names) > TOP else "")
    change = f"added {shown} as learned mixtures of older classes"
    details = {"mixtures": {name: _details(bundle, mixture) for name, mixture in zip(names, mixtures, strict=True)}}
    changed = rebuilt(bundle, bundle.classes + names, rows, change, details, low or ())
    return Added(changed, names, mixtures)


def _details(bundle: Bundle, mixture: Mixture) -> dict[str, object]:
    top = zip(mixture.parts[:TOP].tolist(), mixture.weights[:TOP].tolist(), strict=True)
    return {"of": {bundle.classes[part]: round(weight, 4) for part, weight in top}, "losses": mixture.losses}


def _packed(bundle: Bundle, location: str, size: int, progress: Progress) -> PackedImages:
    source = open_source(location)
    if not source.classes:
        raise DataError(f"{location} holds images without labels; put one subfolder per new class in it")
    channels: Literal[1, 3] = 1 if bundle.shape.channels == 1 else 3
    return pack(source, look(source), size, channels, bundle.recipe.data.fit, progress)


def _check_classes(bundle: Bundle, packed: PackedImages) -> None:
    known = {normalize("NFC", name) for name in bundle.classes}
    for name, count in zip(packed.classes, packed.manifest.counts().tolist(), strict=True):
        if normalize("NFC", name) in known:
            raise ConfigError(
                f"the model has a class {name!r} already; give the new one another name, or drop or rename the old one"
            )
        if count < MIN_IMAGES_PER_CLASS:
            raise DataError(
                f"{packed.survey.location}: class {name!r} has {count} readable image{'s' * (count != 1)}; a new class "
                f"needs at least {MIN_IMAGES_PER_CLASS}"
            )


def _low_quality(bundle: Bundle, packed: PackedImages, location: str | None, progress: Progress) -> list[Bytes]:
    """A few low-quality images of each new class, for learning and for the bank."""
    size, settings = bundle.shape.low_quality_size, bundle.recipe.data
    quota = max(1, BANK_IMAGES // (len(bundle.classes) + len(packed.names)))
    if location is None:
        how = settings.degradation.model_copy(update={"size": size})
        rows = [packed.rows_of(label)[:quota] for label in range(len(packed.names))]
        return [degrade(np.asarray(packed.images[part]), how, settings.seed, part) for part in rows]
    low = _packed(bundle, location, size, progress)
    number = {normalize("NFC", name): label for label, name in enumerate(low.classes)}
    names = [normalize("NFC", name) for name in packed.classes]
    missing = [name for name in names if name not in number or not len(low.rows_of(number[name]))]
    if missing:
        raise DataError(f"{Path(location)} holds no images of the new class {missing[0]!r}; add some")
    return [low.images[low.rows_of(number[name])[:quota]] for name in names]
