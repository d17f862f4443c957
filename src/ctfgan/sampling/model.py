"""Images from a bundle: of chosen classes, from its own low-quality bank or from the user's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ctfgan.bundle.bundle import FILES, Bundle, open_bundle, publish
from ctfgan.bundle.card import Rights
from ctfgan.bundle.class_rows import RowMap, generator_of
from ctfgan.bundle.hub_download import REPOSITORY, fetch_bundle
from ctfgan.core.class_index import ClassIndex
from ctfgan.core.errors import ConfigError
from ctfgan.data.images import Bytes, square, to_float
from ctfgan.data.settings import HUB
from ctfgan.data.sources.base import UNLABELLED, Labels
from ctfgan.distributed.engine import Engine, alone, choose_device, to_device
from ctfgan.distributed.random_streams import PerImageRng
from ctfgan.metrics.settings import USUAL_TRIES
from ctfgan.models.ctf_gan import TransferGenerator
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.models.synthesis import CHUNK, CPU_CHUNK, draw_inputs, synthesise
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS
from ctfgan.sampling.rejection import UNKNOWN, KeptImages, RejectionSampler, open_recogniser
from ctfgan.sampling.slides import arc, label_rows_between, rows_between

ANY_CLASS = "any-class"
"""What stands for the classes where a generator knows none."""


class ImageId(NamedTuple):
    """One image that a model can make: with a seed, these decide all of it."""

    class_name: str | None
    """None for a generator without classes."""
    number: int
    """Which image of its class, from 0."""
    attempt: int = 0
    """Which try at it, from 0: further ones are made where images must be read as their class."""


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

    Attributes:
        engine: the device, and the processes that make images together.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", engine: Engine | None = None) -> None:
        self.bundle = bundle
        self.engine = engine or alone(choose_device(device))
        to_device(bundle.generator, self.engine.device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.bundle.classes

    @cached_property
    def index(self) -> ClassIndex:
        """Labels by class name."""
        return ClassIndex(self.classes)

    def sample(
        self,
        classes: Sequence[str] | None = None,
        n: int = 16,
        *,
        seed: int = 0,
        low_quality: Bytes | None = None,
        sampler: RejectionSampler | None = None,
    ) -> Samples:
        """The first ``n`` images of each class; class, number and seed decide each.

        Args:
            classes: class names; None for all. A generator without classes takes none.
            n: images of each class, or in all without classes.
            seed: of noise and of the draw from the bank.
            low_quality: own low-quality images, uint8 ``(L, r, r, K)``, used in turn instead of the bank.
            sampler: from :meth:`rejection_sampler`: images are drawn anew until they are read as their class, and
                those that never are are left out.

        Raises:
            ConfigError: an unknown class, n below 1, or own images for a method that uses none.
        """
        if n < 1:
            raise ConfigError(f"n is {n}; at least one image of each class must be asked for")
        ids = self.first_images(classes, n)
        kept, labels = self.kept_images(ids, sampler, seed=seed, low_quality=low_quality), self.labels(ids).numpy()
        there, conditional = kept.tries > 0, self.bundle.recipe.method.is_conditional
        return Samples(kept.images[there], labels[there], self.classes if conditional else (ANY_CLASS,))

    def first_images(self, classes: Sequence[str] | None, n: int) -> list[ImageId]:
        """The first ``n`` images of each class, class by class; None for all classes, or where there are none."""
        every: Sequence[str | None] = self.classes if self.bundle.recipe.method.is_conditional else [None]
        return [ImageId(name, number) for name in (every if classes is None else classes) for number in range(n)]

    def rejection_sampler(self, run: str | Path, top_k: int = 1, tries: int = USUAL_TRIES) -> RejectionSampler:
        """What has images drawn until the recogniser of this model's run reads them as their class.

        Args:
            run: the run folder, which has the recogniser.
            top_k: an image passes if its class is among so many that are ranked first.
            tries: at each image, at most.

        Raises:
            ConfigError: no run folder, a method without classes, or a number that is not allowed.
            CtfganError: the recogniser is missing or damaged.
        """
        method = self.bundle.recipe.method
        if not method.is_conditional:
            raise ConfigError(f"a {method.kind} model makes images of no chosen class that they could be read as")
        recogniser, labels = open_recogniser(Path(run), self.bundle, self.engine)
        numbers = np.full(len(self.classes), UNKNOWN)
        numbers[labels] = np.arange(len(labels))
        return RejectionSampler(recogniser, numbers, top_k, tries, self.engine.processes)

    def kept_images(
        self,
        ids: Sequence[ImageId],
        sampler: RejectionSampler | None,
        *,
        seed: int = 0,
        low_quality: Bytes | None = None,
    ) -> KeptImages:
        """One image for each id as :meth:`images` makes it, or the first try at it that a sampler keeps.

        Raises:
            ConfigError: as :meth:`images`, or a class that the sampler's recogniser does not know.
        """
        if sampler is None:
            images = self.images(ids, seed=seed, low_quality=low_quality)
            return KeptImages(images, np.ones(len(ids), dtype=np.int64))
        labels = self.labels(ids).numpy()
        known = sampler.knows(labels)
        if not known.all():
            name = ids[int(known.argmin())].class_name
            raise ConfigError(f"the recogniser does not know class {name!r} and cannot read images of it; leave it out")

        def make(places: Labels, attempts: Labels) -> Bytes:
            tries = zip(places.tolist(), attempts.tolist(), strict=True)
            return self.images(
                [ids[place]._replace(attempt=t) for place, t in tries], seed=seed, low_quality=low_quality
            )

        return sampler.draw(labels, make)

    def images(self, ids: Sequence[ImageId], *, seed: int = 0, low_quality: Bytes | None = None) -> Bytes:
        """One image for each id, uint8 ``(N, R, R, K)``.

        On a CPU each is the same to the bit, whichever others are asked for.

        Args:
            ids: class and number of each image.
            seed: with class and number it decides noise and low-quality image.
            low_quality: own low-quality images, uint8 ``(L, r, r, K)``, used in turn instead of the bank.

        Raises:
            ConfigError: an unknown class, a class for a model without any or none for one with, or own images for a
                method that uses none.
        """
        chunk, whole = CHUNK, list(ids)
        if self.engine.device.type == "cpu":
            # Forwards of one size alone: with another one, the sums of a convolution may be rounded in another order.
            chunk = CPU_CHUNK
            whole += whole[-1:] * (-len(whole) % chunk)
        labels = self.labels(whole)
        condition, noise = self._inputs(whole, labels, seed, with_bank=low_quality is None)
        if low_quality is not None:
            numbers = np.array([image.number for image in whole])
            condition = self._own_condition(labels, low_quality[numbers % len(low_quality)])
        return synthesise(self.bundle.generator, condition, noise, self.engine, chunk)[: len(ids)]

    def enhance(self, images: Bytes, class_name: str, *, seed: int = 0) -> Bytes:
        """High-quality versions of low-quality images of one class, by G_LH alone: uint8 ``(N, R, R, K)``.

        Args:
            images: uint8 ``(N, r, r, K)``, each as :meth:`fitted` returns it.
            class_name: the class that all of them show.
            seed: of the noise z_m.

        Raises:
            ConfigError: an unknown class, or a method without G_LH.
        """
        generator = self.bundle.generator
        if not isinstance(generator, TransferGenerator):
            raise ConfigError(f"a {self.bundle.recipe.method.kind} model cannot enhance images; use a ctf-gan model")
        ids = [ImageId(class_name, number) for number in range(len(images))]
        condition = self._own_condition(self.labels(ids), images)
        rng = PerImageRng(seed, [class_name] * len(images), range(len(images)))
        noise = generator.generator_lh.draw_noise(len(images), rng)
        return synthesise(generator.generator_lh, condition, noise, self.engine)

    def slide(self, start: ImageId, end: ImageId, steps: int = 9, *, seed: int = 0) -> Bytes:
        """Images on the way from one to another, both included: uint8 ``(steps, R, R, K)``.

        Noise goes along an arc (:func:`~ctfgan.sampling.slides.arc`). All else goes straight: the codes of the two
        classes or the rows that the generator's tables keep of them, and for a method that uses low-quality images the
        pixels of the two that the bank gives and the codes or rows of their labels.

        Raises:
            ConfigError: fewer than two steps, an unknown class, a class for a model without any or none for one with.
        """
        if steps < 2:
            raise ConfigError(f"steps is {steps}; a way has at least two, its ends")
        labels, positions = self.labels([start, end]), torch.linspace(0, 1, steps)
        ends, noise = self._inputs([start, end], labels, seed)
        rows: dict[str, RowMap] = {CLASSES: partial(rows_between, labels, positions)}
        condition = Condition(torch.arange(steps))
        if self.bundle.bank is not None:
            low, own = ends.required_low_quality()
            rows[LOW_QUALITY_LABELS] = partial(label_rows_between, own, positions)
            mixed = torch.lerp(low[:1], low[1:], positions[:, None, None, None])
            condition = Condition(condition.labels, mixed, condition.labels)
        return synthesise(generator_of(self.bundle, rows, steps), condition, arc(noise, positions), self.engine)

    def labels(self, ids: Sequence[ImageId]) -> Tensor:
        """The label of each image's class, ``(N,)`` int64; 0 without classes.

        Raises:
            ConfigError: an unknown class, a class for a model without any or none for one with.
        """
        method, names = self.bundle.recipe.method, [image.class_name for image in ids]
        known = [name for name in names if name is not None]
        if not method.is_conditional:
            if known:
                raise ConfigError(f"a {method.kind} model makes images of no chosen class; leave the classes out")
            return torch.zeros(len(ids), dtype=torch.int64)
        if len(known) < len(names):
            raise ConfigError("an image has no class, which this model needs; name one")
        return torch.tensor(self.index.require(known), dtype=torch.int64)

    def fitted(self, image: Image.Image) -> Bytes:
        """A low-quality image in the model's size and colour, ``(r, r, K)``, its levels read as in training.

        Raises:
            ConfigError: the method uses no low-quality images.
        """
        spec, fit = self.bundle.data_spec, self.bundle.recipe.data.fit
        if not spec.low_quality_size:
            raise ConfigError(f"a {self.bundle.recipe.method.kind} model uses no low-quality images; leave them out")
        return square(image, spec.low_quality_size, spec.channels, fit, self.bundle.levels("low_quality"))

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

    def _inputs(
        self, ids: Sequence[ImageId], labels: Tensor, seed: int, *, with_bank: bool = True
    ) -> tuple[Condition, Noise]:
        classes = [ANY_CLASS if image.class_name is None else image.class_name for image in ids]
        rng = PerImageRng(seed, classes, [image.number for image in ids], [image.attempt for image in ids])
        return draw_inputs(self.bundle.generator, labels, self.bundle.bank if with_bank else None, rng)

    def _own_condition(self, labels: Tensor, images: Bytes) -> Condition:
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
