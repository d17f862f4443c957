"""The commands of the README, each on a tiny run, as a user types them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = [
    "method.transfer.steps=2",
    "method.generate.steps=2",
    "method.transfer.batch_size=4",
    "method.generate.batch_size=4",
    "generator_width=0.05",
    "discriminator_width=0.05",
    "checks.every=2",
    "checks.images=16",
    "checks.sheet_rows=1",
    "recogniser.images=256",
    "evaluation.images=100",
    "data.resolution=16",
]
SETTINGS = [part for setting in TINY for part in ("--set", setting)]


def picture_size(path: str) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_two_folders_in_a_generator_out(
    run_cli: Callable, write_classes: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "good", {"cat": 12, "dog": 10}, size=20)
    write_classes(tmp_path / "cheap", {"cat": 6, "dog": 6}, size=8)
    (tmp_path / "good/cat/broken.png").write_bytes(b"not an image")
    trained = run_cli("train", "--hq", "good", "--lq", "cheap", "--out", "run", *SETTINGS)
    assert trained.code == 0, trained
    for words in ("22 images", "cat 12, dog 10", "broken.png: not an image", "pairing: matched (auto: both sides",
                  "8x8 pixels", "HQ share: 18 of 18", "ctfgan evaluate run"):  # fmt: skip
        assert words in trained.out

    evaluated = run_cli("evaluate", "run")
    assert evaluated.code == 0, evaluated
    for words in ("training LQ bank", "held-out LQ bank", "floor: real against real", "n real 4", "copies:"):
        assert words in evaluated.out
    rows = json.loads(Path("run/figures.json").read_text())["rows"]
    assert {row["recogniser"]["fake"] for name, row in rows.items() if name.startswith("samples")} == {100}
    assert "figures" in json.loads(Path("run/bundle/provenance.json").read_text())

    assert run_cli("sample", "run", "--class", "dog", "-n", 3, "--out", "dogs").code == 0
    assert sorted(path.relative_to("dogs").as_posix() for path in Path("dogs").rglob("*.png")) == [
        f"dog/{n:05d}.png" for n in range(3)
    ]
    assert run_cli("sample", "run/bundle", "-n", 2, "--lq", "cheap/cat/0.png", "--out", "sheet.png").code == 0
    assert picture_size("sheet.png")[0] > 2 * 16
    assert run_cli("enhance", "run", "cheap/cat", "--class", "cat", "--out", "better").code == 0
    assert len(list(Path("better").iterdir())) == 6

    compared = run_cli("compare", "run", "--out", "plot.png")
    assert compared.code == 0, compared
    assert "held-out LQ bank" in compared.out
    assert picture_size("plot.png")[0] > 500


def test_unlabelled_foreign_images_of_another_colour_are_paired_independently(
    run_cli: Callable, write_classes: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "good", {"a": 8, "b": 8})
    (tmp_path / "cheap").mkdir()
    for number in range(6):
        Image.new("RGB", (9, 12), (40 * number, 0, 90)).save(tmp_path / f"cheap/{number}.jpg")
    trained = run_cli("train", "--hq", "good", "--lq", "cheap", "--out", "run", *SETTINGS)
    assert trained.code == 0, trained
    assert "pairing: independent (auto: low-quality images have no labels)" in trained.out
    assert "no labels" in trained.out
    assert run_cli("sample", "run", "--lq", "cheap", "-n", 2).code == 0


def test_the_baseline_trains_in_the_same_way_and_stands_beside_the_method(
    run_cli: Callable, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [part for setting in TINY if "method." not in setting for part in ("--set", setting)]
    settings += ["--set", "adversarial.steps=2", "--set", "adversarial.batch_size=4"]
    trained = run_cli("train", "--recipe", "projection-glyphs", "--characters", "AB", "--out", "baseline", *settings)
    assert trained.code == 0, trained
    assert "low quality: none" in trained.out
    assert run_cli("evaluate", "baseline").code == 0
    compared = run_cli("compare", finished_run, "baseline", "--csv", "all.csv")
    assert compared.code == 0
    assert "sn-gan-projection" in compared.out
    assert "not run" in compared.out
    assert "note: not at equal steps and seconds: the checks were measured with different recognisers" in compared.out
    compared = run_cli("compare", "baseline", "baseline", "--out", "twice.png", "--csv", "all.csv")
    assert "distance at 2 steps" in compared.out
    with Path("all.csv").open(newline="") as file:
        rows = [(row["run"], row["recipe"], row["low_quality"], row["equal_steps"]) for row in csv.DictReader(file)]
    assert rows == [("run", "ctf-glyphs", "degraded 12x12", "")] + 2 * [("baseline", "projection-glyphs", "none", "2")]
    Path("mine.csv").write_text("a,b\n1,2\n")
    refused = run_cli("compare", "baseline", "--out", "none.png", "--csv", "mine.csv")
    assert (refused.code, Path("none.png").exists(), Path("mine.csv").read_text()) == (2, False, "a,b\n1,2\n")
    assert "mine.csv exists already; choose another --csv, or move it away" in refused.err
    refused = run_cli("enhance", "baseline", finished_run / "sheets", "--class", "A")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)


def test_a_dry_run_shows_the_plan_and_writes_no_run(
    run_cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run_cli("train", "--characters", "AB", "--dry-run", *SETTINGS)
    assert shown.code == 0, shown
    for words in ("generator: ", "discriminator: ", "parameters", "stage transfer: at most 2 generator steps", "MiB"):
        assert words in shown.out
    assert not list(tmp_path.glob("run*"))
    (line,) = (line for line in shown.out.splitlines() if line.startswith("recipe ctf-glyphs"))
    assert 'data.glyphs.characters="AB"' in line
    assert "transfer.steps=2" in line
    assert "data.degradation" not in line, "as in the named recipe"
    assert len(shown.out.splitlines()) < 40
    whole = run_cli("train", "--characters", "AB", "--dry-run", "--json", *SETTINGS).out
    recipe = whole[whole.index("{") : whole.index("\n}") + 2]
    assert json.loads(recipe)["data"]["glyphs"]["characters"] == "AB"
    alone = run_cli("train", "--json")
    assert (alone.code, "add --dry-run" in alone.err) == (2, True)


def test_commands_with_a_usual_output_work_again_and_again(
    run_cli: Callable, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8)).save("own.png")
    commands = {
        "samples": ("sample", finished_run, "-n", 1),
        "enhanced": ("enhance", finished_run, "own.png", "--class", "A"),
        "compare": ("compare", finished_run),
    }
    for name, command in commands.items():
        for file in (f"{name}.png", f"{name}-2.png", f"{name}-3.png"):
            again = run_cli(*command)
            assert (again.code, again.out.rstrip().endswith(f": {file}")) == (0, True), again
        before = Path(f"{name}.png").read_bytes()
        taken = run_cli(*command, "--out", f"{name}.png")
        assert f"{name}.png exists already; choose another --out, or move it away" in taken.err
        assert (taken.code, Path(f"{name}.png").read_bytes() == before) == (2, True)
        assert ("ctf-gan" in taken.out) == (name == "compare"), "a table is never lost for a name"


def test_a_sheet_without_chosen_classes_shows_some_that_are_evenly_spread_and_says_so(
    run_cli: Callable, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ctfgan.sampling.sheets.columns_that_fit", lambda most, count, side: min(most, 3))
    some = run_cli("sample", finished_run, "-n", 2, "--out", "some.png")
    assert "6 images of 3 classes: some.png" in some.out
    assert "3 of 4 classes are spread evenly over all; choose others with --class, or make a set of all" in some.out
    named = run_cli(
        "sample", finished_run, "-n", 2, "--out", "named.png", *(["--class", "A", "--class", "B", "--class", "D"])
    )
    assert "spread" not in named.out
    assert Path("named.png").read_bytes() == Path("some.png").read_bytes()
    assert "8 images of 4 classes: all.png" in run_cli(
        "sample", finished_run, "-n", 2, "--all-classes", "--out", "all.png"
    ).out  # fmt: skip
    refused = run_cli("sample", finished_run, "-n", 1_000_000, "--class", "A", "--out", "high.png")
    assert (refused.code, Path("high.png").exists()) == (2, False)
    assert "a sheet of 1 x 1,000,000 images has " in refused.err


def test_an_enhanced_folder_has_the_folders_of_its_inputs(
    run_cli: Callable, write_classes: Callable, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = write_classes(tmp_path / "cheap", {"a": 2, "b": 2})
    enhanced = run_cli("enhance", finished_run, "cheap", "--class", "A", "--out", "better")
    assert enhanced.code == 0, enhanced
    below = [
        {path.relative_to(root).with_suffix("") for path in root.rglob("*.*")} for root in (inputs, Path("better"))
    ]
    assert below[0] == below[1]


def test_samples_depend_on_the_seed_alone_and_not_on_how_many_are_asked_for_at_once(finished_run: Path) -> None:
    import ctfgan

    model = ctfgan.load(finished_run, device="cpu")
    whole = model.sample(["A", "C"], 4, seed=3)
    assert np.array_equal(whole.images, ctfgan.load(finished_run / "bundle").sample(["A", "C"], 4, seed=3).images)
    assert not np.array_equal(whole.images, model.sample(["A", "C"], 4, seed=4).images)
    assert whole.labels.tolist() == [0] * 4 + [2] * 4


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    settings = [*SETTINGS, "--set", "method.transfer.steps=100000", "--set", "checks.every=100000"]
    command = [sys.executable, "-m", "ctfgan", "train", "--characters", "AB", "--out", "run", *settings]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "run/journal.jsonl"
    deadline = time.monotonic() + 60
    while not journal.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert error.startswith("ctfgan: stopped in stage 'transfer' after step ")
    assert error.endswith("state saved; go on with 'ctfgan resume run'\n")
    assert len(list((tmp_path / "run/checkpoints").iterdir())) == 2


def test_help_and_import_do_not_load_torch() -> None:
    code = "import sys, ctfgan, ctfgan.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    command = [sys.executable, "-X", "importtime", "-m", "ctfgan", "train", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "100"})
    assert "--hq-fraction" in shown.stdout
    assert "torch" not in shown.stderr


def test_the_public_names_are_those_that_are_promised() -> None:
    import ctfgan

    assert set(ctfgan.__all__) == {
        "CtfganError", "Recipe", "evaluate", "from_pretrained", "load", "load_extractors", "recipe", "resume", "train"
    }  # fmt: skip
    assert all(getattr(ctfgan, name) is not None for name in ctfgan.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ctfgan.nothing


def test_the_python_lines_of_the_readme_work(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block is run as it stands, on a recipe made tiny."""
    import ctfgan
    from tests.conftest import TINY_RUN

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    block = readme.split("## From Python")[1].split("##")[0]
    code = "\n".join(line[4:] for line in block.splitlines() if line.startswith("    "))
    assert "ctfgan.load(run).sample" in code
    monkeypatch.chdir(tmp_path)
    full = ctfgan.recipe
    settings = (*TINY_RUN, "glyphs.characters=ABab", "evaluation.images=100")
    monkeypatch.setattr(ctfgan, "recipe", lambda name, *given: full(name, *given, *settings), raising=False)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["images"].shape == (16, 16, 16, 1)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_copy_check_and_figures_are_of_the_same_samples(finished_run: Path, tmp_path: Path) -> None:
    import ctfgan

    run = shutil.copytree(finished_run, tmp_path / "run")
    first, second = ctfgan.evaluate(run), ctfgan.evaluate(run)
    assert first.as_dict() == second.as_dict()
    assert first.reported is first.rows["samples, held-out LQ bank"]["recogniser"]
