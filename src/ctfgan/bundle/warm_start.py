"""Training that begins with trained weights: which of them fit, and which rows of class tables belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.bundle.bundle import MODEL, Bundle, open_bundle
from ctfgan.core.class_index import ClassIndex
from ctfgan.core.errors import ConfigError
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS, table_spaces
from ctfgan.recipes.build import DataSpec, labels_use_codes, uses_codes
from ctfgan.recipes.recipe import CtfGan, Recipe, ResnetMethod, StartSettings
from ctfgan.storage.checkpoints import network_weights
from ctfgan.storage.run_folder import CHECKPOINTS, RunFolder
from ctfgan.training.class_codes import ClassEncoder

GENERATOR_SETTINGS = ("data.resolution", "method.networks.generator_width", "method.networks.noise")
TRANSFER_SETTINGS = tuple(
    f"method.features.{name}"
    for name in ("block_noise", "noise_maps", "embedding", "stem", "statistics", "merge_kernel")
)
START_ITERATIONS = 15  # as many as torch's spectral norm starts with
ORIGINAL = "parametrizations.weight.original"


@dataclass(frozen=True)
class WarmStart:
    """Weights that training begins with."""

    path: str
    bundle: Bundle
    discriminator: dict[str, Tensor] | None
    """Of the run; None if a bundle alone was given, and the discriminator is new."""

    def for_classes(
        self, recipe: Recipe, spec: DataSpec, names: Sequence[str], label_names: Sequence[str], *, matched: bool
    ) -> Matched:
        """Which old rows or codes the classes of a run begin with, found by name.

        Args:
            recipe: what is to be trained.
            spec: the sizes that its data decides.
            names: class names in label order.
            label_names: names of its low-quality labels.
            matched: whether these stand for its classes.

        Raises:
            ConfigError: the weights are of other networks than the recipe's.
        """
        self._check(recipe, spec, matched)
        bundle = self.bundle
        ids = {CLASSES: torch.tensor(ClassIndex(bundle.classes).find(names), dtype=torch.int64)}
        known, labels = bundle.low_quality_classes, list(range(len(bundle.low_quality_classes)))
        if bundle.bank is not None and bundle.bank.label_of_class is not None:
            # Classes that began as one share a label, which only one of them can give its name.
            known, labels = bundle.classes + known, bundle.bank.label_of_class.tolist() + labels
        last = bundle.data_spec.num_low_quality_labels  # images without a label
        ids[LOW_QUALITY_LABELS] = torch.tensor([*ClassIndex(known, labels).find(label_names), last])
        return Matched(self, ids)

    def _check(self, recipe: Recipe, spec: DataSpec, matched: bool) -> None:
        old = self.bundle.recipe
        if old.method.kind != recipe.method.kind:
            raise ConfigError(
                f"{self.path} is a {old.method.kind} model, recipe {recipe.name!r} trains {recipe.method.kind}; "
                "choose a --recipe of the same method"
            )
        wanted = _of_generator((old, self.bundle.data_spec), (recipe, spec)) | self._form(recipe, spec, matched)
        own = wanted | (_of_discriminator(old, recipe) if self.discriminator else {})
        if own:
            changes = " ".join(f"--set {name}={value}" for name, value in own.items())
            other = "" if wanted else f", or begin with {self.path}/bundle and a new discriminator"
            raise ConfigError(f"the networks of {self.path} are others than those of this run; add {changes}{other}")

    def _form(self, recipe: Recipe, spec: DataSpec, matched: bool) -> dict[str, object]:
        """Settings that make the run know classes and labels as these weights do: by tables or by codes."""
        codes, method = self.bundle.codes, recipe.method
        if (codes is None) == uses_codes(method, spec):
            return {"method.networks.class_tables": "per-class" if codes is None else "codes"}
        if codes is None:
            return {}
        length = self.bundle.recipe.method.networks.class_code
        wanted: dict[str, object] = {}
        if length != method.networks.class_code:
            wanted["method.networks.class_code"] = length
        if codes.low_quality_labels is None and labels_use_codes(method, spec, matched=matched):
            wanted["method.features.label_tables"] = "per-class"
        if codes.low_quality_labels is not None and not labels_use_codes(method, spec, matched=matched):
            wanted |= {"method.features.label_tables": "auto"} if matched else {"data.pairing": "matched"}
        return wanted


@dataclass(frozen=True)
class Matched:
    """Weights, and the old row or code that each class of a run begins with."""

    start: WarmStart
    ids: Mapping[str, Tensor]
    """By space: ``(C,)`` int64; -1 for a class that is new."""

    @property
    def encoder(self) -> ClassEncoder:
        """What makes the codes of new classes mean what those of the old ones do."""
        assert self.start.bundle.codes is not None, "weights that know classes by tables have no codes"
        assert self.start.bundle.codes.encoder is not None
        return self.start.bundle.codes.encoder

    @property
    def knows_all(self) -> bool:
        """Whether every class was found."""
        return bool((self.ids[CLASSES] >= 0).all())

    def with_old_codes(self, codes: Tensor | None = None) -> Tensor:
        """Codes ``(C, code)``, those of old classes replaced by what they were; None if there are no others."""
        assert self.start.bundle.codes is not None
        ids, old = self.ids[CLASSES], self.start.bundle.codes.classes
        if codes is None:
            return old[ids]
        return torch.where(ids[:, None] < 0, codes, old[ids.clamp_min(0)])

    def sentence(self, names: Sequence[str]) -> str:
        """What was matched, for the user."""
        ids, old = self.ids[CLASSES], self.start.bundle.classes
        new = (ids < 0).nonzero().squeeze(1).tolist()
        text = f"starting from {self.start.path}: {len(ids) - len(new):,} of {len(ids):,} classes found by name"
        if new:
            more = " ..." if len(new) > 5 else ""
            how = (
                "begin as the mean of all old ones" if self.start.bundle.codes is None else "get codes of their images"
            )
            text += f", {len(new):,} {how} ({', '.join(names[i] for i in new[:5])}{more})"
        unused = len(old) - len(set(ids.tolist()) - {-1})
        text += f", {unused:,} old classes are not used" if unused else ""
        return text + ("; its discriminator too" if self.start.discriminator else "; a new discriminator")

    def put_into(self, networks: nn.ModuleDict) -> None:
        """Give the networks of a run these weights."""
        _load(networks["generator"], self.start.bundle.generator.state_dict(), self.ids)
        if self.start.discriminator is not None:
            _load(networks["discriminator"], self.start.discriminator, self.ids)


def open_start(settings: StartSettings) -> WarmStart | None:
    """The weights that a recipe names; None if it names none.

    Raises:
        BundleError: no bundle there, or a damaged one.
        ConfigError: other weights than those whose hash the recipe holds.
    """
    if settings.path is None:
        return None
    folder = Path(settings.path)
    bundle = open_bundle(folder)
    if settings.sha256 not in (None, model_hash(bundle)):
        raise ConfigError(f"{folder} holds other weights than start.sha256 says; give those, or set start.sha256=none")
    discriminator = None
    if (folder / CHECKPOINTS).is_dir():
        run = RunFolder.open(folder)
        tensors = run.load_tensors(run.released(bundle.recipe.training.release))
        discriminator = network_weights(tensors, "discriminator")
    return WarmStart(settings.path, bundle, discriminator)


def model_hash(bundle: Bundle) -> str:
    """SHA-256 of the model file that a bundle was loaded from."""
    return str(bundle.provenance["sha256"][MODEL])


Networks = tuple[Recipe, DataSpec]


def _of_generator(old: Networks, new: Networks) -> dict[str, object]:
    """Settings of the old generator that the new one must share and does not."""
    names = GENERATOR_SETTINGS + (TRANSFER_SETTINGS if isinstance(new[0].method, CtfGan) else ())
    wanted = {name: _value(old[0], name) for name in names if _value(old[0], name) != _value(new[0], name)}
    if old[1].channels != new[1].channels:
        wanted["data.channels"] = old[1].channels
    if old[1].low_quality_size != new[1].low_quality_size:
        wanted["data.low_quality_size" if new[0].data.has_own_low_quality else "data.degradation.size"] = old[
            1
        ].low_quality_size
    return wanted


def _of_discriminator(old: Recipe, new: Recipe) -> dict[str, object]:
    """The same for the discriminator."""
    names: tuple[str, ...] = ("method.networks.discriminator_width",)
    if isinstance(new.method, ResnetMethod):
        names += ("method.spectral_norm",)
    wanted = {name: _value(old, name) for name in names if _value(old, name) != _value(new, name)}
    before, now = old.method, new.method
    if isinstance(before, CtfGan) and isinstance(now, CtfGan):
        weights = before.self_supervision, now.self_supervision
        if weights[0].is_on != weights[1].is_on:
            for player in ("discriminator_weight", "generator_weight"):
                wanted[f"method.self_supervision.{player}"] = getattr(weights[0], player)
    return wanted


def _value(recipe: Recipe, name: str) -> object:
    return reduce(getattr, name.split("."), recipe)


@torch.no_grad()
def _load(network: nn.Module, tensors: Mapping[str, Tensor], ids: Mapping[str, Tensor]) -> None:
    own = dict(tensors)
    for table, space in table_spaces(network).items():
        key = f"{table}.{ORIGINAL}" if f"{table}.{ORIGINAL}" in own else f"{table}.weight"
        if len(own[key]) == len(ids[space]) and torch.equal(ids[space], torch.arange(len(ids[space]))):
            continue
        own[key] = torch.where(ids[space][:, None] < 0, own[key].mean(dim=0), own[key][ids[space].clamp_min(0)])
        if key.endswith(ORIGINAL):
            norm = f"{table}.parametrizations.weight.0"
            own[f"{norm}._u"], own[f"{norm}._v"] = _singular_vectors(own[key], own[f"{norm}._v"])
    network.load_state_dict(own)


def _singular_vectors(rows: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right singular vector of the largest singular value, as torch's spectral norm begins with them."""
    for _ in range(START_ITERATIONS):
        left = F.normalize(rows @ right, dim=0, eps=1e-12)
        right = F.normalize(rows.mT @ left, dim=0, eps=1e-12)
    return left, right
