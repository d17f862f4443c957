"""A whole run that measures probe classes only."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

import ctfgan
from tests.conftest import TINY_RUN


@pytest.mark.slow
def test_a_run_of_many_classes_is_checked_and_evaluated_by_its_probe_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctfgan.data.dataset.MOST_MEASURED_CLASSES", 5)
    monkeypatch.setattr("ctfgan.data.dataset.PROBE_CLASSES", 3)
    settings = (
        "data.glyphs.characters=ABCDEF",
        "evaluation.images=100",
        "evaluation.classification_score=true",
        "evaluation.classification_seeds=1",
    )
    run = ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY_RUN, *settings), tmp_path / "run")
    assert len(load_file(run / "recogniser.safetensors")["to_logits.bias"]) == 3
    found = ctfgan.evaluate(run)
    assert "mix of 3 probe classes of 6" in found.protocol.sentence()
    assert found.protocol.fake == 100
    assert found.reported.real == found.protocol.real == 12  # a tenth of 40 images, of three classes
    assert found.classification is not None
    # No more than the share of the three classes that the GAN sees: about 0.65 of 36 images each.
    # Half of a quarter of 216 images, since three of six classes are probe classes.
    everything = found.classification.arms[list(found.classification.added.values())[-1]]
    assert everything.images == {"HQ": 69, "LQ": 27, "generated": 102}
    assert found.classification.held_out == 12
    assert len(ctfgan.load(run).sample(n=1).images) == 6
