"""Sets of samples on disk: exact numbers of images of each class, made in bounded memory, stopped and gone on with.

The manifest comes first and says what is to be made (:mod:`~ctfgan.data.sources.sample_set`); what is missing is made.
Files appear whole or not at all, and an image follows from bundle, class, number and seed: so a set is the same, byte
for byte, however often its making was interrupted. Where images are drawn until they are read as their class, a byte
for each notes the try that was kept, so that none is drawn twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ctfgan.bundle.bundle import environment
from ctfgan.core.errors import ConfigError, Interrupted
from ctfgan.core.files import LOCK, clear_remains, flush_all, hold_lock, is_remains, require_free, write_file
from ctfgan.core.progress import Progress, silent
from ctfgan.core.signals import stop_on_signals
from ctfgan.core.text import json_bytes, plural
from ctfgan.data.images import Bytes, png, to_picture
from ctfgan.data.sources.sample_set import (
    SET_KIND,
    SET_MANIFEST,
    SET_TRIES,
    SET_VERSION,
    SetLowQuality,
    SetManifest,
    SetReadable,
    set_manifest,
)
from ctfgan.sampling.layouts import EncodedImage, Layout, layout_named
from ctfgan.sampling.model import ImageId, Model
from ctfgan.sampling.names import folder_names
from ctfgan.sampling.plan import SamplePlan
from ctfgan.sampling.rejection import KeptImages, Rejections, RejectionSampler

ROUND = 64  # images that a process makes before they are written
WARM = 2  # rounds before the time that is left can be told
NEVER = 255  # stands in a set's tries for an image that was given up; 0 for one that was not tried yet

OnEstimate = Callable[[float, int], None]
"""Is told once how many seconds are left and how many bytes there will be."""


@dataclass(frozen=True)
class MadeSet:
    """What there is now."""

    images: int
    bytes: int
    made: int
    """Images that were not there before."""
    rejections: Rejections | None
    """How many were drawn for them, if they had to be read as their class."""


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
    sampler: RejectionSampler | None = None,
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
        sampler: from :meth:`~ctfgan.sampling.model.Model.rejection_sampler`: images are drawn anew until they are read
            as their class, and those that never are are left out; None keeps what is drawn first.
        progress: shows the making.
        on_estimate: told once how long it takes.

    Raises:
        ConfigError: something else is at ``out``, a set that was begun with other arguments, or another process makes
            it.
        Interrupted: a signal ended it early; complete files stay.
    """
    processes = model.engine.processes
    manifest = _manifest(model, layout, low_quality, sampler)
    with ExitStack() as held:
        present = processes.on_main(lambda: _begin(out, layout, manifest, held))
        tries = processes.on_main(lambda: _tries(out, layout, sampler))
        files = _Files(layout, out, present, tries)
        if len(files.rows):
            processes.on_main(lambda: _reopen(out, manifest))
        if sampler is not None and len(files.rows):
            processes.on_main(lambda: files.note_in(held.enter_context(_record(out, tries))))
        signal_number = _make(files, model, layout, low_quality, sampler, progress, on_estimate)
        if signal_number:
            raise Interrupted(
                f"stopped after {files.images:,} of {layout.plan.total:,} images, which stay in {out}; run the same "
                "command again to go on",
                signal_number,
            )
        rejections = None if sampler is None else files.rejections(sampler.tries)
        processes.on_main(lambda: _finish(out, manifest, rejections))
    return MadeSet(files.images, files.bytes, files.made, rejections)


class _Files:
    """The files of a set: which images are still to be made, and the writing of a file as soon as it has all of its.

    Args:
        layout: of the set.
        out: its folder.
        present: bytes of each file that is there, by its number.
        tries: of each image, ``(N,)``: the try that was kept, from 1; 0 if none was made yet, :data:`NEVER` if it was
            given up and is in no file.

    Attributes:
        rows: the images to be made, in the order of the set.
        images: how many there are.
        bytes: of all files that there are.
    """

    def __init__(self, layout: Layout, out: Path, present: Mapping[int, int], tries: NDArray[np.uint8]) -> None:
        sizes = layout.sizes()
        self._layout, self._out, self._tries = layout, out, tries
        self._file, self._stops = np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes)
        self._starts = self._stops - sizes
        self._unwritten: list[EncodedImage] = []
        is_done = np.bincount(self._file[tries != NEVER], minlength=len(sizes)) == 0  # nothing of it is to be written
        is_done[list(present)] = True
        is_done[self._file[tries == 0]] = False
        self.rows = np.flatnonzero(~is_done[self._file])
        self.images = self._before = int((is_done[self._file] & (tries != NEVER)).sum())
        self.bytes = sum(size for file, size in present.items() if is_done[file])
        self._record: BinaryIO | None = None

    def note_in(self, record: BinaryIO) -> None:
        """Write tries into a file from now on."""
        self._record = record

    @property
    def made(self) -> int:
        """How many of the images were not there before."""
        return self.images - self._before

    def add(self, row: int, image: EncodedImage | None, attempt: int) -> None:
        """Take the next of the images to be made, and the try at it that was kept; None and :data:`NEVER` for none."""
        self._tries[row] = attempt
        if image is not None:
            self._unwritten.append(image)
        file = int(self._file[row])
        if row + 1 == self._stops[file] and self._unwritten:
            path = self._out / self._layout.path(file)
            self._layout.write(path, self._unwritten, int(self._starts[file]))
            self.images += len(self._unwritten)
            self.bytes += path.stat().st_size
            self._unwritten = []
        if self._record is not None:
            self._record.seek(row)
            self._record.write(bytes([attempt]))

    def expected_bytes(self) -> int:
        """What the set will take on disk, judged by the images so far."""
        sizes = [len(image.content) for image in self._unwritten]
        images, tried = self.images + len(sizes), np.count_nonzero(self._tries)
        total = self._layout.plan.total * np.count_nonzero(self._tries[self._tries != NEVER]) / max(int(tried), 1)
        return round((self.bytes + sum(sizes)) / max(images, 1) * total)

    def rejections(self, most: int) -> Rejections:
        """How many images were drawn and kept of each class, with so many tries at those that were given up."""
        tries = np.where(self._tries == NEVER, 0, self._tries).astype(np.int64)
        return Rejections.count(self._layout.plan.classes, self._layout.places, tries, most)


