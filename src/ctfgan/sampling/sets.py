"""Sets of samples on disk: exact numbers of images of each class, made in bounded memory, stopped and gone on with."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ctfgan.core.errors import Interrupted
from ctfgan.core.progress import Progress, silent
from ctfgan.core.signals import stop_on_signals
from ctfgan.data.images import Bytes, to_picture
from ctfgan.sampling.layouts import Layout, Row, layout_named
from ctfgan.sampling.model import ImageId, Model
from ctfgan.sampling.names import folder_names
from ctfgan.sampling.plan import Plan
from ctfgan.sampling.set_folder import SetFolder

ROUND = 64  # images that a process makes before they are written
WARM = 2  # rounds before the time that is left can be told

OnEstimate = Callable[[float, int], None]
"""Is told once how many seconds are left and how many bytes there will be."""


@dataclass(frozen=True)
class MadeSet:
    """What there is now."""

    images: int
    bytes: int
    made: int
    """Images that were not there before."""


def layout_for(model: Model, plan: Plan, form: str, seed: int) -> Layout:
    """How a set of a model will lie on disk.

    Args:
        model: the generator.
        plan: what the set consists of.
        form: folders, parquet or webdataset.
        seed: of the set.

    Raises:
        ConfigError: an unknown form, or one whose library is missing.
    """
    recipe, spec = model.bundle.recipe, model.bundle.data_spec
    # Of all classes, so that a class has the same folder in every set of a model.
    names = folder_names(model.classes) if recipe.method.is_conditional else list(plan.classes)
    folders = [names[label] for label in plan.labels.tolist()]
    return layout_named(form)(plan, folders, recipe.data.resolution**2 * spec.channels, seed)


def write_set(
    model: Model,
    layout: Layout,
    out: Path,
    *,
    low_quality: Bytes | None = None,
    progress: Progress = silent,
    on_estimate: OnEstimate | None = None,
) -> MadeSet:
    """Make a set of samples, or go on with one; under a launcher all processes of it must call this.

    An image depends on the bundle, its class, its number in the class and the seed, not on what else is made with it;
    to the bit on a CPU with the same number of threads. Memory holds one shard, or 1,000 images, at most.

    Args:
        model: the generator.
        layout: from :func:`layout_for`; holds plan and seed.
        out: a new folder, or that of a set that was begun with the same arguments.
        low_quality: own low-quality images, uint8 ``(L, r, r, K)``, used in turn instead of the bank.
        progress: shows the making.
        on_estimate: told once how long it takes.

    Raises:
        ConfigError: something else is at ``out``, or a set that was begun with other arguments.
        Interrupted: a signal ended it early; complete pieces stay.
    """
    processes = model.engine.processes
    folder = SetFolder(out, layout, _told(model, layout, low_quality))
    try:
        todo = processes.on_main(lambda: folder.begin(progress))
        before = folder.images
        maker = _Maker(model, layout, out, folder, todo, low_quality)
        signal_number = maker.make(progress, on_estimate)
        if signal_number:
            raise Interrupted(
                f"stopped after {folder.images:,} of {layout.plan.total:,} images, which stay in {out}; run the same "
                "command again to go on",
                signal_number,
            )
        processes.on_main(folder.finish)
    finally:
        folder.close()
    return MadeSet(folder.images, folder.bytes, folder.images - before)


class _Maker:
    """Makes the images of missing pieces in rounds, writes each piece as soon as it is whole.

    Rounds begin at the same images whatever is missing, so that a set that was interrupted has the bits of one that
    was not.
    """

    def __init__(
        self, model: Model, layout: Layout, out: Path, folder: SetFolder, todo: list[int], low_quality: Bytes | None
    ) -> None:
        self._model, self._layout, self._out, self._folder = model, layout, out, folder
        self._low_quality = low_quality
        self._pieces = layout.pieces()
        self._stops = np.array([piece.stop for piece in self._pieces])
        self._places, self._numbers = layout.order()
        self._is_wanted = np.zeros(len(self._places), dtype=bool)
        for number in todo:
            self._is_wanted[self._pieces[number].start : self._pieces[number].stop] = True
        self._rows: list[Row] = []

    def make(self, progress: Progress, on_estimate: OnEstimate | None) -> int:
        """Make what is missing; returns the number of the signal that ended it early, or 0."""
        processes, size = self._model.engine.processes, ROUND * self._model.engine.processes.count
        rounds = np.unique(np.flatnonzero(self._is_wanted) // size)
        signal_number, started = 0, time.monotonic()
        with stop_on_signals(patient=processes.count > 1) as stop:
            for turn in progress(range(len(rounds)), len(rounds), f"making images, {size} at a time"):
                signal_number = processes.agreed(stop.signal_number or 0)
                if signal_number:
                    break
                start = int(rounds[turn]) * size
                images = self._images(slice(start, start + size))
                processes.on_main(lambda start=start, images=images: self._take(start, images))  # type: ignore[misc]
                if turn + 1 == WARM:
                    started = time.monotonic()
                elif turn == WARM and on_estimate is not None:
                    on_estimate((time.monotonic() - started) * (len(rounds) - turn - 1), self._bytes())
        processes.forget_requests()
        return signal_number

    def _images(self, rows: slice) -> Bytes:
        conditional = self._model.bundle.recipe.method.is_conditional
        names = self._layout.plan.classes if conditional else [None]
        ids = [
            ImageId(names[place], number)
            for place, number in zip(self._places[rows].tolist(), self._numbers[rows].tolist(), strict=True)
        ]
        return self._model.images(ids, seed=self._layout.seed, low_quality=self._low_quality)

    def _take(self, start: int, images: Bytes) -> None:
        for row, image in enumerate(images, start):
            if not self._is_wanted[row]:
                continue
            self._rows.append(Row(_encoded(image), int(self._places[row]), int(self._numbers[row])))
            number = int(np.searchsorted(self._stops, row, side="right"))
            if row + 1 == self._stops[number]:
                self._layout.write(self._out, self._pieces[number], self._rows)
                self._folder.complete(number)
                self._rows = []

    def _bytes(self) -> int:
        """What the set will take on disk, judged by the images so far."""
        sizes = [len(row.content) for row in self._rows]
        known = self._folder.images + len(sizes)
        return round((self._folder.bytes + sum(sizes)) / max(known, 1) * self._layout.plan.total)


def _encoded(image: Bytes) -> bytes:
    content = io.BytesIO()
    to_picture(image).save(content, format="PNG")
    return content.getvalue()


def _told(model: Model, layout: Layout, low_quality: Bytes | None) -> dict[str, Any]:
    """What decides the images of a set, and what its readers want to know."""
    recipe, plan = model.bundle.recipe, layout.plan
    folders = layout.folders if layout.name == "folders" else None
    classes = []
    for place, name in enumerate(plan.classes):
        entry = {"name": name, "label": int(plan.labels[place]), "images": int(plan.counts[place])}
        classes.append(entry | ({} if folders is None else {"folder": folders[place]}))
    own = None
    if low_quality is not None:
        own = {"images": len(low_quality), "sha256": sha256(np.ascontiguousarray(low_quality).data).hexdigest()}
    balance = plan.balance and {"source": plan.balance.source, "target": plan.balance.target}
    return {
        "model": {"recipe": recipe.name, "sha256": model.bundle.provenance["sha256"]},
        "format": layout.name,
        "seed": layout.seed,
        "image": {"encoding": "png", "side": recipe.data.resolution, "channels": model.bundle.data_spec.channels},
        "low_quality": own,
        "balanced_with": balance,
        "classes": classes,
    }
