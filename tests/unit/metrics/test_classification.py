from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from ctfgan.core.progress import Progress, silent
from ctfgan.metrics.classification import (
    ClassificationScore,
    Gain,
    MirrorTest,
    TrainedOn,
    classification_score,
    gain_interval,
)
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainingImages
from ctfgan.metrics.settings import EvalClassifierSettings
from tests.unit.metrics.test_eval_classifier import stripes

SETTINGS = EvalClassifierSettings(width=4, features=8, images=1_000, batch_size=16)


ALL = ("HQ", "HQ + augmentation", "HQ + LQ", "HQ + augmentation + LQ", "HQ + generated", "generated",
       "HQ + LQ + generated", "HQ + augmentation + LQ + generated")  # fmt: skip
Labelled = tuple[np.ndarray, np.ndarray]


def training_images(images: Labelled) -> TrainingImages:
    return TrainingImages(
        images[0], np.arange(len(images[0])), images[1], hashlib.sha256(images[0].tobytes()).hexdigest()
    )


def score_of(
    generated: Labelled,
    folder: Path,
    *,
    hq: Labelled,
    lq: Labelled | None = None,
    progress: Progress = silent,
    seeds: int = 1,
) -> ClassificationScore:
    """Tested on 60 stripes of seed 1."""
    real = {"HQ": training_images(hq)} | ({} if lq is None else {"LQ": training_images(lq)})
    chunks = [(part, torch.from_numpy(told)) for part, told in in_two(generated)]
    reference = ((part, torch.from_numpy(told)) for part, told in in_two(stripes(60, 1)))
    trainer = EvalClassifierTrainer(SETTINGS, torch.device("cpu"), progress, folder)
    return classification_score(trainer, real, chunks, len(generated[0]), reference, ("across", "down"), seeds)


def in_two(images: Labelled) -> list[Labelled]:
    return list(zip(*(np.array_split(part, 2) for part in images), strict=True))


def test_good_samples_teach_as_much_as_real_images_and_noise_teaches_nothing(
    tmp_path: Path,
) -> None:
    notes: list[str] = []

    def spy(items: Iterable[int], total: int, what: str) -> Iterable[int]:
        notes.append(what)
        return items

    hq, lq = stripes(200, 0), stripes(90, 3)
    good = score_of(stripes(150, 2), tmp_path, hq=hq, lq=lq, progress=spy)
    assert tuple(good.arms) == ALL
    assert notes == [f"training classifier {number} of 10" for number in range(1, 11)]
    assert min(arm.accuracy for arm in good.arms.values()) > 0.9
    assert good.arms["HQ + LQ"].images == {"HQ": 200, "LQ": 90}
    assert good.arms[ALL[-1]].images == {"HQ": 200, "LQ": 90, "generated": 150}
    assert (good.held_out, good.steps) == (60, 62)
    assert good.arms["HQ"].gain is None
    for name in ALL[1:]:
        gain = good.arms[name].gain
        assert gain is not None
        assert gain.difference == pytest.approx(good.arms[name].accuracy - good.arms["HQ"].accuracy)
        assert gain.interval[0] <= gain.difference <= gain.interval[1]
    assert good.added == {"HQ + LQ": "HQ + LQ + generated", ALL[3]: ALL[7]}
    pairs = {"HQ + generated": "HQ"} | {everything: real for real, everything in good.added.items()}
    for name, arm in good.arms.items():
        assert (arm.generated_add is None) == (name not in pairs)
        if arm.generated_add is not None:
            before = good.arms[pairs[name]].accuracy
            assert arm.generated_add.difference == pytest.approx(arm.accuracy - before)

    notes.clear()
    noise = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 1), dtype=np.uint8)
    bad = score_of((noise, np.arange(200) % 2), tmp_path, hq=hq, lq=lq, progress=spy)
    assert bad.arms["generated"].accuracy < 0.8
    assert [bad.arms[name] for name in ALL[:4]] == [good.arms[name] for name in ALL[:4]]
    assert notes == [f"training classifier {number} of 10" for number in range(7, 11)], "the others are kept"


def test_samples_help_where_the_real_images_lack_a_class_and_arms_with_lq_are_left_out_where_there_are_none(
    tmp_path: Path,
) -> None:
    images, labels = stripes(200, 0)
    rows = np.flatnonzero(labels == 0)
    score = score_of(stripes(150, 2), tmp_path, hq=(images[rows], labels[rows]), seeds=2)
    share = float((stripes(60, 1)[1] == 0).mean())
    opponent, everything = "HQ + augmentation", "HQ + augmentation + generated"
    assert tuple(score.arms) == ("HQ", opponent, "HQ + generated", "generated", everything)
    assert score.added == {"HQ": "HQ + generated", opponent: everything}
    assert score.arms["HQ"].accuracy == pytest.approx(share), "only the class that it knows"
    for arm in score.arms.values():
        assert len(arm.by_seed) == 2
        assert arm.accuracy == pytest.approx(np.mean(arm.by_seed))
    for name in score.added.values():
        gain = score.arms[name].generated_add
        assert gain is not None
        assert gain.interval[0] > 0
    assert [(hard.name, hard.before) for hard in score.hardest] == [("down", 0.0), ("across", 1.0)]
    assert score.hardest[0].after > 0.8
    assert score.sentence().startswith("generated images add ")
    for words in (" points to HQ (95 % interval +", " points to HQ + augmentation (95 % interval +",
                  "2 seeds, 62 steps each", "; no arms with LQ, since"):  # fmt: skip
        assert words in score.sentence()
    assert score.hardest_sentence().startswith(
        "hardest classes, HQ + augmentation -> with generated images: down 0% ->"
    )


