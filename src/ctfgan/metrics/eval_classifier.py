"""The eval classifier, "recogniser" in what users read: a small classifier of the run's own real images.

Its features and class probabilities stand in for Inception's where those weights are not at hand or mean nothing
(glyphs, grey characters). Scores made with it carry its name; they are never called IS or FID.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ctfgan.core.errors import CtfganError
from ctfgan.core.files import cache_folder, make_room, sha256, write_file
from ctfgan.core.progress import Progress, silent
from ctfgan.data.dataset import Subset
from ctfgan.data.images import Bytes, to_float
from ctfgan.data.low_quality_bank import BothSides, ImageView, LowQualityBank
from ctfgan.data.packed import PackedImages
from ctfgan.data.sources.base import Labels
from ctfgan.metrics.features import EVAL_CLASSIFIER, ExtractorCard
from ctfgan.metrics.settings import EvalClassifierSettings
from ctfgan.metrics.usual_augmentation import UsualAugmentation

TIMED_STEPS = 4
STATISTICS_BATCHES = 100  # of images, for batch norm


class EvalClassifier(nn.Module):
    """Four convolution stages, a feature vector, class logits. Input: images ``(N, K, R, R)`` in [-1, 1]."""

    def __init__(self, channels: int, num_classes: int, settings: EvalClassifierSettings) -> None:
        super().__init__()
        counts = [channels, *(settings.width * factor for factor in (1, 2, 4, 4))]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(itertools.pairwise(counts)):
            stride = 1 if index == 0 else 2
            layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.to_features = nn.Linear(counts[-1] * 4, settings.features)
        self.to_logits = nn.Linear(settings.features, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(N, features)`` and logits ``(N, C)``."""
        features = self.features(images)
        return features, self.to_logits(features)

    def features(self, images: Tensor) -> Tensor:
        """Features ``(N, features)``."""
        return F.relu(self.to_features(self.trunk(images)))


class TrainedEvalClassifier:
    """In evaluation mode, with the hash that names it in protocols."""

    def __init__(self, network: EvalClassifier, weights: Path, device: torch.device) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.weights = weights
        self.card = ExtractorCard(
            key=EVAL_CLASSIFIER,
            name=f"ctfgan-recogniser-{sha256(weights)[:12]}",
            width=network.to_features.out_features,
            resize="none",
            distance="Frechet distance",
            kernel="kernel distance",
            score="recogniser score",
            knows_classes=True,
            scaled_kernel=True,
        )
        self._device = device

    @torch.no_grad()
    def read(self, images: Bytes, progress: Progress = silent) -> tuple[Tensor, Tensor]:
        """Features ``(N, features)`` and class probabilities ``(N, C)`` of uint8 images ``(N, R, R, K)``."""
        features, probabilities = [], []
        starts = range(0, len(images), 512)
        for start in progress(starts, len(starts), "recognising"):
            extracted, logits = self.network(to_float(images[start : start + 512], self._device))
            features.append(extracted.cpu())
            probabilities.append(logits.softmax(dim=1).cpu())
        return torch.cat(features), torch.cat(probabilities)


@dataclass(frozen=True)
class TrainingImages:
    """Labelled images that a classifier learns from; the pixels may stay on disk."""

    images: Bytes | ImageView | BothSides
    """uint8 ``(N, R, R, K)``, in memory, memory-mapped, or read when rows are asked for."""
    rows: NDArray[np.int64]
    """Which of the images are used, ascending, never those of the reference; ``(M,)``."""
    labels: NDArray[np.int64]
    """Classes of these, ``(M,)`` in 0 ... C - 1."""
    identity: str
    """Changes whenever images do."""

    @classmethod
    def of(cls, subset: Subset) -> TrainingImages:
        """Of a packed set."""
        return cls(subset.packed.images, subset.rows, subset.labels, subset.packed.fingerprint)

    @classmethod
    def of_low_quality(cls, bank: LowQualityBank, packed: PackedImages, classes: Labels) -> TrainingImages:
        """Low-quality images of some classes, enlarged to the size of high-quality ones.

        Args:
            bank: of matched pairing.
            packed: the high-quality images.
            classes: ascending; images are labelled 0 ... in the order of these.
        """
        labels = bank.class_labels
        place = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        rows = np.flatnonzero(classes[place] == labels)
        identity = packed.fingerprint + bank.fingerprint()
        return cls(BothSides(packed.images, bank.images), len(packed) + rows, place[rows], identity)


