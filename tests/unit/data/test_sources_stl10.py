from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ctfgan.core.errors import DataError
from ctfgan.data.sources.registry import open_source

NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SIZE = 3 * 96 * 96


def write_stl10(folder: Path, *, names: bool = True) -> Path:
    """Three training and two test images, black but for one pixel each; unlabelled images that nobody may read."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, labels in (("train", (10, 1, 3)), ("test", (2, 1))):
        content = bytearray(len(labels) * SIZE)
        for number, label in enumerate(labels):
            # Green of row 5, column 70: planes are red, green, blue; inside one, columns follow each other.
            content[number * SIZE + 1 * 96 * 96 + 70 * 96 + 5] = 100 + label
        (folder / f"{part}_X.bin").write_bytes(content)
        (folder / f"{part}_y.bin").write_bytes(bytes(labels))
    (folder / "unlabeled_X.bin").write_bytes(b"not a multiple of anything")
    if names:
        (folder / "class_names.txt").write_text("\n".join(NAMES) + "\n")
    return folder


@pytest.mark.parametrize("below", [".", "stl10_binary"])
def test_stl10_has_its_pixels_and_labels_where_they_were_published(tmp_path: Path, below: str) -> None:
    write_stl10(tmp_path / below)
    train, test = (open_source(str(tmp_path), part) for part in ("train", "test"))
    assert [train.classes[label] for label in train.labels] == ["truck", "airplane", "car"]
    assert [test.classes[label] for label in test.labels] == ["bird", "airplane"]
    for source, labels in ((train, (10, 1, 3)), (test, (2, 1))):
        for index, label in enumerate(labels):
            pixels = np.asarray(source.read(index))
            assert pixels.shape == (96, 96, 3)
            assert np.argwhere(pixels).tolist() == [[5, 70, 1]]
            assert pixels[5, 70, 1] == 100 + label
            assert source.header(index) == ("RGB", (96, 96))


def test_all_of_stl10_is_every_labelled_image(tmp_path: Path) -> None:
    source = open_source(str(write_stl10(tmp_path)))
    assert [int(np.asarray(source.read(index)).max()) for index in range(5)] == [110, 101, 103, 102, 101]


def test_stl10_without_its_class_names_is_called_by_number(tmp_path: Path) -> None:
    source = open_source(str(write_stl10(tmp_path, names=False)), "train")
    assert [source.classes[label] for label in source.labels] == ["9", "0", "2"]


def test_damaged_stl10_is_refused(tmp_path: Path) -> None:
    folder = write_stl10(tmp_path)
    whole = (folder / "train_X.bin").read_bytes()
    (folder / "train_X.bin").write_bytes(whole[:-1])
    with pytest.raises(DataError, match="82,943 bytes, no multiple of 27648; fetch it again"):
        open_source(str(folder))
    (folder / "train_X.bin").write_bytes(whole[:SIZE])
    with pytest.raises(DataError, match="1 images but 3 labels"):
        open_source(str(folder))
    (folder / "train_y.bin").unlink()
    with pytest.raises(DataError, match=r"train_y\.bin does not exist; put the labels file beside train_X\.bin"):
        open_source(str(folder))
