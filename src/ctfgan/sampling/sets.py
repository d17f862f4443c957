"""Sets of samples on disk: exact numbers of images of each class, made in bounded memory, stopped and gone on with.

The manifest comes first and says what is to be made (:mod:`~ctfgan.data.sources.sample_set`); what is missing is made.
Files appear whole or not at all, and an image follows from bundle, class, number and seed: so a set is the same, byte
for byte, however often its making was interrupted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ctfgan.bundle.bundle import environment
from ctfgan.core.errors import ConfigError, Interrupted
from ctfgan.core.files import LOCK, clear_remains, flush_all, hold_lock, is_remains, require_free, write_file
from ctfgan.core.progress import Progress, silent
from ctfgan.core.signals import stop_on_signals
from ctfgan.core.text import plural
from ctfgan.data.images import Bytes, png, to_picture
from ctfgan.data.sources.sample_set import (
    SET_KIND,
    SET_MANIFEST,
    SET_VERSION,
    SetLowQuality,
    SetManifest,
    set_manifest,
)
from ctfgan.sampling.layouts import EncodedImage, Layout, layout_named
from ctfgan.sampling.model import ImageId, Model
from ctfgan.sampling.names import folder_names
from ctfgan.sampling.plan import SamplePlan

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


def layout_for(model: Model, plan: SamplePlan, form: str, seed: int) -> Layout:
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


def check_set_folder(out: Path) -> None:
    """Refuse a place where a set can neither begin nor go on, before any work.

    Raises:
        ConfigError: something else is at ``out``, or its parent folder is missing.
    """
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"folder {out.absolute().parent} does not exist; make it first, or choose another --out")
    # A command that has only just begun, or was killed then, leaves no manifest yet.
    has_begun = out.is_dir() and all(path.name == LOCK or is_remains(path) for path in out.iterdir())
    if set_manifest(out) is None and not has_begun:
        require_free(out)


def write_set(
    model: Model,
    layout: Layout,
    out: Path,
    *,
    low_quality: Bytes | None = None,
    progress: Progress = silent,
    on_estimate: OnEstimate | None = None,
) -> MadeSet:
    """Make a set of samples, or what is missing of one; under a launcher all processes of it must call this.

    Memory holds one shard, or one round of images.

    Args:
        model: the generator.
        layout: from :func:`layout_for`; holds plan and seed.
        out: a new folder, or that of a set that was begun with the same arguments.
        low_quality: own low-quality images, uint8 ``(L, r, r, K)``, used in turn instead of the bank.
        progress: shows the making.
        on_estimate: told once how long it takes.

    Raises:
        ConfigError: something else is at ``out``, a set that was begun with other arguments, or another process makes
            it.
        Interrupted: a signal ended it early; complete files stay.
    """
    processes = model.engine.processes
    manifest = _manifest(model, layout, low_quality)
    with ExitStack() as held:
        present = processes.on_main(lambda: _begin(out, layout, manifest, held))
        files = _Files(layout, out, present)
        signal_number = _make(files, model, layout, low_quality, progress, on_estimate)
        if signal_number:
            raise Interrupted(
                f"stopped after {files.images:,} of {layout.plan.total:,} images, which stay in {out}; run the same "
                "command again to go on",
                signal_number,
            )
        processes.on_main(lambda: _finish(out, manifest))
    return MadeSet(layout.plan.total, files.bytes, len(files.rows))


class _Files:
    """The files of a set: which images are still to be made, and the writing of a file as soon as it has all of its.

    Args:
        layout: of the set.
        out: its folder.
        present: bytes of each file that is there, by its number.

    Attributes:
        rows: the missing images in the order of the set.
        images: how many there are.
        bytes: of all files that there are.
    """

    def __init__(self, layout: Layout, out: Path, present: Mapping[int, int]) -> None:
        sizes = layout.sizes()
        self._layout, self._out = layout, out
        self._file, self._stops = np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes)
        self._unwritten: list[EncodedImage] = []
        self.rows = np.flatnonzero(~np.isin(self._file, list(present)))
        self.images, self.bytes = layout.plan.total - len(self.rows), sum(present.values())

    def add(self, row: int, image: EncodedImage) -> None:
        """Take the next of the missing images."""
        self._unwritten.append(image)
        file = int(self._file[row])
        if row + 1 == self._stops[file]:
            path = self._out / self._layout.path(file)
            self._layout.write(path, self._unwritten, row + 1 - len(self._unwritten))
            self.images += len(self._unwritten)
            self.bytes += path.stat().st_size
            self._unwritten = []

    def expected_bytes(self) -> int:
        """What the set will take on disk, judged by the images so far."""
        sizes = [len(image.content) for image in self._unwritten]
        return round((self.bytes + sum(sizes)) / max(self.images + len(sizes), 1) * self._layout.plan.total)


def _make(
    files: _Files,
    model: Model,
    layout: Layout,
    low_quality: Bytes | None,
    progress: Progress,
    on_estimate: OnEstimate | None,
) -> int:
    """Make what is missing; returns the number of the signal that ended it early, or 0."""
    processes, names = model.engine.processes, list[str | None](layout.plan.classes)
    if not model.bundle.recipe.method.is_conditional:
        names = [None]
    size = ROUND * processes.count
    rounds = -(-len(files.rows) // size)
    signal_number, started = 0, time.monotonic()

    def take(part: list[int], images: Bytes) -> None:
        for row, image in zip(part, images, strict=True):
            content = png(to_picture(image))
            files.add(row, EncodedImage(content, int(layout.places[row]), int(layout.numbers[row])))

    with stop_on_signals(patient=processes.count > 1) as stop:
        for turn in progress(range(rounds), rounds, f"making images, {size} at a time"):
            signal_number = processes.agreed(stop.signal_number or 0)
            if signal_number:
                break
            part = files.rows[turn * size : (turn + 1) * size].tolist()
            ids = [ImageId(names[layout.places[row]], int(layout.numbers[row])) for row in part]
            images = model.images(ids, seed=layout.seed, low_quality=low_quality)
            processes.on_main(lambda part=part, images=images: take(part, images))  # type: ignore[misc]
            if turn + 1 == WARM:
                started = time.monotonic()
            elif turn == WARM and on_estimate is not None:
                on_estimate((time.monotonic() - started) * (rounds - turn - 1), files.expected_bytes())
    processes.forget_requests()
    return signal_number


def _begin(out: Path, layout: Layout, manifest: dict[str, Any], held: ExitStack) -> dict[int, int]:
    """Bytes of each file that is there already, by its number; the set is locked until ``held`` is closed."""
    check_set_folder(out)
    out.mkdir(exist_ok=True)
    try:
        is_locked = held.enter_context(hold_lock(out / LOCK))
    except BlockingIOError as error:
        raise ConfigError(f"another process is making {out}; wait for it, or stop it") from error
    except OSError:  # nothing can be written here, which matters only if something is missing
        is_locked = False
    before = set_manifest(out)
    difference = before and _difference(before, SetManifest.model_validate(manifest))
    if difference:
        raise ConfigError(
            f"{out} was begun {difference}; repeat the command that it was begun with, or choose another --out"
        )
    if is_locked:  # else what others are writing would go, too
        clear_remains(out)
    if before is None:
        _write_manifest(out, manifest)
    paths = (out / layout.path(file) for file in range(len(layout.sizes())))
    sizes = ((file, path.stat().st_size) for file, path in enumerate(paths) if path.is_file())
    present = {file: size for file, size in sizes if size}  # a computer that lost power may leave empty ones
    if before is not None and before.complete and len(present) < len(layout.sizes()):
        _write_manifest(out, manifest)
    return present


def _finish(out: Path, manifest: dict[str, Any]) -> None:
    known = set_manifest(out)
    if known is None or not known.complete:
        flush_all()
        _write_manifest(out, {**manifest, "complete": True})


def _write_manifest(out: Path, content: Mapping[str, Any]) -> None:
    write_file(out / SET_MANIFEST, json.dumps(content, ensure_ascii=False, indent=1).encode())


def _manifest(model: Model, layout: Layout, low_quality: Bytes | None) -> dict[str, Any]:
    """What decides the images of a set, and what its readers want to know."""
    recipe, plan = model.bundle.recipe, layout.plan
    classes = []
    for place, name in enumerate(plan.classes):
        folder = {"folder": layout.folders[place]} if layout.name == "folders" else {}
        entry = {"name": name, "label": int(plan.labels[place]), "images": int(plan.counts[place])}
        classes.append(entry | folder)
    own = None
    if low_quality is not None:
        own = {"images": len(low_quality), "sha256": sha256(np.ascontiguousarray(low_quality).data).hexdigest()}
    return {
        "kind": SET_KIND,
        "format_version": SET_VERSION,
        "complete": False,
        "model": {"recipe": recipe.name, "sha256": model.bundle.provenance["sha256"]},
        "format": layout.name,
        "seed": layout.seed,
        "image": {"encoding": "png", "side": recipe.data.resolution, "channels": model.bundle.data_spec.channels},
        "low_quality": own,
        "balanced_with": plan.balance and {"source": plan.balance.source, "target": plan.balance.target},
        "images": plan.total,
        "made_with": environment(),
        "classes": classes,
    }


def _difference(before: SetManifest, now: SetManifest) -> str | None:
    """How a set that was begun differs from the one that is asked for, in words; None if it does not."""
    if before.model.sha256 != now.model.sha256:
        return f"with another model (recipe {before.model.recipe})"
    if before.format != now.format:
        return f"with --format {before.format}, not {now.format}"
    if before.seed != now.seed:
        return f"with --seed {before.seed}, not {now.seed}"
    if before.low_quality != now.low_quality:
        return f"with {_lq_words(before.low_quality)}, not {_lq_words(now.low_quality)}"
    old, new = before.classes, now.classes
    if len(old) != len(new):
        return f"for {plural(len(old), 'class', 'classes')}, not {plural(len(new), 'class', 'classes')}"
    for one, other in zip(old, new, strict=True):
        if one.name != other.name:
            return "for other classes"
        if one.images != other.images:
            return f"with {one.images:,} images of class {one.name!r}, not {other.images:,}"
    return None


def _lq_words(low_quality: SetLowQuality | None) -> str:
    if low_quality is None:
        return "the bundle's low-quality images"
    return f"{low_quality.images:,} own low-quality images (SHA-256 {low_quality.sha256[:8]})"