@dataclass(frozen=True)
class EvalClassifierTrainer:
    """Trains classifiers, or finds in the cache what was trained on the same images before.

    Args:
        settings: size and training.
        device: where they run.
        progress: shows the training.
        cache: folder that keeps them, by a hash of images and settings.
    """

    settings: EvalClassifierSettings
    device: torch.device
    progress: Progress = silent
    cache: Path = field(default_factory=cache_folder)

    def train(
        self,
        kinds: Sequence[TrainingImages],
        num_classes: int,
        what: str = "the recogniser that measures",
        augmentation: UsualAugmentation | None = None,
    ) -> TrainedEvalClassifier:
        """A classifier of these images.

        Args:
            kinds: images of one size; those of each kind are the same share of every batch, however many they are.
            num_classes: C.
            what: is trained, in words.
            augmentation: changes every image anew whenever it is seen.

        Where it learns from several kinds or from augmented images, the statistics of its batch norm are those of the
        first kind as it is, which is what it will read: of a mix they would be of no kind (decision 26).
        """
        weights = self._place(kinds, num_classes, augmentation)
        channels = kinds[0].images.shape[3]
        if not weights.is_file():
            make_room(weights)
            network = self._train(kinds, num_classes, what, augmentation)
            content = save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()})
            if not weights.is_file():  # another run may have trained the same one meanwhile; the first one counts
                write_file(weights, content)
        return load_eval_classifier(weights, channels, num_classes, self.settings, self.device)

    def knows(self, kinds: Sequence[TrainingImages], num_classes: int) -> bool:
        """Whether the cache has the classifier that :meth:`train` returns."""
        return self._place(kinds, num_classes, None).is_file()

    def seconds_per_image(self, kinds: Sequence[TrainingImages], num_classes: int) -> float:
        """How long a classifier learns from one image, from a few steps that are thrown away."""
        images = TIMED_STEPS * self.settings.batch_size
        short = replace(self, settings=self.settings.model_copy(update={"images": images}), progress=silent)
        short._train(kinds, num_classes, "", None)  # warms up
        started = time.perf_counter()
        short._train(kinds, num_classes, "", None)
        return (time.perf_counter() - started) / images

    def _place(self, kinds: Sequence[TrainingImages], num_classes: int, augmentation: UsualAugmentation | None) -> Path:
        settings = self.settings.model_dump_json()
        identities = " ".join(f"{kind.identity} {len(kind.rows)}" for kind in kinds)
        statistics = " own-statistics" if _is_mixed(kinds, augmentation) else ""
        key = hashlib.sha256(f"{identities} {num_classes} {settings} {augmentation} recogniser-4{statistics}".encode())
        for kind in kinds:
            key.update(kind.rows.tobytes())
            key.update(kind.labels.tobytes())
        return self.cache / "recognisers" / f"{key.hexdigest()[:24]}.safetensors"

    def _train(
        self, kinds: Sequence[TrainingImages], num_classes: int, what: str, augmentation: UsualAugmentation | None
    ) -> EvalClassifier:
        """Adam with a one-cycle rate; shifts by up to a sixteenth of the side, so that a place is not learned."""
        settings, steps = self.settings, self.settings.steps
        side, channels = kinds[0].images.shape[2:]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = EvalClassifier(channels, num_classes, settings).to(self.device)
        rng = np.random.default_rng(settings.seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps + 1)
        reach = side // 16
        shares = (len(part) for part in np.array_split(np.arange(settings.batch_size), len(kinds)))
        shuffles = [_Shuffle(len(kind.rows), share, rng) for kind, share in zip(kinds, shares, strict=True)]
        for _ in self.progress(range(steps), steps, f"training {what}"):
            chosen = [shuffle.next() for shuffle in shuffles]
            down, right = (int(step) for step in rng.integers(-reach, reach + 1, 2))
            pixels = [kind.images[kind.rows[part]] for kind, part in zip(kinds, chosen, strict=True)]
            labels = np.concatenate([kind.labels[part] for kind, part in zip(kinds, chosen, strict=True)])
            images = shift(to_float(np.concatenate(pixels), self.device), down, right)
            if augmentation is not None:
                images = augmentation(images, rng)
            _, logits = network(images)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits, torch.from_numpy(labels).to(self.device)).backward()
            optimizer.step()
            schedule.step()
        if _is_mixed(kinds, augmentation):
            _set_statistics(network, kinds[0], settings.batch_size, rng, self.device)
        return network


def _is_mixed(kinds: Sequence[TrainingImages], augmentation: UsualAugmentation | None) -> bool:
    """Whether what a classifier learns from is something else than the first kind of its images."""
    return len(kinds) > 1 or augmentation is not None


@torch.no_grad()
def _set_statistics(
    network: EvalClassifier, images: TrainingImages, batch_size: int, rng: np.random.Generator, device: torch.device
) -> None:
    """Give batch norm the means and variances of images as they are, averages over batches.

    Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    share = min(batch_size, len(images.rows))
    shuffle = _Shuffle(len(images.rows), share, rng)
    for _ in range(min(STATISTICS_BATCHES, len(images.rows) // share)):
        network(to_float(images.images[images.rows[shuffle.next()]], device))


class _Shuffle:
    """Draws places of images, every image once before any again, but for what is left over at the end of a pass.

    Args:
        count: images; fewer than ``share`` are drawn several times.
        share: places to draw at a time.
        rng: which ones.
    """

    def __init__(self, count: int, share: int, rng: np.random.Generator) -> None:
        self._count = count
        self._share = share
        self._rng = rng
        self._order = np.empty(0, dtype=np.int64)

    def next(self) -> NDArray[np.int64]:
        """Places ``(share,)``, ascending, as a file is read."""
        if len(self._order) < self._share:
            passes = max(1, math.ceil(self._share / self._count))
            self._order = np.concatenate([self._rng.permutation(self._count) for _ in range(passes)])
        chosen, self._order = self._order[: self._share], self._order[self._share :]
        return np.sort(chosen)


def load_eval_classifier(
    weights: Path, channels: int, num_classes: int, settings: EvalClassifierSettings, device: torch.device
) -> TrainedEvalClassifier:
    """A trained classifier from its file.

    Raises:
        CtfganError: the file is missing or damaged.
    """
    with torch.device("meta"):  # its own initial weights would be drawn for nothing
        network = EvalClassifier(channels, num_classes, settings)
    try:
        network.load_state_dict(load_file(weights), assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CtfganError(f"recogniser {weights} is missing or damaged; delete the file, or train a new run") from error
    return TrainedEvalClassifier(network, weights, device)


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Images ``(N, K, R, R)`` moved by some pixels; the border that is left behind repeats the edge."""
    reach = max(abs(down), abs(right))
    side = images.shape[2]
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    return padded[:, :, reach - down : reach - down + side, reach - right : reach - right + side]
