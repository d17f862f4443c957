from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import ctfgan
from ctfgan.bundle import commit
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings
from ctfgan.runs import _fingerprints, reopen
from ctfgan.training.run_folder import RunFolder
from ctfgan.workplace import Watch
from tests.conftest import TINY_RUN

WriteClasses = Callable[..., Path]


def test_a_run_knows_its_own_reference_by_fingerprint(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> None:
    high = str(write_classes(tmp_path / "hq", {"a": 8, "b": 8}))
    found = []
    for number, reference in enumerate(({"a": 4}, {"b": 4}, None)):
        other = reference and str(write_classes(tmp_path / str(number), reference, first=100))
        settings = DataSettings(high_quality=high, reference=other, resolution=16, low_quality_held_out=0)
        found.append(_fingerprints(prepare(settings, low_quality=True)))
    assert found[0]["reference"] != found[1]["reference"]
    assert found[0]["high-quality"] == found[1]["high-quality"] == found[2]["high-quality"]
    assert "reference" not in found[2]  # its rows follow from the high-quality images and the recipe


@pytest.mark.parametrize(("pairing", "then"), [("auto", "independent"), ("matched", "matched")])
def test_a_run_from_before_classes_with_low_quality_images_only_keeps_its_classes(
    tmp_path: Path, write_classes: WriteClasses, pairing: str, then: str
) -> None:
    high = write_classes(tmp_path / "hq", {"b": 12, "c": 12})
    low = write_classes(tmp_path / "lq", {"a": 12, "b": 12, "c": 12}, size=8, first=100)
    sides = (f"data.high_quality={high}", f"data.low_quality={low}", f"data.pairing={pairing}")
    recipe = ctfgan.recipe("ctf-folders", *TINY_RUN[2:], *sides, "lq_only_classes=false", "recogniser.images=200")
    run = ctfgan.train(recipe, tmp_path / "run")
    stored, told = (json.loads((run / name).read_text()) for name in ("recipe.json", "data.json"))
    del stored["data"]["lq_only_classes"], stored["data"]["without_hq"]
    del told["counts"]["lq_only"], told["counts"]["withheld"]
    for name, content in (("recipe.json", stored), ("data.json", told)):
        (run / name).write_text(json.dumps(content))
    place, _ = reopen(RunFolder.open(run), Watch())
    assert place.dataset.classes == ("b", "c")
    assert place.dataset.low_quality is not None
    assert place.dataset.low_quality.pairing == then


def test_a_run_knows_which_code_trained_it_and_on_what(finished_run: Path) -> None:
    told = json.loads((finished_run / "data.json").read_text())
    assert told["commit"] == commit()
    assert told["processor"]
    assert "\n" not in told["processor"]
