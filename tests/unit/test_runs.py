from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctfgan
from ctfgan.bundle.bundle import commit
from ctfgan.core.errors import RunError
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings
from ctfgan.runs.context import Callbacks
from ctfgan.runs.resumed_run import reopen
from ctfgan.runs.run_notes import fingerprints, levels_entry
from ctfgan.storage.run_folder import RunFolder

WriteClasses = Callable[..., Path]
SHORT = (
    "data.resolution=16", "device=cpu", "adversarial.steps=4", "adversarial.batch_size=8", "generator_width=0.05",
    "discriminator_width=0.05", "checks.every=4", "checks.images=32", "recogniser.images=500", "tracker=none",
)  # fmt: skip


def test_a_run_knows_its_own_reference_by_fingerprint(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> None:
    high = str(write_classes(tmp_path / "hq", {"a": 8, "b": 8}))
    found = []
    for number, reference in enumerate(({"a": 4}, {"b": 4}, None)):
        other = reference and str(write_classes(tmp_path / str(number), reference, first=100))
        settings = DataSettings(high_quality=high, reference=other, resolution=16, low_quality_held_out=0)
        found.append(fingerprints(prepare(settings, low_quality=True)))
    assert found[0]["reference"] != found[1]["reference"]
    assert found[0]["high-quality"] == found[1]["high-quality"] == found[2]["high-quality"]
    assert "reference" not in found[2]  # its rows follow from the high-quality images and the recipe


def test_a_bundle_is_told_what_the_levels_of_both_sides_mean(tmp_path: Path, cache: Path) -> None:
    for side, high in (("hq", 4_000), ("lq", 1_000)):
        for number in range(16):
            (tmp_path / side / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, high, (16, 16), dtype=np.uint16)
            Image.fromarray(pixels).save(tmp_path / side / "ab"[number % 2] / f"{number}.png")
    settings = DataSettings(high_quality=str(tmp_path / "hq"), resolution=16)
    own = settings.model_copy(update={"low_quality": str(tmp_path / "lq")})
    high, low = {"whole": (0, 4_095)}, {"whole": (0, 1_023)}
    assert levels_entry(prepare(own, low_quality=True)) == {"levels": {"high_quality": high, "low_quality": low}}
    assert levels_entry(prepare(settings, low_quality=True)) == {"levels": {"high_quality": high, "low_quality": high}}
    assert levels_entry(prepare(settings, low_quality=False)) == {"levels": {"high_quality": high}}


def test_a_run_knows_which_code_trained_it_and_on_what(finished_run: Path) -> None:
    told = json.loads((finished_run / "data.json").read_text())
    assert told["commit"] == commit()
    assert (told["commit"] is not None) == (Path(__file__).parents[2] / ".git").exists()
    assert told["processor"]
    assert "\n" not in told["processor"]


def test_class_codes_that_are_lost_or_of_another_run_are_named_whatever_the_recipe_leaves_open(
    tmp_path: Path, write_classes: WriteClasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctfgan.recipes.build.MANY_CLASSES", 2)
    high = write_classes(tmp_path / "hq", {"a": 12, "b": 12, "c": 12})
    recipe = ctfgan.recipe("projection-folders", *SHORT, f"data.high_quality={high}")
    assert recipe.method.networks.class_tables == "auto"
    run = RunFolder.open(ctfgan.train(recipe, tmp_path / "run"))
    monkeypatch.undo()
    place, _ = reopen(run, Callbacks())
    assert place.codes is not None
    file = run.path / "class_codes.safetensors"
    content = file.read_bytes()
    file.write_bytes(replace(place.codes, classes=-place.codes.classes).save())
    with pytest.raises(RunError, match=r"missing or damaged \(.* has another hash than data.json says\); restore it"):
        reopen(run, Callbacks())
    file.unlink()
    with pytest.raises(RunError, match=r"class_codes.safetensors is missing or damaged"):
        reopen(run, Callbacks())
    file.write_bytes(content)
    reopen(run, Callbacks())
