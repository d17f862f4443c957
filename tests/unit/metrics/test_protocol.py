from __future__ import annotations

from dataclasses import replace

import pytest

from ctfgan.metrics.features import ExtractorCard
from ctfgan.metrics.inception import CARD
from ctfgan.metrics.protocol import Protocol, in_words
from ctfgan.metrics.scores import PerClass, Prdc, Scores

OWN = ExtractorCard("recogniser", "own-0123", 64, "none", "Frechet distance", "kernel distance", "recogniser score",
                    knows_classes=True)  # fmt: skip
SCORES = Scores(50_000, 10_000, 0.5, 0.9, 3.0, 0.1, 12.5, 13.5, 0.01, Prdc(0.7, 0.6, 0.9, 0.8))
PROTOCOL = Protocol(
    real=10_000, fake=50_000, per_class_at_least=5_000, classes=10, of_classes=10, reference="held-out split",
    extractors={"recogniser": OWN, "inception": CARD}, recogniser_images=90_000, resolution=32,
    low_quality="no LQ bank", weights="last", score_splits=10, kernel_subsets=100, kernel_subset_size=1_000,
    neighbours=5, neighbours_images=10_000, per_class=0, data_seed=7, training_seed=8, evaluation_seed=9, device="cpu",
    rollbacks=0, slowed=1.0, lq_only=0, unmeasured=0,
)  # fmt: skip


def test_the_sentence_holds_what_makes_figures_comparable() -> None:
    said = PROTOCOL.sentence()
    for words in ("n real 10,000", "n fake 50,000", "held-out split", "own-0123", CARD.name, "TensorFlow 1",
                  "no LQ bank", "data seed 7", "training seed 8", "seed 9", "cpu", "10 splits", "k = 5"):  # fmt: skip
        assert words in said


def test_the_sentence_says_which_classes_were_measured() -> None:
    assert "mix of 10 classes" in PROTOCOL.sentence()
    assert "mix of 10 probe classes of 1,000,000; top-1" in replace(PROTOCOL, of_classes=1_000_000).sentence()


def test_the_sentence_says_that_rates_were_lowered_after_failures() -> None:
    assert "rolled back" not in PROTOCOL.sentence()
    said = replace(PROTOCOL, rollbacks=2, slowed=0.25).sentence()
    assert said.endswith("; training was rolled back 2 times and ended with 0.25 of the recipe's learning rates")


def test_figures_of_enough_images_need_no_note() -> None:
    assert PROTOCOL.notes({"recogniser": SCORES, "inception": SCORES}) == []


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (replace(SCORES, real=2_000), "FID is not comparable: 2,000 images are too few for 2,048 features"),
        (replace(SCORES, fake=5_000), "use 50,000 generated images, not 5,000"),
        (replace(SCORES, neighbours=None), "need more than 5 images"),
        (replace(SCORES, per_class=PerClass(1.0, {"a": 1.0}, 5_000, 5_000, 9)), "9 classes have too few held-out"),
        (replace(SCORES, per_class=PerClass(1.0, {"a": 1.0}, 500, 60, 0)), "by class are not comparable: 60 real"),
    ],
)
def test_too_few_images_are_flagged(figures: Scores, message: str) -> None:
    notes = PROTOCOL.notes({"recogniser": SCORES, "inception": figures})
    assert len(notes) == 1
    assert message in notes[0]


def test_few_real_images_are_flagged_once_for_all_extractors() -> None:
    few = replace(SCORES, real=100)
    notes = replace(PROTOCOL, real=100).notes({"recogniser": few})
    assert notes == ["with only 100 held-out real images the distances are unreliable"]


def test_asking_for_classes_that_cannot_be_measured_is_told() -> None:
    assert "no class has enough" in replace(PROTOCOL, per_class=3).notes({"recogniser": SCORES})[0]


def test_figures_bear_the_names_of_their_extractor() -> None:
    assert "FID 12.50 (13.50 at the floor's size), KID 0.0100" in in_words(CARD, SCORES)
    assert "Inception score 3.00 ± 0.10" in in_words(CARD, SCORES)
    said = in_words(OWN, replace(SCORES, top_1=None, top_5=None, score=None, neighbours=None, frechet_at_floor=None))
    assert said == "Frechet distance 12.50, kernel distance 0.0100 (50,000 images against 10,000 real)"


def test_a_score_of_too_few_images_is_said_to_be_none() -> None:
    said = in_words(OWN, replace(SCORES, score=None, too_few_for_score=True))
    assert "no recogniser score of so few images" in said
