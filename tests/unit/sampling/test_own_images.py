"""Low-quality images that the user brings: files that are named, and folders that hold more than images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.bundle.bundle import stored_levels
from ctfgan.core.errors import DataError
from ctfgan.data.levels import Scale
from ctfgan.data.sources.encoded import read_image
from ctfgan.sampling.model import Model
from ctfgan.sampling.own_images import read_own_images
from tests.contract.test_changed_classes import random_bundle


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(random_bundle("ctf-folders", matched=True), "cpu")


@pytest.fixture
def folder(tmp_path: Path, bad_images: dict[str, bytes]) -> Path:
    root = tmp_path / "cheap"
    for name in ("b.png", "a/c.JPE", "@eaDir/b.png/thumb.jpg", ".hidden/x.png", "__MACOSX/y.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 12), 90).save(root / name, "JPEG")
    (root / "._b.png").write_bytes(b"resource fork")
    (root / "a" / "broken.png").write_bytes(bad_images["truncated"])
    (root / "z.png").write_bytes(b"")
    return root


def test_a_folder_goes_on_where_a_file_is_broken_and_says_how_many_and_why(model: Model, folder: Path) -> None:
    own = read_own_images(model, [folder])
    assert own.files == [folder / "a" / "c.JPE", folder / "b.png"]
    assert np.array_equal(own.pixels, [model.fitted(read_image(file)) for file in own.files])
    assert own.notes[0].startswith(f"{folder}: 3 images that are hidden or in system folders were passed over (")
    assert own.notes[1].startswith(
        f"{folder}: 2 images were passed over (first: {folder / 'a' / 'broken.png'} cannot be"
    )
    assert own.notes[1].count("\n") == 0


def test_a_file_that_is_named_must_be_readable(model: Model, folder: Path) -> None:
    for paths in ([folder / "z.png"], [folder, folder / "a" / "broken.png"]):
        with pytest.raises(DataError, match=r"(z|broken)\.png cannot be read: .*; leave it out or replace it"):
            read_own_images(model, paths)


def test_a_folder_of_broken_images_alone_is_refused(model: Model, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.png").write_bytes(b"text")
    with pytest.raises(
        DataError, match=r"more: none of 1 images can be read \(first: .*x\.png cannot be read: not an im"
    ):
        read_own_images(model, [folder, tmp_path / "more"])


def test_a_dark_image_of_more_than_8_bits_stays_as_dark_as_it_was_in_training(model: Model) -> None:
    levels = stored_levels({"low_quality": {"whole": Scale(0, 4_095)}})
    trained = Model(replace(model.bundle, provenance={**model.bundle.provenance, **levels}), "cpu")
    dark = Image.fromarray(np.full((8, 8), 200, np.uint16))
    assert model.fitted(dark)[0, 0, 0] == 200
    assert trained.fitted(dark)[0, 0, 0] == 200 * 255 // 4_095


def test_an_image_that_is_named_twice_counts_once(model: Model, folder: Path) -> None:
    assert read_own_images(model, [folder / "b.png", folder]).files == [folder / "b.png", folder / "a" / "c.JPE"]
