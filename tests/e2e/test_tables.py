"""``ctfgan reproduce`` and ``ctfgan sweep`` from end to end, on small files that stand in for the data sets."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RunCli = Callable[..., Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file for each data set of the paper: blobs of one place per class, with test images where the set has some."""
    folder = tmp_path_factory.mktemp("data")

    def write(name: str, classes: int, side: int, channels: int, count: int, *, test: bool = True) -> Path:
        rng = np.random.default_rng(len(name))
        parts = {}
        for part, images in (("train", count), ("test", count // 4 if test else 0)):
            labels = np.arange(images) % classes
            pixels = rng.integers(0, 60, (images, side, side, channels), dtype=np.uint8)
            for row, label in enumerate(labels):
                pixels[row, label * side // classes :, : side // 2] += 150
            if images:
                parts |= {f"x_{part}": pixels.squeeze(), f"y_{part}": labels}
        np.savez(folder / f"{name}.npz", **parts)
        return folder / f"{name}.npz"

    return {
        "cifar10": write("cifar10", 4, 32, 3, 160),
        "stl10": write("stl10", 4, 48, 3, 160, test=False),
        "hwdb1.0": write("hwdb1.0", 4, 48, 1, 160, test=False),
        "omniglot": write("omniglot", 4, 40, 1, 160, test=False),
        "mnist": write("mnist", 3, 28, 1, 90),
        "imagenet": write("imagenet", 4, 64, 3, 160),
        "cifar100": write("cifar100", 5, 32, 3, 90),
    }


@pytest.fixture(autouse=True)
def _no_data_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTFGAN_DATA", str(tmp_path / "no-data"))


def given(data: dict[str, Path], *names: str) -> list[str]:
    return [text for name in names for text in ("--data", f"{name}={data[name]}")]


TABLES = {
    "table1": (("cifar10", "stl10"), 10),
    "table2": (("hwdb1.0", "omniglot", "mnist"), 6),
    "table3": (("imagenet", "cifar100"), 5),
    "fig1": (("imagenet",), 2),
}


def command_of(table: str, data: dict[str, Path], out: Path) -> tuple[object, ...]:
    return "reproduce", table, "--profile", "smoke", *given(data, *TABLES[table][0]), "--out", out


@pytest.fixture
def reproduced(
    data: dict[str, Path], run_cli: RunCli, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """``reproduced("fig1")``: a folder of this test's own with all of a table; each is trained once."""

    def copy(table: str) -> Path:
        made = data[table] if table in data else tmp_path_factory.mktemp(table) / "out"
        if table not in data:
            outcome = run_cli(*command_of(table, data, made))
            assert outcome.code == 0, outcome.err
            data[table] = made
        return Path(shutil.copytree(made, tmp_path / "out"))

    return copy


@pytest.mark.parametrize(
    "table", [pytest.param(name, marks=[pytest.mark.slow] if name != "fig1" else []) for name in TABLES]
)
def test_a_table_is_one_command(table: str, reproduced: Callable[[str], Path]) -> None:
    _, cells = TABLES[table]
    out = reproduced(table)
    figures = list(out.rglob("figures.json"))
    assert len(figures) == cells
    report = (out / "report.md").read_text()
    assert "not run" not in report
    sheets = [line.split("](")[1].rstrip(")") for line in report.splitlines() if line.startswith("![")]
    assert len(sheets) == cells
    assert all((out / sheet).is_file() for sheet in sheets)
    sections = {file.relative_to(out).parts[0] for file in figures}
    page = (out / "report.html").read_text()
    assert page.count("<table>") == 2 * len(sections)  # figures; equal steps and seconds
    with (out / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [json.loads(file.read_text()) for file in figures]
    distances = [found["rows"][found["reported_set"]]["recogniser"]["frechet"] for found in measured]
    assert sorted(float(row["distance"]) for row in rows) == sorted(distances)
    assert all(row["equal_steps_distance"] for row in rows)


def test_a_table_goes_on_where_it_stopped_and_says_what_it_could_not_run(
    data: dict[str, Path], run_cli: RunCli, tmp_path: Path, reproduced: Callable[[str], Path]
) -> None:
    out = reproduced("fig1")
    command = command_of("fig1", data, out)
    first, second = (out / "imagenet/entire-seed0", out / "imagenet/fewer-seed0")
    before = (first / "journal.jsonl").read_bytes()
    shutil.rmtree(second / "bundle")  # as if it had been stopped before its release
    (second / "figures.json").unlink()
    outcome = run_cli(*command)
    assert outcome.code == 0, outcome.err
    assert "resuming from" in outcome.out
    assert (first / "journal.jsonl").read_bytes() == before
    assert (second / "figures.json").is_file()

    part = run_cli("reproduce", "table1", "--profile", "smoke", *given(data, "cifar10"), "--only", "cifar10",
                   "--only", "stl10", "--seeds", 1, "--out", tmp_path / "part", "--dry-run")  # fmt: skip
    assert part.code == 0
    assert "not run: stl10 (stl10_binary.tar.gz) is not in" in part.out
    assert "5 of 10 cells" in part.out
    assert not (tmp_path / "part").exists()


@pytest.mark.slow
def test_a_report_keeps_the_sections_that_were_run_before(
    data: dict[str, Path], run_cli: RunCli, reproduced: Callable[[str], Path]
) -> None:
    out = reproduced("table2")
    command = command_of("table2", data, out)
    shutil.rmtree(out / "omniglot")
    for report in out.glob("report.*"):
        report.unlink()
    assert run_cli(*command, "--only", "hwdb").code == 0
    assert (out / "report.md").read_text().count("section omniglot was not asked for") == 3
    assert run_cli(*command, "--only", "omniglot").code == 0
    report = (out / "report.md").read_text()
    assert "not run" not in report
    assert "on data that stand in for it" in report


def test_the_cells_of_a_report_are_the_figures_of_its_runs(
    data: dict[str, Path], run_cli: RunCli, reproduced: Callable[[str], Path]
) -> None:
    out = reproduced("fig1")
    outcome = run_cli(*command_of("fig1", data, out), "--seeds", 2)
    assert outcome.code == 0, outcome.err
    found = [json.loads((out / f"imagenet/entire-seed{seed}/figures.json").read_text()) for seed in (0, 1)]
    averaged = [figures["rows"]["samples"]["recogniser"]["frechet"] for figures in found]
    plain = [figures["rows"]["samples without moving average"]["recogniser"]["frechet"] for figures in found]
    lines = [line.split(" | ") for line in (out / "report.md").read_text().splitlines() if line.startswith("| ")]
    column = lines[0].index("Frechet distance ↓")
    for label, values in (("| 100 % HQ", averaged), ("| 100 % HQ, no moving average", plain)):
        cell = next(line[column] for line in lines if line[0] == label)
        one, other = values
        assert cell == f"{(one + other) / 2:.2f} ± {abs(one - other) / 2**0.5:.2f}"
    floor = found[0]["rows"]["floor: real against real"]["recogniser"]["frechet"]
    assert next(line[column] for line in lines if line[0].startswith("| real against real")) == f"{floor:.2f}"


def test_more_extractors_are_measured_without_training_again(
    data: dict[str, Path], run_cli: RunCli, tmp_path: Path, reproduced: Callable[[str], Path]
) -> None:
    plugin = tmp_path / "means.py"
    plugin.write_text(
        "import torch\nNAME = 'means'\n\n\n"
        "class Means(torch.nn.Module):\n    def forward(self, images):\n"
        "        return images.float().mean(dim=(2, 3)) + images.float().std(dim=(2, 3))\n\n\n"
        "def load(device):\n    return Means()\n"
    )
    new = tmp_path / "new"
    missing = run_cli(*command_of("fig1", data, new), "--extractor", tmp_path / "none.py")
    assert (missing.code, new.exists()) == (2, False)  # before any training
    assert "none.py" in missing.err
    out = reproduced("fig1")
    command = command_of("fig1", data, out)
    journal = (out / "imagenet/entire-seed0/journal.jsonl").read_bytes()
    assert run_cli(*command, "--extractor", plugin).code == 0
    assert (out / "imagenet/entire-seed0/journal.jsonl").read_bytes() == journal
    assert "FID-means" in (out / "report.md").read_text()
    assert run_cli("evaluate", out / "imagenet/entire-seed0").code == 0
    kept = json.loads((out / "imagenet/entire-seed0/figures.json").read_text())
    assert {"recogniser", "means"} <= set(kept["rows"]["samples"])  # what another extractor found is not lost
    assert "means" in kept["protocol_sentence"]
    assert run_cli("evaluate", out / "imagenet/entire-seed0", "--images", 200).code == 0
    other = json.loads((out / "imagenet/entire-seed0/figures.json").read_text())
    assert set(other["rows"]["samples"]) == {"recogniser"}  # but figures of other images are not mixed in


def test_a_folder_with_runs_of_other_settings_is_not_mixed(
    data: dict[str, Path], run_cli: RunCli, reproduced: Callable[[str], Path]
) -> None:
    out = reproduced("fig1")
    outcome = run_cli(*command_of("fig1", data, out), "--profile", "cpu")
    assert outcome.code == 2
    assert "was made with" in outcome.err
    assert "choose another --out" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("reproduce", "table9"), "Unknown table 'table9'"),
        (("reproduce", "table1", "--profile", "cup"), "Unknown profile 'cup'. Did you mean 'cpu'?"),
        (("reproduce", "table1"), "table1 has no data here: cifar10 (cifar-10-binary.tar.gz) is not in"),
        (("reproduce", "table1", "--data", "cifar10"), "write --data NAME=PATH"),
        (("reproduce", "table1", "--data", "cifar10=nowhere.npz"), "nowhere.npz does not exist"),
        (("reproduce", "table1", "--data", "mnist=x"), "this table uses no data set 'mnist'"),
        (("reproduce", "table1", "--only", "cifar"), "Unknown section 'cifar' of table1. Did you mean 'cifar10'?"),
        (("sweep",), "name a sweep"),
        (("sweep", "hq-fractoin"), "Unknown sweep 'hq-fractoin'. Did you mean 'hq-fraction'?"),
        (("sweep", "--vary", "seed"), "write --vary NAME=V1,V2,..."),
        (("sweep", "--vary", "data.resolution=16,17"), "resolution is 17"),
        (("sweep", "hq-fraction", "--hq", "nowhere"), "nowhere does not exist"),
        (("sweep", "hq-fraction", "--recipe", "ctf-mnist16"), "name it with --hq PATH"),
        (("sweep", "--vary", "data.held_out=0.1,0.2", "--recipe", "sn-gan-folders"), "sweep a conditional method"),
        (("reproduce", "table1", "--data", "cifar10=a.npz", "--data", "cifar10=b.npz"), "names 'cifar10' twice"),
        (("sweep", "hq-fraction", "--recipe", "projection-glyphs"), "sweeps start from a ctf-gan recipe"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_work(
    arguments: tuple[str, ...], words: str, refused: Callable[..., str]
) -> None:
    assert words in refused(*arguments)


TINY = (
    "glyphs.characters=ABCD", "glyphs.images_per_class=60", "data.resolution=16", "degradation.size=8", "device=cpu",
    "transfer.steps=2", "generate.steps=2", "transfer.batch_size=8", "generate.batch_size=8", "generator_width=0.05",
    "discriminator_width=0.05", "checks.every=4", "checks.images=32", "recogniser.images=4000", "evaluation.images=100",
)  # fmt: skip


def settings() -> list[str]:
    return [text for setting in TINY for text in ("--set", setting)]


@pytest.mark.slow
def test_a_named_sweep_is_one_plot_and_one_table(run_cli: RunCli, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    outcome = run_cli("sweep", "ablations", *settings(), "--out", out)
    assert outcome.code == 0, outcome.err
    report = (out / "report.md").read_text()
    for arm in ("whole method", "without SP", "CTF shuffled", "CTF zeroed", "no consistency", "no LQ: baseline",
                "independent, no consistency"):  # fmt: skip
        assert f"| {arm} |" in report
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    kinds = {json.loads(file.read_text())["method"]["kind"] for file in out.rglob("*-seed0/recipe.json")}
    assert kinds == {"ctf-gan", "sn-gan-projection"}


@pytest.mark.slow
def test_any_two_settings_can_be_swept_with_several_seeds(run_cli: RunCli, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    outcome = run_cli("sweep", "--vary", "degradation.size=4,8", "--vary", "pairing=matched,independent", "--seeds", 2,
                      *settings(), "--out", out)  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert len(list(out.rglob("figures.json"))) == 8
    report = (out / "report.md").read_text()
    assert "| pairing=matched | 4.0 |" in report
    assert "Equal steps, equal seconds" in report
    assert len((out / "report.csv").read_text().splitlines()) == 9
    assert report.count(" ± ") >= 4


def test_the_named_sweeps_list_their_runs(run_cli: RunCli, tmp_path: Path) -> None:
    share = run_cli("sweep", "lq-share", "--dry-run", "--out", tmp_path / "a").out
    assert "matched-pairing/4.0-seed0" in share
    assert "independent-pairing/0.25-seed0" in share
    assert share.count("/0.0-seed0") == 1  # without low-quality images there is one baseline
    fraction = run_cli("sweep", "hq-fraction", "--dry-run", "--out", tmp_path / "b").out
    assert "ctf-gan/0.1-seed0" in fraction
    assert "sn-gan-projection/1.0-seed0" in fraction
