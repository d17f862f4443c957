from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ctfgan.errors import ConfigError
from ctfgan.lifecycle.blending import Blender
from ctfgan.lifecycle.changes import drop, map_classes, read_table, rename
from ctfgan.lifecycle.mixtures import MixtureSettings, description, learn_mixtures
from ctfgan.lifecycle.rows import Rows
from tests.contract.test_changed_classes import random_bundle

CPU = torch.device("cpu")


def test_new_rows_are_a_matrix_times_the_old_ones() -> None:
    old = torch.randn(6, 3)
    rows = Rows(
        torch.tensor([5, 0, 3, 0]), torch.tensor([1, 3, 1]), torch.tensor([4, 2, 0]), torch.tensor([0.25, 1.0, 0.75])
    )
    matrix = torch.zeros(4, 6)
    matrix[0, 5] = matrix[2, 3] = matrix[3, 2] = 1
    matrix[1, 4], matrix[1, 0] = 0.25, 0.75
    torch.testing.assert_close(rows.of(old), matrix @ old)
    assert torch.equal(rows.of(old)[[0, 2]], old[[5, 3]])


@pytest.mark.parametrize(
    ("name", "matched"),
    [("ctf-folders", True), ("ctf-folders", False), ("projection-folders", True), ("prog-gan-folders", True)],
)
def test_a_class_that_is_a_mixture_of_old_ones_is_recovered(name: str, matched: bool) -> None:
    """The real images of the new class are those of 0.7 d + 0.3 b on noise that learning does not see."""
    bundle = random_bundle(name, matched=matched)
    if name == "prog-gan-folders":  # untrained, its latent of 512 numbers drowns the class
        bundle.generator.from_noise.classes.weight *= 15  # type: ignore[operator, union-attr]
    blender = Blender(bundle, CPU)
    low = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    given = (torch.from_numpy(low).permute(0, 3, 1, 2).float() / 127.5 - 1).repeat(16, 1, 1, 1)[None]
    truth = torch.tensor([[3, 1]]), torch.tensor([[0.7, 0.3]])
    real = blender.images(*truth, given if blender.is_matched else None, 99, 64)[0]
    images = ((real + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    settings = MixtureSettings(steps=50, images=24, rate=0.3)
    (mixture,) = learn_mixtures(bundle, [images], [low] if blender.is_matched else None, settings, CPU)
    found = dict(zip(mixture.parts.tolist(), mixture.weights.tolist(), strict=True))
    assert found[3] == pytest.approx(0.7, abs=0.15)
    assert found[1] == pytest.approx(0.3, abs=0.15)
    assert sum(found.values()) == pytest.approx(1)
    assert mixture.losses["chosen"] == mixture.losses["learned"]
    assert mixture.losses["learned"] < 0.7 * mixture.losses["nearest"]
    assert mixture.losses["learned"] < 0.7 * mixture.losses["uniform"]


def test_only_the_classes_that_look_most_like_a_new_one_are_candidates() -> None:
    bundle = random_bundle("projection-folders")
    images = Blender(bundle, CPU).images(torch.tensor([[4]]), torch.ones(1, 1), None, 5, 64)[0]
    real = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    (mixture,) = learn_mixtures(bundle, [real], None, MixtureSettings(candidates=2, steps=5), CPU)
    assert mixture.nearest == 4
    assert len(mixture.parts) <= 2


def test_a_description_is_mean_and_deviation_at_full_half_and_quarter_size() -> None:
    images = torch.randn(3, 7, 2, 16, 16)
    other = torch.randn(3, 7, 2, 16, 16)
    expected = np.zeros(3)
    for size in (16, 8, 4):
        cut = 16 // size
        one, two = (x.numpy().reshape(3, 7, 2, size, cut, size, cut).mean((4, 6)) for x in (images, other))
        expected += ((one.mean(1) - two.mean(1)) ** 2).mean((1, 2, 3)) / 3
        spreads = [np.sqrt(x.var(1) + 1e-4) for x in (one, two)]
        expected += ((spreads[0] - spreads[1]) ** 2).mean((1, 2, 3)) / 3
    distance = (description(images) - description(other)).square().sum(dim=1)
    np.testing.assert_allclose(distance.numpy(), expected, rtol=1e-4)


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
    with pytest.raises(ConfigError, match="two classes would be called 'e\u0301'"):
        rename(bundle, {"a": "\u00e9", "b": "e\u0301"})
    with pytest.raises(ConfigError, match="a class name is empty"):
        rename(bundle, {"a": ""})
    with pytest.raises(ConfigError, match=r"this leaves 1 class; .* keep more of its 5"):
        drop(bundle, list("abcd"))
    with pytest.raises(ConfigError, match="this leaves 0 classes"):
        map_classes(bundle, {})
