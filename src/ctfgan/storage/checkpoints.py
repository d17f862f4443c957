"""Checkpoints on disk: tensors, a state of plain values, and a manifest that knows the hash of each file and its own.

Small tensors lie together in one file, large tables in shards of consecutive rows: no copy of a whole table is made
while writing, and no file is larger than a shard. A checkpoint is read if all of it is as it was written, and refused
by the name of the first file that is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError, safe_open

from ctfgan.core.errors import RunError
from ctfgan.core.files import read_json, sha256
from ctfgan.core.text import excerpt

if TYPE_CHECKING:  # what looks at a run's folder alone need not wait for torch
    import torch
    from torch import Tensor

MANIFEST = "checkpoint.json"
STATE = "state.pt"
DIGEST = "digest"
TOGETHER = "networks.safetensors"
SHARDS = "tables-*.safetensors"
SHARD_BYTES = 1 << 28
LONGEST_HEADER = 1 << 23
"""Bytes of a header from elsewhere; that of a network has some hundred for each of its tensors."""
NETWORKS, AVERAGE = "networks.", "average."
"""What the names of a checkpoint's tensors begin with: networks as trained, the moving average of the generator."""
UNFIT = "; undo what was changed in recipe.json, or train it again"
WAY_OUT = "; restore it, or resume the run, which goes on from the checkpoint before"


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on from a moment."""

    tensors: Mapping[str, Tensor]
    """Weights of the networks and of their averages; of a checkpoint on disk each is read when it is asked for."""
    state: dict[str, Any]
    """Optimizers, random generators, positions, counters: plain values and tensors only."""


def write_checkpoint(
    checkpoint: Checkpoint, folder: Path, note: dict[str, Any], shard_bytes: int = SHARD_BYTES
) -> None:
    """Write a checkpoint into an empty folder.

    Args:
        checkpoint: tensors and state.
        folder: where to.
        note: what the manifest tells besides the hashes.
        shard_bytes: a tensor above this size goes into shards of at most that size.
    """
    import torch
    from safetensors.torch import save_file

    tensors = checkpoint.tensors
    large = {name: tensor for name, tensor in tensors.items() if tensor.nbytes > shard_bytes and len(tensor) > 1}
    save_file({name: _own(tensor) for name, tensor in tensors.items() if name not in large}, folder / TOGETHER)
    for number, (name, start, rows) in enumerate(_parts(large, shard_bytes)):
        save_file({f"{name}@{start}": _own(rows)}, folder / SHARDS.replace("*", f"{number:05d}"))
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
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        if content[DIGEST] != _digest(plain) or text != _written(content):
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


def read_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint whose files were checked; runs no code from it.

    Raises:
        RunError: a file cannot be read all the same.
    """
    import torch

    tensors = StoredTensors(folder)
    try:
        # What was saved on a GPU must load without one; optimisers move their state to their parameters.
        state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged file raises whatever its remains run into
        raise damaged(folder, STATE) from error
    if not isinstance(state, dict):
        raise damaged(folder, STATE)
    return Checkpoint(tensors, state)


class _Part(NamedTuple):
    file: Path
    key: str
    start: int
    stop: int


