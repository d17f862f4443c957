"""Images from a bundle: of chosen classes, from its own low-quality bank or from the user's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ctfgan.bundle.bundle import FILES, Bundle, class_numbers, look_up, open_bundle, publish
from ctfgan.bundle.card import Rights
from ctfgan.bundle.class_rows import Rows, generator_of
from ctfgan.bundle.hub_download import REPOSITORY, fetch_bundle
from ctfgan.core.errors import ConfigError, DataError
from ctfgan.core.text import plural
from ctfgan.data.images import Bytes, square, to_float
from ctfgan.data.sources.base import UNLABELLED
from ctfgan.data.sources.encoded import read_image
from ctfgan.data.sources.hugging_face import HUB
from ctfgan.data.sources.tree import FolderTree, readable
from ctfgan.distributed.engine import Engine, alone, choose_device, place
from ctfgan.models.generator_a import TransferGenerator
from ctfgan.models.interfaces import Condition, Generator
from ctfgan.models.synthesis import draw_condition, synthesise, synthesise_from
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS
from ctfgan.sampling.image_rng import PerImageRng
from ctfgan.sampling.points import Point, arc, conditions, noises

ANY_CLASS = ("any-class",)
"""What stands for the classes where a generator knows none."""

CHUNK = 64
"""Images per forward of those that go by their number."""


@dataclass(frozen=True)
class OwnImages:
    """Low-quality images of the user's."""

    files: list[Path]
    """Where each comes from."""
    pixels: Bytes
    """``(N, r, r, K)``."""
    notes: tuple[str, ...]
    """What was passed over, a sentence for each folder."""


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
        bundle: from :func:`~ctfgan.bundle.bundle.load_bundle`.
        device: ``auto``, ``cpu``, ``cuda`` ...
        engine: several processes that synthesise together, in the place of a device; all of them must then ask for the
            same images.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", engine: Engine | None = None) -> None:
        self.bundle = bundle
        self._engine = engine or alone(choose_device(device))
        place(bundle.generator, self._engine.device)

    @property
    def engine(self) -> Engine:
        """The device, and the processes that make images together."""
        return self._engine

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

    def numbered(
        self, labels: torch.Tensor, numbers: Sequence[int], *, seed: int = 0, low_quality: Bytes | None = None
    ) -> Bytes:
        """Images by class and number, uint8 ``(N, R, R, K)``; each is the same whichever others are asked for.

        Args:
            labels: class of each image, ``(N,)`` int64.
            numbers: which image of its class each one is, from 0.
            seed: with class and number it decides noise and low-quality image (:class:`PerImageRng`).
            low_quality: own low-quality images, uint8 ``(L, r, r, K)``, used in turn instead of the bank.

        Raises:
            ConfigError: own images for a method that uses none.
        """
        # Forwards of one size alone: with another one, the sums of a convolution may be rounded in another order.
        padded = torch.arange(-(-len(labels) // CHUNK) * CHUNK).clamp(max=len(labels) - 1)
        labels, numbers = labels[padded], [numbers[row] for row in padded.tolist()]
        names = self.classes if self.bundle.recipe.method.is_conditional else ANY_CLASS
        chance = PerImageRng(seed, [names[label] for label in labels.tolist()], numbers)
        noise = cast(Generator, self.bundle.generator).draw_noise(len(labels), chance)
        if low_quality is not None:
            condition = self._own_condition(labels, low_quality[np.array(numbers) % len(low_quality)])
        elif self.bundle.bank is not None:
            condition = Condition(labels, *self.bundle.bank.draw(labels, chance))
        else:
            condition = Condition(labels)
        images = synthesise_from(self.bundle.generator, condition, noise, self._engine, CHUNK)
        return images[: int(padded[-1]) + 1]

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

        Noise goes along an arc (:func:`~ctfgan.sampling.points.arc`). All else goes straight: the codes of the two
        classes or the rows that the generator's tables keep of them, and for a method that uses low-quality images the
        pixels of the two that the bank gives and the codes or rows of their labels.

        Raises:
            ConfigError: fewer than two steps, an unknown class, a class for a model without any or none for one with.
        """
        if steps < 2:
            raise ConfigError(f"steps is {steps}; a way has at least two, its ends")
        bundle, ends = self.bundle, (start, end)
        labels, seeds = self._labels(ends), [point.seed for point in ends]
        positions = torch.linspace(0, 1, steps)
        rows: dict[str, Rows] = {CLASSES: partial(_between, labels, positions)}
        condition = Condition(torch.arange(steps))
        if bundle.bank is not None:
            low, own = conditions(labels, seeds, bundle.bank).required_low_quality()
            rows[LOW_QUALITY_LABELS] = partial(_between_labels, own, positions)
            mixed = torch.lerp(low[:1], low[1:], positions[:, None, None, None])
            condition = Condition(condition.labels, mixed, condition.labels)
        generator = generator_of(bundle, rows, steps)
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
        """A low-quality image in the model's size and colour, ``(r, r, K)``, its levels read as in training.

        Raises:
            ConfigError: the method uses no low-quality images.
        """
        spec, fit = self.bundle.data_spec, self.bundle.recipe.data.fit
        if not spec.low_quality_size:
            raise ConfigError(f"a {self.bundle.recipe.method.kind} model uses no low-quality images; leave them out")
        return square(image, spec.low_quality_size, spec.channels, fit, self.bundle.levels("low_quality"))

    def read_all(self, paths: Sequence[Path]) -> OwnImages:
        """The user's low-quality images among files and folders, in the model's size and colour.

        What cannot be read in a folder is passed over and counted, as training does; a file that was named is an error.

        Raises:
            DataError: a path that does not exist, a named file that cannot be read, or a folder without images.
            ConfigError: the method uses no low-quality images.
        """
        files, pixels, notes, known = list[Path](), list[Bytes](), list[str](), set[Path]()
        for path in paths:
            before, broken = len(files), list[str]()
            for file in image_files([path]):
                if (resolved := file.resolve()) in known:  # named twice
                    continue
                try:
                    pixels.append(self._read(file))
                    files.append(file)
                    known.add(resolved)
                except DataError as error:
                    if not path.is_dir():
                        raise
                    broken.append(str(error))
            if path.is_dir():
                notes += [f"{path}: {note}" for note in FolderTree(path).strays_note()]
            if broken and len(files) == before:
                raise DataError(f"{path}: none of {len(broken):,} images can be read (first: {broken[0]})")
            if broken:
                were = plural(len(broken), "image was", "images were")
                notes.append(f"{path}: {were} passed over (first: {broken[0].partition('; ')[0]})")
        return OwnImages(files, np.stack(pixels), tuple(notes))

    def _read(self, file: Path) -> Bytes:
        try:
            return self.fitted(read_image(file))
        except (DataError, OSError, ValueError) as error:
            raise DataError(f"{readable(str(file))} cannot be read: {error}; leave it out or replace it") from error

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

    def save_pretrained(
        self, save_directory: str | Path, *, license: str | None = None, datasets: Sequence[str] = ()
    ) -> None:
        """Write the model to a new folder, ready for ``huggingface_hub.upload_folder``.

        Args:
            save_directory: must not exist, or be empty.
            license: of the weights, as the Hub writes it (``cc-by-4.0``); None keeps what the bundle says, if anything.
            datasets: names on the Hub of the training data; none keeps what the bundle says.

        Raises:
            ConfigError: something is there already, or a licence or name that the Hub could not read.
        """
        publish(self.bundle, Path(save_directory), Rights.stated(self.bundle.provenance, license, datasets))

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


def _between(ends: torch.Tensor, positions: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """Rows ``(S, width)`` on the way between two old ones; at 0 and 1 these themselves.

    Args:
        ends: the two, ``(2,)`` int64.
        positions: ``(S,)`` in [0, 1].
        old: rows ``(C, width)``.
    """
    first, last = old[ends.to(old.device)].float()
    return torch.lerp(first, last, positions[:, None].to(first))


def _between_labels(ends: torch.Tensor, positions: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """The same for labels, of which -1 means the last row, and that row behind them."""
    return torch.cat([_between(ends, positions, old), old[-1:].float()])


def load(path: str | Path, device: str = "auto", engine: Engine | None = None) -> Model:
    """The generator of a bundle, or of a finished run; device and engine as :class:`Model` takes them.

    Raises:
        BundleError: nothing to load there, or a damaged bundle.
    """
    return Model(open_bundle(Path(path)), device, engine)


def from_pretrained(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Model:
    """The generator of a bundle on this machine or on the Hugging Face Hub; no code of it is run, no pickle is read.

    Args:
        name_or_path: a bundle or run folder, or ``owner/name`` if there is no such folder.
        device: ``auto``, ``cpu``, ``cuda`` ...
        revision: a branch, a tag or a commit of the repository; None for the newest.
        token: of a private repository; None takes what ``hf auth login`` stored.
        cache_dir: another cache than the Hub's own.
        local_files_only: never ask the network.
        force_download: even what is in the cache already.

    Raises:
        BundleError: nothing to load there, or a damaged bundle, or the Hub cannot be reached.
        ConfigError: the library huggingface_hub is missing.
    """
    name = str(name_or_path).removeprefix(HUB)
    if Path(name_or_path).exists() or not REPOSITORY.fullmatch(name):
        return load(name_or_path, device)
    folder = fetch_bundle(
        name,
        FILES,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    return load(folder, device)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Image files among files and folders, in order; of a folder without what is nobody's data.

    Raises:
        DataError: a path that does not exist, or a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist; give image files or folders of them")
        found = [path]
        if path.is_dir():
            found = sorted(path / image for image in FolderTree(path).listing.images)
        if not found:
            raise DataError(f"{path} holds no images; give image files or folders of them")
        files += found
    return files
