"""Every conditional method with class tables: classes that stay make bit for bit the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ctfgan.bundle import Bundle, load_bundle, save_bundle
from ctfgan.data.pairing import LowQualityBank
from ctfgan.lifecycle.blending import Blender
from ctfgan.lifecycle.changes import drop, map_classes, rename
from ctfgan.lifecycle.rows import Rows, rebuilt
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS, table_spaces
from ctfgan.recipes import build
from ctfgan.recipes.build import Shape, build_method
from ctfgan.sampling import Model
from tests.contract.test_table_forms import changed

METHODS = ("ctf-folders", "projection-folders", "prog-gan-folders")
FORMS = ((),)
SHAPE = Shape(num_classes=5, num_low_quality_labels=5, low_quality_size=8, channels=1)


def random_bundle(name: str, *settings: str, matched: bool = True, shape: Shape = SHAPE) -> Bundle:
    """Five classes a ... e; if matched, low-quality labels of the same names in another order."""
    recipe = changed(name, *settings)
    if not recipe.method.uses_low_quality:
        shape = shape.model_copy(update={"num_low_quality_labels": 0, "low_quality_size": 0})
    generator = build_method(recipe, shape, matched=matched).networks["generator"]
    torch.manual_seed(0)
    for parameter in generator.parameters():
        if not parameter.any():  # or classes would all begin alike
            nn.init.normal_(parameter, std=0.3)
    for table in table_spaces(generator):
        nn.init.normal_(generator.get_submodule(table).weight)
    bank, labels = None, ()
    if recipe.method.uses_low_quality:
        images = np.random.default_rng(0).integers(0, 256, (11, 8, 8, shape.channels), dtype=np.uint8)
        order = np.array([3, 0, 4, 1, 2])
        bank = LowQualityBank(images, np.append(np.arange(10) % 5, -1), order if matched else None)
        labels = tuple("bdeac")
    provenance = {"counts": {"high_quality": 1, "low_quality": 1}, "steps": 1, "figures": {"old": 1}}
    generator = generator.eval().requires_grad_(False)
    return Bundle(recipe, shape, tuple("abcde"), labels, bank, generator, provenance)


def images_of(bundle: Bundle, name: str) -> np.ndarray:
    return Model(bundle, "cpu").sample([name], 5, seed=7).images


def through_disk(bundle: Bundle, path: Path) -> Bundle:
    save_bundle(bundle, path)
    return load_bundle(path)


@pytest.mark.parametrize("settings", FORMS)
@pytest.mark.parametrize("name", METHODS)
def test_classes_that_stay_make_the_same_images_under_whatever_name(
    name: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    old = random_bundle(name, *settings)
    renamed = through_disk(rename(old, {"a": "b", "b": "a"}), tmp_path / "renamed")
    dropped = through_disk(drop(old, ["a", "d"]), tmp_path / "dropped")
    mapped = through_disk(map_classes(old, {"x": "e", "y": "b", "z": "e"}), tmp_path / "mapped")
    assert (renamed.classes, dropped.classes, mapped.classes) == (tuple("bacde"), tuple("bce"), tuple("xyz"))
    for bundle, pairs in ((renamed, {"b": "a", "a": "b", "e": "e"}), (dropped, dict(zip("bce", "bce", strict=True))),
                          (mapped, {"x": "e", "y": "b", "z": "e"})):  # fmt: skip
        assert "figures" not in bundle.provenance
        for new, before in pairs.items():
            assert np.array_equal(images_of(bundle, new), images_of(old, before)), (new, before)
    assert not np.array_equal(images_of(old, "a"), images_of(old, "b"))


@pytest.mark.parametrize("settings", FORMS)
@pytest.mark.parametrize("name", METHODS)
def test_a_mixture_makes_the_images_of_mixed_rows_and_the_blender_foretells_them(
    name: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    """The row of 0.7 d + 0.3 b, put together by hand in a copy of the old bundle in the place of class c."""
    old = random_bundle(name, *settings)
    by_hand = random_bundle(name, *settings)
    weights = torch.tensor([0.7, 0.3])
    for table, space in table_spaces(by_hand.generator).items():
        rows = by_hand.generator.get_submodule(table).weight
        source, target = ([3, 1], 2) if space == CLASSES else ([1, 0], 4)  # the same classes as low-quality labels
        rows[target] = 0.7 * rows[source[0]] + 0.3 * rows[source[1]]
    low = np.random.default_rng(5).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    rows = Rows(torch.tensor([0, 1, 2, 3, 4, 3]), torch.tensor([5, 5]), torch.tensor([3, 1]), weights)
    new = rebuilt(old, tuple("abcdef"), rows, "added f", low_quality=[low] if old.bank else [])
    new = through_disk(new, tmp_path / "new")
    given = low if old.bank else None
    made = Model(new, "cpu").sample(["f"], 4, seed=3, low_quality=given).images
    expected = Model(by_hand, "cpu").sample(["c"], 4, seed=3, low_quality=given).images
    assert np.abs(made.astype(int) - expected).max() <= 1
    for kept in "abcde":
        assert np.array_equal(images_of(new, kept), images_of(old, kept))

    float_low = None
    if old.bank:
        float_low = (torch.from_numpy(low[[0, 1, 0, 1]]).permute(0, 3, 1, 2).float() / 127.5 - 1)[None]
    foretold = Blender(old, torch.device("cpu")).images(torch.tensor([[3, 1]]), weights[None], float_low, 3, 4)
    levels = ((foretold[0].clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(levels, made, atol=1.0)


def test_low_quality_images_follow_their_classes_and_those_of_dropped_classes_are_gone() -> None:
    old = random_bundle("ctf-folders")
    new = drop(old, ["a", "d"])
    assert new.bank is not None
    assert old.bank is not None
    assert set(new.low_quality_classes) == set("bce")
    assert len(new.bank) == 7  # two of each class, one without a label
    for label, name in enumerate(new.classes):
        before = old.bank.images[old.bank.labels == old.bank.label_of_class[old.classes.index(name)]]
        after = new.bank.images[new.bank.labels == new.bank.label_of_class[label]]
        assert np.array_equal(before, after)
        assert new.low_quality_classes[new.bank.label_of_class[label]] == name


def test_with_independent_pairing_bank_and_labels_stay() -> None:
    old = random_bundle("ctf-folders", matched=False)
    new = drop(old, ["b", "c", "d"])
    assert new.bank is old.bank
    assert new.low_quality_classes == old.low_quality_classes
    assert new.shape.num_low_quality_labels == 5
    assert np.array_equal(images_of(new, "e"), images_of(old, "e"))


@pytest.mark.parametrize("name", METHODS)
def test_tables_keep_their_form_when_the_count_crosses_the_threshold_of_auto(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As if more than 4 were very many: 6 classes would have codes."""
    monkeypatch.setattr(build, "MANY_CLASSES", 4)
    few = SHAPE.model_copy(update={"num_classes": 3})
    old = replace(random_bundle(name, matched=False, shape=few), classes=tuple("abc"))
    grown = map_classes(old, dict(zip("uvwxyz", "abcabc", strict=True)))
    assert grown.recipe.method.networks.class_tables == "per-class"
    assert np.array_equal(images_of(through_disk(grown, tmp_path / "grown"), "z"), images_of(old, "c"))


@pytest.mark.parametrize("settings", FORMS)
@pytest.mark.parametrize("name", METHODS)
def test_every_table_is_known_by_its_space_and_nothing_else_has_its_rows(name: str, settings: tuple[str, ...]) -> None:
    shape = Shape(num_classes=37, num_low_quality_labels=40, low_quality_size=8, channels=1)
    networks = build_method(changed(name, *settings), shape, matched=True).networks
    spaces = table_spaces(networks)
    for key, parameter in networks.named_parameters():
        table = key.replace(".parametrizations.weight.original", "").removesuffix(".weight")
        expected = {37: CLASSES, 41: LOW_QUALITY_LABELS}.get(len(parameter) if parameter.ndim else 0)
        assert spaces.get(table) == expected, key