class StoredTensors(Mapping[str, "Tensor"]):
    """The tensors of a folder, each read when it is asked for.

    Raises:
        RunError: a file is missing or damaged, or a shard does not follow on the one before it.
    """

    def __init__(self, folder: Path) -> None:
        self._parts: dict[str, list[_Part]] = {}
        for file in [folder / TOGETHER, *sorted(folder.glob(SHARDS))]:
            for key, length in _lengths(file).items():
                name, _, number = (key, "", "0") if file.name == TOGETHER else key.rpartition("@")
                if not number.isdecimal():
                    raise damaged(folder, file.name)
                parts, start = self._parts.setdefault(name, []), int(number)
                if start != (parts[-1].stop if parts else 0):
                    raise damaged(folder, file.name)
                parts.append(_Part(file, key, start, start + length))

    def __getitem__(self, name: str) -> Tensor:
        import torch

        parts = [_read(part) for part in self._parts[name]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def overwrite(tensors: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Put what was stored into tensors of the same names.

    Raises:
        RunError: other tensors were stored.
    """
    for name in tensors.keys() | stored.keys():
        if name not in tensors or name not in stored:
            raise RunError(f"the checkpoint does not fit its recipe ({name} is in one of them only){UNFIT}")
    for name, tensor in tensors.items():
        kept = stored[name]
        if kept.shape != tensor.shape:
            shapes = f"{name} is {tuple(kept.shape)} there, {tuple(tensor.shape)} here"
            raise RunError(f"the checkpoint does not fit its recipe ({shapes}){UNFIT}")
        tensor.detach().copy_(kept)


def damaged(folder: Path, name: str) -> RunError:
    """What to say of a damaged file in a checkpoint."""
    return RunError(f"{folder / name} is missing or damaged{WAY_OUT}")


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    # By name first: the tensors may lie in a file, and be many.
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}


def tensor_forms(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type, as safetensors calls it, and shape of all tensors of a file that anybody may have written.

    Raises:
        ValueError: no such file.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"the header of {file.name} claims {length:,} bytes, {LONGEST_HEADER:,} are read")
    try:
        with safe_open(file, framework="pt") as stored:
            return {name: _form(stored.get_slice(name)) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file.name}: {excerpt(error)}") from error


def read_finite_tensors(file: Path, expected: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> dict[str, Tensor]:
    """All tensors of a file that anybody may have written, once its header says that they are the expected ones.

    Raises:
        ValueError: no such file, a tensor of another name, type or shape, or values that are not finite.
        OSError: it cannot be read.
    """
    forms = tensor_forms(file)
    wanted = {name: (_TYPES.get(str(dtype), str(dtype)), shape) for name, (dtype, shape) in expected.items()}
    if forms != wanted:
        name = min(name for name in {*forms, *wanted} if forms.get(name) != wanted.get(name))
        raise ValueError(
            f"tensor {excerpt(repr(name))} of {file.name} is {_form_text(forms.get(name))}, the recipe makes it "
            f"{_form_text(wanted.get(name))}"
        )
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in forms}
    except SafetensorError as error:
        raise ValueError(f"{file.name}: {excerpt(error)}") from error
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"tensor {broken[0]!r} of {file.name} holds values that are not finite")
    return tensors


_TYPES = {
    "torch.float16": "F16",
    "torch.float32": "F32",
    "torch.float64": "F64",
    "torch.int64": "I64",
    "torch.bool": "BOOL",
}
"""What safetensors calls the types that networks and codes have."""


def _form(stored: Any) -> tuple[str, tuple[int, ...]]:
    return stored.get_dtype(), tuple(stored.get_shape())


def _form_text(form: tuple[str, tuple[int, ...]] | None) -> str:
    return "missing" if form is None else f"{form[0]} {excerpt(form[1])}"


def _written(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_written(content).encode()).hexdigest()


def _parts(tensors: Mapping[str, Tensor], shard_bytes: int) -> Iterator[tuple[str, int, Tensor]]:
    for name, tensor in tensors.items():
        count = max(1, len(tensor) // ceil(tensor.nbytes / shard_bytes))
        for start in range(0, len(tensor), count):
            yield name, start, tensor[start : start + count]


def _own(tensor: Tensor) -> Tensor:
    # safetensors wants contiguous tensors that share nothing; convolutions are kept in channels-last order.
    return tensor.detach().cpu().contiguous().clone()


def _lengths(file: Path) -> dict[str, int]:
    """Number of rows of each tensor in a file; 1 for a single number."""
    try:
        with safe_open(file, framework="pt") as stored:
            return {key: (stored.get_slice(key).get_shape() or [1])[0] for key in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise damaged(file.parent, file.name) from error


def _read(part: _Part) -> Tensor:
    try:
        with safe_open(part.file, framework="pt") as stored:
            tensor: Tensor = stored.get_tensor(part.key)
            return tensor
    except (SafetensorError, OSError) as error:
        raise damaged(part.file.parent, part.file.name) from error


def network_weights(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Of a checkpoint's tensors those of a network, ``generator`` or ``discriminator``, as trained."""
    return below(tensors, f"{NETWORKS}{name}.")


def average_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a checkpoint's tensors the moving average of what its stage trains; empty if the run keeps none."""
    return below(tensors, AVERAGE)
