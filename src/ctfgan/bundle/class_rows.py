"""New rows of tables or codes from old ones, and the bundle that has them: the mechanism of every change of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctfgan.bundle.bundle import Bundle
from ctfgan.core.class_index import ClassIndex
from ctfgan.core.errors import ConfigError
from ctfgan.core.text import plural
from ctfgan.data.images import Bytes
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS, table_spaces
from ctfgan.recipes.build import DataSpec, build_generator, with_form
from ctfgan.recipes.recipe import Recipe
from ctfgan.training.class_codes import ClassCodes

MIN_CLASSES = 2


RowMap = Callable[[Tensor], Tensor]
"""What makes the new rows ``(C', width)`` of old ones ``(C, width)``, of a table or of codes, on their device."""


@dataclass(frozen=True)
class NewClasses:
    """Classes that come behind those that stay."""

    codes: Tensor
    """``(A, code)`` float16."""
    low_quality: Sequence[Bytes] = ()
    """For matched pairing the low-quality images of each, uint8 ``(L, r, r, K)``."""


def rebuilt(
    bundle: Bundle,
    names: tuple[str, ...],
    ids: Tensor,
    change: str,
    details: dict[str, Any] | None = None,
    new: NewClasses | None = None,
) -> Bundle:
    """The bundle with other classes; what the body of the generator learned stays as it is.

    Args:
        bundle: the old one, which is not changed.
        names: new class names in label order.
        ids: the old class that each of them continues, ``(C',)`` int64; without those of ``new``.
        change: one sentence for the model card.
        details: more of it for the provenance.
        new: classes that continue none, the last of ``names``; of a bundle with codes alone.

    Raises:
        ConfigError: a generator without classes, fewer than two classes left, or names that are not distinct.
    """
    _check(bundle, names)
    spec = bundle.data_spec.model_copy(update={"num_classes": len(names)})
    bank, label_names = bundle.bank, bundle.low_quality_classes
    rows: dict[str, RowMap] = {CLASSES: partial(_continued, ids=ids, new=None if new is None else new.codes)}
    if bank is not None and bank.label_of_class is not None:
        bank, rows[LOW_QUALITY_LABELS], label_names = _matched(bank, label_names, names, ids, new)
        spec = spec.model_copy(update={"num_low_quality_labels": len(label_names)})
    recipe = with_form(bundle.recipe, codes=bundle.codes is not None)
    codes = _codes(bundle.codes, rows)
    if codes is not None and bundle.codes is not None and bundle.codes.with_reals is not None:
        seen = None if new is None else torch.ones(len(new.codes))
        codes = replace(codes, with_reals=_continued(bundle.codes.with_reals, ids, seen))
        assert codes.with_reals is not None
        spec = spec.model_copy(update={"num_lq_only": int((~codes.with_reals).sum())})
    generator = _generator(bundle.generator, recipe, spec, rows, codes)
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
        data_spec=spec,
        classes=names,
        low_quality_classes=label_names,
        bank=bank,
        generator=generator,
        provenance=provenance,
        codes=codes,
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
            f"this leaves {plural(len(names), 'class', 'classes')}; a class-conditional generator needs at least "
            f"{MIN_CLASSES}, keep more of its {len(bundle.classes):,}"
        )
    if not all(names):
        raise ConfigError("a class name is empty; give every class a name")
    for label, (name, last) in enumerate(zip(names, ClassIndex(names).find(names), strict=True)):
        if label != last:
            raise ConfigError(f"two classes would be called {name!r}; class names must differ, choose another one")


def generator_of(bundle: Bundle, rows: Mapping[str, RowMap], count: int) -> nn.Module:
    """A bundle's generator with other rows, which shares all other weights with it.

    Args:
        bundle: with the generator, which is not changed.
        rows: the new ones by the name of the space; those of the low-quality labels end with the row of images
            without one. A space that the generator has no rows of is ignored.
        count: of new classes, and of new low-quality labels if there are rows of them.
    """
    counts = {"num_classes": count} | ({"num_low_quality_labels": count} if LOW_QUALITY_LABELS in rows else {})
    recipe = with_form(bundle.recipe, codes=bundle.codes is not None)
    spec = bundle.data_spec.model_copy(update=counts)
    return _generator(bundle.generator, recipe, spec, rows, _codes(bundle.codes, rows))


