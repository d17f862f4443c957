from __future__ import annotations

from pathlib import Path

import classes
import pytest
from classes import class_plot, class_report, measure_classes

from ctfgan.core.errors import ConfigError
from ctfgan.core.progress import silent

TINY = ("class_tables=codes", "class_code=16", "generator_width=0.05", "discriminator_width=0.05")


@pytest.mark.slow
def test_every_stage_is_measured_and_codes_grow_by_half_precision_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process of its own costs seconds; it matters for memory alone.
    monkeypatch.setattr(classes, "_start_in_process", lambda recipe, number: classes._start(recipe.to_json(), number))
    monkeypatch.setattr(classes, "SETTLING_STEPS", 1)
    costs, device = measure_classes([20, 4], tmp_path, 1, 1, TINY, silent)
    assert [cost.stage for cost in costs] == [
        "projection-folders: adversarial", "ctf-folders: transfer", "ctf-folders: generate",
    ]  # fmt: skip
    row = 2 * 16
    expected = {
        "projection-folders: adversarial": row,
        "ctf-folders: transfer": row,
        "ctf-folders: generate": row + row,  # those of classes, and of the low-quality labels that only G_A reads
    }
    for cost in costs:
        assert cost.starts[20].codes - cost.starts[4].codes == 16 * expected[cost.stage]
        assert cost.starts[20].seconds > 0
    report = class_report(costs, device, TINY)
    assert [row[:2] for row in report.tables[0].rows] == [(c.stage, n) for c in costs for n in ("4", "20")]
    assert class_plot(costs).startswith(b"\x89PNG")


@pytest.mark.parametrize("counts", [[1, 10], [10, 10]])
def test_numbers_of_classes_that_cannot_be_compared_are_refused(counts: list[int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give different ones, 2 or more"):
        measure_classes(counts, tmp_path, 1, 1, TINY, silent)