def test_flips_belong_to_the_augmentation_where_mirrored_images_are_of_their_class(tmp_path: Path) -> None:
    """Stripes are the same when mirrored; two classes that are each other's mirror image are not."""
    kept = score_of(stripes(40, 2), tmp_path, hq=stripes(100, 0))
    assert kept.mirror_test.keeps_class
    assert kept.mirror_test.upright > 0.8
    assert "the augmentation mirrors, since of unseen HQ images" in kept.sentence()
    labels = np.arange(100) % 2
    slope = np.indices((16, 16))[1] * 8
    slopes = np.where(labels[:, None, None] == 0, slope, slope[:, ::-1])
    handed = (slopes + np.random.default_rng(0).integers(0, 100, (100, 16, 16))).astype(np.uint8)[..., None], labels
    lost = score_of(stripes(40, 2), tmp_path, hq=handed)
    assert not lost.mirror_test.keeps_class
    assert lost.mirror_test.mirrored < 0.2 < 0.8 < lost.mirror_test.upright
    assert "the augmentation does not mirror" in lost.sentence()


def test_the_sentence_says_what_generated_images_add_to_all_real_ones_augmented_or_not() -> None:
    accuracies = dict(zip(ALL, (0.5, 0.6, 0.8, 0.7, 0.8, 0.75, 0.9, 0.65), strict=True))
    gains = {ALL[6]: Gain(0.1, (0.08, 0.12)), ALL[7]: Gain(-0.05, (-0.11, 0.01))}
    arms = {
        name: TrainedOn({"HQ": 9, "LQ": 9}, accuracy, (accuracy,), None, gains.get(name))
        for name, accuracy in accuracies.items()
    }
    score = ClassificationScore(arms, {ALL[2]: ALL[6], ALL[3]: ALL[7]}, MirrorTest(0.5, 0.5), 60, 10, ())
    assert score.sentence().startswith(
        "generated images add 10.0 points to HQ + LQ (95 % interval +8.0 to +12.0) and take 5.0 points from HQ + "
        "augmentation + LQ (95 % interval -11.0 to +1.0, not distinguishable from none): of 60 held-out real images "
        "90.0% and 65.0% are read right instead of 80.0% and 70.0%; 1 seed, 10 steps each; the augmentation mirrors"
    )


def test_copies_of_a_single_image_can_be_trained_on(tmp_path: Path) -> None:
    images, labels = stripes(2, 0)
    score = score_of(stripes(40, 2), tmp_path, hq=(images[[0, 0, 0]], labels[[0, 0, 0]]))
    assert score.mirror_test.upright == 0
    assert not score.mirror_test.keeps_class


def test_one_seed_gives_mcnemars_interval() -> None:
    """The variance of the difference of two paired proportions, from the counts of disagreement alone."""
    gained, lost, same = 40, 10, 150
    count = gained + lost + same
    before = np.array([False] * gained + [True] * lost + [True] * same)[None]
    after = np.array([True] * gained + [False] * lost + [True] * same)[None]
    error = math.sqrt(gained + lost - (gained - lost) ** 2 / count) / count
    middle = (gained - lost) / count
    low, high = gain_interval(before, after)
    assert low == pytest.approx(middle - 1.96 * error, abs=2e-3)
    assert high == pytest.approx(middle + 1.96 * error, abs=2e-3)


def test_seeds_that_disagree_widen_the_interval_as_students_t_says() -> None:
    """Gains of single seeds of 0, 10 and 20 %, which nothing but the seed explains: t(0.975, 2) = 4.303."""
    before = np.zeros((3, 20_000), dtype=bool)
    after = np.zeros_like(before)
    for seed, share in enumerate((0.0, 0.1, 0.2)):
        after[seed, np.random.default_rng(seed).permutation(20_000)[: int(share * 20_000)]] = True
    low, high = gain_interval(before, after)
    assert (low + high) / 2 == pytest.approx(0.1, abs=5e-3)
    assert (high - low) / 2 == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=0.03)
    assert gain_interval(before, before) == (0.0, 0.0)


def test_an_interval_that_holds_the_truth_95_times_of_100() -> None:
    """Accuracies 0.70 and 0.73, no effect of the seed."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        low, high = gain_interval(rng.random((1, 400)) < 0.70, rng.random((1, 400)) < 0.73)
        held += low <= 0.03 <= high
    assert 180 <= held <= 198