def _continued(old: Tensor, ids: Tensor, new: Tensor | None) -> Tensor:
    """Rows ``ids`` of the old ones, and behind them the new ones."""
    kept = old[ids.to(old.device)]
    return kept if new is None else torch.cat([kept, new.to(kept)])


def _codes(codes: ClassCodes | None, rows: Mapping[str, RowMap]) -> ClassCodes | None:
    """The codes as a generator takes them: which classes have high-quality images, it need not know."""
    if codes is None:
        return None
    labels = codes.low_quality_labels
    if labels is not None and LOW_QUALITY_LABELS in rows:
        labels = rows[LOW_QUALITY_LABELS](labels)
    return replace(codes, classes=rows[CLASSES](codes.classes), low_quality_labels=labels, with_reals=None)


def _generator(
    old: nn.Module, recipe: Recipe, spec: DataSpec, rows: Mapping[str, RowMap], codes: ClassCodes | None
) -> nn.Module:
    with torch.device("meta"):
        generator = build_generator(recipe, spec, codes=codes)
    tensors = dict(old.state_dict())
    for table, space in table_spaces(generator).items():
        if space in rows:
            tensors[f"{table}.weight"] = rows[space](tensors[f"{table}.weight"])
    generator.load_state_dict(tensors, assign=True)
    device = next(iter(tensors.values())).device  # the codes alone may be elsewhere
    return generator.to(device).eval().requires_grad_(False)


def _matched(
    bank: LowQualityBank, label_names: tuple[str, ...], names: tuple[str, ...], ids: Tensor, new: NewClasses | None
) -> tuple[LowQualityBank, RowMap, tuple[str, ...]]:
    """Labels that follow their classes: classes that continue one old class share its label, a new one gets its own.

    If a class has no label, and takes images of any, those of labels that were no class's stay; those of dropped
    classes are gone, unless there are no others.

    Returns:
        The bank, what makes the rows of the new labels (that of unlabelled images last), and the names of the labels:
        each that of its first class.
    """
    assert bank.label_of_class is not None
    of_old = bank.label_of_class[ids.numpy()]
    used, first = np.unique(of_old, return_index=True)
    used, first = used[used >= 0], first[used >= 0]
    kept_names = [names[place] for place in first.tolist()]
    if (of_old < 0).any():
        held = np.unique(bank.labels[bank.labels >= 0])
        others = np.setdiff1d(held, bank.label_of_class)
        if len(used) + len(others) == 0 and (bank.labels >= 0).all():
            others = held
        used = np.concatenate([used, others])
        for name in (label_names[label] for label in others.tolist()):
            kept_names.append(name if name not in {*names, *kept_names} else f"{name} (no class)")
    images = () if new is None else new.low_quality
    assert new is None or len(images) == len(new.codes), "every new class brings its low-quality images"
    new_label = np.full(len(label_names) + 1, -2, dtype=np.int64)  # what becomes of a label
    new_label[-1] = -1  # images without one stay so, and so do classes
    new_label[used] = np.arange(len(used))
    kept = np.flatnonzero(new_label[bank.labels] > -2)
    own = len(used) + np.arange(len(images))
    numbers = [new_label[bank.labels[kept]], *(np.full(len(part), n) for part, n in zip(images, own, strict=True))]
    changed = LowQualityBank(
        np.concatenate([bank.images[kept], *images]), np.concatenate(numbers), np.concatenate([new_label[of_old], own])
    )
    labels = partial(_continued_labels, ids=torch.from_numpy(used), new=None if new is None else new.codes)
    return changed, labels, (*kept_names, *names[len(ids) :])


def _continued_labels(old: Tensor, ids: Tensor, new: Tensor | None) -> Tensor:
    """The same for rows of labels, of which that of images without one stays the last."""
    return torch.cat([_continued(old, ids, new), old[-1:]])
