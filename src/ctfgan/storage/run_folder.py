"""The folder of a run: recipe, journal, sheets, checkpoints. Nothing in it is ever half-written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal

from ctfgan.core.errors import BundleError, RunError
from ctfgan.core.files import LOCK, clear_remains, delete_folder, is_remains, lock, new_folder, read_json, write_file
from ctfgan.core.text import excerpt, json_bytes
from ctfgan.storage.checkpoints import (
    MANIFEST,
    WAY_OUT,
    Checkpoint,
    StoredTensors,
    check_files,
    read_checkpoint,
    read_manifest,
    write_checkpoint,
)
from ctfgan.storage.journal import Journal, Listener

RECIPE = "recipe.json"
JOURNAL = "journal.jsonl"
DATA = "data.json"
FIGURES = "figures.json"
BUNDLE = "bundle"
PROVENANCE = "provenance.json"  # of bundles, which have a recipe, too
RECOGNISER = "recogniser.safetensors"
CODES = "class_codes.safetensors"  # of runs and of bundles
CHECKPOINTS = "checkpoints"
TRACKER = "tracker.json"
ASIDE = "damaged-"


def bundle_folder(folder: Path) -> Path:
    """The bundle folder that a folder means: itself, or that of a finished run.

    Raises:
        BundleError: no folder there, or a run without a bundle.
    """
    if (folder / CHECKPOINTS).is_dir():
        if not (folder / BUNDLE).is_dir():
            raise BundleError(f"run {folder} is not finished and has no bundle yet; run 'ctfgan resume {folder}' first")
        folder = folder / BUNDLE
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise BundleError(f"{folder} {what}; give a run folder or a bundle folder")
    return folder


class RunFolder:
    """A run on disk.

    Attributes:
        path: the folder.
        listeners: who follows its journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Listener] = []

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Refuse a path where something is already; an empty folder is fine.

        Raises:
            RunError: a file, or a folder that holds something.
        """
        if (path / RECIPE).is_file():
            raise RunError(f"run {path} exists already; go on with 'ctfgan resume {path}', or choose another --out")
        if path.is_dir():
            # A start that was killed may have left its lock.
            is_free = all(entry.name == LOCK or is_remains(entry) for entry in path.iterdir())
        else:
            is_free = not path.exists()
        if not is_free:
            raise RunError(f"{path} exists already and is no run; choose another --out")
        home = path.absolute()
        while not home.exists():
            home = home.parent
        if not home.is_dir() or not os.access(home, os.W_OK):
            raise RunError(f"{path} cannot be made, {home} is no folder that you may write to; choose another --out")

    @classmethod
    def create(cls, path: Path, recipe: str) -> RunFolder:
        """A new run folder with its recipe; of several processes that begin at the same time, one gets it.

        Raises:
            RunError: something is there already.
        """
        cls.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path} cannot be made ({error.strerror}); choose another --out") from error
        run = cls(path)
        with run.held():
            cls.check_free(path)  # again: another process may have been faster
            write_file(path / RECIPE, recipe.encode())
        return run

    @classmethod
    def begun(cls, path: Path) -> RunFolder:
        """A run folder, however far the run got.

        Raises:
            RunError: no run there.
        """
        if not path.is_dir():
            raise RunError(f"{path} is no run folder; give the folder that 'ctfgan train' printed")
        if not (path / RECIPE).is_file():
            raise RunError(
                f"{path} has no {RECIPE}, so it is no run folder; give the folder that 'ctfgan train' printed"
            )
        if (path / PROVENANCE).exists():
            raise RunError(f"{path} is a bundle, not a run; give the folder that 'ctfgan train' printed")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run folder with something to read: at least one complete checkpoint.

        Raises:
            RunError: no run there, or one that never got as far as its first checkpoint.
        """
        run = cls.begun(path)
        if not run.checkpoints():
            raise RunError(f"{path} has no complete checkpoint yet; go on with 'ctfgan resume {path}'")
        return run

    @contextmanager
    def held(self, warn: Callable[[str], None] = lambda line: None) -> Iterator[None]:
        """Keep other processes from working on this run, and tidy up after those that were killed.

        The lock goes with the process, however that ends. Where files cannot be locked (some network file systems),
        nothing is kept, which ``warn`` is told.

        Raises:
            RunError: another process works on it, or its folder cannot be written to.
        """
        try:
            opened = (self.path / LOCK).open("w", encoding="utf-8")
        except OSError as error:
            reason = error.strerror
            raise RunError(
                f"run {self.path} cannot be written to ({reason}); make its folder writable, or go on with a copy"
            ) from error
        with opened as file:
            try:
                lock(file)
            except BlockingIOError as error:
                raise RunError(f"another process is at work on run {self.path}; wait for it, or stop it") from error
            except OSError as error:
                warn(f"{self.path} cannot be locked here ({error}); see to it that no other process works on it")
            else:
                clear_remains(self.path)
            yield

    def read_json(self, name: str) -> dict[str, Any]:
        """One of the run's JSON files.

        Raises:
            RunError: missing or damaged.
        """
        try:
            return read_json(self.path / name)
        except (OSError, ValueError) as error:
            reason = excerpt(error)
            raise RunError(f"{self.path / name} is missing or damaged ({reason}); restore it or train again") from error

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Replace one of the run's JSON files."""
        write_file(self.path / name, json_bytes(content))

    def journal(self) -> Journal:
        """The run's journal."""
        return Journal(self.path / JOURNAL, self.listeners)

    def checkpoints(self) -> list[Path]:
        """Folders of the complete checkpoints, oldest first."""
        return [folder for folder in self._step_folders() if (folder / MANIFEST).is_file()]

    def is_untrained(self) -> bool:
        """Whether the run never got as far as its first checkpoint, so that beginning anew loses nothing."""
        return not self._step_folders() and not list((self.path / CHECKPOINTS).glob(f"{ASIDE}*"))

    def save(self, step: int, checkpoint: Checkpoint, note: dict[str, Any]) -> Path:
        """Write a checkpoint whole, with the hashes of its files; a later one of the same step replaces it."""
        target = self._checkpoint(step)
        self.journal().flush()
        with new_folder(target) as folder:
            write_checkpoint(checkpoint, folder, {"step": step, **note})
        return target

    def has(self, step: int) -> bool:
        """Whether there is a complete checkpoint of a step."""
        return (self._checkpoint(step) / MANIFEST).is_file()

    def load(self, folder: Path, *, is_checked: bool = False) -> Checkpoint:
        """Open a checkpoint; runs no code from it.

        Args:
            folder: one of :meth:`checkpoints`.
            is_checked: whether :meth:`put_damaged_aside` has compared its hashes; else that happens here.

        Raises:
            RunError: a file is missing or was changed.
        """
        if not is_checked:
            check_files(folder)
        return read_checkpoint(folder)

    def put_damaged_aside(self, warn: Callable[[str], None]) -> None:
        """Check every checkpoint; damaged ones are named to ``warn`` and are checkpoints no more.

        Only for who holds the run.
        """
        for folder in self._step_folders():
            try:
                check_files(folder)
            except RunError as error:
                warn(f"{str(error).removesuffix(WAY_OUT)}; put aside as {self._put_aside(folder).name}")

    def newest_intact(self, warn: Callable[[str], None]) -> Path:
        """The newest checkpoint, after putting damaged ones aside; for who holds the run.

        Raises:
            RunError: none is intact.
        """
        self.put_damaged_aside(warn)
        if not self.checkpoints():
            raise RunError(f"{self.path} has no intact checkpoint; restore one from a copy, or train again")
        return self.checkpoints()[-1]

    def load_tensors(self, folder: Path) -> StoredTensors:
        """The weights of a checkpoint alone, after checking all hashes."""
        check_files(folder)
        return StoredTensors(folder)

    def manifest(self, folder: Path) -> dict[str, Any]:
        """What was noted beside a checkpoint: step, stage, distance."""
        return read_manifest(folder)

    def best(self) -> Path:
        """The checkpoint of the newest stage with the smallest distance; the newest one if none was measured.

        One whose manifest is damaged is passed over.
        """
        notes = self._notes()
        scored = [
            (note["distance"], -note["step"], folder)
            for folder, note in notes
            if note["stage"] == notes[-1][1]["stage"] and note["distance"] is not None
        ]
        return min(scored)[2] if scored else self.checkpoints()[-1]

    def good(self) -> list[Path]:
        """Checkpoints that a run may be rolled back to, oldest first: of healthy checks and of starts of stages."""
        return [folder for folder, note in self._notes() if note["good"]]

    def released(self, release: Literal["best", "last"]) -> Path:
        """The checkpoint whose weights a bundle carries."""
        return self.best() if release == "best" else self.checkpoints()[-1]

    def prune(self, keep: int) -> None:
        """Delete all checkpoints but the newest ``keep``, as many good ones, and the best."""
        kept = {*self.checkpoints()[-keep:], *self.good()[-keep:], self.best()}
        for folder in self.checkpoints():
            if folder not in kept:
                delete_folder(folder)

    def _checkpoint(self, step: int) -> Path:
        return self.path / CHECKPOINTS / f"step-{step:08d}"

    def _step_folders(self) -> list[Path]:
        """Folders of checkpoints, damaged ones among them, oldest first."""
        return sorted(folder for folder in (self.path / CHECKPOINTS).glob("step-*") if folder.is_dir())

    def _notes(self) -> list[tuple[Path, dict[str, Any]]]:
        """Complete checkpoints and their manifests, oldest first; without those whose manifest is damaged."""
        notes = []
        for folder in self.checkpoints():
            with suppress(RunError):  # resuming names it; the others count
                notes.append((folder, read_manifest(folder)))
        return notes

    def _put_aside(self, folder: Path) -> Path:
        aside = folder.with_name(f"{ASIDE}{folder.name}")
        for number in count(2):
            if not aside.exists():
                break
            aside = folder.with_name(f"{ASIDE}{folder.name}.{number}")
        folder.rename(aside)
        return aside
