"""The page of a run at every moment of its life, for every method, and of several runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ctfgan
from ctfgan.core.errors import RunError
from ctfgan.core.progress import silent
from ctfgan.reports import curves
from ctfgan.reports.class_table import measure_classes
from ctfgan.reports.comparison import HEADINGS, table
from ctfgan.reports.document import Items, Paragraph
from ctfgan.reports.loaded_run import load_run
from ctfgan.reports.run_page import ReportOptions, data_section, is_report, read_runs, write_report
from ctfgan.reports.run_results import read_run
from ctfgan.reports.run_summary import recipe_section
from ctfgan.runs.context import Callbacks
from tests.conftest import TINY_RUN
from tests.unit.reports.conftest import KEPT, cut_back

Read = Callable[[Path], Any]
Stopped = Callable[[str, int], Path]

SMALL = tuple(part for part in TINY_RUN if not part.startswith(("transfer.", "generate.", "data.glyphs", "glyphs.")))
ONE_STAGE = ("journal_every=1", "adversarial.steps=2", "adversarial.batch_size=8")


@pytest.fixture(autouse=True)
def _plots_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of a page's time; test_report_curves.py and the command's own test draw them."""
    monkeypatch.setattr(curves, "as_svg", lambda figure: b'<?xml version="1.0"?><svg/>')


def written(*runs: Path, images: int = 64) -> Path:
    out = runs[-1].parent / f"{runs[-1].name}.html"
    write_report(read_runs(runs), ReportOptions(images, "cpu"), out, Callbacks())
    return out


