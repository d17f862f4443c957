"""Bundles on the Hub, without a network: what is asked of it, what comes back, what is said when nothing does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

import ctfgan
from ctfgan.core.errors import BundleError, ConfigError


@pytest.fixture
def hub(coded_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A Hub with one repository, ``owner/letters``; returns what it was asked for."""
    asked: list[dict[str, Any]] = []
    ctfgan.load(coded_run, "cpu").save_pretrained(tmp_path / "repository", license="mit")
    (tmp_path / "repository/evil.py").write_text("raise SystemExit")
    (tmp_path / "repository/pytorch_model.bin").write_bytes(b"pickle")

    def snapshot_download(repo_id: str, **how: Any) -> str:
        asked.append({"repo_id": repo_id, **how})
        if repo_id != "owner/letters":
            raise OSError(f"404: no repository {repo_id}\nRequest ID: 1")
        place = tmp_path / f"cache-{len(asked)}"
        place.mkdir()
        for file in (tmp_path / "repository").iterdir():
            if file.name in how["allow_patterns"]:
                shutil.copy(file, place)
        return str(place)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_what_was_saved_makes_bitwise_the_same_images(coded_run: Path, tmp_path: Path) -> None:
    model = ctfgan.load(coded_run, "cpu")
    model.save_pretrained(tmp_path / "folder")
    again = ctfgan.from_pretrained(tmp_path / "folder", device="cpu")
    assert np.array_equal(model.sample(["A", "C"], 3, seed=4).images, again.sample(["A", "C"], 3, seed=4).images)
    before = (tmp_path / "folder/README.md").read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        model.save_pretrained(tmp_path / "folder")
    assert (tmp_path / "folder/README.md").read_bytes() == before


def test_a_repository_is_loaded_by_its_name_and_only_its_bundle_is_fetched(
    hub: list[dict[str, Any]], coded_run: Path, tmp_path: Path
) -> None:
    model = ctfgan.from_pretrained(
        "owner/letters", device="cpu", revision="v1", token="secret", cache_dir=tmp_path / "c", local_files_only=True,
        force_download=True,
    )  # fmt: skip
    expected = ctfgan.load(coded_run, "cpu").sample(["B"], 2).images
    assert np.array_equal(model.sample(["B"], 2).images, expected)
    (asked,) = hub
    assert {name: asked[name] for name in ("repo_id", "revision", "token", "cache_dir", "local_files_only",
                                           "force_download")} == {
        "repo_id": "owner/letters", "revision": "v1", "token": "secret", "cache_dir": tmp_path / "c",
        "local_files_only": True, "force_download": True,
    }  # fmt: skip
    assert not list(tmp_path.glob("cache-1/evil.py")) + list(tmp_path.glob("cache-1/*.bin"))


def test_the_command_line_takes_a_repository_wherever_it_takes_a_bundle(
    hub: list[dict[str, Any]], run_cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = run_cli("sample", "hf:owner/letters@v2", "--class", "A", "-n", 2, "--out", "sheet.png")
    assert made.code == 0, made
    assert run_cli("classes", "show", "hf:owner/letters").out.split() == ["A", "B", "C", "D"]
    assert [asked["revision"] for asked in hub] == ["v2", None]


def test_a_folder_goes_before_a_repository_of_the_same_name(
    hub: list[dict[str, Any]], coded_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(coded_run / "bundle", tmp_path / "owner/letters")
    ctfgan.from_pretrained("owner/letters", device="cpu")
    assert hub == []


def test_what_cannot_be_fetched_is_one_sentence(
    hub: list[dict[str, Any]], refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused("sample", "hf:owner/nothing@v1")
    assert "hf:owner/nothing@v1 cannot be fetched (404: no repository owner/nothing); check the name" in said
    assert "'letters' is no repository of the Hub; write owner/name" in refused("sample", "hf:letters")
    with pytest.raises(BundleError, match="does not exist"):
        ctfgan.from_pretrained("no-such-folder")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'ctfgan[hub]'" in refused("sample", "hf:owner/letters")


def test_without_a_network_the_hubs_own_library_says_so_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^hf:owner/name cannot be fetched \(.*\); check the name") as error:
        ctfgan.from_pretrained("owner/name", cache_dir=tmp_path, local_files_only=True)
    assert "\n" not in str(error.value)
