"""A user's mistake: exit code 2, one line that says what is wrong, nothing created or changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctfgan.storage.run_folder import RunFolder

Refused = Callable[..., str]
WriteClasses = Callable[..., Path]

OUT = ("--out", "new-run")


# Images


def test_a_missing_folder(refused: Refused) -> None:
    assert "nowhere does not exist; give a folder" in refused("train", "--hq", "nowhere", *OUT)


def test_a_missing_low_quality_folder(refused: Refused, tmp_path: Path, write_classes: WriteClasses) -> None:
    write_classes(tmp_path / "hq", {"a": 8, "b": 8})
    assert "nowhere does not exist" in refused("train", "--hq", "hq", "--lq", "nowhere", *OUT)


def test_an_empty_folder(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "hq").mkdir()
    assert "hq holds no images; put one subfolder per class" in refused("train", "--hq", "hq", *OUT)


def test_a_folder_without_labels(refused: Refused, tmp_path: Path, write_classes: WriteClasses) -> None:
    write_classes(tmp_path, {"flat": 8})
    assert "flat holds images without labels" in refused("train", "--hq", "flat", *OUT)


def test_a_single_class(refused: Refused, tmp_path: Path, write_classes: WriteClasses) -> None:
    write_classes(tmp_path / "hq", {"only": 8})
    said = refused("train", "--hq", "hq", *OUT)
    assert "hq holds the single class 'only'; a class-conditional generator needs at least 2" in said


def test_a_class_with_one_image(refused: Refused, tmp_path: Path, write_classes: WriteClasses) -> None:
    write_classes(tmp_path / "hq", {"a": 8, "b": 1, "c": 2})
    said = refused("train", "--hq", "hq", *OUT)
    assert "hq holds 2 of 3 classes with fewer than 4 images that can be read ('b': 1, 'c': 2)" in said


@pytest.mark.parametrize("kind", ["zero bytes", "text", "truncated", "1x1", "20000x20000"])
def test_a_class_of_unreadable_images(
    refused: Refused, tmp_path: Path, write_classes: WriteClasses, bad_images: dict[str, bytes], kind: str
) -> None:
    write_classes(tmp_path / "hq", {"a": 8, "b": 8})
    for file in (tmp_path / "hq" / "b").iterdir():
        file.write_bytes(bad_images[kind])
    said = refused("train", "--hq", "hq", *OUT)
    assert "1 of 2 classes with fewer than 4 images that can be read ('b': 0), and a generator needs" in said
    assert f"8 images are unreadable, such as {tmp_path}/hq/b/0.png: " in said


def test_a_folder_of_unreadable_images(refused: Refused, tmp_path: Path, write_classes: WriteClasses) -> None:
    for file in write_classes(tmp_path / "hq", {"a": 8, "b": 8}).rglob("*.png"):
        file.write_text("text")
    said = refused("train", "--hq", "hq", *OUT)
    assert f"none of 16 images can be read (first: {tmp_path}/hq/a/0.png: not an image" in said


def test_labels_out_of_range(refused: Refused, tmp_path: Path) -> None:
    images, labels = np.zeros((20, 16, 16), np.uint8), np.arange(20) % 3
    np.savez(tmp_path / "hq.npz", images=images, labels=labels, classes=np.array(["a", "b"]))
    assert "hq.npz: label 2 of image 2 is outside 0 ... 1" in refused("train", "--hq", "hq.npz", *OUT)


def test_swapped_sides(refused: Refused, tmp_path: Path, write_classes: WriteClasses) -> None:
    write_classes(tmp_path / "small", {"a": 8, "b": 8}, size=8)
    write_classes(tmp_path / "large", {"a": 8, "b": 8}, size=64)
    said = refused("train", "--hq", "small", "--lq", "large", *OUT)
    assert "low-quality images (64 pixels) are larger than the high-quality ones (8); swap --hq and --lq" in said


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_reference_inside_the_training_images(
    refused: Refused, tmp_path: Path, write_classes: WriteClasses, more: tuple[str, ...]
) -> None:
    write_classes(tmp_path / "hq", {"x/a": 8, "x/b": 8, "held/a": 4, "held/b": 4})
    said = refused("train", "--hq", "hq", "--reference", "hq/held", "--set", "resolution=16", *OUT, *more)
    assert "lacks ('a', 'b')" in said
    write_classes(tmp_path / "flat", {"a": 8, "b": 8})
    write_classes(tmp_path / "copies", {"a": 4, "b": 4})
    said = refused("train", "--hq", "flat", "--reference", "copies", "--set", "resolution=16", *OUT, *more)
    assert "8 of the 8 reference images" in said


def test_a_file_of_no_known_format(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "hq.rar").write_bytes(b"Rar!")
    assert "hq.rar has no known format" in refused("train", "--hq", "hq.rar", *OUT)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--characters", "AAB", "the characters 'A' are given more than once"),
        ("--characters", "AB\ue123", "1 characters have fewer than 2 faces"),
        ("--characters", "A", "data.glyphs.characters"),
        ("--fonts", "nowhere", "/nowhere does not exist"),
    ],
)
def test_glyphs_that_cannot_be_drawn(refused: Refused, option: str, value: str, message: str) -> None:
    assert message in refused("train", option, value, *OUT)


# Names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tran"], "No such command 'tran'. Did you mean 'train'?"),
        (["train", "--recipe", "ctf-glyph"], "Unknown recipe 'ctf-glyph'. Did you mean 'ctf-glyphs'?"),
        (["train", "--recipe", "zzz"], "Unknown recipe 'zzz'. Known: "),
        (["train", "--hqq", "x"], "No such option '--hqq'"),
        (["train", "--hq-fraction", "1.5"], "1.5 is not in the range 0<x<=1"),
        (["train", "--hq-fraction", "most"], "'most' is not a valid float"),
        (["train", "--seed", "-1"], "-1 is not in the range"),
        (["train", "--device", "gpu9"], "device 'gpu9' is not available here; use auto or cpu"),
        (
            ["train", "--set", "generate.stepz=5"],
            "unknown setting 'generate.stepz'. Did you mean 'method.generate.steps'?",
        ),
        (["train", "--set", "generate.steps=many"], "generate.steps is 'many', but"),
        (["train", "--set", "generate.steps=0"], "generate.steps is 0, but"),
        (["train", "--set", "generate.steps"], "'generate.steps' has no value; write --set generate.steps=VALUE"),
        (["train", "--set", "steps=5"], "'steps' is ambiguous; write one of"),
        (["train", "--set", "resolution=17"], "resolution is 17; the networks exist for 16, 24, 32, 48, 64, 128, 256"),
        (["train", "--config", "none.toml"], "none.toml does not exist; give a TOML file"),
        (
            ["train", "--recipe", "ctf-mnist16"],
            "recipe 'ctf-mnist16' works on data that is not shipped; name it with --hq",
        ),
        (["train", "--recipe", "projection-glyphs", "--lq", "x"], "uses no low-quality images; leave --lq out"),
        (
            ["train", "--recipe", "projection-glyphs", "--set", "data.without_hq=3"],
            "data.without_hq is 3, but recipe 'projection-glyphs' uses no low-quality images",
        ),
        (["train", "--hq", "x", "--characters", "AB"], "--characters, --fonts and --lq-fonts belong to the embedded"),
        (["train", "--hq", "x", "--lq-fonts", "y"], "--characters, --fonts and --lq-fonts belong to the embedded"),
        (
            ["train", "--characters", "AB", "--lq", "x", "--lq-fonts", "y"],
            "--lq and --lq-fonts both name",
        ),
        (
            ["train", "--recipe", "projection-glyphs", "--lq-fonts", "y"],
            "no low-quality images; leave --lq-fonts out",
        ),
        (
            ["train", "--hq", ""],
            "what follows --hq is empty; give it a value, or leave it out (is a variable not set?)",
        ),
        (["train", "--hq", "x", "--lq="], "what follows --lq is empty; "),
        (["data", "check", ""], "an argument is empty; "),
        (["data", "check", "x", "--lq", " "], "what follows --lq is empty; "),
        (["train", "--set", "data.high_quality="], "data.high_quality is '', but value error, it must name images"),
        (["train", "surplus"], "unexpected extra argument"),
        (["resume"], "Missing argument 'RUN'"),
        (["sample", "x", "-n", "0"], "0 is not in the range x>=1"),
        (["sample", "nowhere"], "nowhere does not exist; give a run folder or a bundle folder"),
        (["enhance", "nowhere", "x.png", "--class", "A"], "nowhere does not exist"),
        (["resume", "nowhere"], "nowhere is no run folder"),
        (["evaluate", "nowhere"], "nowhere is no run folder"),
        (["compare", "nowhere"], "nowhere"),
    ],
)
def test_unknown_names_and_values(refused: Refused, arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


def test_a_config_file_with_mistakes(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[generate\n")
    assert "broken.toml is no readable TOML file" in refused("train", "--config", "broken.toml")
    (tmp_path / "typo.toml").write_text("[data]\nresolutoin = 16\n")
    said = refused("train", "--config", "typo.toml")
    assert "typo.toml: unknown setting 'data.resolutoin'. Did you mean 'data.resolution'?" in said


# Runs


def test_a_run_that_exists_already(refused: Refused, finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    assert "run run exists already; go on with 'ctfgan resume run'" in refused("train", "--out", "run")


def test_a_folder_that_is_something_else(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x").touch()
    (tmp_path / "file").touch()
    for out in ("photos", "file"):
        assert f"{out} exists already and is no run; choose another --out" in refused("train", "--out", out)


@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_a_run_that_never_reached_a_checkpoint(
    refused: Refused, finished_run: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(finished_run / "recipe.json", tmp_path / "run")
    shutil.copy(finished_run / "data.json", tmp_path / "run")
    said = refused(command, "run")
    assert (
        "is no bundle" if command == "sample" else "run has no complete checkpoint yet; go on with 'ctfgan resume run'"
    ) in said


def test_a_run_that_is_not_finished_has_nothing_to_sample(refused: Refused, finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    assert "run run is not finished and has no bundle yet; run 'ctfgan resume run' first" in refused("sample", "run")


@pytest.mark.parametrize("name", ["state.pt", "checkpoint.json"])
def test_a_damaged_checkpoint_of_a_finished_run(
    refused: Refused, finished_run: Path, tmp_path: Path, name: str
) -> None:
    run = RunFolder(Path(shutil.copytree(finished_run, tmp_path / "run")))
    (run.checkpoints()[-1] / name).write_bytes(b"damaged")
    said = refused("evaluate", "run")
    assert f"{name} is missing or damaged; restore it, or resume the run" in said


def test_a_run_that_is_not_finished_is_not_evaluated(refused: Refused, finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    assert "run run is not finished; finish it with 'ctfgan resume run' first" in refused("evaluate", "run")


@pytest.mark.parametrize("name", ["data.json", "recipe.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", None])
def test_a_damaged_or_missing_file_of_a_run(
    refused: Refused, finished_run: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = Path(shutil.copytree(finished_run, tmp_path / "run")) / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert name in refused("evaluate", "run")


def test_images_that_changed_since_the_run_began(refused: Refused, finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "data.json").read_text())
    (tmp_path / "run" / "data.json").write_text(json.dumps({**summary, "fingerprints": {"high-quality": "another"}}))
    for command in ("evaluate", "resume"):
        if command == "resume":
            shutil.rmtree(tmp_path / "run/bundle")
        assert "have changed since run began, or are read otherwise today; restore them, or" in refused(command, "run")


def test_a_full_disk_ends_training_with_the_last_checkpoint_whole(
    run_cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_run: Path
) -> None:
    run = RunFolder(Path(shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))))
    shutil.rmtree(run.checkpoints()[-1])
    complete = run.checkpoints()
    assert len(complete) == 1

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        outcome = run_cli("resume", run.path)
    assert outcome.code == 2
    line, *others = outcome.err.splitlines()
    assert line.startswith("ctfgan: the disk is full, ")
    assert not others
    assert run.checkpoints() == complete
    assert run.load(complete[0]).tensors
    assert run_cli("resume", run.path).code == 0
    assert (run.path / "bundle" / "model.safetensors").is_file()


# Bundles


@pytest.fixture
def bundle(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run / "bundle", tmp_path / "bundle"))


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.json", "classes.json", "low_quality_bank.npz"])
def test_a_bundle_with_a_changed_or_missing_file(refused: Refused, bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    assert f"bundle/{name} has another hash than provenance.json says; copy" in refused("sample", "bundle")
    (bundle / name).unlink()
    assert f"bundle/{name} is missing; copy the whole bundle folder again" in refused("sample", "bundle")


def test_a_bundle_without_or_with_a_damaged_list_of_hashes(refused: Refused, bundle: Path) -> None:
    (bundle / "provenance.json").write_text("{}")
    assert "provenance.json is damaged" in refused("sample", "bundle")
    (bundle / "provenance.json").unlink()
    assert "bundle is no bundle (it has no provenance.json)" in refused("sample", "bundle")


def test_an_unknown_class(refused: Refused, bundle: Path) -> None:
    assert "Unknown class 'a'. " in refused("sample", "bundle", "--class", "A", "--class", "a")
    Image.new("L", (8, 8)).save(bundle / "x.png")
    assert "Unknown class 'E'. Known: A, B, C, D." in refused("enhance", "bundle", bundle / "x.png", "--class", "E")


@pytest.mark.parametrize("out", ["there.png", "folder"])
def test_an_output_that_exists_already(refused: Refused, bundle: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "there.png").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    (tmp_path / "x.png").touch()
    assert f"{out} exists already; choose another --out" in refused("sample", "bundle", "--out", out)
    assert f"{out} exists already" in refused("enhance", "bundle", "x.png", "--class", "A", "--out", out)


def test_an_empty_folder_is_no_place_for_a_file_but_for_a_folder(
    refused: Refused, run_cli: Callable, bundle: Path, tmp_path: Path
) -> None:
    for name in ("empty.png", "empty"):
        (tmp_path / name).mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    enhance = ("enhance", "bundle", "x.png", "--class", "A", "--out")
    for command in (("sample", "bundle", "--out"), enhance):
        assert "empty.png exists already; choose another --out" in refused(*command, "empty.png")
    assert run_cli(*enhance, "empty").code == 0
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["x.png"]


def test_an_output_without_a_place(refused: Refused, bundle: Path, tmp_path: Path) -> None:
    said = refused("sample", "bundle", "--out", "none/x.png")
    assert f"folder {tmp_path}/none does not exist; make it first" in said


@pytest.mark.parametrize("kind", ["zero bytes", "text", "truncated", "1x1", "20000x20000", "missing"])
def test_own_low_quality_images_that_cannot_be_read(
    refused: Refused, bundle: Path, tmp_path: Path, bad_images: dict[str, bytes], kind: str
) -> None:
    message = "bad.png does not exist"
    if kind != "missing":
        (tmp_path / "bad.png").write_bytes(bad_images[kind])
        message = "bad.png cannot be read: "
    assert message in refused("sample", "bundle", "--lq", "bad.png")
    assert message in refused("enhance", "bundle", "bad.png", "--class", "A")
