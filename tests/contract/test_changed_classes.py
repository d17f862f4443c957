"""Every conditional method with every form of class tables: classes that stay make bit for bit the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ctfgan.bundle.bundle import Bundle, load_bundle, save_bundle
from ctfgan.bundle.class_editing import drop, map_classes, rename
from ctfgan.bundle.class_rows import NewClasses, rebuilt
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.distributed.engine import alone
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.metrics.eval_classifier import EvalClassifier
from ctfgan.metrics.settings import EvalClassifierSettings
from ctfgan.models.synthesis import draw_inputs, synthesise
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS, CodeTable, table_spaces
from ctfgan.recipes import build
from ctfgan.recipes.build import DataSpec, build_method, labels_use_codes, uses_codes
from ctfgan.recipes.recipe import Recipe
from ctfgan.sampling.model import Model
from ctfgan.training.class_codes import ClassCodes, ClassEncoder, codes_of_labels, random_codes
from tests.contract.test_table_forms import CODES, changed

METHODS = ("ctf-folders", "projection-folders", "prog-gan-folders")
FORMS = ((), CODES)
ORDER = np.array([3, 0, 4, 1, 2])  # the low-quality label of each class
SHAPE = DataSpec(num_classes=5, num_low_quality_labels=5, low_quality_size=8, channels=1)


def random_bundle(name: str, *settings: str, matched: bool = True, spec: DataSpec = SHAPE) -> Bundle:
    """Five classes a ... e; if matched, low-quality labels of the same names in another order."""
    recipe = changed(name, *settings)
    if not recipe.method.uses_low_quality:
        spec = spec.model_copy(update={"num_low_quality_labels": 0, "low_quality_size": 0})
    codes = some_codes(recipe, spec, matched=matched)
    generator = build_method(recipe, spec, matched=matched, codes=codes).networks["generator"]
    torch.manual_seed(0)
    for parameter in generator.parameters():
        if not parameter.any():  # or classes would all begin alike
            nn.init.normal_(parameter, std=0.3)
    for table in table_spaces(generator):
        nn.init.normal_(generator.get_submodule(table).weight)
    bank, labels = None, ()
    if recipe.method.uses_low_quality:
        images = np.random.default_rng(0).integers(0, 256, (11, 8, 8, spec.channels), dtype=np.uint8)
        bank = LowQualityBank(images, np.append(np.arange(10) % 5, -1), ORDER if matched else None)
        labels = tuple("bdeac")
    provenance = {"counts": {"high_quality": 1, "low_quality": 1}, "steps": 1, "figures": {"old": 1}}
    generator = generator.eval().requires_grad_(False)
    return Bundle(recipe, spec, tuple("abcde"), labels, bank, generator, provenance, codes)


def some_codes(recipe: Recipe, spec: DataSpec, *, matched: bool) -> ClassCodes | None:
    """Random ones, with an untrained encoder, if a recipe wants any."""
    if not uses_codes(recipe.method, spec):
        return None
    torch.manual_seed(1)
    code = recipe.method.networks.class_code
    classes = random_codes(spec.num_classes, code).classes
    of_labels = labels_use_codes(recipe.method, spec, matched=matched)
    labels = codes_of_labels(classes, ORDER, len(ORDER)) if of_labels else None
    settings = EvalClassifierSettings(width=4, features=code)
    classifier = EvalClassifier(spec.channels, 7, settings).eval().requires_grad_(False)
    return ClassCodes(classes, labels, None, ClassEncoder(classifier, torch.rand(code)))


def images_of(bundle: Bundle, name: str) -> np.ndarray:
    """Five images of a class, with the same noise whatever the class is called."""
    labels = torch.full((5,), bundle.classes.index(name))
    inputs = draw_inputs(bundle.generator, labels, bundle.bank, BatchRng.of(7))
    return synthesise(bundle.generator, *inputs, alone(torch.device("cpu")))


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


@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_a_new_class_makes_the_images_of_its_code_and_old_ones_the_same_as_before(
    name: str, matched: bool, tmp_path: Path
) -> None:
    """Its code, put by hand into a copy of the old bundle in the place of class c."""
    old, by_hand = (random_bundle(name, *CODES, matched=matched) for _ in range(2))
    assert old.codes is not None
    code = torch.nn.functional.normalize(torch.tensor([[1.0, 2, -1, 0, 3, 1]])).half()
    for module in by_hand.generator.modules():
        if isinstance(module, CodeTable):  # labels are those of classes b, d, e, a, c, and none
            module.codes[4 if len(module.codes) == 6 else 2] = code
    low = np.random.default_rng(5).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    brought = [low] if old.bank and matched else []
    ids = torch.arange(5)
    new = rebuilt(old, tuple("abcdef"), ids, "added f", new=NewClasses(code, brought))
    new = through_disk(new, tmp_path / "new")
    assert new.codes is not None
    assert torch.equal(new.codes.classes, torch.cat([old.codes.classes, code]))
    given = low if old.bank else None
    by_hand = replace(by_hand, classes=tuple("abfde"))
    made, expected = (
        Model(bundle, "cpu").sample(["f"], 4, seed=3, low_quality=given).images for bundle in (new, by_hand)
    )
    assert np.array_equal(made, expected)
    assert not np.array_equal(made, Model(old, "cpu").sample(["c"], 4, seed=3, low_quality=given).images)
    for kept in "abcde":
        assert np.array_equal(images_of(new, kept), images_of(old, kept))
        assert np.array_equal(*(Model(bundle, "cpu").sample([kept], 2).images for bundle in (new, old)))
    if brought:
        assert new.bank is not None
        assert new.low_quality_classes[new.bank.label_of_class[5]] == "f"
        assert np.array_equal(new.bank.images[new.bank.labels == new.bank.label_of_class[5]], low)
        assert new.codes.low_quality_labels is not None
        assert torch.equal(new.codes.low_quality_labels[new.bank.label_of_class], new.codes.classes)
        assert not new.codes.low_quality_labels[-1].any()


def test_codes_follow_their_classes_and_so_does_which_of_them_have_high_quality_images() -> None:
    old = random_bundle("ctf-folders", *CODES)
    assert old.codes is not None
    reals = torch.tensor([True, False, True, False, True])
    old = replace(old, codes=replace(old.codes, with_reals=reals))
    mapped = map_classes(old, {"x": "d", "y": "a", "z": "d"}).codes
    assert mapped is not None
    assert mapped.with_reals is not None
    assert torch.equal(mapped.classes, old.codes.classes[[3, 0, 3]])
    assert mapped.with_reals.tolist() == [False, True, False]
    assert torch.equal(mapped.low_quality_labels, old.codes.low_quality_labels[[1, 3, 5]])  # of d, of a, of no class
    new = rebuilt(
        old, tuple("abcdef"), torch.arange(5), "", new=NewClasses(torch.zeros(1, 6), [np.zeros((1, 8, 8, 1), np.uint8)])
    )
    assert new.codes.with_reals.tolist() == [*reals.tolist(), True]


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


@pytest.mark.parametrize("settings", FORMS)
def test_a_class_without_low_quality_images_keeps_those_that_it_takes(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    old = random_bundle("ctf-folders", *settings)
    assert old.bank is not None
    order = np.array([3, -1, 4, 1, 2])  # b's own label, 0, is no class's
    old = replace(old, bank=LowQualityBank(old.bank.images, old.bank.labels, order))
    new = through_disk(drop(old, ["a", "d"]), tmp_path / "new")
    assert new.bank is not None
    assert new.bank.label_of_class is not None
    assert len(new.bank) == len(old.bank) - 4  # those of the dropped classes are gone
    assert new.bank.label_of_class.tolist()[0] == -1
    assert new.low_quality_classes == ("e", "c", "b (no class)")
    for name in "ce":
        assert np.array_equal(images_of(new, name), images_of(old, name))


def test_with_independent_pairing_bank_and_labels_stay() -> None:
    old = random_bundle("ctf-folders", matched=False)
    new = drop(old, ["b", "c", "d"])
    assert new.bank is old.bank
    assert new.low_quality_classes == old.low_quality_classes
    assert new.data_spec.num_low_quality_labels == 5
    assert np.array_equal(images_of(new, "e"), images_of(old, "e"))


@pytest.mark.parametrize("name", METHODS)
def test_a_model_keeps_its_form_whatever_auto_means_for_other_numbers_of_classes(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "MANY_CLASSES", 4)
    coded = random_bundle(name, "class_code=6")
    assert coded.codes is not None
    fewer = through_disk(drop(coded, ["a", "d"]), tmp_path / "fewer")
    assert fewer.recipe.method.networks.class_tables == "codes"
    assert np.array_equal(images_of(fewer, "e"), images_of(coded, "e"))
    monkeypatch.setattr(build, "MANY_CLASSES", 10)
    tables = random_bundle(name)
    monkeypatch.setattr("ctfgan.bundle.bundle.with_form", lambda recipe, codes: recipe)  # as earlier versions saved it
    kept = {key: value for key, value in tables.provenance.items() if key != "figures"}
    save_bundle(replace(tables, provenance=kept), tmp_path / "tables")
    monkeypatch.undo()
    monkeypatch.setattr(build, "MANY_CLASSES", 4)
    assert np.array_equal(images_of(load_bundle(tmp_path / "tables"), "e"), images_of(tables, "e"))
    more = map_classes(tables, dict(zip("uvwxyz", "abcdea", strict=True)))
    assert more.recipe.method.networks.class_tables == "per-class"
    assert np.array_equal(images_of(more, "y"), images_of(tables, "e"))


@pytest.mark.parametrize("name", METHODS)
def test_every_table_is_known_by_its_space_and_nothing_else_has_its_rows(name: str) -> None:
    spec = DataSpec(num_classes=37, num_low_quality_labels=40, low_quality_size=8, channels=1)
    networks = build_method(changed(name), spec, matched=True).networks
    spaces = table_spaces(networks)
    for key, parameter in networks.named_parameters():
        table = key.replace(".parametrizations.weight.original", "").removesuffix(".weight")
        expected = {37: CLASSES, 41: LOW_QUALITY_LABELS}.get(len(parameter) if parameter.ndim else 0)
        assert spaces.get(table) == expected, key
