from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ctfgan.bundle import commit
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings
from ctfgan.runs import _fingerprints

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


def test_a_run_knows_which_code_trained_it_and_on_what(finished_run: Path) -> None:
    told = json.loads((finished_run / "data.json").read_text())
    assert told["commit"] == commit()
    assert told["processor"]
    assert "\n" not in told["processor"]
