"""What a set of samples consists of: how many images of which class, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctfgan.core.errors import ConfigError
from ctfgan.core.text import a_few, plural
from ctfgan.data.sources.base import ImageSource, Labels
from ctfgan.sampling.model import ANY_CLASS, Model
from ctfgan.sampling.rejection import RejectionSampler


@dataclass(frozen=True)
class Balance:
    """The real images that a set fills up."""

    source: str
    """Where they are, as the user called it."""
    target: int
    """Real and generated images together that every class is to have."""
    real: Labels
    """Real images of each class of the plan, ``(P,)`` int64."""
    notes: tuple[str, ...]
    """What does not fit together, one sentence each."""


@dataclass(frozen=True)
class SamplePlan:
    """How many images of which class."""

    classes: tuple[str, ...]
    """Class names, in the order of the model's labels or as they were asked for."""
    labels: Labels
    """The model's label of each, ``(P,)`` int64."""
    counts: Labels
    """Images to make of each, ``(P,)`` int64."""
    balance: Balance | None = None
    """What the counts follow from; None if every class has the same number."""

    @property
    def total(self) -> int:
        """Images of all classes."""
        return int(self.counts.sum())


def plan(model: Model, classes: Sequence[str] | None, count: int) -> SamplePlan:
    """The same number of images of each class.

    Args:
        model: the generator.
        classes: class names; None for all. A generator without classes takes none.
        count: images of each class.

    Raises:
        ConfigError: an unknown class, or classes of a model without any.
    """
    names, labels = _chosen(model, classes)
    return SamplePlan(names, labels, np.full(len(labels), count))


def plan_balanced(model: Model, classes: Sequence[str] | None, real: ImageSource, target: int | None) -> SamplePlan:
    """As many images of each class as real ones are missing to a number that is the same for all.

    Classes are matched by name. A class without real images gets all of them; a real class that the model does not
    know is left alone.

    Args:
        model: the generator.
        classes: class names; None for all.
        real: the real images, of which labels alone are read.
        target: real and generated images together of each class; None for as many as the largest class of the model
            has real ones.

    Raises:
        ConfigError: an unknown class, a model without classes, or no class in common.
    """
    if not model.bundle.recipe.method.is_conditional:
        raise ConfigError(f"a {model.bundle.recipe.method.kind} model makes images of no chosen class and cannot "
                          "balance any; use -n alone")  # fmt: skip
    names, labels = _chosen(model, classes)
    own = np.array(model.index.find(real.classes), dtype=np.int64)
    known = own >= 0
    if not known.any():
        raise ConfigError(
            f"{real.location} has none of the model's classes (it has {_quoted(real.classes)}, the model has "
            f"{_quoted(model.classes)}); give the real images of the same classes"
        )
    of_source = np.bincount(real.labels[real.labels >= 0], minlength=len(own))
    of_model = np.zeros(len(model.classes), dtype=np.int64)
    np.add.at(of_model, own[known], of_source[known])
    largest = int(of_model.max()) if target is None else target
    notes = []
    unknown = [name for name, is_known in zip(real.classes, known, strict=True) if not is_known]
    if unknown:
        notes.append(
            f"{_classes(len(unknown))} of {real.location} unknown to the model, left alone: {_quoted(unknown)}"
        )
    found = of_model[labels]
    without = [name for name, count in zip(names, found, strict=True) if count == 0]
    if without:
        notes.append(f"{_classes(len(without))} without a real image, made of generated ones alone: {_quoted(without)}")
    over = int((found > largest).sum())
    if over:
        notes.append(f"{_classes(over)} with more than {largest:,} real images, to which nothing is added")
    counts = np.maximum(largest - found, 0)
    return SamplePlan(names, labels, counts, Balance(real.location, largest, found, tuple(notes)))


def readable_classes(
    model: Model, classes: list[str] | None, sampler: RejectionSampler
) -> tuple[list[str] | None, str | None]:
    """Those of some classes that a sampler's recogniser knows, and a sentence about the others if there are any.

    Args:
        model: the generator.
        classes: class names; None for all, as in the answer.
        sampler: of the model.

    Raises:
        ConfigError: an unknown class, or none that the recogniser knows.
    """
    names, labels = _chosen(model, classes)
    known = sampler.knows(labels)
    if known.all():
        return classes, None
    others = _quoted([name for name, is_known in zip(names, known, strict=True) if not is_known])
    if not known.any():
        some = [name for name, is_known in zip(model.classes, sampler.knows(np.arange(len(model.classes))), strict=True)
                if is_known]  # fmt: skip
        raise ConfigError(f"the recogniser knows none of the classes {others}; choose others, such as {_quoted(some)}")
    kept = [name for name, is_known in zip(names, known, strict=True) if is_known]
    return kept, f"{_classes(len(names) - len(kept))} unknown to the recogniser, left out: {others}"


def _chosen(model: Model, classes: Sequence[str] | None) -> tuple[tuple[str, ...], Labels]:
    method = model.bundle.recipe.method
    if not method.is_conditional:
        if classes is not None:
            raise ConfigError(f"a {method.kind} model makes images of no chosen class; leave the classes out")
        return (ANY_CLASS,), np.zeros(1, dtype=np.int64)
    labels = range(len(model.classes)) if classes is None else dict.fromkeys(model.index.require(classes))
    return tuple(model.classes[label] for label in labels), np.array(list(labels), dtype=np.int64)


def _classes(count: int) -> str:
    return plural(count, "class", "classes")


def _quoted(names: Sequence[str]) -> str:
    return a_few([repr(name) for name in names])
