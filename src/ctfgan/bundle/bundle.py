"""The released artefact: a folder with a generator and all that sampling needs. Loading runs no code from it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors.torch import save_file
from torch import nn

from ctfgan.bundle.card import Rights, model_card
from ctfgan.bundle.hub_download import fetch_bundle, split_revision
from ctfgan.core.errors import BundleError, CtfganError
from ctfgan.core.files import new_folder, read_json, require_free, sha256, write_file
from ctfgan.core.settings import Settings, first_mistake
from ctfgan.core.text import excerpt, json_bytes
from ctfgan.data.levels import Kind, Levels, Scale
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.data.npz import NpzFile
from ctfgan.data.settings import HUB
from ctfgan.data.sources.base import check_names
from ctfgan.data.splits import covering_prefix, stratified_order
from ctfgan.recipes.build import DataSpec, build_generator, stored_codes, with_form
from ctfgan.recipes.recipe import Recipe, parse_recipe, shareable
from ctfgan.storage.checkpoints import read_finite_tensors
from ctfgan.storage.run_folder import CODES, PROVENANCE, RECIPE, bundle_folder
from ctfgan.training.class_codes import ClassCodes

MODEL = "model.safetensors"
CLASSES = "classes.json"
BANK = "low_quality_bank.npz"
CARD = "README.md"
LEVELS = "levels"  # entry of the provenance, unless all images are bytes
FILES = (MODEL, RECIPE, CLASSES, BANK, CODES, PROVENANCE, CARD)

WAY_OUT = "; copy the whole bundle folder again"  # of what is damaged
BANK_IMAGES = 4_096
BANK_PER_CLASS = 16  # with matched pairing, where the variety of a class is that of its low-quality images
BANK_BYTES = 1 << 24  # within which it has more than BANK_IMAGES
BANK_GROWTH = 8  # times as many are read, since every change of the classes may add to them
LONGEST_CLASSES = 1 << 27  # bytes; three million classes and their labels

Side = Literal["high_quality", "low_quality"]
"""Of the training data."""


@dataclass(frozen=True)
class Bundle:
    """A generator with everything that belongs to it."""

    recipe: Recipe
    data_spec: DataSpec
    classes: tuple[str, ...]
    low_quality_classes: tuple[str, ...]
    bank: LowQualityBank | None
    """None for methods that use no low-quality images."""
    generator: nn.Module
    """In evaluation mode, on the CPU."""
    provenance: dict[str, Any]
    """Data counts, seeds, versions, figures."""
    codes: ClassCodes | None = None
    """Of the classes, where networks know them by codes; the generator has the same."""

    def levels(self, side: Side) -> Levels:
        """What the levels of images that are no bytes mean on one side of the training data; empty if it is unknown."""
        stored = self.provenance.get(LEVELS, {}).get(side, {})
        return {kind: Scale(black, white) for kind, (black, white) in stored.items()}


def stored_levels(sides: Mapping[Side, Levels]) -> dict[str, Any]:
    """An entry of the provenance from which :meth:`Bundle.levels` tells them; none where all images are bytes."""
    if not any(sides.values()):
        return {}
    stored = {
        side: {kind: (scale.black, scale.white) for kind, scale in levels.items()} for side, levels in sides.items()
    }
    return {LEVELS: stored}


def save_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle folder whole; an older one at the same place is replaced. It names no folder of this machine."""
    recipe = with_form(shareable(bundle.recipe), codes=bundle.codes is not None)
    with new_folder(path) as folder:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.generator.state_dict().items()}
        save_file(tensors, folder / MODEL)
        (folder / RECIPE).write_text(recipe.to_json(), encoding="utf-8")
        content = class_names(bundle) | {"shape": bundle.data_spec.model_dump()}
        (folder / CLASSES).write_bytes(json_bytes(content))
        if bundle.bank is not None:
            write_bank(bundle.bank, folder / BANK)
        if bundle.codes is not None:
            (folder / CODES).write_bytes(bundle.codes.save())
        hashes = {file.name: sha256(file) for file in sorted(folder.iterdir())}
        provenance = {**bundle.provenance, "sha256": hashes}
        (folder / PROVENANCE).write_bytes(json_bytes(provenance))
        (folder / CARD).write_text(model_card(recipe, bundle.classes, provenance), encoding="utf-8")


