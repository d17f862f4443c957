"""The files of one checkpoint: tensors, state, and a manifest that knows the hash of each and its own.

A checkpoint is read if all of it is as it was written, and refused by the name of the first file that is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctfgan.core.files import read_json, sha256
from ctfgan.storage.tensor_files import StoredTensors, damaged, write_tensors

MANIFEST = "checkpoint.json"
STATE = "state.pt"
DIGEST = "digest"
BEFORE_DIGESTS = {"step", "stage", "stage_step", "distance", "sha256"}  # all that a manifest held in version 0.1.0


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint, to be written."""

    tensors: Mapping[str, Tensor]
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


def write_checkpoint(checkpoint: Checkpoint, folder: Path, note: dict[str, Any]) -> None:
    """Write a checkpoint into an empty folder.

    Args:
        checkpoint: tensors and state.
        folder: where to.
        note: what the manifest tells besides the hashes.
    """
    write_tensors(checkpoint.tensors, folder)
    torch.save(checkpoint.state, folder / STATE)
    content = {**note, "sha256": {file.name: sha256(file) for file in sorted(folder.iterdir())}}
    (folder / MANIFEST).write_text(_written({**content, DIGEST: _digest(content)}), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What was noted beside a checkpoint: step, stage, distance, hashes.

    Raises:
        RunError: it is missing or was changed.
    """
    try:
        content = read_json(folder / MANIFEST)
        plain = {name: value for name, value in content.items() if name != DIGEST}
        is_old = content.keys() == BEFORE_DIGESTS
        if not is_old and (
            content[DIGEST] != _digest(plain) or (folder / MANIFEST).read_text(encoding="utf-8") != _written(content)
        ):
            raise damaged(folder, MANIFEST)
        if any(Path(name).name != name for name in content["sha256"]):  # a file of this folder
            raise damaged(folder, MANIFEST)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(folder, MANIFEST) from error
    return content


def check_files(folder: Path) -> None:
    """Compare every file of a checkpoint with its hash.

    Raises:
        RunError: a file is missing or was changed.
    """
    for name, expected in read_manifest(folder)["sha256"].items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            raise damaged(folder, name)


def read_checkpoint(folder: Path) -> StoredCheckpoint:
    """Open a checkpoint whose files were checked; runs no code from it.

    Raises:
        RunError: a file cannot be read all the same.
    """
    tensors = StoredTensors(folder)
    try:
        # What was saved on a GPU must load without one; optimisers move their state to their parameters.
        state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged file raises whatever its remains run into
        raise damaged(folder, STATE) from error
    if not isinstance(state, dict):
        raise damaged(folder, STATE)
    return StoredCheckpoint(tensors, state)


def _written(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_written(content).encode()).hexdigest()
