"""The released artefact: a folder with a generator and all that sampling needs. Loading runs no code from it."""

from __future__ import annotations

import json
import platform
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ctfgan.data.pairing import LowQualityBank
from ctfgan.data.sources.hub import HUB
from ctfgan.data.splits import covering_prefix, stratified_order
from ctfgan.errors import BundleError, ConfigError, suggestion
from ctfgan.files import is_taken, new_folder, sha256, write_file
from ctfgan.hub import fetch_bundle, split_revision
from ctfgan.model_card import Rights, model_card
from ctfgan.recipes.build import Shape, build_generator
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.recipes.sharing import shareable

MODEL = "model.safetensors"
RECIPE = "recipe.json"
CLASSES = "classes.json"
BANK = "low_quality_bank.npz"
PROVENANCE = "provenance.json"
CARD = "README.md"
FILES = (MODEL, RECIPE, CLASSES, BANK, PROVENANCE, CARD)

BANK_IMAGES = 4_096  # at most, unless matched pairing needs one for each of more classes


@dataclass(frozen=True)
class Bundle:
    """A generator with everything that belongs to it."""

    recipe: Recipe
    shape: Shape
    classes: tuple[str, ...]
    low_quality_classes: tuple[str, ...]
    bank: LowQualityBank | None
    """None for methods that use no low-quality images."""
    generator: nn.Module
    """In evaluation mode, on the CPU."""
    provenance: dict[str, Any]
    """Data counts, seeds, versions, figures."""


def save_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle folder whole; an older one at the same place is replaced. It names no folder of this machine."""
    recipe = shareable(bundle.recipe)
    with new_folder(path) as folder:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.generator.state_dict().items()}
        save_file(tensors, folder / MODEL)
        (folder / RECIPE).write_text(recipe.to_json())
        content = class_names(bundle) | {"shape": bundle.shape.model_dump()}
        (folder / CLASSES).write_text(json.dumps(content, ensure_ascii=False, indent=1))
        if bundle.bank is not None:
            write_bank(bundle.bank, folder / BANK)
        hashes = {file.name: sha256(file) for file in sorted(folder.iterdir())}
        provenance = {**bundle.provenance, "sha256": hashes}
        (folder / PROVENANCE).write_text(json.dumps(provenance, ensure_ascii=False, indent=1))
        (folder / CARD).write_text(model_card(recipe, bundle.classes, provenance))


def class_names(bundle: Bundle) -> dict[str, Any]:
    """For JSON: names of classes and of low-quality labels, and with matched pairing which of these a class has."""
    label_of_class = None if bundle.bank is None else bundle.bank.label_of_class
    return {
        "classes": bundle.classes,
        "low_quality_classes": bundle.low_quality_classes,
        "label_of_class": None if label_of_class is None else label_of_class.tolist(),
    }


def write_bank(bank: LowQualityBank, file: Path) -> None:
    """Write a bank as plain arrays: ``images`` uint8 ``(L, r, r, K)``, ``labels`` ``(L,)``."""
    np.savez_compressed(file, images=bank.images[np.arange(len(bank))], labels=bank.labels)


def load_bundle(path: Path) -> Bundle:
    """Read a bundle folder after checking every hash, shape and count.

    Raises:
        BundleError: no bundle, a missing or changed file, or contents that do not fit together.
    """
    provenance = _provenance(path)
    for name, expected in provenance["sha256"].items():
        if not (path / name).is_file():
            raise BundleError(f"{path / name} is missing; copy the whole bundle folder again")
        if sha256(path / name) != expected:
            raise BundleError(f"{path / name} has another hash than {PROVENANCE} says; copy the bundle again")
    try:
        recipe = parse_recipe(json.loads((path / RECIPE).read_text()), str(path / RECIPE))
        content = json.loads((path / CLASSES).read_text())
        shape = Shape.model_validate(content["shape"])
        classes = tuple(str(name) for name in content["classes"])
        low_quality_classes = tuple(str(name) for name in content["low_quality_classes"])
        generator = _generator(recipe, shape, load_file(path / MODEL), path)
        bank = _bank(path, content["label_of_class"], shape)
        Rights.of(provenance)
    except (KeyError, TypeError, ValueError, OSError, SafetensorError, ConfigError) as error:
        raise BundleError(f"{path} holds contents that do not fit together ({error}); copy the bundle again") from error
    if len(classes) != shape.num_classes or len(low_quality_classes) != shape.num_low_quality_labels:
        raise BundleError(f"{path / CLASSES} names {len(classes)} classes for a model of {shape.num_classes}")
    return Bundle(recipe, shape, classes, low_quality_classes, bank, generator, provenance)


def labels_of(classes: tuple[str, ...], names: Sequence[str]) -> list[int]:
    """Labels of class names, however their accents are encoded.

    Raises:
        ConfigError: an unknown class, with the nearest match.
    """
    number = {unicodedata.normalize("NFC", name): index for index, name in enumerate(classes)}
    names = [unicodedata.normalize("NFC", name) for name in names]
    for name in names:
        if name not in number:
            near = suggestion(name, list(classes))
            short = near.startswith("Did") or len(classes) <= 30
            raise ConfigError(
                f"Unknown class {name!r}. {near if short else f'The model has {len(classes):,} classes.'}"
            )
    return [number[name] for name in names]


def find_bundle(folder: Path) -> Path:
    """The bundle folder that a path means: itself, that of a finished run, or one of the Hub, ``hf:owner/name``.

    Raises:
        BundleError: nothing to load there.
    """
    if str(folder).startswith(HUB):
        name, revision = split_revision(str(folder))
        return fetch_bundle(name, FILES, revision=revision)
    if (folder / "checkpoints").is_dir():
        if not (folder / "bundle").is_dir():
            raise BundleError(f"run {folder} is not finished and has no bundle yet; run 'ctfgan resume {folder}' first")
        folder = folder / "bundle"
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise BundleError(f"{folder} {what}; give a run folder or a bundle folder")
    return folder


def add_figures(path: Path, figures: dict[str, Any]) -> None:
    """Put reported figures into a bundle's provenance and model card."""
    bundle = load_bundle(path)
    provenance = {**bundle.provenance, "figures": figures}
    write_file(path / PROVENANCE, json.dumps(provenance, ensure_ascii=False, indent=1).encode())
    write_file(path / CARD, model_card(bundle.recipe, bundle.classes, provenance).encode())


