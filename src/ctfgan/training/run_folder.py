"""The folder of a run: recipe, journal, sheets, checkpoints. Nothing in it is ever half-written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ctfgan.errors import RunError, excerpt
from ctfgan.files import is_taken, new_folder, read_json, sha256, try_lock, write_file
from ctfgan.training.tensor_files import Rows, StoredTensors, damaged, write_tensors

RECIPE = "recipe.json"
JOURNAL = "journal.jsonl"
DATA = "data.json"
FIGURES = "figures.json"
BUNDLE = "bundle"
RECOGNISER = "recogniser.safetensors"
CHECKPOINTS = "checkpoints"
TRACKER = "tracker.json"
MANIFEST = "checkpoint.json"
LOCK = ".lock"


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint, to be written."""

    tensors: Mapping[str, Tensor | Rows]
    """Weights of the networks and of their averages."""
    state: dict[str, Any]
    """Optimisers, random generators, positions, counters: plain values and tensors only."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """One complete checkpoint on disk."""

    tensors: StoredTensors
    """As in :class:`Checkpoint`; read when they are asked for."""
    state: dict[str, Any]
    """As in :class:`Checkpoint`."""


Listener = Callable[[Mapping[str, Any]], None]
"""Is told every line of a journal after it was written."""


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
        if (path / RECIPE).is_file() and cls(path).checkpoints():
            raise RunError(f"run {path} exists already; go on with 'ctfgan resume {path}', or choose another --out")
        if (path / RECIPE).is_file():
            raise RunError(f"run {path} ended before its first checkpoint; delete it, or choose another --out")
        if is_taken(path):
            raise RunError(f"{path} exists already and is no run; choose another --out")
        home = path.absolute()
        while not home.exists():
            home = home.parent
        if not home.is_dir() or not os.access(home, os.W_OK):
            raise RunError(f"{path} cannot be made, {home} is no folder that you may write to; choose another --out")

    @classmethod
    def create(cls, path: Path, recipe: str) -> RunFolder:
        """A new run folder with its recipe.

        Raises:
            RunError: something is there already.
        """
        cls.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path} cannot be made ({error.strerror}); choose another --out") from error
        write_file(path / RECIPE, recipe.encode())
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder.

        Raises:
            RunError: no run there, or one that never got as far as its first checkpoint.
        """
        if not path.is_dir():
            raise RunError(f"{path} is no run folder; give the folder that 'ctfgan train' printed")
        if not (path / RECIPE).is_file():
            raise RunError(
                f"{path} has no {RECIPE}, so it is no run folder; give the folder that 'ctfgan train' printed"
            )
        run = cls(path)
        if not run.checkpoints():
            raise RunError(f"{path} has no complete checkpoint; delete it and train again")
        return run

    def discard(self) -> None:
        """Delete a run that has no checkpoint yet, so that it can begin anew.

        Raises:
            RunError: it holds remains of checkpoints, which might be worth saving.
        """
        if any((self.path / CHECKPOINTS).glob("step-*")):
            raise RunError(f"{self.path} holds no complete checkpoint, but remains of some; move it away and try again")
        shutil.rmtree(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from working on this run; where files cannot be locked, nothing is kept.

        Raises:
            RunError: another process works on it.
        """
        with (self.path / LOCK).open("w") as file:
            if not try_lock(file):
                raise RunError(f"another process is at work on run {self.path}; wait for it, or stop it")
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
        write_file(self.path / name, json.dumps(content, ensure_ascii=False, indent=1).encode())

    def journal(self) -> Journal:
        """The run's journal."""
        return Journal(self.path / JOURNAL, self.listeners)

    def checkpoints(self) -> list[Path]:
        """Folders of the complete checkpoints, oldest first."""
        return sorted(path.parent for path in (self.path / CHECKPOINTS).glob(f"step-*/{MANIFEST}"))

    def save(self, step: int, checkpoint: Checkpoint, note: dict[str, Any]) -> Path:
        """Write a checkpoint whole, with the hashes of its files; a later one of the same step replaces it."""
        target = self._checkpoint(step)
        with new_folder(target) as folder:
            write_tensors(checkpoint.tensors, folder)
            torch.save(checkpoint.state, folder / "state.pt")
            hashes = {file.name: sha256(file) for file in sorted(folder.iterdir())}
            (folder / MANIFEST).write_text(json.dumps({"step": step, **note, "sha256": hashes}, indent=1))
        return target

    def has(self, step: int) -> bool:
        """Whether there is a complete checkpoint of a step."""
        return (self._checkpoint(step) / MANIFEST).is_file()

    def load(self, folder: Path) -> StoredCheckpoint:
        """Open a checkpoint after checking its hashes; runs no code from it.

        Raises:
            RunError: a file is missing or was changed.
        """
        tensors = self.load_tensors(folder)
        try:
            # What was saved on a GPU must load without one; optimisers move their state to their parameters.
            state = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")
        except Exception as error:  # a damaged file raises whatever its remains run into
            raise damaged(folder, "state.pt") from error
        if not isinstance(state, dict):
            raise damaged(folder, "state.pt")
        return StoredCheckpoint(tensors, state)

    def load_newest(
        self, warn: Callable[[str], None], among: Sequence[Path] | None = None
    ) -> tuple[Path, StoredCheckpoint]:
        """The newest checkpoint that is intact; damaged ones are named to ``warn`` and passed over.

        Args:
            warn: is told of each damaged one.
            among: folders to choose from, oldest first; None chooses from all.

        Raises:
            RunError: none is intact.
        """
        for folder in reversed(self.checkpoints() if among is None else among):
            try:
                return folder, self.load(folder)
            except RunError as error:
                warn(f"{error}; going back to the checkpoint before")
        raise RunError(f"{self.path} has no intact checkpoint; restore one from a copy, or train again")

    def load_tensors(self, folder: Path) -> StoredTensors:
        """The weights of a checkpoint alone, after checking all hashes."""
        for name, expected in self.manifest(folder)["sha256"].items():
            if not (folder / name).is_file() or sha256(folder / name) != expected:
                raise damaged(folder, name)
        return StoredTensors(folder)

    def manifest(self, folder: Path) -> dict[str, Any]:
        """What was noted beside a checkpoint: step, stage, distance."""
        try:
            content = read_json(folder / MANIFEST)
        except (OSError, ValueError) as error:
            raise damaged(folder, MANIFEST) from error
        if not {"sha256", "step", "stage", "stage_step", "distance"} <= content.keys():
            raise damaged(folder, MANIFEST)
        names = content["sha256"]
        if not isinstance(names, dict) or any(Path(name).name != name for name in names):  # a file of this folder
            raise damaged(folder, MANIFEST)
        return content

    def best(self) -> Path:
        """The checkpoint of the newest stage with the smallest distance; the newest one if none was measured."""
        folders = self.checkpoints()
        newest_stage = self.manifest(folders[-1])["stage"]
        scored = [
            (manifest["distance"], -manifest["step"], folder)
            for folder in folders
            if (manifest := self.manifest(folder))["stage"] == newest_stage and manifest["distance"] is not None
        ]
        return min(scored)[2] if scored else folders[-1]

    def good(self) -> list[Path]:
        """Checkpoints that a run may be rolled back to, oldest first: of healthy checks and of starts of stages."""
        return [folder for folder in self.checkpoints() if self.manifest(folder).get("good", True)]

    def released(self, release: Literal["best", "last"]) -> Path:
        """The checkpoint whose weights a bundle carries."""
        return self.best() if release == "best" else self.checkpoints()[-1]

    def _checkpoint(self, step: int) -> Path:
        return self.path / CHECKPOINTS / f"step-{step:08d}"

    def prune(self, keep: int) -> None:
        """Delete all checkpoints but the newest ``keep``, as many good ones, and the best."""
        kept = {*self.checkpoints()[-keep:], *self.good()[-keep:], self.best()}
        for folder in self.checkpoints():
            if folder not in kept:
                shutil.rmtree(folder)


class Journal:
    """``journal.jsonl``: one JSON object per line, appended and flushed as things happen."""

    def __init__(self, path: Path, listeners: Sequence[Listener] = ()) -> None:
        self._path = path
        self._listeners = listeners

    def write(self, event: str, **content: Any) -> None:
        """Append one line, then tell it to the listeners."""
        line = {"event": event, **content}
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise RunError(f"{self._path} cannot be written ({error}); free some space, then resume the run") from error
        for listener in self._listeners:
            listener(line)

    def generator_steps(self) -> int:
        """Generator steps over all stages, at the last check."""
        return sum({check["stage"]: check["step"] for check in self.read("check")}.values())

    def size(self) -> int:
        """Bytes written so far."""
        return self._path.stat().st_size if self._path.exists() else 0

    def truncate(self, size: int) -> None:
        """Forget what was written after a checkpoint that the run goes back to."""
        if self.size() > size:
            with self._path.open("r+b") as file:
                file.truncate(size)

    def read(self, event: str | None = None) -> list[dict[str, Any]]:
        """All lines, or those of one event."""
        if not self._path.exists():
            return []
        # A line without its end was being written when the run was killed.
        complete = [line for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        try:
            lines = [json.loads(line) for line in complete]
            return [line for line in lines if event is None or line["event"] == event]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self._path} is damaged ({error}); restore it or train again") from error

    def readable(self) -> tuple[list[dict[str, Any]], int]:
        """The lines that can be read, and how many cannot: for those who tell what happened and go on with nothing."""
        if not self._path.exists():
            return [], 0
        complete = [line for line in self._path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        found = []
        for line in complete:
            try:
                content = json.loads(line)
            except ValueError:  # no JSON, or no UTF-8
                continue
            if isinstance(content, dict) and isinstance(content.get("event"), str):
                found.append(content)
        return found, len(complete) - len(found)
