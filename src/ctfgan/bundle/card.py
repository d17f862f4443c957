"""The README of a bundle: what the model is, from what, how good, its limits and rights, how to use it.

It begins with the fields that the Hugging Face Hub reads (YAML between two lines ``---``), so that a bundle is a Hub
repository as it is. Texts of others, such as names of classes, are quoted: nothing in them becomes a field or a mark.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ctfgan.core.errors import ConfigError
from ctfgan.core.text import excerpt, plural
from ctfgan.data.settings import HUB, name_of
from ctfgan.recipes.recipe import Recipe

SHOWN_CLASSES = 20
IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")
DATA_SET = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
NOT_STATED = "not-stated"


@dataclass(frozen=True)
class Rights:
    """What the publisher of a model says about licences; a bundle keeps it in its provenance.

    Raises:
        ConfigError: a licence or data set that the Hub could not read.
    """

    license: str | None = None
    """Of the weights, as the Hub writes it: ``cc-by-4.0``, ``mit`` ...; None: not stated."""
    datasets: tuple[str, ...] = ()
    """Names on the Hub, ``owner/name``, of the data that the model was trained on."""

    def __post_init__(self) -> None:
        if self.license is not None and not IDENTIFIER.fullmatch(self.license):
            raise ConfigError(
                f"license {self.license!r} is no identifier of the Hub; write one such as cc-by-4.0, mit or other"
            )
        for name in self.datasets:
            if not DATA_SET.fullmatch(name):
                raise ConfigError(f"data set {name!r} is no name on the Hub; write owner/name")

    def as_dict(self) -> dict[str, Any]:
        """For the provenance."""
        return asdict(self)

    @classmethod
    def of(cls, provenance: dict[str, Any]) -> Rights:
        """What a bundle says; nothing unless somebody stated it."""
        said = provenance.get("rights", {})
        license, datasets = (said.get("license"), said.get("datasets", ())) if isinstance(said, dict) else (None, said)
        are_names = isinstance(datasets, list | tuple) and all(isinstance(name, str) for name in datasets)
        if not are_names or not isinstance(license, str | None):
            raise ConfigError(f"rights {excerpt(said)} are no licence and names of data sets; state them again")
        return cls(license, tuple(datasets))

    @classmethod
    def stated(cls, provenance: dict[str, Any], license: str | None, datasets: Sequence[str] = ()) -> Rights:
        """What is stated now, and for the rest what a bundle says."""
        said = cls.of(provenance)
        return cls(said.license if license is None else license, tuple(datasets) or said.datasets)

    def licence_text(self) -> str:
        """The licence in words."""
        return "not stated" if self.license is None else self.license


def model_card(recipe: Recipe, classes: Sequence[str], provenance: dict[str, Any]) -> str:
    """The bundle's README.

    Args:
        recipe: what was trained.
        classes: class names in label order.
        provenance: counts, steps, figures, history and rights.
    """
    rights = Rights.of(provenance)
    size = f"{recipe.data.resolution}x{recipe.data.resolution}"
    kind = "A class-conditional image generator for"
    if not recipe.method.is_conditional:
        kind = "An image generator without classes, trained on"
    sections = [
        _front_matter(recipe, rights, provenance),
        f"# {plain(recipe.name)}\n\n{kind} {plural(len(classes), 'class', 'classes')} at {size} pixels, made by ctfgan "
        f"with the method `{recipe.method.kind}`.",
        _section("Use", _use(recipe, classes)),
        _section("Data", _data(recipe, provenance)),
        _section("Training", _training(recipe, provenance)),
        _section("Figures", _figures(provenance)),
    ]
    history = provenance.get("history", [])
    if history:
        lines = [f"- {plain(entry['date'])}: {plain(entry['change'])}" for entry in history]
        sections.append(_section("Changes since training", lines))
    sections += [_section("Intended use and limits", _limits(recipe)), _section("Licence", _licence(rights))]
    return "\n\n".join(sections) + "\n"


def plain(text: str) -> str:
    """A text of others on one line of Markdown, none of its characters a mark."""
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def fenced(text: str, language: str = "") -> str:
    """A block of code that no text can end early."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _section(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {heading}", "", *lines])


def _use(recipe: Recipe, classes: Sequence[str]) -> list[str]:
    conditional = recipe.method.is_conditional
    chosen = f"--class {shlex.quote(classes[0])} " if conditional else ""
    named = f"[{json.dumps(classes[0], ensure_ascii=False)}]" if conditional else "None"
    code = f'import ctfgan\n\nmodel = ctfgan.from_pretrained(".")\nimages = model.sample({named}, 16).images'
    shown = ", ".join(json.dumps(name, ensure_ascii=False) for name in classes[:SHOWN_CLASSES])
    more = f", ... {len(classes) - SHOWN_CLASSES:,} more in `classes.json`" if len(classes) > SHOWN_CLASSES else ""
    return [
        "In this folder; from elsewhere write its path, or `hf:owner/name` on the command line and `owner/name` in",
        "Python if it lies on the Hugging Face Hub.",
        "",
        fenced(f"ctfgan sample . {chosen}-n 16 --out ../samples"),
        "",
        fenced(code, "python"),
        "",
        f"Classes{more}:",
        "",
        fenced(shown),
    ]


