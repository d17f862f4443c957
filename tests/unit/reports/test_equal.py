"""Runs at equal steps and equal seconds, on journals whose numbers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import ctfgan
from ctfgan.reports.comparison import RunGroup, compare, equal_blocks
from ctfgan.reports.comparison import table as runs_table
from ctfgan.reports.curves import history_of
from ctfgan.reports.document import Items, Paragraph, TableBlock
from ctfgan.reports.run_results import RunResult, run_names

Check = tuple[str, int, float, float, float | None]
"""Stage, step within it, seconds, distance, top-1."""

MINE: list[Check] = [("transfer", 10, 3.0, 80.0, 0.1), ("transfer", 20, 6.0, 50.0, 0.2),
                     ("generate", 10, 14.0, 30.0, 0.4), ("generate", 20, 22.0, 35.0, 0.5)]  # fmt: skip
BASE: list[Check] = [("adversarial", 15, 5.0, 90.0, 0.05), ("adversarial", 30, 10.0, 45.0, 0.3)]
SLOW: list[Check] = [("adversarial", 40, 100.0, 60.0, None)]


def run(name: str, recipe: str, checks: Sequence[Check], *settings: str, **data: Any) -> RunResult:
    """A run of these checks, with a line of the journal before and after them that is no check."""
    lines: list[dict[str, Any]] = []
    for stage, step, seconds, distance, top_1 in checks:
        lines.append({"event": "step", "stage": stage, "step": step - 1, "seconds": seconds - 0.5, "loss": 1.0})
        found = {"distance": distance, "top_1": top_1}
        lines.append({"event": "check", "stage": stage, "step": step, "seconds": seconds, **found})
    if checks:
        stage, step, seconds = checks[-1][:3]
        lines.append({"event": "step", "stage": stage, "step": step + 5, "seconds": seconds + 4, "loss": 1.0})
    counts = {"classes": 4, "high_quality": 90, "low_quality": 30}
    known = {"counts": counts, "extractor": "recogniser-1", "device": "cpu, 1 thread", "processor": "P"} | data
    return RunResult(Path(name), ctfgan.recipe(recipe, *settings), known, history_of(lines), None)


def groups(*runs: RunResult) -> list[RunGroup]:
    return [RunGroup(result.path.name, (result,)) for result in runs]


def table(*given: RunGroup) -> list[tuple[str, ...]]:
    comparison, notes = compare(given)
    assert comparison is not None
    assert notes == []
    return [comparison.headings(), *comparison.rows()]


def test_runs_stand_at_the_smallest_totals_with_their_last_check_by_then_and_not_with_their_best() -> None:
    mine, base = run("mine", "ctf-glyphs", MINE), run("base", "projection-glyphs", BASE)
    # 30 steps: of 40 and 30. 10 s: of 22 and 10; by then mine has only its second check.
    assert table(*groups(mine, base)) == [
        ("run", "distance at 30 steps", "top-1", "checked at step", "distance at 10.0 s", "top-1", "checked at s",
         "s to 45.00", "steps to 45.00"),
        ("mine", "30.00", "40.0%", "30", "50.00", "20.0%", "6.0", "14.0", "30"),
        ("base (baseline)", "45.00", "30.0%", "30", "45.00", "30.0%", "10.0", "10.0", "30"),
    ]  # fmt: skip
    longer = run("longer", "projection-glyphs", [*BASE, ("adversarial", 60, 22.0, 10.0, 0.9)])
    (at_steps,) = [row for row in table(*groups(mine, longer)) if row[0] == "mine"]
    assert at_steps[1:4] == ("35.00", "50.0%", "40")  # its last, although the one before was nearer


def test_runs_whose_folders_are_called_alike_are_called_by_their_paths() -> None:
    runs = [run(name, "ctf-glyphs", MINE) for name in ("first/run", "second/run", "other/baseline")]
    assert run_names(runs) == [str(Path("first/run")), str(Path("second/run")), "baseline"]
    assert [row[0] for row in runs_table(runs)] == run_names(runs)


def test_the_run_in_the_current_folder_is_called_like_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert run_names([run(".", "ctf-glyphs", MINE)]) == ["mine"]


def test_what_never_comes_to_the_baseline_and_what_was_not_checked_by_then_says_so() -> None:
    slow, base = run("slow", "ac-gan-folders", SLOW), run("base", "projection-glyphs", BASE)
    rows = table(*groups(slow, base))
    assert rows[1] == ("slow", "no check yet", "", "", "no check yet", "", "", "never", "never")


@pytest.mark.parametrize(
    ("recipes", "baseline"),
    [
        (("ctf-glyphs", "projection-glyphs"), 1),
        (("ac-gan-folders", "ctf-glyphs", "projection-glyphs"), 2),
        (("ctf-glyphs", "ac-gan-folders", "sn-gan-concat-folders"), 1),
        (("projection-glyphs", "projection-folders", "ctf-glyphs"), 0),
        (("ctf-glyphs", "ctf-folders"), 0),
    ],
)
def test_the_baseline_is_projection_else_without_low_quality_images_else_the_first(
    recipes: tuple[str, ...], baseline: int
) -> None:
    comparison, _ = compare(groups(*(run(str(place), name, BASE) for place, name in enumerate(recipes))))
    assert comparison is not None
    assert comparison.baseline.name == str(baseline)


def test_seeds_are_a_mean_with_the_least_and_the_greatest() -> None:
    def base(number: int, distance: float) -> RunResult:
        return run(f"s{number}", "projection-glyphs", [("adversarial", 30, 10.0 + number, distance, 0.25)])

    near = run("near", "ctf-glyphs", [("transfer", 30, 8.0, 40.0, 0.5)])
    far = run("far", "ctf-glyphs", [("transfer", 20, 6.0, 70.0, 0.1), ("transfer", 30, 9.0, 60.0, 0.3)])
    headings, ours, theirs = table(RunGroup("ours", (near, far)), RunGroup("theirs", (base(0, 44.0), base(1, 48.0))))
    # 30 steps and 8 s are the smallest totals; the target is 46, which of ours one run alone comes to.
    assert headings[7] == "s to 46.00"
    assert ours == ("ours", "50.00 (40.00 to 60.00)", "40.0% (30.0% to 50.0%)", "30", "55.00 (40.00 to 70.00)",
                    "30.0% (10.0% to 50.0%)", "7.0 (6.0 to 8.0)", "8.0, 1 of 2", "30, 1 of 2")  # fmt: skip
    assert theirs[:5] == ("theirs (baseline)", "46.00 (44.00 to 48.00)", "25.0%", "30", "no check yet")
    comparison, _ = compare([RunGroup("ours", (near, far)), RunGroup("theirs", (base(0, 44.0),))])
    assert comparison is not None
    assert "Over seeds: mean (least to greatest)" in comparison.sentence()
    alone, _ = compare(groups(near, base(0, 44.0)))
    assert alone is not None
    assert "Over seeds" not in alone.sentence()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: run("b", "projection-glyphs", BASE, extractor="recogniser-2"),
         "the checks were measured with different recognisers (recogniser-1, recogniser-2)"),
        (lambda: run("b", "projection-glyphs", BASE, "checks.images=64"),
         "the checks were measured with different numbers of samples (1,000, 64)"),
        (lambda: run("b", "projection-glyphs", []), "b has no check yet"),
    ],
)  # fmt: skip
def test_checks_that_do_not_compare_are_not_set_side_by_side(other: Callable[[], RunResult], words: str) -> None:
    mine = run("a", "ctf-glyphs", MINE, "checks.images=1000")
    comparison, notes = compare(groups(mine, other()))
    assert comparison is None
    assert notes == [f"not at equal steps and seconds: {words}"]
    blocks = equal_blocks(groups(mine, other()))
    assert [type(block) for block in blocks[1:]] == [Items]


def test_another_machine_and_a_trained_start_are_told_beside_the_table() -> None:
    base = run("base", "projection-glyphs", BASE, processor="Q")
    mine = run("mine", "ctf-glyphs", MINE, "start.path=x")
    comparison, notes = compare(groups(mine, base))
    assert comparison is not None
    assert notes == [
        "seconds do not compare: the runs were trained on different machines (cpu, 1 thread, P; cpu, 1 thread, Q)",
        "what the trained weights took that mine began with is not counted",
    ]
    assert [type(block) for block in equal_blocks(groups(mine, base))[1:]] == [TableBlock, Paragraph, Items]


def test_a_run_without_a_check_is_left_out_and_a_single_run_has_nothing_beside_it() -> None:
    mine, base, new = (
        run("mine", "ctf-glyphs", MINE),
        run("base", "projection-glyphs", BASE),
        run("new", "ctf-glyphs", []),
    )
    comparison, notes = compare(groups(new, mine, base))
    assert comparison is not None
    assert [group.name for group in comparison.groups] == ["mine", "base"]
    assert notes == ["not at equal steps and seconds: new has no check yet"]
    assert compare(groups(mine)) == (None, [])
    assert equal_blocks(groups(new)) == []
