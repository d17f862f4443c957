"""``ctfgan data`` as it is typed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.data import published
from tests.conftest import TINY_RUN, Outcome, snapshot

RunCli = Callable[..., Outcome]
Refused = Callable[..., str]
WriteClasses = Callable[..., Path]

SETTINGS = [part for setting in TINY_RUN if not setting.startswith(("data.glyphs", "glyphs")) for part in
            ("--set", setting)]  # fmt: skip


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CTFGAN_DATA", str(tmp_path / "home"))


@pytest.fixture
def photos(tmp_path: Path, write_classes: WriteClasses) -> Path:
    return write_classes(tmp_path / "photos", {"cat": 30, "dog": 25, "[red]bird": 6})


def test_check_shows_what_it_found_and_changes_nothing(run_cli: RunCli, photos: Path, tmp_path: Path) -> None:
    (photos / "cat" / "bad.png").write_bytes(b"x")
    with Image.open(photos / "cat" / "1.png") as image:
        image.save(photos / "dog" / "stray.png")
    before = snapshot(tmp_path)
    shown = run_cli("data", "check", "photos")
    assert shown.code == 0, shown
    assert snapshot(tmp_path) == before
    for words in (
        "photos: 62 images of 3 classes",
        "images per class: 6 to 30",
        "smallest: [red]bird 6, dog 26, cat 30",
        "cat/bad.png: not an image",
        "cat/1.png = dog/stray.png",
        "small classes: 1 class with 1 to 19 different images",
        "usable as high-quality images (--hq): yes",
    ):
        assert words in shown.out, words


def test_check_compares_two_sides_and_writes_json(run_cli: RunCli, photos: Path, write_classes: WriteClasses) -> None:
    write_classes(Path("cheap"), {"cat": 5}, size=8)
    shown = run_cli("data", "check", "photos", "--lq", "cheap", "--json", "report.json")
    assert shown.code == 0, shown
    assert "photos with cheap" in shown.out
    assert "only 1 of 3 classes of the high-quality images are among the low-quality ones" in shown.out
    report = json.loads(Path("report.json").read_text())
    assert [side["images"] for side in report["sets"]] == [61, 5]
    assert report["together"] == []
    assert report["pairing"][0].startswith("pairing: independent (auto: only 1 of 3 classes")


def test_check_takes_a_set_that_training_would_refuse(run_cli: RunCli, write_classes: WriteClasses) -> None:
    write_classes(Path("one"), {"only": 2})
    shown = run_cli("data", "check", "one")
    assert shown.code == 0
    assert "usable as high-quality images (--hq): no, there is a single class" in shown.out
    assert "is one one level too deep?" in shown.out


def test_a_long_list_is_cut(run_cli: RunCli, write_classes: WriteClasses) -> None:
    write_classes(Path("tiny"), {f"c{number}": 1 for number in range(9)})
    assert "... and 4 more" in run_cli("data", "check", "tiny").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nowhere"], "nowhere does not exist; give a folder"),
        (["check", "empty"], "empty holds no images"),
        (["check", "text"], "text: none of 1 images can be read (first: text/a/x.png: not an image"),
        (["check", "good", "--lq", "nowhere"], "nowhere does not exist"),
        (["check", "good", "--json", "taken"], "taken exists already; choose another --json"),
        (["check", "good", "--json", "empty"], "empty exists already; choose another --json, or move it away"),
        (["check", "good", "--json", "none/report.json"], "none does not exist; make it first"),
        (["check", "cifar10"], "cifar10 (cifar-10-binary.tar.gz) is not in"),
        (["check", "broken"], "labels.npy is damaged (it is missing); delete the folder broken and make it again"),
        (["build", "good", "taken"], "taken exists already; choose another folder"),
        (["build", "nowhere", "out"], "nowhere does not exist"),
        (["build", "text", "out"], "none of 1 images can be read"),
        (["build", "good", "out", "--size", "3"], "3 is not in the range x>=4"),
        (["build", "good", "out", "--colour", "blue"], "'blue' is not one of 'auto', 'grey', 'colour'"),
        (["fetch", "cifar-10"], "Unknown data set 'cifar-10'. Did you mean 'cifar10'?"),
        (["fetch", "imagenet"], "imagenet cannot be downloaded: register, and put the class folders"),
        (["fetch", "hwdb1.1"], "get the archives named HWDB1.1trn_gnt and HWDB1.1tst_gnt"),
        (["fetch"], "Missing argument 'NAME'"),
        (["chek"], "No such command 'chek'"),
    ],
)
def test_a_users_mistake_is_one_line(
    refused: Refused, run_cli: RunCli, write_classes: WriteClasses, arguments: list[str], message: str
) -> None:
    write_classes(Path("good"), {"a": 4, "b": 4})
    Path("empty").mkdir()
    Path("text/a").mkdir(parents=True)
    Path("text/a/x.png").write_text("text")
    Path("taken").write_text("mine")
    run_cli("data", "build", "good", "broken")
    Path("broken/labels.npy").unlink()
    assert message in refused("data", *arguments)


def test_training_on_a_built_folder_is_training_on_its_source(run_cli: RunCli, write_classes: WriteClasses) -> None:
    write_classes(Path("photos"), {"cat": 30, "dog": 25}, size=20)
    built = run_cli("data", "build", "photos", "packed", "--size", "16")
    assert built.code == 0, built
    assert "photos: 55 images of 2 classes" in built.out
    assert "built: packed, 16x16, grey" in built.out
    assert "Next: ctfgan train --hq packed --set data.resolution=16" in built.out
    for source in ("photos", "packed"):
        trained = run_cli("train", "--hq", source, "--out", f"run-{source}", *SETTINGS)
        assert trained.code == 0, trained
    journals = [Path(f"run-{source}/journal.jsonl").read_text().splitlines() for source in ("photos", "packed")]
    assert [losses(line) for line in journals[0]] == [losses(line) for line in journals[1]]
    data = [json.loads(Path(f"run-{source}/data.json").read_text()) for source in ("photos", "packed")]
    assert data[0]["fingerprints"] == data[1]["fingerprints"]


def losses(line: str) -> dict[str, object]:
    """A line of the journal without its times."""
    return {name: value for name, value in json.loads(line).items() if name not in {"seconds", "time"}}


@pytest.mark.slow
def test_both_parts_of_a_published_split_are_built_and_trained_on(run_cli: RunCli) -> None:
    rng = np.random.default_rng(0)
    np.savez("split.npz", x_train=rng.integers(0, 256, (40, 16, 16), dtype=np.uint8), y_train=np.arange(40) % 2,
             x_test=rng.integers(0, 256, (12, 16, 16), dtype=np.uint8), y_test=np.arange(12) % 2)  # fmt: skip
    for part in ("train", "test"):
        built = run_cli("data", "build", "split.npz", part, "--part", part)
        assert built.code == 0, built
    checked = run_cli("data", "check", "split.npz", "--part", "test")
    assert "12 images of 2 classes" in checked.out
    shown = run_cli("train", "--hq", "train", "--reference", "test", *SETTINGS, "--out", "run")
    assert shown.code == 0, shown
    counts = json.loads(Path("run/data.json").read_text())["counts"]
    assert (counts["pool"], counts["reference"]) == (40, 12)
    assert json.loads(Path("run/recipe.json").read_text())["data"]["reference"] == str(Path("test").absolute())
    assert run_cli("evaluate", "run").code == 0
    assert str(Path.cwd()) in Path("run/figures.json").read_text()
    for file in Path("run/bundle").iterdir():  # a bundle is made to be given away
        assert str(Path.cwd()).encode() not in file.read_bytes(), file


LOGGED = re.findall(r"ctfgan (train .*--hq mnist\.npz .*)", (Path(__file__).parents[2] / "docs/log.md").read_text())


@pytest.mark.parametrize("command", LOGGED)
def test_the_logs_commands_take_an_mnist_npz_that_is_packed_by_lzma(run_cli: RunCli, command: str) -> None:
    """``numpy.savez`` does not pack so, but published files are packed so."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile("mnist.npz", "w", zipfile.ZIP_LZMA) as archive:
        for part, count in (("train", 60), ("test", 20)):
            images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            for name, array in ((f"x_{part}", images), (f"y_{part}", (np.arange(count) % 10).astype(np.uint8))):
                with archive.open(f"{name}.npy", "w") as member:
                    np.save(member, array)
    planned = run_cli(*shlex.split(command.replace("$s", "0")), "--dry-run")
    assert planned.code == 0, planned
    assert "mnist.npz: 80 images\n" in planned.out
    assert not Path("runs").exists()


