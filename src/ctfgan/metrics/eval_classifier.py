"""The eval classifier, "recogniser" in what users read: a small classifier of the run's own real images.

Its features and class probabilities stand in for Inception's where those weights are not at hand or mean nothing
(glyphs, grey characters). Scores made with it carry its name; they are never called IS or FID.
"""

from __future__ import annotations

import hashlib
import itertools
import time
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
from ctfgan.data.low_quality_bank import BothSides, ImageView
from ctfgan.metrics.features import EVAL_CLASSIFIER, ExtractorCard
from ctfgan.metrics.settings import EvalClassifierSettings

TIMED_STEPS = 4


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
    """Changes whenever images or labels do."""

    @classmethod
    def of(cls, subset: Subset) -> TrainingImages:
        """Of a packed set."""
        return cls(subset.packed.images, subset.rows, subset.labels, subset.packed.fingerprint)


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
        self, data: TrainingImages, num_classes: int, what: str = "the recogniser that measures"
    ) -> TrainedEvalClassifier:
        """A classifier of these images.

        Args:
            data: images, labels and which of them to use.
            num_classes: C.
            what: is trained, in words.
        """
        weights = self._place(data, num_classes)
        if not weights.is_file():
            make_room(weights)
            network = self._train(data, num_classes, what)
            content = save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()})
            if not weights.is_file():  # another run may have trained the same one meanwhile; the first one counts
                write_file(weights, content)
        return load_eval_classifier(weights, data.images.shape[3], num_classes, self.settings, self.device)

    def knows(self, data: TrainingImages, num_classes: int) -> bool:
        """Whether the cache has the classifier that :meth:`train` returns."""
        return self._place(data, num_classes).is_file()

    def seconds_per_image(self, data: TrainingImages, num_classes: int) -> float:
        """How long a classifier learns from one image, from a few steps that are thrown away."""
        images = TIMED_STEPS * self.settings.batch_size
        short = replace(self, settings=self.settings.model_copy(update={"images": images}), progress=silent)
        short._train(data, num_classes, "")  # warms up
        started = time.perf_counter()
        short._train(data, num_classes, "")
        return (time.perf_counter() - started) / images

    def _place(self, data: TrainingImages, num_classes: int) -> Path:
        settings = self.settings.model_dump_json()
        key = hashlib.sha256(f"{data.identity} {num_classes} {settings} recogniser-3".encode())
        key.update(data.rows.tobytes())
        return self.cache / "recognisers" / f"{key.hexdigest()[:24]}.safetensors"

    def _train(self, data: TrainingImages, num_classes: int, what: str) -> EvalClassifier:
        """Adam with a one-cycle rate; shifts by up to a sixteenth of the side, so that a place is not learned."""
        settings, steps = self.settings, self.settings.steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = EvalClassifier(data.images.shape[3], num_classes, settings).to(self.device)
        rng = np.random.default_rng(settings.seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps + 1)
        reach = data.images.shape[1] // 16
        order = rng.permutation(len(data.rows))
        position = 0
        for _ in self.progress(range(steps), steps, f"training {what}"):
            if position + settings.batch_size > len(order):
                order, position = rng.permutation(len(data.rows)), 0
            chosen = np.sort(order[position : position + settings.batch_size])
            position += settings.batch_size
            down, right = (int(step) for step in rng.integers(-reach, reach + 1, 2))
            images = to_float(data.images[data.rows[chosen]], self.device)
            _, logits = network(shift(images, down, right))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits, torch.from_numpy(data.labels[chosen]).to(self.device)).backward()
            optimizer.step()
            schedule.step()
        return network


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
