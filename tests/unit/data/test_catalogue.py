from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ctfgan.core.errors import ConfigError, DataError
from ctfgan.data.published import CATALOGUE, data_home, locate, published
from ctfgan.data.sources.registry import absolute, open_source


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CTFGAN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def cifar10(home: Path) -> Path:
    """Three images in each of CIFAR-10's binary files."""
    folder = home / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    records = np.zeros((3, 3073), dtype=np.uint8)
    records[:, 0] = [0, 1, 2]
    for name in (*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"):
        records.tofile(folder / f"{name}.bin")
    return folder


def test_the_data_sets_of_the_paper_are_there() -> None:
    assert set(CATALOGUE) == {
        "mnist", "cifar10", "cifar100", "stl10", "omniglot", "hwdb1.0", "hwdb1.1", "imagenet"
    }  # fmt: skip


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_is_whole(name: str) -> None:
    entry = published(name)
    assert entry.name == name
    assert entry.title
    assert entry.page.startswith("http")
    assert entry.evidence, "or everybody would seem to have it"
    assert not entry.is_in(Path("nowhere"))
    for file in entry.files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size > 0
        assert file.url.endswith(f"/{file.name}")
    assert bool(entry.by_hand) == (not entry.files)
    assert "{" not in entry.needs(Path("root"))


def test_the_data_home_is_the_users_own_choice_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CTFGAN_DATA", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert data_home() == Path.home() / ".local/share/ctfgan"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert data_home() == tmp_path / "xdg/ctfgan"
    monkeypatch.setenv("CTFGAN_DATA", str(tmp_path / "own"))
    assert data_home() == tmp_path / "own"


def test_a_set_that_is_there_is_located_and_opened_by_name(cifar10: Path) -> None:
    assert locate("cifar10") == cifar10
    assert len(open_source("cifar10").labels) >= 15


def test_a_set_that_is_incomplete_is_not_there(cifar10: Path, home: Path) -> None:
    (cifar10 / "data_batch_5.bin").unlink()
    with pytest.raises(DataError) as told:
        open_source("cifar10")
    said = str(told.value)
    assert said == f"cifar10 (cifar-10-binary.tar.gz) is not in {home}/cifar10; run 'ctfgan data fetch cifar10'"


@pytest.mark.parametrize(("name", "words"), [
    ("hwdb1.0", "HWDB1.0trn_gnt and HWDB1.0tst_gnt, and unpack their .gnt files below {home}/hwdb1.0 (see http://"),
    ("imagenet", "of the training images into {home}/imagenet/train and those of the validation images into {home}/"),
])  # fmt: skip
def test_a_set_for_which_one_must_register_says_what_goes_where(home: Path, name: str, words: str) -> None:
    with pytest.raises(DataError) as told:
        locate(name)
    assert words.format(home=home) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_folder_that_is_called_like_a_set_is_a_folder(
    home: Path, tmp_path: Path, write_classes: Callable[..., Path]
) -> None:
    assert absolute("cifar10") == "cifar10"
    folder = write_classes(tmp_path / "cifar10", {"a": 4, "b": 4})
    assert absolute("cifar10") == str(folder)  # what is typed means the folder
    assert open_source(absolute("cifar10")).classes == ("a", "b")
    with pytest.raises(DataError, match="is not in"):
        open_source("cifar10")  # what a recipe says means the published set, wherever it is run


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"Unknown data set 'cifar-10'\. Did you mean 'cifar10'"):
        locate("cifar-10")