def test_the_log_has_commands_with_mnist() -> None:
    assert len(LOGGED) >= 2


def test_build_chooses_the_median_side_up_to_that_of_training(run_cli: RunCli, write_classes: WriteClasses) -> None:
    for size, packed in ((12, 12), (32, 32), (100, 32)):
        write_classes(Path(f"s{size}"), {"a": 4, "b": 4}, size=size)
        assert f"{packed}x{packed}, grey" in run_cli("data", "build", f"s{size}", f"packed{size}").out


def test_build_takes_colour_and_fit(run_cli: RunCli, tmp_path: Path) -> None:
    Path("photos/a").mkdir(parents=True)
    Image.fromarray(np.tile(np.arange(40, dtype=np.uint8), (20, 1))).save("photos/a/wide.png")
    for fit in ("crop", "stretch"):
        arguments = ("--size", "20", "--colour", "colour", "--fit", fit)
        assert run_cli("data", "build", "photos", f"{fit}", *arguments).code == 0
    crop, stretch = (np.load(f"{fit}/images.npy") for fit in ("crop", "stretch"))
    assert crop.shape == stretch.shape == (1, 20, 20, 3)
    assert crop[0, 0, :, 0].tolist() == list(range(10, 30))
    assert stretch[0, 0, -1, 0] > 35