def class_names(bundle: Bundle) -> dict[str, Any]:
    """For JSON: names of classes and of low-quality labels, and which of these a class has, if any (-1: none)."""
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
    """Read a bundle folder, which anybody may have written, after checking every hash, size, shape and count.

    Nothing but the files of a bundle is opened, whatever their contents name, and nothing is unpickled. Files beside
    them are passed over; links are followed, as in the cache of the Hugging Face Hub.

    Raises:
        BundleError: no bundle, a missing or changed file, or contents that do not fit together.
    """
    provenance = _provenance(path)
    for name, expected in provenance["sha256"].items():
        if not (path / name).is_file():
            raise BundleError(f"{path / name} is missing{WAY_OUT}")
        if sha256(path / name) != expected:
            raise BundleError(f"{path / name} has another hash than {PROVENANCE} says{WAY_OUT}")
    try:
        recipe = with_form(parse_recipe(read_json(path / RECIPE), RECIPE), codes=CODES in provenance["sha256"])
        content = _Classes.model_validate(read_json(path / CLASSES, LONGEST_CLASSES))
        content.check(recipe)
        bank = _bank(path / BANK, content) if content.shape.low_quality_size else None
        codes = stored_codes(path / CODES, recipe, content.shape)
        generator = _generator(recipe, content.shape, path / MODEL, codes)
        Rights.of(provenance)
    except ValidationError as error:
        raise _misfit(path, f"in {CLASSES} {first_mistake(error)}") from error
    except (ValueError, OSError, CtfganError) as error:
        raise _misfit(path, excerpt(error, 400)) from error
    return Bundle(
        recipe, content.shape, content.classes, content.low_quality_classes, bank, generator, provenance, codes
    )


def find_bundle(folder: Path) -> Path:
    """The bundle folder that a path means: itself, that of a finished run, or one of the Hub, ``hf:owner/name``.

    Raises:
        BundleError: nothing to load there.
    """
    if str(folder).startswith(HUB):
        name, revision = split_revision(str(folder))
        return fetch_bundle(name, FILES, revision=revision)
    return bundle_folder(folder)


def open_bundle(folder: Path) -> Bundle:
    """The bundle that a path means, as :func:`find_bundle` finds it.

    Raises:
        BundleError: nothing to load there, or a damaged bundle.
    """
    found = find_bundle(folder)
    try:
        return load_bundle(found)
    except BundleError as error:
        if found.parent != folder:
            raise
        raise BundleError(f"{str(error).removesuffix(WAY_OUT)}; 'ctfgan resume {folder}' makes it again") from error


def add_figures(path: Path, figures: dict[str, Any]) -> None:
    """Put reported figures into a bundle's provenance and model card."""
    bundle = load_bundle(path)
    provenance = {**bundle.provenance, "figures": figures}
    write_file(path / PROVENANCE, json_bytes(provenance))
    write_file(path / CARD, model_card(bundle.recipe, bundle.classes, provenance).encode())


def publish(bundle: Bundle, path: Path, rights: Rights) -> None:
    """Write a bundle with what its publisher says about licences: a folder ready for the Hugging Face Hub.

    Raises:
        ConfigError: something is there already.
    """
    require_free(path, "folder")
    kept = {name: value for name, value in bundle.provenance.items() if name != "sha256"}
    save_bundle(replace(bundle, provenance={**kept, "rights": rights.as_dict()}), path)