def _data(recipe: Recipe, provenance: dict[str, Any]) -> list[str]:
    data, counts = recipe.data, provenance["counts"]
    high = "characters rendered from fonts" if data.high_quality is None else plain(name_of(data.high_quality))
    lines = [f"- high-quality training images: {counts['high_quality']:,}, {high}"]
    if data.high_quality_fraction < 1:
        lines.append(f"- that is a share of {data.high_quality_fraction:g} of those that there were")
    if recipe.method.uses_low_quality:
        if data.low_quality is not None:
            low = plain(name_of(data.low_quality))
        else:
            low = "characters of bitmap fonts" if data.glyphs.low_quality_font_folders else "degraded copies"
        lines.append(f"- low-quality training images: {counts['low_quality']:,}, {low}")
        if counts.get("lq_only"):
            lines.append(
                f"- classes of which the generator saw low-quality images only: {counts['lq_only']:,} of "
                f"{counts['classes']:,}"
            )
        lines.append(
            "- `low_quality_bank.npz` holds some of the low-quality images themselves; samples start from them"
        )
    if recipe.method.is_conditional and recipe.method.networks.class_tables == "codes":
        lines.append(
            "- `class_codes.safetensors` holds a code of each class, made of its images, and the small classifier that "
            "makes them; `ctfgan classes add` gives the model new classes from one image each or more"
        )
    return lines


def _training(recipe: Recipe, provenance: dict[str, Any]) -> list[str]:
    seeds = f"training seed {recipe.seed}, data seed {recipe.data.seed}"
    lines = [f"- generator steps: {provenance['steps']:,} ({seeds})"]
    versions = provenance.get("versions", {})
    if versions:
        lines.append("- " + ", ".join(f"{plain(name)} {plain(version)}" for name, version in versions.items()))
    return [*lines, "- every setting: `recipe.json`; hashes of all files: `provenance.json`"]


def _figures(provenance: dict[str, Any]) -> list[str]:
    figures = provenance.get("figures")
    if figures is not None:
        return [plain(figures["protocol"]), "", *(f"- {name}: {plain(text)}" for name, text in _summary(figures))]
    if provenance.get("history"):
        return ["Not measured since its classes were changed."]
    return ["Not evaluated yet: `ctfgan evaluate RUN` writes the figures here."]


def _summary(figures: dict[str, Any]) -> list[tuple[str, str]]:
    return [(plain(name), text) for name, text in figures["summary"].items()]


def _limits(recipe: Recipe) -> list[str]:
    lines = [
        "For labelled images like the training images, where more are needed than there are. Samples follow the",
        "training images, their mistakes and gaps included; some may be near copies, which `ctfgan evaluate` looks",
        "for. They prove nothing about the things shown, and figures on one data set say little about another.",
    ]
    if recipe.method.uses_low_quality:
        lines.append("An image is a version of the low-quality image that it starts from: few of those, few images.")
    return lines


def _licence(rights: Rights) -> list[str]:
    return [
        f"- weights: {rights.licence_text()}",
        f"- training data: {', '.join(map(plain, rights.datasets)) or 'not stated'}",
        "- the program that wrote this card did not check the rights in the training images",
    ]


def _front_matter(recipe: Recipe, rights: Rights, provenance: dict[str, Any]) -> str:
    data = recipe.data
    named = [place for place in (data.high_quality, data.low_quality, data.reference) if place is not None]
    known = [place.removeprefix(HUB).partition("@")[0] for place in named if place.startswith(HUB)]
    datasets = [name for name in dict.fromkeys((*rights.datasets, *known)) if DATA_SET.fullmatch(name)]
    lines = ["---", "library_name: ctfgan", f"license: {rights.license or 'other'}"]
    lines += [] if rights.license else [f"license_name: {NOT_STATED}"]
    lines += ["pipeline_tag: unconditional-image-generation", "tags:", "- ctfgan", "- gan", f"- {recipe.method.kind}"]
    lines += ["- class-conditional"] if recipe.method.is_conditional else []
    lines += ["datasets:", *(f"- {yaml_text(name)}" for name in datasets)] if datasets else []
    lines += _model_index(recipe, provenance.get("figures"))
    return "\n".join([*lines, "---"])


def _model_index(recipe: Recipe, figures: dict[str, Any] | None) -> list[str]:
    """Figures of the run's own recogniser, under names that nobody takes for an FID or an Inception score."""
    row = {} if figures is None else figures.get("rows", {}).get(figures.get("reported_set"), {}).get("recogniser", {})
    own = "on the run's own recogniser"
    titles = {
        "top_1": ("accuracy", f"top-1 of samples {own}"),
        "frechet": ("frechet-distance", f"Frechet distance {own}, not an FID"),
        "kernel": ("kernel-distance", f"kernel distance {own}, not a KID"),
    }
    metrics = [(*title, float(row[key])) for key, title in titles.items() if row.get(key) is not None]
    if not metrics:
        return []
    data = recipe.data.high_quality
    name = "characters rendered from fonts" if data is None else name_of(data)
    lines = ["model-index:", f"- name: {yaml_text(recipe.name)}", "  results:", "  - task:"]
    lines += ["      type: unconditional-image-generation", "    dataset:", "      type: custom"]
    lines += [f"      name: {yaml_text(name)}", "    metrics:"]
    for kind, title, value in metrics:
        lines += [f"    - type: {kind}", f"      name: {yaml_text(title)}", f"      value: {value!r}"]
    return lines


def yaml_text(text: str) -> str:
    """A text as a YAML scalar in double quotes; all but plain ASCII is escaped."""
    return '"' + "".join(letter if _is_plain(letter) else f"\\U{ord(letter):08x}" for letter in text) + '"'


def _is_plain(letter: str) -> bool:
    return " " <= letter <= "~" and letter not in '"\\'
