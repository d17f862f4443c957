"""Training that begins with trained weights, for every method with every form of class tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ctfgan.bundle.bundle import Bundle
from ctfgan.bundle.warm_start import WarmStart
from ctfgan.core.errors import ConfigError
from ctfgan.nn.class_tables import CLASSES, table_spaces
from ctfgan.recipes.build import DataSpec, build_method
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import Recipe
from tests.contract.test_changed_classes import some_codes
from tests.contract.test_table_forms import CODES, CONDITIONAL, changed

OLD = DataSpec(num_classes=4, num_low_quality_labels=3, low_quality_size=8, channels=1)
NEW = OLD.model_copy(update={"num_classes": 5, "num_low_quality_labels": 2})


def trained(recipe: Recipe) -> WarmStart:
    """Classes a, b, c, d and low-quality labels x, y, z, every weight moved away from where it began."""
    codes = some_codes(recipe, OLD, matched=False)
    networks = build_method(recipe, OLD, matched=False, codes=codes).networks
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    labels = ("x", "y", "z") if recipe.method.uses_low_quality else ()
    bundle = Bundle(recipe, OLD, ("a", "b", "c", "d"), labels, None, networks["generator"], {}, codes)
    return WarmStart("old", bundle, networks["discriminator"].state_dict())


@pytest.mark.parametrize("settings", [(), CODES])
@pytest.mark.parametrize("name", CONDITIONAL)
def test_rows_are_found_by_name_and_all_other_weights_are_taken_over(name: str, settings: tuple[str, ...]) -> None:
    recipe = changed(name, *settings)
    start = trained(recipe)
    names = ("d", "new", "b", "a", "also new")
    matched = start.for_classes(recipe, NEW, names, ("z", "w"), matched=False)
    how = "get codes of their images" if settings else "begin as the mean of all old ones"
    text = matched.sentence(names)
    assert f"3 of 5 classes found by name, 2 {how} (new, also new), 1 old classes are not used" in text
    networks = build_method(recipe, NEW, matched=False, codes=some_codes(recipe, NEW, matched=False)).networks
    matched.put_into(networks)
    spaces = table_spaces(networks)
    assert start.discriminator is not None
    before = {f"discriminator.{key}": tensor for key, tensor in start.discriminator.items()}
    before |= {f"generator.{key}": tensor for key, tensor in start.bundle.generator.state_dict().items()}
    tables = 0
    for key, now in networks.named_parameters():
        table = key.replace(".parametrizations.weight.original", "").removesuffix(".weight")
        old = before[key]
        if table not in spaces:
            assert torch.equal(now, old), key
            continue
        tables += 1
        rows = [3, None, 1, 0, None] if spaces[table] == CLASSES else [2, None, 3]
        expected = torch.stack([old.mean(dim=0) if row is None else old[row] for row in rows])
        torch.testing.assert_close(now.detach(), expected, rtol=0, atol=1e-6)
    assert tables >= len(set(spaces.values()))
    assert CLASSES not in spaces if settings else CLASSES in spaces.values()


def test_classes_that_are_found_keep_their_codes_bit_for_bit_and_the_others_bring_their_own() -> None:
    recipe = changed("projection-folders", *CODES)
    start = trained(recipe)
    matched = start.for_classes(recipe, NEW, ("d", "new", "b", "a", "also new"), (), matched=False)
    own = torch.randn(5, 6).half()
    codes = matched.with_old_codes(own)
    assert start.bundle.codes is not None
    for label, row in enumerate([3, None, 1, 0, None]):
        assert torch.equal(codes[label], own[label] if row is None else start.bundle.codes.classes[row])
    assert not matched.knows_all
    again = start.for_classes(recipe, OLD, ("d", "b", "a", "c"), (), matched=False)
    assert again.knows_all
    assert torch.equal(again.with_old_codes(), start.bundle.codes.classes[[3, 1, 0, 2]])
    assert matched.encoder is start.bundle.codes.encoder


FORM_CHANGES = [
    ((), CODES, False, "--set method.networks.class_tables=per-class"),
    (CODES, ("class_code=6",), False, "--set method.networks.class_tables=codes"),
    (CODES, ("class_tables=codes", "class_code=7"), False, "--set method.networks.class_code=6"),
    (CODES, CODES, True, "--set method.features.label_tables=per-class"),
]


@pytest.mark.parametrize(("old", "new", "matched", "way_out"), FORM_CHANGES)
def test_tables_and_codes_do_not_begin_with_each_other(
    old: tuple[str, ...], new: tuple[str, ...], matched: bool, way_out: str
) -> None:
    start = trained(changed("ctf-folders", *old))
    other = changed("ctf-folders", *new)
    classes = ("a", "b", "c", "d")
    with pytest.raises(ConfigError, match=f"^the networks of old are others .*; add {way_out}$"):
        start.for_classes(other, OLD, classes, (), matched=matched)
    start.for_classes(with_settings(other, {}, (way_out.removeprefix("--set "),)), OLD, classes, (), matched=matched)


def test_labels_that_have_codes_need_matched_pairing() -> None:
    recipe = changed("ctf-folders", *CODES)
    start = trained(recipe)
    assert start.bundle.codes is not None
    with_labels = replace(start.bundle.codes, low_quality_labels=torch.zeros(4, 6).half())
    start = replace(start, bundle=replace(start.bundle, codes=with_labels))
    start.for_classes(recipe, OLD, ("a", "b", "c", "d"), (), matched=True)
    with pytest.raises(ConfigError, match=r"; add --set data\.pairing=matched$"):
        start.for_classes(recipe, OLD, ("a", "b", "c", "d"), (), matched=False)


def test_the_spectral_norm_of_a_table_with_other_rows_is_measured_anew() -> None:
    recipe = changed("projection-folders")
    start = trained(recipe)
    networks = build_method(recipe, NEW, matched=False).networks
    start.for_classes(recipe, NEW, ("d", "new", "b", "a", "e"), (), matched=False).put_into(networks)
    table = networks["discriminator"].head.classes.eval()
    rows = table.parametrizations.weight.original
    largest = torch.linalg.svdvals(rows.detach())[0]
    torch.testing.assert_close(table(torch.arange(5)), rows / largest, rtol=2e-2, atol=1e-3)


def test_the_same_classes_take_over_the_state_of_the_norms_too() -> None:
    recipe = changed("projection-folders")
    start = trained(recipe)
    networks = build_method(recipe, OLD, matched=False).networks
    start.for_classes(recipe, OLD, ("a", "b", "c", "d"), (), matched=False).put_into(networks)
    assert start.discriminator is not None
    for key, tensor in networks["discriminator"].state_dict().items():
        assert torch.equal(tensor, start.discriminator[key]), key


def test_from_a_bundle_alone_the_discriminator_is_new() -> None:
    recipe = changed("ctf-folders")
    start = replace(trained(recipe), discriminator=None)
    networks, fresh = (build_method(recipe, OLD, matched=False).networks for _ in range(2))
    start.for_classes(recipe, OLD, ("a", "b", "c", "d"), ("x", "y", "z"), matched=False).put_into(networks)
    for key, tensor in fresh["discriminator"].state_dict().items():
        assert torch.equal(networks["discriminator"].state_dict()[key], tensor)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("generator_width=0.1",), "method.networks.generator_width=0.05$"),
        (("data.resolution=32", "networks.noise=9"), "data.resolution=16 --set method.networks.noise=64$"),
        (("merge_kernel=3",), "method.features.merge_kernel=1$"),
        (("block_noise=3", "stem=resize"), "block_noise=16 --set method.features.stem=strided$"),
        (("discriminator_width=0.1",), "discriminator_width=0.05, or begin with old/bundle and a new discriminator$"),
        (("spectral_norm=false",), "method.spectral_norm=True, or begin with"),
        (
            ("self_supervision.discriminator_weight=0", "self_supervision.generator_weight=0"),
            "discriminator_weight=1.0 --set method.self_supervision.generator_weight=0.2, or",
        ),
    ],
)
def test_other_networks_are_refused_with_the_settings_that_make_them_the_same(
    settings: tuple[str, ...], message: str
) -> None:
    recipe = changed("ctf-folders")
    start = trained(recipe)
    other = with_settings(recipe, {}, settings)
    with pytest.raises(ConfigError, match=f"^the networks of old are others .*; add .*{message}") as error:
        start.for_classes(other, OLD, ("a", "b", "c", "d"), (), matched=False)
    text = str(error.value).split("; add ")[1].split(", or ")[0]
    mended = with_settings(other, {}, tuple(text.removeprefix("--set ").replace("True", "true").split(" --set ")))
    start.for_classes(mended, OLD, ("a", "b", "c", "d"), (), matched=False)


def test_what_the_data_decide_and_the_method_must_agree_too() -> None:
    recipe = changed("ctf-folders")
    start = trained(recipe)
    colour = OLD.model_copy(update={"channels": 3, "low_quality_size": 9})
    with pytest.raises(ConfigError, match=r"data.channels=1 --set data.degradation.size=8$"):
        start.for_classes(recipe, colour, ("a", "b"), (), matched=False)
    with pytest.raises(ConfigError, match="old is a ctf-gan model, recipe 'projection-folders' trains sn-gan-projec"):
        start.for_classes(changed("projection-folders"), OLD, ("a", "b"), (), matched=False)


def test_grown_networks_train_at_the_last_size_alone() -> None:
    recipe = with_settings(changed("prog-gan-folders"), {"start.path": "somewhere"}, ())
    (stage,) = build_method(recipe, OLD, matched=False).stages
    assert stage.name == "grow-16"
    stage.enter()
    stage.objective.advance(0.0)
    assert stage.objective.generator.alpha == 1


def test_a_stage_of_no_steps_is_skipped() -> None:
    recipe = changed("ctf-folders", "transfer.steps=0")
    assert [stage.name for stage in build_method(recipe, OLD, matched=False).stages] == ["generate"]