def test_build_of_unlabelled_images_tells_how_to_use_them(run_cli: RunCli, write_classes: WriteClasses) -> None:
    write_classes(Path(), {"flat": 8})
    assert "Next: ctfgan train --hq GOOD --lq packed" in run_cli("data", "build", "flat", "packed").out


def test_fetch_and_list_and_training_by_name(
    run_cli: RunCli, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a published set of our own in place of MNIST."""
    Path("server").mkdir()
    np.savez(
        "server/toy.npz",
        images=np.tile(np.arange(60, dtype=np.uint8)[:, None, None], (1, 16, 16)),
        labels=np.arange(60) % 3,
    )
    content = Path("server/toy.npz").read_bytes()
    url = Path("server/toy.npz").absolute().as_uri()
    file = published.PublishedFile("toy.npz", len(content), hashlib.sha256(content).hexdigest(), url)
    toy = published.PublishedSet("toy", "A toy", "http://toy.example", (file,), ("toy.npz",), "toy.npz")
    monkeypatch.setitem(published.CATALOGUE, "toy", toy)

    assert "run 'ctfgan data fetch toy'" in refused("train", "--hq", "toy")
    assert "not here: run 'ctfgan data fetch toy'" in run_cli("data", "list").out
    fetched = run_cli("data", "fetch", "toy")
    assert fetched.code == 0, fetched
    assert "Next: ctfgan train --hq toy\n" in fetched.out
    assert "toy was here already" in run_cli("data", "fetch", "toy").out
    assert f"here: {tmp_path}/home/toy/toy.npz" in run_cli("data", "list").out
    planned = run_cli("train", "--hq", "toy", "--dry-run", *SETTINGS)
    assert planned.code == 0, planned
    assert 'data.high_quality="toy"' in planned.out, "a name means the same on every machine"
    assert run_cli("data", "check", "toy").code == 0

    elsewhere = run_cli("data", "fetch", "toy", "--to", "elsewhere")
    assert f"Next: ctfgan train --hq {tmp_path}/elsewhere/toy/toy.npz" in elsewhere.out
    lost = replace(file, url="http://127.0.0.1:9/toy.npz")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(published.CATALOGUE, "toy", replace(toy, files=(lost,)))
    assert f"put it into {tmp_path}/third/downloads" in refused("data", "fetch", "toy", "--to", "third")


@pytest.mark.parametrize(
    "command", [["--help"], ["data", "--help"], ["data", "check", "--help"], ["data", "fetch", "-h"]]
)
def test_help_needs_no_torch(command: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ctfgan", *command],
        capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip
    assert "Usage:" in shown.stdout
    assert "torch" not in shown.stderr
