"""Images from a bundle: of chosen classes, from its own low-quality bank or from the user's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ctfgan.bundle import Bundle, class_numbers, find_bundle, load_bundle, look_up
from ctfgan.data.images import Bytes, square, to_float
from ctfgan.data.sources.base import UNLABELLED
from ctfgan.data.sources.encoded import SUFFIXES, read_image
from ctfgan.errors import ConfigError, DataError
from ctfgan.lifecycle.rows import Rows, generator_of
from ctfgan.models.generator_a import TransferGenerator
from ctfgan.models.interfaces import Condition, Generator
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS
from ctfgan.sampling.points import Point, arc, conditions, noises
from ctfgan.training.runtime import Engine, alone, choose_device, place
from ctfgan.training.synthesis import draw_condition, synthesise, synthesise_from

ANY_CLASS = ("any-class",)
"""What stands for the classes where a generator knows none."""


@dataclass(frozen=True)
class Samples:
    """Generated images, class by class."""

    images: Bytes
    """uint8 ``(N, R, R, K)``."""
    labels: NDArray[np.int64]
    """Class of each image, ``(N,)``."""
    classes: tuple[str, ...]
    """Class names in label order."""


class Model:
    """A loaded generator.

    Args:
        bundle: from :func:`~ctfgan.bundle.load_bundle`.
        device: ``auto``, ``cpu``, ``cuda`` ...
        engine: several processes that synthesise together, in the place of a device; all of them must then ask for the
            same images.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", engine: Engine | None = None) -> None:
        self.bundle = bundle
        self._engine = engine or alone(choose_device(device))
        place(bundle.generator, self._engine.device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.bundle.classes

    def labels_of(self, names: Sequence[str]) -> list[int]:
        """Labels of class names.

        Raises:
            ConfigError: an unknown class, with the nearest match.
        """
        return look_up(self._numbers, names)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return class_numbers(self.classes)

    def sample(
        self, classes: Sequence[str] | None = None, n: int = 16, *, seed: int = 0, low_quality: Bytes | None = None
    ) -> Samples:
        """``n`` images of each class; the same for the same arguments.

        Args:
            classes: class names; None for all. A generator without classes takes none.
            n: images of each class, or in all without classes.
            seed: of noise and of the draw from the bank.
            low_quality: own low-quality images, uint8 ``(L, r, r, K)``, used in turn instead of the bank.

        Raises:
            ConfigError: an unknown class, n below 1, or own images for a method that uses none.
        """
        if n < 1:
            raise ConfigError(f"n is {n}; at least one image of each class must be asked for")
        method = self.bundle.recipe.method
        if not method.is_conditional and classes is not None:
            raise ConfigError(f"a {method.kind} model makes images of no chosen class; leave the classes out")
        names = self.classes if method.is_conditional else ANY_CLASS
        chosen = self.labels_of(classes) if classes is not None else list(range(len(names)))
        labels = torch.tensor(chosen).repeat_interleave(n)
        if low_quality is None:
            condition = draw_condition(labels, self.bundle.bank, seed)
        else:
            condition = self._own_condition(labels, low_quality[np.arange(len(labels)) % n % len(low_quality)])
        images = synthesise(self.bundle.generator, condition, seed, self._engine)
        return Samples(images, labels.numpy(), names)

    def enhance(self, images: Bytes, class_name: str, *, seed: int = 0) -> Bytes:
        """High-quality versions of low-quality images of one class, by G_LH alone: uint8 ``(N, R, R, K)``.

        Args:
            images: uint8 ``(N, r, r, K)``, as :meth:`read` returns them.
            class_name: the class that all of them show.
            seed: of the noise z_m.

        Raises:
            ConfigError: an unknown class, or a method without G_LH.
        """
        generator = self.bundle.generator
        if not isinstance(generator, TransferGenerator):
            raise ConfigError(f"a {self.bundle.recipe.method.kind} model cannot enhance images; use a ctf-gan model")
        labels = torch.tensor(self.labels_of([class_name])).repeat(len(images))
        return synthesise(generator.generator_lh, self._own_condition(labels, images), seed, self._engine)

    def images_of(self, points: Sequence[Point], low_quality: Bytes | None = None) -> Bytes:
        """One image for each point, uint8 ``(N, R, R, K)``: what :meth:`sample` makes of its class, n = 1 and its seed.

        Args:
            points: class and seed of each image.
            low_quality: one own low-quality image for all of them, uint8 ``(1, r, r, K)``, instead of the bank.

        Raises:
            ConfigError: an unknown class, a class for a model without any or none for one with, or an own image for
                a method that uses none.
        """
        labels, seeds = self._labels(points), [point.seed for point in points]
        if low_quality is None:
            condition = conditions(labels, seeds, self.bundle.bank)
        else:
            condition = self._own_condition(labels, low_quality.repeat(len(points), axis=0))
        generator = self.bundle.generator
        return synthesise_from(generator, condition, noises(cast(Generator, generator), seeds), self._engine)

    def slide(self, start: Point, end: Point, steps: int = 9) -> Bytes:
        """Images on the way from one point to another, both included: uint8 ``(steps, R, R, K)``.

        Noise goes along an arc (:func:`~ctfgan.sampling.points.arc`). All else goes straight: the rows that the
        generator's tables keep of the two classes, and for a method that uses low-quality images the pixels of the
        two that the bank gives and the rows of their labels.

        Raises:
            ConfigError: fewer than two steps, an unknown class, a class for a model without any or none for one with.
        """
        if steps < 2:
            raise ConfigError(f"steps is {steps}; a way has at least two, its ends")
        bundle, ends = self.bundle, (start, end)
        labels, seeds = self._labels(ends), [point.seed for point in ends]
        positions = torch.linspace(0, 1, steps)
        first, last = labels.tolist()
        changes = {CLASSES: Rows.between(first, last, positions)}
        condition = Condition(torch.arange(steps))
        if bundle.bank is not None:
            low, own = conditions(labels, seeds, bundle.bank).required_low_quality()
            unlabelled = bundle.shape.num_low_quality_labels
            first, last = torch.where(own < 0, unlabelled, own).tolist()
            changes[LOW_QUALITY_LABELS] = Rows.between(first, last, positions).followed_by(unlabelled)
            mixed = torch.lerp(low[:1], low[1:], positions[:, None, None, None])
            condition = Condition(condition.labels, mixed, condition.labels)
        generator = generator_of(bundle, changes)
        noise = arc(noises(cast(Generator, generator), seeds), positions)
        return synthesise_from(generator, condition, noise, self._engine)

    def read(self, files: Sequence[Path]) -> Bytes:
        """The user's low-quality image files in the model's size and colour: ``(N, r, r, K)``.

        Raises:
            DataError: a file that cannot be read, by name.
            ConfigError: the method uses no low-quality images.
        """
        return np.stack([self._read(file) for file in files])

    def fitted(self, image: Image.Image) -> Bytes:
        """A low-quality image in the model's size and colour, ``(r, r, K)``.

        Raises:
            ConfigError: the method uses no low-quality images.
        """
        shape, fit = self.bundle.shape, self.bundle.recipe.data.fit
        if not shape.low_quality_size:
            raise ConfigError(f"a {self.bundle.recipe.method.kind} model uses no low-quality images; leave them out")
        return square(image, shape.low_quality_size, shape.channels, fit)

    def _read(self, file: Path) -> Bytes:
        try:
            return self.fitted(read_image(file))
        except (DataError, OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read: {error}; leave it out or replace it") from error

    def _labels(self, points: Sequence[Point]) -> torch.Tensor:
        method, names = self.bundle.recipe.method, [point.class_name for point in points]
        if not method.is_conditional:
            if any(name is not None for name in names):
                raise ConfigError(f"a {method.kind} model makes images of no chosen class; leave the classes out")
            return torch.zeros(len(points), dtype=torch.int64)
        known = [name for name in names if name is not None]
        if len(known) < len(names):
            raise ConfigError("a point has no class, which this model needs; name one")
        return torch.tensor(self.labels_of(known), dtype=torch.int64)

    def _own_condition(self, labels: torch.Tensor, images: Bytes) -> Condition:
        """Own images count as unlabelled, unless pairing is matched: then they show the class asked for."""
        bank = self.bundle.bank
        if bank is None:
            raise ConfigError(f"a {self.bundle.recipe.method.kind} model uses no low-quality images; leave them out")
        if bank.label_of_class is None:
            low_quality_labels = torch.full_like(labels, UNLABELLED)
        else:
            low_quality_labels = torch.from_numpy(bank.label_of_class)[labels]
        return Condition(labels, to_float(images), low_quality_labels)


def load(path: str | Path, device: str = "auto", engine: Engine | None = None) -> Model:
    """The generator of a bundle, or of a finished run; device and engine as :class:`Model` takes them.

    Raises:
        BundleError: nothing to load there, or a damaged bundle.
    """
    return Model(load_bundle(find_bundle(Path(path))), device, engine)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Image files among files and folders, in order.

    Raises:
        DataError: a path that does not exist, or a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist; give image files or folders of them")
        found = [path]
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(f"{path} holds no images; give image files or folders of them")
        files += found
    return files