def _make(
    files: _Files,
    model: Model,
    layout: Layout,
    low_quality: Bytes | None,
    sampler: RejectionSampler | None,
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

    def take(part: list[int], kept: KeptImages) -> None:
        for row, image, attempt in zip(part, kept.images, kept.tries.tolist(), strict=True):
            place, number = int(layout.places[row]), int(layout.numbers[row])
            encoded = EncodedImage(png(to_picture(image)), place, number) if attempt else None
            files.add(row, encoded, attempt or NEVER)

    with stop_on_signals(patient=processes.count > 1) as stop:
        for turn in progress(range(rounds), rounds, f"making images, {size} at a time"):
            signal_number = processes.agreed(stop.signal_number or 0)
            if signal_number:
                break
            part = files.rows[turn * size : (turn + 1) * size].tolist()
            ids = [ImageId(names[layout.places[row]], int(layout.numbers[row])) for row in part]
            kept = model.kept_images(ids, sampler, seed=layout.seed, low_quality=low_quality)
            processes.on_main(lambda part=part, kept=kept: take(part, kept))  # type: ignore[misc]
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
    return {file: size for file, size in sizes if size}  # a computer that lost power may leave empty ones


def _reopen(out: Path, manifest: dict[str, Any]) -> None:
    """A set that was complete and lacks something is so no more."""
    known = set_manifest(out)
    if known is not None and known.complete:
        _write_manifest(out, manifest)


def _finish(out: Path, manifest: dict[str, Any], rejections: Rejections | None) -> None:
    known = set_manifest(out)
    if known is not None and known.complete:
        return
    if rejections is not None:
        drawn, kept = rejections.drawn, rejections.kept
        manifest["readable"] |= {"drawn": sum(drawn), "kept": sum(kept)}
        for entry, *numbers in zip(manifest["classes"], drawn, kept, strict=True):
            entry |= dict(zip(("drawn", "kept"), numbers, strict=True))
    flush_all()
    _write_manifest(out, {**manifest, "complete": True})


def _tries(out: Path, layout: Layout, sampler: RejectionSampler | None) -> NDArray[np.uint8]:
    """The tries of all images as far as they were noted; without a sampler the first ones."""
    total = layout.plan.total
    if sampler is None:
        return np.ones(total, dtype=np.uint8)
    noted = out / SET_TRIES
    is_whole = noted.is_file() and noted.stat().st_size == total
    return np.frombuffer(noted.read_bytes() if is_whole else bytes(total), dtype=np.uint8).copy()


def _record(out: Path, tries: NDArray[np.uint8]) -> BinaryIO:
    """The file in which tries are noted, image by image."""
    write_file(out / SET_TRIES, tries.tobytes())
    return (out / SET_TRIES).open("r+b", buffering=0)


def _write_manifest(out: Path, content: Mapping[str, Any]) -> None:
    write_file(out / SET_MANIFEST, json_bytes(content))


def _manifest(
    model: Model, layout: Layout, low_quality: Bytes | None, sampler: RejectionSampler | None = None
) -> dict[str, Any]:
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
    readable = None
    if sampler is not None:
        readable = {"top_k": sampler.top_k, "tries": sampler.tries, "recogniser": sampler.recogniser.card.name}
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
        "readable": readable,
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
    if before.readable != now.readable:
        return f"{_readable_words(before.readable)}, not {_readable_words(now.readable)}"
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


def _readable_words(readable: SetReadable | None) -> str:
    if readable is None:
        return "without --keep-readable"
    return f"with --keep-readable, --top-k {readable.top_k}, --tries {readable.tries} and {readable.recogniser}"
