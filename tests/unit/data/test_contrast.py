"""Sets and images without contrast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.data.inspection import DataFinding, inspect
from ctfgan.data.levels import extent
from ctfgan.data.pack import pack
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.tree import FolderTree


def write(folder: Path, count: int, low: int, high: int) -> Path:
    """Images with noise from ``low`` to ``high``."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(list(folder.iterdir())))
    for number in range(count):
        pixels = rng.integers(low, high + 1, (16, 16), dtype=np.uint8)
        pixels[0, :2] = low, high
        Image.fromarray(pixels).save(folder / f"{low}-{high}-{number}.png")
    return folder


def said(root: Path) -> tuple[tuple[str, ...], DataFinding | None]:
    """The notes of the packed images, and what a check finds."""
    source = TreeSource(FolderTree(root))
    finding = next((found for found in inspect(source).findings if found.topic == "no contrast"), None)
    return pack(source, scan_headers(source), 16, 1, "crop").survey.notes, finding


def test_a_set_with_contrast_is_not_spoken_of(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a", 10, 0, 200)
    assert said(tmp_path) == ((), None)


def test_a_set_of_a_few_levels_is_named_with_them(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a", 10, 3, 14)
    notes, finding = said(tmp_path)
    assert finding is not None
    assert notes == (finding.summary,)
    assert finding.summary.startswith("all levels lie between 3 and 14 of 255")


def test_a_black_set_is_named(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a", 10, 0, 0)
    assert "between 0 and 0" in said(tmp_path)[0][0]


def test_a_bright_stray_image_hides_nothing(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a", 300, 3, 14)
    write(tmp_path / "a", 1, 0, 255)
    assert "all levels lie between 3 and 14 of 255" in said(tmp_path)[0][0]


def test_faint_images_of_different_brightness_are_named_with_their_span(tmp_path: Path, cache: Path) -> None:
    for low in (0, 60, 120, 200):
        write(tmp_path / "a", 5, low, low + 9)
    assert said(tmp_path)[0][0].startswith("half of the images use no more than 9 of 255 levels each")


def test_a_few_blank_images_are_counted_and_listed(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a", 10, 0, 200)
    write(tmp_path / "b", 1, 77, 77)
    write(tmp_path / "b", 1, 90, 100)
    notes, finding = said(tmp_path)
    assert finding is not None
    assert notes[0].startswith(
        "2 of 12 images are a single colour or nearly; if these are no pictures, take them out (f"
    )
    assert [Path(example).name for example in finding.examples] == [
        "77-77-0.png: 0 of 255 levels", "90-100-0.png: 10 of 255 levels",
    ]  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_the_extent_of_an_image_is_that_of_its_widest_channel(channels: int) -> None:
    image = np.random.default_rng(0).integers(20, 240, (9, 7, channels), dtype=np.uint8)
    flat = image.reshape(-1, channels).astype(int)
    assert extent(image) == (flat.min(), flat.max(), (flat.max(axis=0) - flat.min(axis=0)).max())


def test_a_plain_red_image_has_no_span() -> None:
    assert extent(np.full((4, 4, 3), (200, 30, 40), dtype=np.uint8)) == (30, 200, 0)


def test_half_of_the_images_are_not_passed_over(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a", 6, 0, 15)
    write(tmp_path / "b", 6, 0, 255)
    notes, finding = said(tmp_path)
    assert notes[0].startswith("6 of 12 images are a single colour or nearly")
    assert finding is not None
    assert finding.count == 6
