"""New rows of class tables from old ones, and the bundle that has them: the mechanism of every change of classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctfgan.bundle import Bundle
from ctfgan.data.images import Bytes
from ctfgan.data.pairing import LowQualityBank
from ctfgan.errors import ConfigError
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS, table_spaces
from ctfgan.recipes.build import Shape, build_generator, uses_codes, with_fixed_tables
from ctfgan.recipes.recipe import Recipe

MIN_CLASSES = 2


@dataclass(frozen=True)
class Rows:
    """New rows as a sparse matrix times the old rows: each a copy of an old one, or a mixture of several.

    Copied rows stay what they are bit for bit, and nothing here grows with the product of the numbers of classes.
    """

    copied: Tensor
    """``(C',)`` int64: the old row that each new one copies; of a mixture its strongest part."""
    mixed: Tensor
    """``(E,)`` int64: the new row that each part of a mixture belongs to."""
    parts: Tensor
    """``(E,)`` int64: the old row of each part."""
    weights: Tensor
    """``(E,)`` float32; those of a row add up to 1."""

    @classmethod
    def copies(cls, ids: Tensor) -> Rows:
        """Copies of old rows ``(C',)``, without mixtures."""
        none = torch.empty(0, dtype=torch.int64)
        return cls(ids, none, none, torch.empty(0))

    @classmethod
    def between(cls, start: int, end: int, positions: Tensor) -> Rows:
        """One new row for each position ``(S,)``: at 0 a copy of row ``start``, at 1 of row ``end``, else a mixture."""
        steps = torch.arange(len(positions))
        copied = torch.where(positions < 1, start, end)
        inside = steps[(positions > 0) & (positions < 1)] if start != end else steps[:0]
        shares = positions[inside].float()
        parts = torch.tensor([start, end]).repeat_interleave(len(inside))
        return cls(copied, inside.repeat(2), parts, torch.cat([1 - shares, shares]))

    def followed_by(self, row: int) -> Rows:
        """The same, and a copy of one more old row behind them."""
        return replace(self, copied=torch.cat([self.copied, torch.tensor([row])]))

    def of(self, old: Tensor) -> Tensor:
        """New rows ``(C', width)`` of old ones ``(C, width)``, on their device."""
        copied, mixed, parts = (ids.to(old.device) for ids in (self.copied, self.mixed, self.parts))
        rows = old[copied]
        rows[mixed] = 0
        return rows.index_add_(0, mixed, self.weights[:, None].to(old) * old[parts])


def rebuilt(
    bundle: Bundle,
    names: tuple[str, ...],
    rows: Rows,
    change: str,
    details: dict[str, Any] | None = None,
    low_quality: Sequence[Bytes] = (),
) -> Bundle:
    """The bundle with other classes; what the body of the generator learned stays as it is.

    Args:
        bundle: the old one, which is not changed.
        names: new class names in label order.
        rows: how the new classes' rows come from the old ones.
        change: one sentence for the model card.
        details: more of it for the provenance.
        low_quality: for matched pairing the low-quality images of each mixed class, uint8 ``(L, r, r, K)``.

    Raises:
        ConfigError: a generator without classes, fewer than two classes left, or names that are not distinct.
    """
    _check(bundle, names)
    shape = bundle.shape.model_copy(update={"num_classes": len(names)})
    bank, labels, label_names = bundle.bank, None, bundle.low_quality_classes
    if bank is not None and bank.label_of_class is not None:
        bank, labels, first = _matched(bank, bundle.shape.num_low_quality_labels, rows, low_quality)
        label_names = tuple(names[index] for index in first.tolist())
        shape = shape.model_copy(update={"num_low_quality_labels": len(label_names)})
    recipe = bundle.recipe
    if uses_codes(recipe.method, shape) != uses_codes(recipe.method, bundle.shape):
        recipe = with_fixed_tables(recipe, bundle.shape)
    changes = {CLASSES: rows} if labels is None else {CLASSES: rows, LOW_QUALITY_LABELS: labels}
    generator = _generator(bundle.generator, recipe, shape, changes)
    entry = {
        "date": date.today().isoformat(),
        "ctfgan": version("ctfgan"),
        "change": change,
        "classes": {"before": len(bundle.classes), "after": len(names)},
        "sha256 before": bundle.provenance.get("sha256", {}),
        **(details or {}),
    }
    # Figures are of the classes that were; the hashes are of the files that were.
    kept = {name: value for name, value in bundle.provenance.items() if name not in ("figures", "sha256", "history")}
    provenance = {**kept, "history": [*bundle.provenance.get("history", []), entry]}
    return replace(
        bundle,
        recipe=recipe,
        shape=shape,
        classes=names,
        low_quality_classes=label_names,
        bank=bank,
        generator=generator,
        provenance=provenance,
    )


def check_conditional(bundle: Bundle) -> None:
    """Refuse a generator that knows no classes.

    Raises:
        ConfigError: its method has none.
    """
    method = bundle.recipe.method
    if not method.is_conditional:
        raise ConfigError(f"a {method.kind} model knows no classes that could be changed; use a conditional method")


def _check(bundle: Bundle, names: tuple[str, ...]) -> None:
    check_conditional(bundle)
    if len(names) < MIN_CLASSES:
        raise ConfigError(
            f"this leaves {len(names)} class{'es' * (len(names) != 1)}; a class-conditional generator needs at least "
            f"{MIN_CLASSES}, keep more of its {len(bundle.classes):,}"
        )
    if not all(names):
        raise ConfigError("a class name is empty; give every class a name")
    seen = set()
    for name in names:
        known = unicodedata.normalize("NFC", name)
        if known in seen:
            raise ConfigError(f"two classes would be called {name!r}; class names must differ, choose another one")
        seen.add(known)


def generator_of(bundle: Bundle, changes: dict[str, Rows]) -> nn.Module:
    """A bundle's generator with other rows, which shares all other weights with it.

    Args:
        bundle: with the generator, which is not changed.
        changes: the new rows by the name of the space; those of the low-quality labels end with the row of images
            without one. A space that the generator has no tables of is ignored.
    """
    counts = {"num_classes": len(changes[CLASSES].copied)}
    if LOW_QUALITY_LABELS in changes:
        counts["num_low_quality_labels"] = len(changes[LOW_QUALITY_LABELS].copied) - 1
    recipe = with_fixed_tables(bundle.recipe, bundle.shape)
    return _generator(bundle.generator, recipe, bundle.shape.model_copy(update=counts), changes)


def _generator(old: nn.Module, recipe: Recipe, shape: Shape, changes: dict[str, Rows]) -> nn.Module:
    with torch.device("meta"):
        generator = build_generator(recipe, shape)
    tensors = dict(old.state_dict())
    for table, space in table_spaces(generator).items():
        if space in changes:
            tensors[f"{table}.weight"] = changes[space].of(tensors[f"{table}.weight"])
    generator.load_state_dict(tensors, assign=True)
    return generator.eval().requires_grad_(False)


def _matched(
    bank: LowQualityBank, num_labels: int, rows: Rows, images: Sequence[Bytes]
) -> tuple[LowQualityBank, Rows, Tensor]:
    """Labels that follow their classes: classes that copy one old class share its label, a mixture gets its own.

    Returns:
        The bank, the rows of the new labels (that of unlabelled images last), and the first class of each label.
    """
    assert bank.label_of_class is not None
    of_old = torch.from_numpy(bank.label_of_class)
    is_mixed = torch.zeros(len(rows.copied), dtype=torch.bool)
    is_mixed[rows.mixed] = True
    source = of_old[rows.copied]
    keys = torch.where(is_mixed, num_labels + torch.arange(len(source)), source)
    used, first, of_class = np.unique(keys.numpy(), return_index=True, return_inverse=True)
    copied = torch.cat([source[torch.from_numpy(first)], torch.tensor([num_labels])])
    labels = Rows(copied, torch.from_numpy(of_class)[rows.mixed], of_old[rows.parts], rows.weights)

    new_label = np.full(num_labels + 1, -2, dtype=np.int64)  # what becomes of a label; images without one stay so
    new_label[-1] = -1
    old = used[used < num_labels]
    new_label[old] = np.arange(len(old))
    kept = np.flatnonzero(new_label[bank.labels] > -2)
    own = of_class[is_mixed.numpy()]
    assert len(own) == len(images), "every mixed class brings its low-quality images"
    stacked = np.concatenate([bank.images[kept], *images])
    numbers = [new_label[bank.labels[kept]], *(np.full(len(part), n) for part, n in zip(images, own, strict=True))]
    changed = LowQualityBank(stacked, np.concatenate(numbers), of_class.astype(np.int64))
    return changed, labels, torch.from_numpy(first)