@pytest.fixture(scope="module")
def evaluated(kept_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Path(shutil.copytree(kept_run, tmp_path_factory.mktemp("evaluated") / "my run"))
    ctfgan.evaluate(run)
    return run


def test_the_page_of_an_evaluated_run_has_every_section_with_the_runs_own_numbers(
    evaluated: Path, read_page: Read
) -> None:
    page = read_page(written(evaluated))
    assert page.title == "Run my run: ctf-gan, finished"
    assert [name for name in page.sections if not name.startswith("A sample of")][1:] == [
        "Data", "Samples over time", "Curves", "Figures", "Copies check", "Class by class",
        "Conditional transferring features", "Timing", "Environment", "Recipe",
    ]  # fmt: skip
    figures = json.loads((evaluated / "figures.json").read_text())
    row = figures["rows"][figures["reported_set"]]["recogniser"]
    assert f"{row['top_1']:.1%}" in page.sections[page.title].text
    assert f"{row['frechet']:.2f}" in page.sections["Figures"].text
    assert f"median distance {figures['copies']['median_generated']:.1f}" in page.sections["Copies check"].text
    assert figures["protocol_sentence"] in page.sections["Figures"].text

    counts = json.loads((evaluated / "data.json").read_text())["counts"]
    assert ["high-quality images trained on", f"{counts['high_quality']:,}"] in page.sections["Data"].rows
    assert len(page.sections["Samples over time"].images) == len(list((evaluated / "sheets").iterdir())) == 4
    journal = [json.loads(line) for line in (evaluated / "journal.jsonl").read_text().splitlines()]
    last = [line for line in journal if line["event"] == "check"][-1]
    assert f"to {last['distance']:.2f}" in " ".join(page.sections["Curves"].images)
    assert "transfer to generate after 4 steps" in page.sections["Curves"].text
    assert page.sections["Timing"].rows[3][:3] == ["all", "8", f"{last['seconds']:,.1f}"]
    assert json.loads((evaluated / "data.json").read_text())["versions"]["torch"] in page.sections["Environment"].text
    assert (evaluated / "recipe.json").read_text() in page.sections["Recipe"].text
    assert "method.transfer.steps = 4 (not 1500)" in page.sections["Recipe"].text


def test_the_table_of_classes_is_what_was_measured_in_that_order(evaluated: Path, read_page: Read) -> None:
    section = read_page(written(evaluated)).sections["Class by class"]
    (run,) = read_runs([evaluated])
    generator = load_run(run.folder, run.recipe, "cpu", Callbacks()).generator
    assert generator is not None
    found = measure_classes(generator, 64, silent)
    assert [row[0] for row in section.rows[1:]] == [row.name for row in found.rows]
    assert [row[1] for row in section.rows[1:]] == [f"{row.accuracy:.1%}" for row in found.rows]
    assert f"{found.rows[0].diversity:.2f}" in section.rows[1][4]
    assert len(section.images) == 4 * (5 + 2)
    assert "16 samples of each of all 4 classes" in section.text


def test_a_run_that_was_not_evaluated_says_how_it_can_be(kept_run: Path, tmp_path: Path, read_page: Read) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    page = read_page(written(run))
    assert f"'ctfgan evaluate {run}'" in page.sections["Figures"].text
    assert f"'ctfgan evaluate {run}'" in page.sections["Copies check"].text
    (run / "figures.json").write_text("{}")
    assert "written by another version" in read_page(written(run)).sections["Figures"].text


def test_an_unfinished_run_is_shown_as_far_as_it_got(stopped: Stopped, read_page: Read) -> None:
    for stage, step, trained in (("transfer", 2, False), ("generate", 2, True)):
        run = stopped(stage, step)
        page = read_page(written(run))
        assert page.title.endswith(f"unfinished: stage {stage}, step {step}")
        assert f"go on with 'ctfgan resume {run}'" in page.sections["Figures"].text
        assert len(page.sections["Class by class"].rows) == 5
        maps = page.sections["Conditional transferring features"]
        assert ("G_A is not trained yet" in maps.text) is not trained
        assert ("change of the image without CTF_m, grey levels" in maps.text) is trained
        assert "not ended" in page.sections["Timing"].text
        (line,) = table([read_run(run)])
        assert line[HEADINGS.index("steps")] == page.sections["Timing"].rows[-1][1], "a comparison names the same steps"


def test_a_run_that_has_hardly_begun_has_a_page_too(stopped: Stopped, read_page: Read) -> None:
    run = stopped("transfer", 2)
    shutil.rmtree(run / "sheets")
    (run / "journal.jsonl").unlink()
    page = read_page(written(run))
    assert page.title.endswith("just begun")
    assert "no sample sheet yet" in page.sections["Samples over time"].text
    assert "tells of no step yet" in page.sections["Curves"].text


@pytest.fixture(scope="module")
def folders_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on folders of images, whose classes have names that would be HTML."""
    base = tmp_path_factory.mktemp("folders")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("<script>alert(1)", "<img src=x>", "a&amp;b", '"quoted"')):
        (base / "data" / name).mkdir(parents=True)
        for image in range(12):
            pixels = rng.integers(0, 60, (16, 16), dtype=np.uint8)
            pixels[4 * number : 4 * number + 4] += 180
            Image.fromarray(pixels).save(base / "data" / name / f"{image}.png")
    settings = (*SMALL, *ONE_STAGE, f"data.high_quality={base / 'data'}")
    return ctfgan.train(ctfgan.recipe("projection-folders", *settings), base / "run")


def test_names_from_outside_are_text_and_nothing_else(folders_run: Path, read_page: Read) -> None:
    page = read_page(written(folders_run))  # which refuses a script, and addresses but those of its own pictures
    names = [row[0] for row in page.sections["Class by class"].rows[1:]]
    assert sorted(names) == sorted(["<script>alert(1)", "<img src=x>", "a&amp;b", '"quoted"'])
    assert "Conditional transferring features" not in page.sections


def test_a_run_whose_images_have_gone_shows_what_needs_none_of_them(
    folders_run: Path, tmp_path: Path, read_page: Read
) -> None:
    run = Path(shutil.copytree(folders_run, tmp_path / "run"))
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["data"]["high_quality"] = str(tmp_path / "gone")
    (run / "recipe.json").write_text(json.dumps(recipe))
    page = read_page(written(run))
    assert f"{tmp_path / 'gone'} does not exist" in page.sections["Data"].text
    classes = page.sections["Class by class"]
    assert classes.rows[0] == ["class", "accuracy", "samples", "mostly taken for"]
    assert "Diversity and nearest real images are missing" in classes.text
    assert len(classes.images) == 4 * 5
    (run / "recogniser.safetensors").unlink()
    assert read_page(written(run)).sections["Class by class"].rows[0] == ["class", "samples"]
    shutil.rmtree(run / "bundle")
    page = read_page(written(run))
    assert "No samples can be made: the run has no bundle yet" in page.sections["Class by class"].text
    assert len(page.sections["Curves"].images) > 4


def test_ctf_maps_need_no_more_than_the_bundle(kept_run: Path, tmp_path: Path, read_page: Read) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    summary = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(summary | {"fingerprints": {"high-quality": "another"}}))
    page = read_page(written(run))
    assert f"the high-quality images have changed since {run} began" in page.sections["Data"].text
    assert "the bundle's part of the training low-quality bank" in page.sections["Class by class"].text
    samples = [section for name, section in page.sections.items() if name.startswith("A sample of")]
    assert len(samples) == 4
    assert [row[0] for row in samples[0].rows] == ["", "F_m", "H_m", "Embed", "without CTF_m", "difference"]
    assert len(samples[0].images) == 3 + 5 * (len(samples[0].rows[0]) - 1)


@pytest.mark.parametrize("name", ["sn-gan-folders", "ac-gan-folders"])
def test_every_method_has_a_page(name: str, folders_run: Path, tmp_path: Path, read_page: Read) -> None:
    settings = (*SMALL, *ONE_STAGE, f"data.high_quality={folders_run.parent / 'data'}")
    run = ctfgan.train(ctfgan.recipe(name, *settings), tmp_path / "run")
    classes = read_page(written(run)).sections["Class by class"]
    assert ("makes images of no chosen class" in classes.text) is (name == "sn-gan-folders")
    assert len(classes.rows) == (0 if name == "sn-gan-folders" else 5)


def test_a_half_grown_network_is_looked_at_as_it_is(folders_run: Path, tmp_path: Path, read_page: Read) -> None:
    settings = ("phase_steps=2", "grow.steps=4", "grow.batch_size=8", "checks.every=1", "keep_checkpoints=20")
    data = (f"data.high_quality={folders_run.parent / 'data'}",)
    run = ctfgan.train(ctfgan.recipe("prog-gan-folders", *SMALL, *data, *settings), tmp_path / "run")
    finished = read_page(written(run)).sections["Class by class"]
    cut_back(run, "grow-8", 1)
    (told,) = read_runs([run])
    generator = load_run(told.folder, told.recipe, "cpu", Callbacks()).generator
    assert generator is not None
    assert generator.sampler.level == 1
    assert float(generator.sampler.alpha) < 1
    page = read_page(written(run))
    assert page.title.endswith("unfinished: stage grow-8, step 1")
    assert [len(page.sections["Class by class"].rows), len(finished.rows)] == [5, 5]


def test_a_damaged_journal_and_events_of_others_are_told(kept_run: Path, tmp_path: Path, read_page: Read) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    alarm = {"event": "alarm", "stage": "generate", "step": 3, "message": "<b>D wins</b>", "ratio": 9.5}
    with (run / "journal.jsonl").open("ab") as file:
        file.write(b"\x00\x00\xff\n" + json.dumps(alarm).encode() + b'\n{"event": "che')
    page = read_page(written(run))
    assert "Damaged lines of the journal, passed over here: 1." in page.sections["Curves"].text
    assert page.sections["Events"].rows == [
        ["event", "stage", "step", "message", "more"],
        ["alarm", "generate", "3", "<b>D wins</b>", "ratio: 9.5"],
    ]


def test_large_sheets_do_not_make_a_large_page(kept_run: Path, tmp_path: Path, read_page: Read) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    noise = np.random.default_rng(0).integers(0, 256, (700, 2_400, 3), dtype=np.uint8)
    sheets = run / "sheets"
    Image.fromarray(noise).save(sheets / "2-generate-000100.png")
    for step in range(101, 120):
        shutil.copy(sheets / "2-generate-000100.png", sheets / f"2-generate-{step:06d}.png")
    (sheets / "2-generate-000120.png").write_bytes(b"no image")
    (sheets / "notes.png").write_bytes(b"of somebody else")
    out = written(run)
    section = read_page(out).sections["Samples over time"]
    assert len(section.images) == 5  # six of 24, one of which cannot be read
    assert out.stat().st_size < 10e6 < 20 * (sheets / "2-generate-000100.png").stat().st_size


def test_several_runs_stand_side_by_side_first(evaluated: Path, folders_run: Path, read_page: Read) -> None:
    page = read_page(written(evaluated, folders_run, evaluated))
    assert page.title == "3 runs side by side"
    runs = [name for name in page.sections if name.startswith("Run ")]
    assert runs == [
        "Run 1 my run: ctf-gan, finished", "Run 2 run: sn-gan-projection, finished", "Run 3 my run: ctf-gan, finished"
    ]  # fmt: skip
    first = [row[0] for row in page.sections["Figures"].rows[:8]]
    assert first == ["run", *["1 my run"] * 3, "2 run", *["3 my run"] * 3]
    assert "with different recognisers" in page.sections["Equal steps, equal seconds"].text
    same = read_page(written(evaluated, evaluated)).sections["Equal steps, equal seconds"]
    assert [row[0] for row in same.rows] == ["run", "1 my run (baseline)", "2 my run"]
    assert same.rows[1][1:] == same.rows[2][1:]
    assert "1 my run from" in page.sections["Curves"].images[0]
    assert "2 run from" in page.sections["Curves"].images[0]


def test_only_a_page_of_its_own_is_known_as_a_report(kept_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    write_report(read_runs([kept_run]), ReportOptions(64, "cpu"), out, Callbacks())
    assert is_report(out)
    for content in ("", "<!doctype html><title>ctfgan report</title>"):
        out.write_text(content)
        assert not is_report(out)
    assert not is_report(tmp_path)
    assert not is_report(tmp_path / "none")


def test_a_run_without_its_counts_is_refused(kept_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    (run / "data.json").write_text("{}")
    with pytest.raises(RunError, match=r"data\.json is damaged"):
        read_runs([run])


def test_the_time_by_the_clock_is_told_only_where_files_have_kept_it(kept_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    os.utime(run / "recipe.json", (1_000_000, 1_000_000))
    os.utime(run / "journal.jsonl", (1_003_661, 1_003_661))
    (told,) = read_runs([run])
    wall = told.wall_time()
    assert wall is not None
    assert str(wall[1]) == "1:01:01"
    os.utime(run / "journal.jsonl", (1_000_000, 1_000_000))  # as if copied: shorter than training itself
    assert told.wall_time() is None


def test_the_recipe_is_told_by_its_difference_from_the_named_one(kept_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    (told,) = read_runs([run])
    changes = told.changes()
    assert changes is not None
    assert "data.resolution = 16 (not 32)" in changes
    assert len(changes) == len({setting.split("=")[0] for setting in KEPT})
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(recipe | {"name": "my-own"}))
    assert read_runs([run])[0].changes() is None


def test_what_was_changed_on_resuming_is_told_with_the_step_and_both_values(kept_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    (before,) = read_runs([run])
    began = before.wall_time()
    steps = before.recipe.method.generate.steps  # type: ignore[union-attr]
    ctfgan.resume(run, settings=(f"generate.steps={steps + 1}",))
    os.utime(run / "recipe.json", ((run / "recipe.json").stat().st_mtime + 100,) * 2)  # as if resumed much later
    (told,) = read_runs([run])
    items = [item for block in recipe_section(told, 2) if isinstance(block, Items) for item in block.texts]
    total = sum(stage.steps for name, stage in before.recipe.method if name in ("transfer", "generate"))
    assert f"after {total:,} steps: method.generate.steps = {steps + 1} (before: {steps})" in items
    after = told.wall_time()
    assert began is not None
    assert after is not None
    assert abs(after[0] - began[0]).total_seconds() < 1
    assert after[1] > began[1]


def test_the_report_counts_unreadable_images_that_are_not_named() -> None:
    data = {"unreadable": [["x.png", "zero bytes"]], "unreadable_count": 170_001}
    run: Any = SimpleNamespace(result=SimpleNamespace(counts={}), data=data)
    loaded: Any = SimpleNamespace(no_data=None, data_notes=[], generator=None)
    paragraphs = [block for block in data_section(run, loaded, 2) if isinstance(block, Paragraph)]
    assert "170,001 images could not be read" in str(paragraphs)
