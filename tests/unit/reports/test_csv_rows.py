"""One line of data a run: what stands in it, and what becomes of a file that is there."""

from __future__ import annotations

import csv
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ctfgan
from ctfgan.evaluation import FLOOR
from ctfgan.recipes.catalogue import baseline_of
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import Recipe, shareable
from ctfgan.reports.comparison import compare
from ctfgan.reports.csv_rows import HEADER, add_to_csv, csv_rows, read_csv, write_csv
from ctfgan.reports.run_results import RunResult
from tests.unit.reports.test_equal import BASE, MINE, groups, run


def figures(images: int = 100, seed: int = 1) -> dict[str, Any]:
    def row(distance: float, top_1: float) -> dict[str, Any]:
        near = {"precision": 0.9, "recall": 0.8, "density": 0.7, "coverage": 0.6}
        found = {"fake": images, "real": 40, "top_1": top_1, "top_5": 0.99, "score": 3.5, "score_spread": 0.1}
        return {"recogniser": found | {"frechet": distance, "kernel": 0.25, "neighbours": near}}

    rows = {
        "samples, training LQ bank": row(11.0, 0.5),
        "samples, held-out LQ bank": row(12.0, 0.4),
        FLOOR: row(1.0, 0.9),
    }
    return {"reported_set": "samples, held-out LQ bank", "rows": rows, "protocol": {"evaluation_seed": seed}}


def told(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_line_says_what_a_run_is_and_what_was_measured() -> None:
    mine = run("runs/mine", "ctf-folders", MINE, "data.high_quality=/photos/good scans", "seed=3",
               "data.low_quality=/data/mnist.npz", "high_quality_fraction=0.5", commit="c0ffee", pairing="matched",
               versions={"ctfgan": "0.1.0", "date": "2026-01-02"})  # fmt: skip
    base = run("base", "projection-folders", BASE)
    comparison, _ = compare(groups(mine, base))
    assert comparison is not None
    first, second = csv_rows([comparison.groups[0].runs[0], base], comparison)
    evaluated = csv_rows([replace(mine, figures=figures())], None)[0]
    assert tuple(first) == HEADER
    known = {"run": "mine", "commit": "c0ffee", "version": "0.1.0", "recipe": "ctf-folders", "set": "good scans",
             "low_quality": "mnist.npz", "pairing": "matched", "share": "0.5", "seed": "3", "hq_images": "90",
             "lq_images": "30", "steps": "45", "seconds": "26.0", "machine": "cpu, 1 thread, P",
             "date": "2026-01-02"}  # fmt: skip
    assert known.items() <= first.items()
    equal = {"equal_steps": "30", "equal_steps_distance": "30.0", "equal_steps_top_1": "0.4", "equal_seconds": "10.0",
             "equal_seconds_distance": "50.0", "equal_seconds_top_1": "0.2", "distance": ""}  # fmt: skip
    assert equal.items() <= first.items()
    measured = {"images": "100", "real": "40", "top_1": "0.4", "top_5": "0.99", "score": "3.5", "distance": "12.0",
                "kernel": "0.25", "precision": "0.9", "recall": "0.8", "density": "0.7", "coverage": "0.6",
                "training_bank_distance": "11.0", "training_bank_top_1": "0.5", "floor_distance": "1.0",
                "floor_top_1": "0.9", "equal_steps": ""}  # fmt: skip
    assert measured.items() <= evaluated.items()
    assert (second["low_quality"], second["pairing"], second["commit"]) == ("none", "", "")
    assert csv_rows([run("x", "ctf-glyphs", MINE, "degradation.size=6")], None)[0]["low_quality"] == "degraded 6x6"
    assert csv_rows([base], None)[0]["set"] == csv_rows([run("x", "ctf-glyphs", [])], None)[0]["set"] == "glyphs"


def again(recipe: Recipe, *settings: str) -> None:
    """The settings of a line, given to the recipe that it names, make the run's recipe but for its seed and places."""
    own = with_settings(recipe, {}, settings)
    (row,) = csv_rows([RunResult(Path("x"), own, {"counts": {"high_quality": 1, "low_quality": 0}},
                                 run("x", "ctf-glyphs", []).history, None)], None)  # fmt: skip
    assert with_settings(recipe, {"seed": own.seed}, tuple(shlex.split(row["settings"]))) == shareable(own)
    assert "/" not in row["settings"]


def test_the_settings_of_a_line_can_be_typed_and_make_the_same_recipe() -> None:
    named = ctfgan.recipe("ctf-folders")
    again(named)
    again(named, "seed=7")
    again(named, "data.high_quality=/somewhere/my good ones", "ema_decay=none", "generate.steps=7", "only=['a b', 'c']",
          "glyphs.font_folders=['/fonts/own']", "recogniser.learning_rate=1e-5", "start.path=runs/it's")  # fmt: skip
    again(baseline_of(named), "adversarial.steps=9", "data.high_quality=/somewhere/good")


def test_a_recipe_of_no_known_name_tells_all_its_settings() -> None:
    own = run("x", "ctf-glyphs", [], "name=mine")
    (row,) = csv_rows([own], None)
    assert row["recipe"] == "mine"
    assert "method.kind=ctf-gan" in shlex.split(row["settings"])


def test_the_same_evaluation_of_a_run_is_replaced_and_all_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "all.csv"
    mine, base = run("mine", "ctf-glyphs", MINE, commit="1"), run("base", "projection-glyphs", BASE, commit="1")

    def add(*results: RunResult) -> list[tuple[str, str, str, str]]:
        add_to_csv(out, csv_rows(results, None))
        return [(row["run"], row["commit"], row["images"], row["distance"]) for row in told(out)]

    assert add(mine, base) == [("mine", "1", "", ""), ("base", "1", "", "")]
    assert add(mine) == [("base", "1", "", ""), ("mine", "1", "", "")]
    assert add(replace(mine, figures=figures())) == [("base", "1", "", ""), ("mine", "1", "100", "12.0")]
    assert len(add(replace(mine, figures=figures(images=500)))) == 3
    assert len(add(replace(mine, figures=figures(seed=2)))) == 4
    assert len(add(replace(mine, figures=figures(), data={**mine.data, "commit": "2"}))) == 5
    assert len(add(run("mine", "ctf-glyphs", MINE, "generate.steps=7", commit="1"))) == 6  # another folder of this name
    before = out.read_bytes()
    add(replace(base))
    add(replace(base))
    assert sorted(out.read_bytes().splitlines()) == sorted(before.splitlines())


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", ",".join(HEADER) + "\n1,2\n", "\x00\xff", '"'])
def test_only_a_table_of_this_kind_is_read_back(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode("latin-1"))
    assert read_csv(path) is None
    assert read_csv(tmp_path) is None
    write_csv(path, csv_rows([run('näme, "x"\n', "ctf-glyphs", MINE)], None))
    found = read_csv(path)
    assert found is not None
    assert [row["run"] for row in found] == ['näme, "x"\n']
