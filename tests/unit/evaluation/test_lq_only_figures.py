"""Classes that the GAN has seen low-quality images of only are measured apart, or, where nobody can, not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ctfgan
from ctfgan.core.progress import silent
from ctfgan.data.dataset import EvaluatedClasses
from ctfgan.evaluation import evaluator
from ctfgan.evaluation.image_streams import ImageSet
from ctfgan.evaluation.result import FLOOR
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.reports.csv_rows import csv_rows
from ctfgan.reports.run_results import metric_table, read_run
from ctfgan.runs.context import Callbacks, RunContext, open_context
from ctfgan.training.alarms import Alarms
from ctfgan.training.settings import AlarmSettings
from ctfgan.training.validation import CheckReport, Validator
from tests.conftest import Outcome
from tests.unit.evaluation.test_class_mix import SIDE, Player, stripes

CLASSES, EACH = 6, 60
SETTINGS = (
    f"data.resolution={SIDE}", "device=cpu", "data.held_out=0.4", "degradation.size=4", "generator_width=0.05",
    "discriminator_width=0.05", "transfer.steps=2", "generate.steps=2", "transfer.batch_size=8",
    "generate.batch_size=8", "checks.every=2", "checks.images=64", "recogniser.images=12000", "recogniser.width=8",
    "recogniser.learning_rate=0.01", "evaluation.images=200",
)  # fmt: skip


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([stripes(label, EACH, rng) for label in range(CLASSES)])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, images: np.ndarray) -> ctfgan.Recipe:
    """Six classes that are easy to tell apart, two of which are withheld."""
    path = tmp_path_factory.mktemp("withheld") / "images.npz"
    np.savez(path, images=images, labels=np.repeat(np.arange(CLASSES), EACH))
    return ctfgan.recipe("ctf-folders", *SETTINGS, f"data.high_quality={path}", "data.without_hq=2")


@pytest.fixture(scope="module")
def place(recipe: ctfgan.Recipe) -> RunContext:
    return open_context(recipe, Callbacks())


def player(images: np.ndarray, measured: EvaluatedClasses, for_lq_only: int) -> Player:
    """A generator that shows each class its own images, but classes without high-quality ones those of one class."""
    known = list(np.split(images, CLASSES))
    return Player([known[for_lq_only] if c in measured.lq_only else known[c] for c in range(CLASSES)])


def checked(place: RunContext, generator: nn.Module, folder: Path, count: int) -> CheckReport:
    settings = place.recipe.training.checks.model_copy(update={"images": count})
    return Validator(place.dataset, place.eval_classifier(silent), settings, folder, place.engine).check(
        generator, "generate", 2, 100
    )


@pytest.mark.parametrize("count", [120, 16, 4])
def test_checks_give_top_1_apart_and_say_nothing_of_the_variety_of_such_classes(
    place: RunContext, images: np.ndarray, tmp_path: Path, count: int
) -> None:
    measured = place.dataset.evaluated_classes
    seen = next(c for c in range(CLASSES) if c not in measured.lq_only)
    good = checked(place, player(images, measured, seen), tmp_path, count)
    assert good.top_1 is not None
    assert good.top_1 > 0.95
    assert good.top_1_lq_only is not None
    assert good.top_1_lq_only < 0.05
    assert good.line()["top_1_lq_only"] == good.top_1_lq_only
    if count >= 2 * CLASSES:
        assert good.class_variety is not None
        unknown = [number for number, ratio in enumerate(good.class_variety) if ratio is None]
        assert unknown == measured.lq_only.tolist()
    assert good.least_of_a_class >= count // CLASSES


def test_no_alarm_is_raised_for_want_of_real_images(place: RunContext, images: np.ndarray, tmp_path: Path) -> None:
    measured = place.dataset.evaluated_classes
    own = list(np.split(images, CLASSES))
    alike = Player([own[c][:1] if c in measured.lq_only else own[c] for c in range(CLASSES)])
    report = checked(place, alike, tmp_path, 120)
    counts = np.bincount(measured.training.labels, minlength=CLASSES).tolist()
    alarms = Alarms(AlarmSettings(), measured.names, counts)
    assert [alarms.look(report) for _ in range(5)] == [[]] * 5


@pytest.mark.slow
def test_evaluate_splits_top_1_and_a_run_without_the_real_images_trains_checks_and_samples(
    recipe: ctfgan.Recipe, place: RunContext, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ctfgan.train(recipe, tmp_path / "run")
    measured = place.dataset.evaluated_classes
    assert read_run(run).counts["lq_only"] == read_run(run).counts["withheld"] == 2
    assert len(ctfgan.load(run).sample(n=1).images) == CLASSES
    seen = next(c for c in range(CLASSES) if c not in measured.lq_only)
    made = player(images, measured, seen)
    side = place.dataset.low_quality
    assert side is not None
    sets = [ImageSet("samples", made, side.bank, torch.arange(CLASSES), [str(label) for label in range(CLASSES)])]
    monkeypatch.setattr(evaluator, "image_sets", lambda *_: sets)
    found = ctfgan.evaluate(run)

    # The oracle: the images that the player has for each class, read one class at a time.
    eval_classifier = place.eval_classifier(silent)
    shares = []
    for label in range(CLASSES):
        shown = np.split(images, CLASSES)[seen if label in measured.lq_only else label]
        shares.append((eval_classifier.read(shown[..., None])[1].argmax(dim=1) == label).double().mean().item())
    is_apart = np.isin(np.arange(CLASSES), measured.lq_only)
    assert found.reported.top_1 == pytest.approx(np.mean(np.array(shares)[~is_apart]), abs=0.05)
    assert found.reported.top_1_lq_only == pytest.approx(np.mean(np.array(shares)[is_apart]), abs=0.05)
    floor = found.rows[FLOOR][EVAL_CLASSIFIER]
    assert floor.top_1_lq_only is not None
    assert floor.top_1_lq_only > 0.9, "recogniser and reference know the withheld classes"
    assert found.protocol.lq_only == 2
    assert "means over classes apart from 2 with low-quality images only" in found.protocol.sentence()
    headings, _ = metric_table(found.as_dict(), EVAL_CLASSIFIER)
    assert "top-1, LQ only ↑" in headings
    (row,) = csv_rows([read_run(run)], None)
    assert float(row["top_1_lq_only"]) == found.reported.top_1_lq_only
    assert float(row["floor_top_1_lq_only"]) == floor.top_1_lq_only


@pytest.mark.slow
def test_a_folder_pair_with_more_low_quality_classes_trains_and_is_measured_by_the_others(
    tmp_path: Path, write_classes: Callable[..., Path], run_cli: Callable[..., Outcome]
) -> None:
    high = write_classes(tmp_path / "hq", dict.fromkeys("bcef", 12))
    low = write_classes(tmp_path / "lq", dict.fromkeys("abcdef", 12), size=8, first=100)
    settings = (*SETTINGS, f"data.high_quality={high}", f"data.low_quality={low}", "evaluation.images=100")
    run = ctfgan.train(ctfgan.recipe("ctf-folders", *settings), tmp_path / "run")
    assert [sample.shape for sample in ctfgan.load(run).sample("ad", n=2).images] == [(SIDE, SIDE, 1)] * 4
    found = ctfgan.evaluate(run)
    assert found.protocol.classes == 4
    assert found.reported.top_1_lq_only is None
    assert "2 of 6 classes have low-quality images only and are not measured" in "; ".join(found.notes)
    assert run_cli("report", run, "--images", 100).code == 0
    assert "a (LQ images only)" in (run / "report.html").read_text()
