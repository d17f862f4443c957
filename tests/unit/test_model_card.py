"""The card of a bundle, read by the Hub's own parser; no text of others gets to be a field or a mark."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from ctfgan.bundle.bundle import Bundle, load_bundle, publish, save_bundle
from ctfgan.bundle.card import Rights, fenced, model_card, plain, yaml_text
from ctfgan.core.errors import BundleError, ConfigError
from tests.contract.test_changed_classes import random_bundle

HOSTILE = ("---", "a\n---\nlicense: mit\n---", "b\n````\n# Boo\n```", '"\\', "<script>alert(1)</script>", "[x](y) `c`")
FIGURES = {
    "protocol": "n real 4, extractor recogniser\n---\nlicense: mit",
    "summary": {"samples, held-out LQ bank": "top-1 91.1 % <b>", "note\n# x": "few"},
    "reported_set": "samples, held-out LQ bank",
    "rows": {
        "samples, held-out LQ bank": {"recogniser": {"top_1": 0.911, "frechet": 9.49, "kernel": 0.004},
                                      "inception": {"top_1": None, "frechet": 33.3, "kernel": 0.5}},
        "floor: real against real": {"recogniser": {"top_1": 0.99, "frechet": 16.9, "kernel": 0.008}},
    },
}  # fmt: skip


def bundle_of(name: str = "ctf-folders", **provenance: object) -> Bundle:
    bundle = random_bundle(name)
    counts = {"counts": {"high_quality": 7_254, "low_quality": 2_790}, "steps": 800}
    return replace(bundle, provenance=counts | provenance)


def card_of(bundle: Bundle) -> str:
    return model_card(bundle.recipe, bundle.classes, bundle.provenance)


def headings(card: str) -> list[str]:
    """Headings outside of code."""
    found, fence = [], ""
    for line in card.split("---\n", 2)[2].splitlines():
        ticks = re.match("`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif ticks:
            fence = ticks.group()
        elif line.startswith("#"):
            found.append(line)
    assert not fence, "a block of code has no end"
    return found


SECTIONS = ["## Use", "## Data", "## Training", "## Figures", "## Intended use and limits", "## Licence"]


@pytest.mark.parametrize("name", ["ctf-folders", "sn-gan-folders", "prog-gan-folders"])
def test_the_hub_reads_the_fields_of_a_card(name: str) -> None:
    bundle = bundle_of(name, rights=Rights("cc-by-4.0", ("owner/glyphs",)).as_dict())
    card = card_of(bundle)
    fields = ModelCard(card, ignore_metadata_errors=False).data.to_dict()
    assert fields["license"] == "cc-by-4.0"
    assert fields["library_name"] == "ctfgan"
    assert fields["pipeline_tag"] == "unconditional-image-generation"
    assert fields["datasets"] == ["owner/glyphs"]
    assert bundle.recipe.method.kind in fields["tags"]
    assert ("class-conditional" in fields["tags"]) == bundle.recipe.method.is_conditional
    assert headings(card) == [f"# {bundle.recipe.name}", *SECTIONS]
    assert "7,254" in card
    assert ("2,790" in card) == bundle.recipe.method.uses_low_quality


def test_without_a_word_on_licences_the_card_says_that_there_was_none() -> None:
    card = card_of(bundle_of())
    fields = ModelCard(card).data.to_dict()
    assert (fields["license"], fields["license_name"]) == ("other", "not-stated")
    assert "- weights: not stated" in card
    assert "- training data: not stated" in card
    assert "datasets" not in fields


def test_figures_bear_their_own_names_and_nobody_elses() -> None:
    card = card_of(bundle_of(figures=FIGURES))
    data = ModelCard(card).data
    found = {one.metric_name: one.metric_value for one in data.eval_results}
    assert found == {
        "top-1 of samples on the run's own recogniser": 0.911,
        "Frechet distance on the run's own recogniser, not an FID": 9.49,
        "kernel distance on the run's own recogniser, not a KID": 0.004,
    }
    assert {"fid", "is", "inception_score"}.isdisjoint(one.metric_type for one in data.eval_results)
    assert "samples, held-out LQ bank: top-1 91.1 % \\<b\\>" in card


def test_hostile_names_stay_names() -> None:
    history = [{"date": "2026-11-21", "change": f"renamed {name} to x"} for name in HOSTILE]
    for first in HOSTILE:
        bundle = bundle_of(figures=FIGURES, history=history, rights={"license": "mit"})
        bundle = replace(bundle, classes=(first, *HOSTILE))
        bundle = replace(bundle, recipe=bundle.recipe.model_copy(update={"name": first}))
        card = card_of(bundle)
        front = yaml.safe_load(card.split("---\n")[1])
        assert front["license"] == "mit"
        assert front["model-index"][0]["name"] == first
        found = headings(card)
        assert found[1:] == [*SECTIONS[:4], "## Changes since training", *SECTIONS[4:]]
        assert len(found[0].splitlines()) == 1
        outside = re.sub(r"(?ms)^(`{3,})\w*$.*?^\1$", "", card.split("---\n", 2)[2])
        assert "<script>" not in outside
        assert "\n---\n" not in outside


@pytest.mark.parametrize("text", ["plain", 'quote " and \\', "a\nb\t\x00\x7f", "é\u2028\ufeff", "\U0001f600", "- x: #"])
def test_yaml_reads_back_every_text(text: str) -> None:
    assert yaml.safe_load(f"key: {yaml_text(text)}") == {"key": text}


def test_a_block_of_code_outlasts_every_run_of_backticks() -> None:
    block = fenced("a ```` b\n```\n", "python")
    assert block.startswith("`````python\n")
    assert block.endswith("\n`````")
    assert plain("a\n# b *c* [d](e)") == r"a \# b \*c\* \[d\](e)"


@pytest.mark.parametrize("licence", ["CC BY 4.0", "mit\nx: y", "", "-", "mit: x"])
def test_a_licence_that_the_hub_could_not_read_is_refused(licence: str) -> None:
    with pytest.raises(ConfigError, match="is no identifier of the Hub"):
        Rights(licence)
    with pytest.raises(ConfigError, match="is no name on the Hub"):
        Rights("mit", ("owner/name/more",))


def test_what_was_said_of_licences_stays_with_the_bundle_and_what_is_odd_is_refused(tmp_path: Path) -> None:
    publish(bundle_of(), tmp_path / "one", Rights("mit", ("owner/data",)))
    publish(load_bundle(tmp_path / "one"), tmp_path / "two",
            Rights.stated(load_bundle(tmp_path / "one").provenance, "apache-2.0"))  # fmt: skip
    assert Rights.of(load_bundle(tmp_path / "two").provenance) == Rights("apache-2.0", ("owner/data",))
    provenance = tmp_path / "one/provenance.json"
    content = json.loads(provenance.read_text())
    for odd in ("text", 3, {"license": 3}, {"license": "no such thing"}, {"datasets": 5}):
        provenance.write_text(json.dumps(content | {"rights": odd}))
        with pytest.raises(BundleError, match="do not fit together"):
            load_bundle(tmp_path / "one")


def test_a_bundle_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    bundle = bundle_of()
    data = bundle.recipe.data.model_copy(
        update={
            "high_quality": "/home/somebody/private/photos",
            "low_quality": "/home/somebody/private/thumbs-{000..010}.tar",
            "reference": "hf:owner/held-out@config",
            "glyphs": bundle.recipe.data.glyphs.model_copy(update={"font_folders": ("/home/somebody/fonts",)}),
        }
    )
    start = bundle.recipe.start.model_copy(update={"path": "/home/somebody/runs/old"})
    recipe = bundle.recipe.model_copy(update={"data": data, "start": start})
    save_bundle(replace(bundle, recipe=recipe), tmp_path / "bundle")
    for file in (tmp_path / "bundle").iterdir():
        assert b"somebody" not in file.read_bytes(), file.name
    kept = load_bundle(tmp_path / "bundle").recipe
    assert (kept.data.high_quality, kept.data.low_quality) == ("photos", "thumbs-{000..010}.tar")
    assert (kept.data.reference, kept.start.path) == ("hf:owner/held-out@config", "old")
    card = (tmp_path / "bundle/README.md").read_text()
    assert ModelCard(card).data.to_dict()["datasets"] == ["owner/held-out"]
    assert "7,254, photos" in card


def test_a_card_says_how_many_classes_were_learned_from_low_quality_images_only() -> None:
    counts = {"classes": 2_965, "high_quality": 7_254, "low_quality": 2_790}
    told = "classes of which the generator saw low-quality images only: 500 of 2,965"
    assert told in card_of(bundle_of(counts=counts | {"lq_only": 500}))
    assert "only" not in card_of(bundle_of(counts=counts | {"lq_only": 0})).split("## Data")[1].split("##")[0]
