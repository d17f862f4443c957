from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctfgan.bundle.bundle import BANK_IMAGES, bank_for_bundle, commit_of, load_bundle, save_bundle, stored_levels
from ctfgan.core.errors import BundleError
from ctfgan.core.files import sha256
from ctfgan.data.levels import Scale
from ctfgan.data.low_quality_bank import LowQualityBank


@pytest.fixture
def bundle(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run / "bundle", tmp_path / "bundle")


def rehash(bundle: Path) -> None:
    """Make the hashes fit again, as a forger would."""
    provenance = json.loads((bundle / "provenance.json").read_text())
    provenance["sha256"] = {name: sha256(bundle / name) for name in provenance["sha256"]}
    (bundle / "provenance.json").write_text(json.dumps(provenance))


def change_json(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def apply(bundle: Path) -> None:
        content = json.loads((bundle / name).read_text())
        change(content)
        (bundle / name).write_text(json.dumps(content))

    return apply


def change_model(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(bundle: Path) -> None:
        tensors = load_file(bundle / "model.safetensors")
        change(tensors)
        save_file(tensors, bundle / "model.safetensors")

    return apply


def change_bank(**arrays: np.ndarray) -> Callable[[Path], None]:
    def apply(bundle: Path) -> None:
        with np.load(bundle / "low_quality_bank.npz") as archive:
            np.savez(bundle / "low_quality_bank.npz", **{**archive, **arrays})

    return apply


def test_saving_what_was_loaded_gives_the_same_files(bundle: Path, tmp_path: Path) -> None:
    save_bundle(load_bundle(bundle), tmp_path / "again")
    for name in ("model.safetensors", "recipe.json", "classes.json"):
        assert (bundle / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_provenance_tells_counts_seeds_versions_and_weights(bundle: Path) -> None:
    provenance = json.loads((bundle / "provenance.json").read_text())
    assert provenance["counts"]["classes"] == 4
    assert provenance["counts"]["high_quality"] == int(0.65 * 144)
    assert {"torch", "numpy", "ctfgan", "python"} <= set(provenance["versions"])
    assert provenance["steps"] == 8
    assert "4 classes" in (bundle / "README.md").read_text()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_model(lambda t: t.pop("generator_a.to_image.bias")), "to_image.bias' .* is missing"),
        (change_model(lambda t: t.update({"generator_a.to_image.bias": torch.zeros(7)})), r"is F32 \(7,\), the recipe"),
        (change_model(lambda t: t["generator_a.to_image.bias"].fill_(torch.nan)), "not finite"),
        (change_json("classes.json", lambda c: c["classes"].append("Z")), "names 5 classes for a model of 4"),
        (change_json("classes.json", lambda c: c["shape"].update(num_classes=1_000_000)), "for a model of 1,000,000"),
        (change_json("classes.json", lambda c: c.pop("shape")), "do not fit together"),
        (change_json("recipe.json", lambda c: c.update(surprise=1)), "surprise"),
        (change_bank(labels=np.full(36, 9)), "labels outside -1 ... 3"),
        (change_bank(images=np.zeros((36, 3, 3, 1), dtype=np.uint8)), r"images uint8 \(36, 3, 3, 1\)"),
    ],
)  # fmt: skip
def test_contents_that_do_not_fit_are_refused_even_with_right_hashes(
    bundle: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match="has another hash"):
        load_bundle(bundle)
    rehash(bundle)
    with pytest.raises(BundleError, match=message) as error:
        load_bundle(bundle)
    assert "\n" not in str(error.value)


def test_an_object_array_in_the_bank_is_not_unpickled(bundle: Path) -> None:
    np.savez(bundle / "low_quality_bank.npz", images=np.array([{"a": 1}]), labels=np.zeros(1))
    rehash(bundle)
    with pytest.raises(BundleError, match="do not fit together"):
        load_bundle(bundle)


def test_only_files_of_a_bundle_can_be_listed(bundle: Path) -> None:
    change_json("provenance.json", lambda c: c["sha256"].update({"../../secret": "0"}))(bundle)
    with pytest.raises(BundleError, match="not a bundle's files"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "levels",
    [
        None,
        {"whole": [0, 65_535]},
        {"low_quality": {"whole": [0]}},
        {"low_quality": {"whole": [0, 0]}},
        {"low_quality": {"whole": [0, float("inf")]}},
        {"low_quality": {"floating-point": [float("nan"), 1]}},
        {"low_quality": {"whole": ["0", "255"]}},
        {"low_quality": {"octal": [0, 255]}},
    ],
)
def test_levels_that_are_no_plain_range_are_refused(bundle: Path, levels: object) -> None:
    change_json("provenance.json", lambda c: c.update(levels=levels))(bundle)
    with pytest.raises(BundleError, match=r"provenance\.json is damaged \(.*levels"):
        load_bundle(bundle)


def test_levels_of_the_training_data_are_kept_and_older_bundles_have_none(bundle: Path, tmp_path: Path) -> None:
    before = load_bundle(bundle)
    assert before.levels("low_quality") == {}
    whole = {"whole": Scale(0, 4_095)}
    after = replace(before, provenance={**before.provenance, **stored_levels({"low_quality": whole})})
    save_bundle(after, tmp_path / "after")
    read = load_bundle(tmp_path / "after")
    assert (read.levels("low_quality"), read.levels("high_quality")) == (whole, {})


def test_the_bank_of_a_bundle_is_small_and_keeps_every_class() -> None:
    labels = np.repeat(np.arange(300), 40)
    bank = LowQualityBank(np.zeros((12_000, 4, 4, 1), dtype=np.uint8), labels, np.arange(300))
    kept = bank_for_bundle(bank, seed=0)
    assert np.bincount(kept.labels).tolist() == [16] * 300
    large = LowQualityBank(np.zeros((12_000, 48, 48, 3), dtype=np.uint8), labels, np.arange(300))
    assert len(bank_for_bundle(large, seed=0)) == BANK_IMAGES
    foreign = LowQualityBank(bank.images, labels, None)
    assert len(bank_for_bundle(foreign, seed=0)) == BANK_IMAGES
    many = LowQualityBank(np.zeros((5_000, 4, 4, 1), dtype=np.uint8), np.arange(5_000), np.arange(5_000))
    assert set(bank_for_bundle(many, seed=0).labels) == set(range(5_000))


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_commit_is_that_of_the_codes_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "project"
    inside = root / "venv/lib"
    inside.mkdir(parents=True)
    (root / "code.py").write_text("1")
    assert commit_of(root) is None
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for words in (["init", "-q", "-b", "trunk"], ["add", "code.py"], [*names, "commit", "-q", "-m", "one"],
                  [*names, "tag", "v1"]):  # fmt: skip
        subprocess.run(["git", "-C", str(root), *words], check=True)
    head = (root / ".git/refs/heads/trunk").read_text().strip()
    assert (commit_of(root), commit_of(inside)) == (head, None)
    (root / "notes.txt").write_text("no part of the code")
    assert commit_of(root) == head
    (root / "code.py").write_text("2")
    assert commit_of(root) == f"{head}-dirty"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert commit_of(root) == f"{head}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(root) is None
