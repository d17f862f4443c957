"""Classes of a trained model change, and it trains on: the commands as a user types them, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctfgan
from ctfgan.bundle import load_bundle
from ctfgan.data.glyphs import GlyphSource
from ctfgan.data.settings import GlyphSettings
from ctfgan.files import sha256
from ctfgan.lifecycle.starting import model_hash
from tests.conftest import TINY_RUN

ON = [part for setting in TINY_RUN if "characters" not in setting for part in ("--set", setting)]
ON += ["--set", "transfer.steps=0", "--set", "generate.steps=2"]


@pytest.fixture
def bundle(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of the classes A, B, C and D in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run / "bundle", tmp_path / "bundle")
    return Path("bundle")


def write_glyphs(folder: Path, characters: str, count: int = 8) -> Path:
    source = GlyphSource(GlyphSettings(characters=characters, images_per_class=count), 16, 0)
    for index, label in enumerate(source.labels.tolist()):
        (folder / source.classes[label]).mkdir(parents=True, exist_ok=True)
        source.read(index).save(folder / source.classes[label] / f"{index}.png")
    return folder


def images(bundle: str | Path, name: str) -> np.ndarray:
    return ctfgan.load(bundle, "cpu").sample([name], 4, seed=1).images


def test_classes_are_renamed_dropped_and_mapped_into_new_bundles(bundle: Path, run_cli: Callable) -> None:
    assert run_cli("classes", "rename", bundle, "--class", "A", "B", "--class", "B", "A", "--out", "swapped").code == 0
    assert run_cli("classes", "drop", "swapped", "--class", "C", "--out", "fewer").code == 0
    Path("table.csv").write_text("one,A\ntwo,D\nthree,A\n")
    mapped = run_cli("classes", "map", "fewer", "table.csv", "--out", "mapped")
    assert mapped.code == 0, mapped
    assert "mapped 2 of 3 classes to 3: mapped, 3 classes" in mapped.out
    shown = run_cli("classes", "show", "mapped")
    assert shown.out.split() == ["one", "two", "three"]
    assert [line.split(": ")[1] for line in shown.err.splitlines()] == [
        "renamed A to B, B to A", "dropped C", "mapped 2 of 3 classes to 3"
    ]  # fmt: skip
    for new, old in {"one": "B", "two": "D", "three": "B"}.items():
        assert np.array_equal(images("mapped", new), images(bundle, old))
    card = Path("mapped/README.md").read_text()
    assert "dropped C" in card
    assert "Not measured since its classes were changed" in card
    history = json.loads(Path("mapped/provenance.json").read_text())["history"]
    assert history[0]["sha256 before"]["model.safetensors"] == model_hash(load_bundle(bundle))


def test_new_classes_are_added_sampled_and_trained_on(bundle: Path, run_cli: Callable, finished_run: Path) -> None:
    write_glyphs(Path("new"), "EF")
    added = run_cli("classes", "add", bundle, "new", "--steps", 5, "--device", "cpu", "--out", "more")
    assert added.code == 0, added
    for words in ("begins as", "added E, F as learned mixtures of older classes: more, 6 classes"):
        assert words in added.out
    for name in "ABCD":
        assert np.array_equal(images("more", name), images(bundle, name))
    mixtures = json.loads(Path("more/provenance.json").read_text())["history"][0]["mixtures"]
    assert set(mixtures) == {"E", "F"}
    for mixture in mixtures.values():
        assert mixture["losses"]["chosen"] == min(mixture["losses"].values())
    assert run_cli("sample", "more", "--class", "E", "-n", 2, "--out", "sheet.png").code == 0

    trained = run_cli("train", "--recipe", "ctf-glyphs", "--characters", "ABCEFG", "--from", "more", "--out", "on", *ON)
    assert trained.code == 0, trained
    assert "5 of 6 classes found by name, 1 begin as the mean of all old ones (G), 1 old classes" in trained.out
    assert "stage 1/1 generate ended" in trained.out
    start = json.loads(Path("on/recipe.json").read_text())["start"]
    assert start == {"path": str(Path("more").absolute()), "sha256": model_hash(load_bundle(Path("more")))}
    # The frozen G_LH of the fine-tuned run is the old one, row by row.
    old, new = (load_bundle(Path(path)).generator.state_dict() for path in ("more", "on/bundle"))
    gamma = "generator_lh.norm.gamma.weight"
    assert np.array_equal(new[gamma][:5], old[gamma][[0, 1, 2, 4, 5]])
    assert np.allclose(new[gamma][5], old[gamma].mean(dim=0))
    # Nobody needs the old bundle any more.
    shutil.rmtree("more")
    shutil.rmtree("on/bundle")
    assert run_cli("resume", "on").code == 0
    assert run_cli("sample", "on", "-n", 1, "--out", "last.png").code == 0


def test_from_a_run_its_discriminator_goes_on_too(run_cli: Callable, finished_run: Path, tmp_path: Path) -> None:
    trained = run_cli(
        "train", "--recipe", "ctf-glyphs", "--characters", "ABCD", "--from", finished_run, "--out", tmp_path / "on", *ON
    )
    assert trained.code == 0, trained
    assert "4 of 4 classes found by name; its discriminator too" in trained.out


def test_new_classes_come_with_their_low_quality_images_where_these_are_of_their_own_kind(
    bundle: Path, run_cli: Callable, refused: Callable
) -> None:
    write_glyphs(Path("new"), "EF")
    recipe = json.loads((bundle / "recipe.json").read_text())
    recipe["data"]["low_quality"] = "/cheap"
    (bundle / "recipe.json").write_text(json.dumps(recipe))
    provenance = json.loads((bundle / "provenance.json").read_text())
    provenance["sha256"]["recipe.json"] = sha256(bundle / "recipe.json")
    (bundle / "provenance.json").write_text(json.dumps(provenance))
    command = ("classes", "add", bundle, "new", "--steps", 2, "--device", "cpu", "--out", "more")
    assert "name those of the new classes with --lq PATH" in refused(*command)
    write_glyphs(Path("cheap"), "EG")
    assert "holds no images of the new class 'F'; add some" in refused(*command, "--lq", "cheap")
    write_glyphs(Path("cheap2"), "EF")
    assert run_cli(*command, "--lq", "cheap2").code == 0
    assert load_bundle(Path("more")).low_quality_classes == tuple("ABCDEF")


def test_mistakes_are_refused_and_leave_nothing(bundle: Path, refused: Callable, tmp_path: Path) -> None:
    classes = ("classes",)
    out = ("--out", "new")
    assert "Unknown class 'E'. Known: A, B, C, D" in refused(*classes, "drop", bundle, "--class", "E", *out)
    swapped = refused(*classes, "rename", bundle, "--class", "A", "B", *out)
    assert "two classes would be called 'B'; class names must differ" in swapped
    twice = refused(*classes, "rename", bundle, "--class", "A", "x", "--class", "A", "y", *out)
    assert "renames one class twice" in twice
    three = [part for name in "ABC" for part in ("--class", name)]
    assert "this leaves 1 class; a class-conditional" in refused(*classes, "drop", bundle, *three, *out)
    assert "bundle exists already; choose another --out" in refused(
        *classes, "drop", bundle, "--class", "A", "--out", "bundle"
    )
    assert "table.csv cannot be read" in refused(*classes, "map", bundle, "table.csv", *out)
    assert "nowhere does not exist; give a run folder or a bundle" in refused(*classes, "show", "nowhere")


def test_images_that_cannot_become_new_classes_are_refused(bundle: Path, refused: Callable) -> None:
    add = ("classes", "add", bundle)
    out = ("--out", "new")
    write_glyphs(Path("known"), "AE")
    assert "has a class 'A' already; give the new one another name" in refused(*add, "known", *out)
    Path("few/E").mkdir(parents=True)
    Image.new("L", (16, 16)).save("few/E/0.png")
    assert "class 'E' has 1 readable image; a new class needs at least 4" in refused(*add, "few", *out)
    assert "holds images without labels; put one subfolder per new class" in refused(*add, "few/E", *out)
    assert "nothing does not exist" in refused(*add, "nothing", *out)


def test_starts_that_do_not_fit_are_refused(bundle: Path, refused: Callable, finished_run: Path) -> None:
    train = ("train", "--recipe", "ctf-glyphs", "--characters", "ABCD", "--out", "on")
    wide = refused(*train, "--from", bundle, *ON, "--set", "generator_width=0.1")
    assert wide.endswith("others than those of this run; add --set method.networks.generator_width=0.05\n")
    sides = refused(*train, "--from", bundle, *ON, "--set", "data.resolution=32")
    assert "add --set data.resolution=16" in sides
    assert "nowhere does not exist; give a run folder or a bundle folder" in refused(*train, "--from", "nowhere")
    alone = refused(*train, "--set", "transfer.steps=0")
    assert "which leaves G_LH untrained; give it 1 step or more, or name a trained model with --from" in alone
    other = refused(*train, "--from", bundle, *ON, "--set", f"start.sha256={'0' * 64}")
    assert "holds other weights than start.sha256 says" in other