def bank_images(classes: int, image_bytes: int) -> int:
    """Low-quality images in a bundle with matched pairing, unless it needs one for each of more classes."""
    return max(BANK_IMAGES, min(BANK_PER_CLASS * classes, BANK_BYTES // image_bytes))


def bank_for_bundle(bank: LowQualityBank, seed: int) -> LowQualityBank:
    """A seeded, stratified subset of a training bank; with matched pairing every class keeps an image."""
    order = stratified_order(bank.labels, seed)
    if bank.label_of_class is None:
        rows = np.sort(order[:BANK_IMAGES])
    else:
        count = bank_images(len(bank.label_of_class), prod(bank.images.shape[1:]))
        rows = np.sort(covering_prefix(order, bank.labels, count))
    return LowQualityBank(np.ascontiguousarray(bank.images[rows]), bank.labels[rows], bank.label_of_class)


def environment() -> dict[str, str]:
    """Versions that a run and its bundle record."""
    packages = ("ctfgan", "torch", "numpy", "Pillow", "torchmetrics", "matplotlib")
    return {"date": date.today().isoformat(), "python": platform.python_version()} | {
        name: version(name) for name in packages
    }


@cache  # a campaign may outlive changes of the checkout, but runs what it once imported
def commit() -> str | None:
    """The git commit of this code, with ``-dirty`` if files differ from it; None where that cannot be told."""
    return commit_of(Path(__file__).parents[3])


def commit_of(root: Path) -> str | None:
    """The commit of a checkout; None for any other folder, one inside somebody else's checkout among them."""
    if not (root / ".git").exists():  # a folder, or a file in a worktree
        return None
    command = ["git", "--no-optional-locks", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    # A hook's variables would lead to the repository that it runs in.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], env=variables, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


class _Classes(Settings):
    """``classes.json``."""

    classes: tuple[str, ...]
    low_quality_classes: tuple[str, ...]
    label_of_class: tuple[Annotated[int, Field(ge=-1, lt=2**48)], ...] | None
    shape: DataSpec

    def check(self, recipe: Recipe) -> None:
        """Compare the counts with each other before anything is built of them.

        Raises:
            CtfganError: names that are none, or other numbers of them than the model has.
        """
        spec = self.shape
        if len(self.classes) != spec.num_classes or len(self.low_quality_classes) != spec.num_low_quality_labels:
            raise BundleError(f"{CLASSES} names {len(self.classes):,} classes for a model of {spec.num_classes:,}")
        check_names(CLASSES, self.classes)
        check_names(CLASSES, self.low_quality_classes)
        if bool(spec.low_quality_size) != recipe.method.uses_low_quality:
            raise BundleError(f"{CLASSES} has low-quality images of {spec.low_quality_size} pixels for another method")
        if self.label_of_class is not None and len(self.label_of_class) != spec.num_classes:
            raise BundleError(f"{CLASSES} has {len(self.label_of_class):,} low-quality labels of classes")


def _misfit(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path} holds contents that do not fit together ({reason}){WAY_OUT}")


def _provenance(path: Path) -> dict[str, Any]:
    if not (path / PROVENANCE).is_file():
        raise BundleError(f"{path} is no bundle (it has no {PROVENANCE}); give the folder 'bundle' of a finished run")
    try:
        provenance = read_json(path / PROVENANCE)
        _Provenance.model_validate(provenance)
    except (OSError, ValueError) as error:
        reason = first_mistake(error) if isinstance(error, ValidationError) else excerpt(error)
        raise BundleError(f"{path / PROVENANCE} is damaged ({reason}){WAY_OUT}") from error
    names = set(provenance["sha256"])
    if names - {BANK, CODES} != {MODEL, RECIPE, CLASSES}:
        listed = excerpt(sorted(names))
        raise BundleError(f"{path / PROVENANCE} lists {listed}, not a bundle's files{WAY_OUT}")
    return provenance


_Black = Annotated[float, Field(strict=True, ge=-1, le=0)]
_White = Annotated[float, Field(strict=True, ge=1, lt=2**31)]


class _Provenance(BaseModel):
    """What everybody who uses a bundle finds in ``provenance.json``, besides more."""

    sha256: dict[str, str]
    levels: dict[Side, dict[Kind, tuple[_Black, _White]]] = {}


def _generator(recipe: Recipe, spec: DataSpec, file: Path, codes: ClassCodes | None) -> nn.Module:
    """The generator of a recipe with the weights of a file, whose header is compared before any memory is taken."""
    try:
        with torch.device("meta"):
            generator = build_generator(recipe, spec, codes=codes)
    except (RuntimeError, OverflowError, TypeError) as error:  # sizes that no tensor can have
        raise ValueError(f"{RECIPE} describes no network ({excerpt(error)})") from error
    expected = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in generator.state_dict().items()}
    generator.load_state_dict(read_finite_tensors(file, expected), assign=True)
    return generator.eval().requires_grad_(False)


def _bank(path: Path, content: _Classes) -> LowQualityBank:
    """The low-quality images of a bundle, whose number and size are known before they are unpacked."""
    spec, file = content.shape, NpzFile(path)
    size, labels_held = spec.low_quality_size, spec.num_low_quality_labels
    if not {"images", "labels"} <= set(file.names):
        raise ValueError(f"{BANK} holds no images and labels")
    images, labels = file.header("images"), file.header("labels")
    count = labels.shape[0] if len(labels.shape) == 1 else -1
    if images.dtype != np.uint8 or images.shape != (count, size, size, spec.channels) or labels.dtype != np.int64:
        held = excerpt(f"{images.dtype} {images.shape} and labels {labels.dtype} {labels.shape}")
        raise ValueError(f"{BANK} holds images {held}, not uint8 (N, {size}, {size}, {spec.channels}) and int64 (N,)")
    most = BANK_GROWTH * bank_images(labels_held, prod(images.shape[1:])) + 2 * labels_held
    if not 1 <= count <= most:
        raise ValueError(f"{BANK} holds {count:,} images; a bundle has 1 to {most:,}")
    found = file.read("labels")
    if found.min() < -1 or found.max() >= labels_held:
        raise ValueError(f"{BANK} holds labels outside -1 ... {labels_held - 1}")
    of_class = None if content.label_of_class is None else np.array(content.label_of_class, dtype=np.int64)
    if of_class is not None and not np.isin(of_class[of_class >= 0], found).all():
        raise ValueError(f"{BANK} lacks low-quality images for some classes")
    return LowQualityBank(file.read("images"), found, of_class)
