"""Real data are not balanced: figures of samples follow the mix of the classes that they are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ctfgan
from ctfgan.core.progress import silent
from ctfgan.data.images import to_float
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.evaluation import evaluator
from ctfgan.evaluation.image_streams import ImageSet
from ctfgan.evaluation.result import FLOOR, Evaluation
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.models.synthesis import labels_in_mix, missing_labels
from ctfgan.runs.context import Callbacks, RunContext, open_context
from ctfgan.training.validation import Validator

COUNTS = (2_000, 40, 40, 40)
SIDE = 16


def stripes(label: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Images that are easy to tell apart: stripes of a frequency of the class's own, with any phase and contrast."""
    phase, contrast = rng.uniform(0, 2 * np.pi, (count, 1, 1)), rng.uniform(0.5, 1, (count, 1, 1))
    wave = np.sin(2 * np.pi * (label + 1) * np.arange(SIDE) / SIDE + phase)
    grey = 128 + 110 * contrast * wave * np.ones((1, SIDE, 1))
    return (grey + rng.normal(0, 8, (count, SIDE, SIDE))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunContext]:
    """A finished run on very unbalanced data, and what it works with."""
    folder, rng = tmp_path_factory.mktemp("unbalanced"), np.random.default_rng(0)
    images = np.concatenate([stripes(label, count, rng) for label, count in enumerate(COUNTS)])
    np.savez(folder / "images.npz", images=images, labels=np.repeat(np.arange(4), COUNTS))
    recipe = ctfgan.recipe(
        "projection-folders", f"data.high_quality={folder / 'images.npz'}", "data.resolution=16", "device=cpu",
        "data.held_out=0.5", "generator_width=0.05", "discriminator_width=0.05", "adversarial.steps=2",
        "adversarial.batch_size=8", "checks.every=2", "checks.images=64", "recogniser.images=25000",
        "recogniser.width=8", "recogniser.learning_rate=0.01", "evaluation.images=500",
    )  # fmt: skip
    return ctfgan.train(recipe, folder / "run"), open_context(recipe, Callbacks())


class Player(nn.Module):
    """A generator of given images: of the class asked for, or of any; blurred by grey noise.

    Args:
        images: of each class, uint8 ``(N, R, R)``.
        noise: standard deviation of the noise, in [-1, 1].
        obeys: whether it looks at the class.
    """

    def __init__(self, images: list[np.ndarray], noise: float = 0.0, *, obeys: bool = True) -> None:
        super().__init__()
        self.images = [to_float(known[..., None]) for known in images]
        self.noise, self.obeys = noise, obeys

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        return normal_noise(count, 2 + SIDE**2, 0, 0, batch_rng)

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        which, place = torch.special.ndtr(noise.latent[:, :2].T)
        labels = condition.labels if self.obeys else (which * len(self.images)).long()
        drawn = [self.images[c][int(u * len(self.images[c]))] for c, u in zip(labels, place, strict=True)]
        return torch.stack(drawn) + self.noise * noise.latent[:, 2:].unflatten(1, (1, SIDE, SIDE))


def training_images(work: RunContext) -> list[np.ndarray]:
    training = work.dataset.evaluated_classes.training
    return [training.images[training.labels == label][..., 0] for label in range(len(COUNTS))]


def evaluated(run: Path, generator: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    sets = [
        ImageSet("samples", generator, None, torch.arange(len(COUNTS)), [str(label) for label in range(len(COUNTS))])
    ]
    monkeypatch.setattr(evaluator, "image_sets", lambda *_: sets)
    return ctfgan.evaluate(run)


def test_labels_in_a_mix_are_as_frequent_as_the_counts_say_but_for_rounding() -> None:
    for counts, number in (((2000, 40, 40, 40), 500), ((3, 0, 5), 7), ((1,) * 95, 2_000), ((9, 1), 3)):
        found = np.bincount(labels_in_mix(np.array(counts), number).numpy(), minlength=len(counts))
        assert found.sum() == number
        assert np.all(np.abs(found - number * np.array(counts) / sum(counts)) < 1)


def test_labels_in_a_mix_are_spread_evenly_where_there_are_fewer_than_classes() -> None:
    assert sorted(labels_in_mix(np.ones(100, dtype=np.int64), 4).tolist()) == [12, 37, 62, 87]


def test_missing_labels_fill_every_class_up() -> None:
    given = torch.tensor([0, 0, 0, 2])
    assert missing_labels(given, 4, 2).tolist() == [1, 1, 2, 3, 3]
    assert missing_labels(given, 4, 0).tolist() == []


def test_real_images_as_samples_score_like_the_floor_on_unbalanced_data(
    work: tuple[Path, RunContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluated(work[0], Player(training_images(work[1])), monkeypatch)
    real = found.rows[FLOOR]["recogniser"]
    assert found.reported.frechet_at_floor is not None
    assert found.reported.frechet_at_floor < 2 * real.frechet
    assert found.reported.top_1 is not None
    assert found.reported.top_1 > 0.95
    assert found.protocol.fake == 500
    assert found.protocol.per_class_at_least == 125  # an even spread, for the means over classes

    ignores = evaluated(work[0], Player(training_images(work[1]), obeys=False), monkeypatch).reported
    assert ignores.frechet > 20 * real.frechet
    assert ignores.top_1 == pytest.approx(0.25, abs=0.05)


def test_the_best_check_is_the_best_on_unbalanced_data(work: tuple[Path, RunContext], tmp_path: Path) -> None:
    _, place = work
    settings = place.recipe.training.checks.model_copy(update={"images": 400})
    checker = Validator(place.dataset, place.eval_classifier(silent), settings, tmp_path, place.engine)
    found = [
        checker.check(Player(training_images(place), noise), "adversarial", 1, step)
        for step, noise in enumerate((0.8, 0.4, 0.2, 0.1, 0.0))
    ]
    distances = [report.distance for report in found]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < distances[0] / 20
    assert found[-1].top_1 is not None
    assert found[-1].top_1 > 0.95
    assert found[-1].class_variety is not None
    assert len(found[-1].class_variety) == 4


def test_a_mean_over_classes_does_not_follow_the_largest_class(
    work: tuple[Path, RunContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = training_images(work[1])
    found = evaluated(work[0], Player([images[0]] * 4), monkeypatch)  # right for 94 % of the reference's mix
    assert found.reported.top_1 == pytest.approx(0.25, abs=0.01)
