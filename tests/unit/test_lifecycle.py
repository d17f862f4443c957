from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ctfgan.bundle.bundle import stored_levels
from ctfgan.bundle.class_editing import drop, map_classes, read_table, rename
from ctfgan.bundle.new_classes import add
from ctfgan.core.errors import ConfigError
from ctfgan.data.levels import Scale
from tests.contract.test_changed_classes import random_bundle
from tests.contract.test_table_forms import CODES


def write_images(folder: Path, counts: dict[str, int], first: int = 0) -> np.ndarray:
    """PNGs of noise; returns them in the order of their classes, uint8 ``(N, 16, 16)``."""
    images = np.random.default_rng(first).integers(0, 256, (sum(counts.values()), 16, 16), dtype=np.uint8)
    left = iter(images)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(next(left)).save(folder / name / f"{number}.png")
    return images


@pytest.mark.parametrize("name", ["ctf-folders", "projection-folders"])
def test_the_code_of_a_new_class_is_the_centred_mean_of_its_images_features_at_norm_1(
    name: str, tmp_path: Path, cache: Path
) -> None:
    bundle = random_bundle(name, *CODES)
    assert bundle.codes is not None
    encoder = bundle.codes.encoder
    assert encoder is not None
    images = write_images(tmp_path / "new", {"one": 1, "three": 3})
    new, report = add(bundle, str(tmp_path / "new"))
    assert new.classes == (*"abcde", "one", "three")
    assert new.codes is not None
    with torch.no_grad():
        pixels = torch.from_numpy(images.astype(np.float32)[:, None] / 127.5 - 1)
        features = encoder.classifier(pixels)[0].double().numpy()
    old = bundle.codes.classes.double().numpy()
    for position, (rows, count) in enumerate([(features[:1], 1), (features[1:], 3)]):
        code = rows.mean(axis=0) - encoder.mean.double().numpy()
        code /= np.sqrt((code**2).sum())
        np.testing.assert_allclose(new.codes.classes[5 + position].numpy(), code, atol=1e-3)
        likeness = old @ code
        assert report[position].images == count
        assert report[position].nearest == "abcde"[likeness.argmax()]
        assert report[position].likeness == pytest.approx(likeness.max(), abs=2e-3)
    assert torch.equal(new.codes.classes[:5], bundle.codes.classes)
    if new.bank is not None:
        assert set("abcde") | {"one", "three"} == set(new.low_quality_classes)


def test_new_images_are_read_with_the_levels_of_the_training_images(tmp_path: Path, cache: Path) -> None:
    bundle = random_bundle("ctf-folders", *CODES)
    levels = stored_levels({"high_quality": {"whole": Scale(0, 65_535)}})
    dark = write_images(tmp_path / "bytes", {"new": 1})[0] // 4
    for name, pixels in (("bytes", dark), ("wide", dark.astype(np.uint16) * 257)):
        (tmp_path / name / "new").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name / "new" / "0.png")
    bundle = replace(bundle, provenance={**bundle.provenance, **levels})
    one, other = (add(bundle, str(tmp_path / name))[0].codes for name in ("bytes", "wide"))
    assert one is not None
    assert other is not None
    assert torch.equal(one.classes, other.classes)


@pytest.mark.parametrize(
    ("settings", "way_out"),
    [((), "with --set class_tables=codes"), ((*CODES, "label_tables=per-class"), "with --set label_tables=auto")],
)
def test_rows_of_tables_cannot_be_made_of_images(
    settings: tuple[str, ...], way_out: str, tmp_path: Path, cache: Path
) -> None:
    bundle = random_bundle("ctf-folders", *settings)
    write_images(tmp_path / "new", {"f": 4})
    with pytest.raises(
        ConfigError, match=f"keeps learned rows of each class, .*{way_out} to add classes, or train this"
    ):
        add(bundle, str(tmp_path / "new"))
    if settings:  # without matched pairing, labels have nothing to do with classes
        add(random_bundle("ctf-folders", *settings, matched=False), str(tmp_path / "new"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'neu,a\n"x, y",b\n\n'),
        ("t.tsv", "neu\ta\nx, y\tb\n"),
        ("t.json", '{"neu": "a", "x, y": "b"}'),
    ],
)
def test_a_table_of_classes_is_read_in_every_form(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert list(read_table(tmp_path / name).items()) == [("neu", "a"), ("x, y", "b")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.txt", "", "t.txt has no known form; give a .json object, or .csv"),
        ("t.csv", "a,b\nc\n", "t.csv, line 2: 1 columns; write two"),
        ("t.csv", "a,b\na,c\n", "gives the new class 'a' twice"),
        ("t.json", '{"a": "b", "a": "c"}', "gives the new class 'a' twice"),
        ("t.json", '["a", "b"]', "is no object of texts"),
        ("t.json", "3", "is no object of texts"),
        ("t.json", '{"a": 3}', "is no object of texts"),
        ("t.json", "{", "cannot be read"),
    ],
)
def test_a_table_that_says_nothing_clear_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_table(tmp_path / name)


def test_changes_that_make_no_sense_are_refused() -> None:
    bundle = random_bundle("projection-folders")
    with pytest.raises(ConfigError, match=r"Unknown class 'q'. Known: a, b, c, d, e"):
        drop(bundle, ["q"])
    with pytest.raises(ConfigError, match="two classes would be called 'b'; class names must differ"):
        rename(bundle, {"a": "b"})
    with pytest.raises(ConfigError, match="two classes would be called '\u00e9'"):
        rename(bundle, {"a": "\u00e9", "b": "e\u0301"})
    with pytest.raises(ConfigError, match="a class name is empty"):
        rename(bundle, {"a": ""})
    with pytest.raises(ConfigError, match=r"this leaves 1 class; .* keep more of its 5"):
        drop(bundle, list("abcd"))
    with pytest.raises(ConfigError, match="this leaves 0 classes"):
        map_classes(bundle, {})
