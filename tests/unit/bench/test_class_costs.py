from __future__ import annotations

from pathlib import Path

import pytest

from ctfgan.bench import classes
from ctfgan.bench.classes import class_report, measure_classes
from ctfgan.core.errors import ConfigError
from ctfgan.core.progress import silent
from ctfgan.reports.costs import class_plot

TINY = ("class_tables=codes", "class_code=16", "generator_width=0.05", "discriminator_width=0.05")


def test_every_stage_is_measured_and_codes_grow_by_half_precision_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process of its own costs seconds; it matters for memory alone.
    monkeypatch.setattr(classes, "_alone", lambda recipe, number: classes._start(recipe.to_json(), number))
    monkeypatch.setattr(classes, "SETTLING_STEPS", 1)
    costs, device = measure_classes([40, 4], tmp_path, 1, 1, TINY, silent)
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
        assert cost.starts[40].codes - cost.starts[4].codes == 36 * expected[cost.stage]
        assert cost.starts[40].seconds > 0
    report = class_report(costs, device, TINY)
    assert [row[:2] for row in report.tables[0].rows] == [(c.stage, n) for c in costs for n in ("4", "40")]
    assert class_plot(costs).startswith(b"\x89PNG")


@pytest.mark.parametrize("counts", [[1, 10], [10, 10]])
def test_numbers_of_classes_that_cannot_be_compared_are_refused(counts: list[int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give different ones, 2 or more"):
        measure_classes(counts, tmp_path, 1, 1, TINY, silent)