def publish(bundle: Bundle, path: Path, rights: Rights) -> None:
    """Write a bundle with what its publisher says about licences: a folder ready for the Hugging Face Hub.

    Raises:
        ConfigError: something is there already.
    """
    if is_taken(path):
        raise ConfigError(f"{path} exists already; choose another folder, or move it away")
    kept = {name: value for name, value in bundle.provenance.items() if name != "sha256"}
    save_bundle(replace(bundle, provenance={**kept, "rights": rights.as_dict()}), path)


def bank_for_bundle(bank: LowQualityBank, seed: int) -> LowQualityBank:
    """A seeded, stratified subset of a training bank; with matched pairing every class keeps an image."""
    order = stratified_order(bank.labels, seed)
    if bank.label_of_class is None:
        rows = np.sort(order[:BANK_IMAGES])
    else:
        rows = np.sort(covering_prefix(order, bank.labels, BANK_IMAGES))
    return LowQualityBank(np.ascontiguousarray(bank.images[rows]), bank.labels[rows], bank.label_of_class)


def environment() -> dict[str, str]:
    """Versions that a run and its bundle record."""
    packages = ("ctfgan", "torch", "numpy", "Pillow", "torchmetrics", "matplotlib")
    return {"date": date.today().isoformat(), "python": platform.python_version()} | {
        name: version(name) for name in packages
    }


def _provenance(path: Path) -> dict[str, Any]:
    if not (path / PROVENANCE).is_file():
        raise BundleError(f"{path} is no bundle (it has no {PROVENANCE}); give the folder 'bundle' of a finished run")
    try:
        provenance: dict[str, Any] = json.loads((path / PROVENANCE).read_text())
        names = set(provenance["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path / PROVENANCE} is damaged ({error}); copy the bundle again") from error
    if names not in ({MODEL, RECIPE, CLASSES}, {MODEL, RECIPE, CLASSES, BANK}):
        raise BundleError(f"{path / PROVENANCE} lists {sorted(names)}, not a bundle's files; copy the bundle again")
    return provenance


def _generator(recipe: Recipe, shape: Shape, tensors: dict[str, torch.Tensor], path: Path) -> nn.Module:
    with torch.device("meta"):  # shapes are compared before any memory is taken
        generator = build_generator(recipe, shape)
    expected = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        name = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise BundleError(
            f"{path / MODEL}: tensor {name!r} is {found.get(name)}, the recipe makes it {expected.get(name)}; "
            "copy the bundle again"
        )
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise BundleError(f"{path / MODEL}: tensor {broken[0]!r} holds values that are not finite; train again")
    generator.load_state_dict(tensors, assign=True)
    return generator.eval().requires_grad_(False)


def _bank(path: Path, label_of_class: list[int] | None, shape: Shape) -> LowQualityBank | None:
    if not shape.low_quality_size:
        return None
    with np.load(path / BANK, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    size = shape.low_quality_size
    if images.dtype != np.uint8 or images.shape != (len(labels), size, size, shape.channels) or len(labels) == 0:
        raise BundleError(
            f"{path / BANK} holds images of shape {images.shape}, not (N, {size}, {size}, {shape.channels})"
        )
    if labels.min() < -1 or labels.max() >= shape.num_low_quality_labels:
        raise BundleError(f"{path / BANK} holds labels outside -1 ... {shape.num_low_quality_labels - 1}")
    of_class = None if label_of_class is None else np.array(label_of_class, dtype=np.int64)
    if of_class is not None and (len(of_class) != shape.num_classes or not np.isin(of_class, labels).all()):
        raise BundleError(f"{path / BANK} lacks low-quality images for some classes; copy the bundle again")
    return LowQualityBank(images, labels.astype(np.int64), of_class)
