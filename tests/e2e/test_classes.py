"""Classes of a trained model change, and it trains on: the commands as a user types them, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import ctfgan
from ctfgan.bundle.bundle import load_bundle
from ctfgan.bundle.warm_start import model_hash
from ctfgan.core.files import sha256
from ctfgan.data.glyphs import GlyphSource
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import GlyphSettings
from ctfgan.recipes.recipe import parse_recipe
from tests.conftest import TINY_RUN

ON = [part for setting in TINY_RUN if "characters" not in setting for part in ("--set", setting)]
ON += ["--set", "transfer.steps=0", "--set", "generate.steps=2"]
CODES = ["--set", "class_tables=codes", "--set", "class_code=16"]


@pytest.fixture
def bundle(coded_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of the classes A, B, C and D, known by codes, in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(coded_run / "bundle", tmp_path / "bundle")
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
    Path("table.csv").write_text("B,A\nD,D\nthree,A\n")
    mapped = run_cli("classes", "map", "fewer", "table.csv", "--out", "mapped")
    assert mapped.code == 0, mapped
    assert "mapped 2 of 3 classes to 3: mapped, 3 classes" in mapped.out
    shown = run_cli("classes", "show", "mapped")
    assert shown.out.split() == ["B", "D", "three"]
    assert [line.split(": ")[1] for line in shown.err.splitlines()] == [
        "renamed A to B, B to A", "dropped C", "mapped 2 of 3 classes to 3"
    ]  # fmt: skip
    other_names = ["--class", "B", "second", "--class", "three", "B"]
    assert run_cli("classes", "rename", "mapped", *other_names, "--out", "renamed").code == 0
    for new, name in (("mapped", "B"), ("mapped", "D"), ("renamed", "B")):
        assert np.array_equal(images(new, name), images(bundle, name)), "the name is part of an image's seed"
    card = Path("mapped/README.md").read_text()
    assert "dropped C" in card
    assert "`class_codes.safetensors` holds a code of each class" in card
    assert "Not measured since its classes were changed" in card
    history = json.loads(Path("mapped/provenance.json").read_text())["history"]
    assert history[0]["sha256 before"]["model.safetensors"] == model_hash(load_bundle(bundle))


def test_new_classes_are_added_sampled_and_trained_on(bundle: Path, run_cli: Callable) -> None:
    write_glyphs(Path("new"), "EF")
    for file in sorted(Path("new/E").iterdir())[1:]:
        file.unlink()
    added = run_cli("classes", "add", bundle, "new", "--device", "cpu", "--out", "more")
    assert added.code == 0, added
    for words in ("most like", "added E, F: more, 6 classes"):
        assert words in added.out
    for name in "ABCD":
        assert np.array_equal(images("more", name), images(bundle, name))
    assert json.loads(Path("more/provenance.json").read_text())["history"][0]["images of each"] == {"E": 1, "F": 8}
    assert run_cli("sample", "more", "--class", "E", "-n", 2, "--out", "sheet.png").code == 0

    command = ("train", "--recipe", "ctf-glyphs", "--characters", "ABCEFG", "--from", "more", "--out", "on", *ON)
    trained = run_cli(*command, *CODES, "--set", "recogniser.width=12")  # the encoder keeps its own width
    assert trained.code == 0, trained
    assert "5 of 6 classes found by name, 1 get codes of their images (G), 1 old classes are not used" in trained.out
    assert "stage 1/1 generate ended" in trained.out
    start = json.loads(Path("on/recipe.json").read_text())["start"]
    assert start == {"path": str(Path("more").absolute()), "sha256": model_hash(load_bundle(Path("more")))}
    old, new = (load_bundle(Path(path)).codes for path in ("more", "on/bundle"))
    assert old is not None
    assert new is not None
    assert torch.equal(new.classes[:5], old.classes[[0, 1, 2, 4, 5]])
    # G's code is the old encoder's, of the images that this run trains on.
    recipe = parse_recipe(json.loads(Path("on/recipe.json").read_text()), "recipe.json")
    dataset = prepare(recipe.data, low_quality=True)
    own = dataset.images(dataset.training[dataset.labels(dataset.training) == 5])
    pixels = torch.from_numpy(own).permute(0, 3, 1, 2).float() / 127.5 - 1
    mean = old.encoder.classifier(pixels)[0].mean(dim=0).numpy()
    code = mean - old.encoder.mean.numpy()
    np.testing.assert_allclose(new.classes[5].numpy(), code / np.linalg.norm(code), atol=2e-3)
    # Nobody needs the old bundle any more.
    shutil.rmtree("more")
    shutil.rmtree("on/bundle")
    assert run_cli("resume", "on").code == 0
    assert run_cli("sample", "on", "-n", 1, "--out", "last.png").code == 0


def test_from_a_run_its_discriminator_goes_on_too(run_cli: Callable, coded_run: Path, tmp_path: Path) -> None:
    command = ("train", "--recipe", "ctf-glyphs", "--characters", "ABCD", "--from", coded_run, "--out", tmp_path / "on")
    trained = run_cli(*command, *ON, *CODES)
    assert trained.code == 0, trained
    assert "4 of 4 classes found by name; its discriminator too" in trained.out
    assert (tmp_path / "on/class_codes.safetensors").read_bytes() == (
        coded_run / "class_codes.safetensors"
    ).read_bytes()


def test_a_run_whose_codes_are_damaged_is_not_continued(refused: Callable, coded_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(coded_run, tmp_path / "run"))
    shutil.rmtree(run / "bundle")
    codes = (run / "class_codes.safetensors").read_bytes()
    (run / "class_codes.safetensors").write_bytes(codes[:-1])
    said = refused("resume", run)
    assert "class_codes.safetensors is missing or damaged" in said
    assert "restore it, or train a new run" in said


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
    command = ("classes", "add", bundle, "new", "--device", "cpu", "--out", "more")
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
    write_glyphs(Path("few"), "EF")
    assert "holds images without labels; put one subfolder per new class" in refused(*add, "few/E", *out)
    for file in Path("few/F").iterdir():
        file.write_bytes(b"no image")
    assert "class 'F' has no readable image; a new class needs one" in refused(*add, "few", *out)
    assert "nothing does not exist" in refused(*add, "nothing", *out)


def test_starts_that_do_not_fit_are_refused(bundle: Path, refused: Callable) -> None:
    train = ("train", "--recipe", "ctf-glyphs", "--characters", "ABCD", "--out", "on")
    wide = refused(*train, "--from", bundle, *ON, *CODES, "--set", "generator_width=0.1")
    assert wide.endswith("others than those of this run; add --set method.networks.generator_width=0.05\n")
    tables = refused(*train, "--from", bundle, *ON, "--set", "class_tables=per-class")
    assert tables.endswith("others than those of this run; add --set method.networks.class_tables=codes\n")
    sides = refused(*train, "--from", bundle, *ON, "--set", "data.resolution=32")
    assert "add --set data.resolution=16" in sides
    assert "nowhere does not exist; give a run folder or a bundle folder" in refused(*train, "--from", "nowhere")
    alone = refused(*train, "--set", "transfer.steps=0")
    assert "which leaves G_LH untrained; give it 1 step or more, or name a trained model with --from" in alone
    other = refused(*train, "--from", bundle, *ON, "--set", f"start.sha256={'0' * 64}")
    assert "holds other weights than start.sha256 says" in other
