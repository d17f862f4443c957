"""The counts of the paper's tables (DESIGN, section 3), from the recipes and the splits that training uses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ctfgan.data.settings import DataSettings
from ctfgan.data.splits import share
from ctfgan.evaluation.table_rows import NOT_THERE, TABLES
from ctfgan.recipes.catalogue import named_recipe

CIFAR10, STL10, HWDB, IMAGENET = 50_000, 5_000, 1_246_991, 1_281_167


@pytest.mark.parametrize(
    ("recipe", "images", "high_quality", "low_quality"),
    [
        ("table1-cifar10-ac-gan", CIFAR10, 50_000, None),
        ("table1-cifar10-prog-gan", CIFAR10, 50_000, None),
        ("table1-cifar10-projection", CIFAR10, 50_000, None),
        ("table1-cifar10-fewer", CIFAR10, 32_500, 10_000),
        ("table1-cifar10-entire", CIFAR10, 50_000, 10_000),
        ("table1-stl10-projection", STL10, 5_000, None),
        ("table1-stl10-fewer", STL10, 3_250, 1_000),
        ("table1-stl10-entire", STL10, 5_000, 1_000),
        ("table2-hwdb-projection", HWDB, 1_246_991, None),
        ("table2-hwdb-fewer", HWDB, 810_544, "mnist"),
        ("table2-hwdb-entire", HWDB, 1_246_991, "mnist"),
        ("table3-imagenet-projection", IMAGENET, 1_281_167, None),
        ("table3-imagenet-fewer", IMAGENET, 833_408, "cifar100"),
        ("table3-imagenet-entire", IMAGENET, 1_281_167, "cifar100"),
        ("fig1-imagenet-fewer", IMAGENET, 768_700, None),
    ],
)
def test_a_row_trains_on_the_papers_numbers_of_images(
    recipe: str, images: int, high_quality: int, low_quality: int | str | None
) -> None:
    row = named_recipe(recipe)
    data = row.data
    assert data.reference == "published"  # so that no training image is held out
    assert share(images, data.high_quality_fraction) == high_quality
    if low_quality is None:
        assert not row.method.uses_low_quality
    elif isinstance(low_quality, str):
        assert (data.low_quality, data.low_quality_held_out) == (low_quality, 0.0)  # all of it trains
    else:
        assert data.low_quality is None
        assert share(images, data.degradation.share) == low_quality


def test_prepared_data_have_these_counts_and_leave_the_published_test_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundredth of CIFAR-10, through the same code as the real one."""
    from ctfgan.data.prepare import prepare

    monkeypatch.setenv("CTFGAN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    file = tmp_path / "cifar.npz"
    np.savez(
        file,
        x_train=rng.integers(0, 256, (500, 32, 32, 3), dtype=np.uint8), y_train=np.arange(500) % 10,
        x_test=rng.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8), y_test=np.arange(100) % 10,
    )  # fmt: skip
    settings: DataSettings = named_recipe("table1-cifar10-fewer").data.model_copy(update={"high_quality": str(file)})
    dataset = prepare(settings, low_quality=True)
    assert dataset.low_quality is not None
    assert (len(dataset.training), len(dataset.low_quality.bank), len(dataset.reference)) == (325, 100, 100)
    assert dataset.low_quality.also_high_quality == 0
    assert dataset.reference.packed is not dataset.high_quality
    entire = prepare(settings.model_copy(update={"high_quality_fraction": 1.0}), low_quality=True)
    assert entire.low_quality is not None
    assert (len(entire.training), len(entire.low_quality.bank)) == (500, 100)


def test_every_row_of_the_paper_has_its_figure_but_the_one_that_the_paper_leaves_empty() -> None:
    rows = [row for table in TABLES.values() for section in table.sections for row in section.rows]
    assert [row.recipe for row in rows if row.paper is None] == ["table1-stl10-ac-gan"]
    figures = [row.paper for row in rows if row.paper not in (None, NOT_THERE)]
    assert all(re.match(r"IS \d+\.\d+( ± 0\.\d\d|, FID \d+\.\d)$", figure) for figure in figures)
    assert len(figures) == 9 + 3 + 5 + 2
