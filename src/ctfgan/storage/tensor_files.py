"""Named tensors in a folder: small ones together in one file, large tables in shards of consecutive rows.

No copy of a whole table is made while writing, and no file is larger than a shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ctfgan.core.errors import RunError
from ctfgan.core.text import excerpt

TOGETHER = "networks.safetensors"
SHARDS = "tables-*.safetensors"
SHARD_BYTES = 1 << 28
LONGEST_HEADER = 1 << 23
"""Bytes of a header from elsewhere; that of a network has some hundred for each of its tensors."""
UNFIT = "; undo what was changed in recipe.json, or train it again"
WAY_OUT = "; restore it, or resume the run, which goes on from the checkpoint before"


def write_tensors(tensors: Mapping[str, Tensor], folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors into an empty folder; a tensor above ``shard_bytes`` goes into shards of at most that size."""
    large = {name: tensor for name, tensor in tensors.items() if tensor.nbytes > shard_bytes and len(tensor) > 1}
    save_file({name: _own(tensor) for name, tensor in tensors.items() if name not in large}, folder / TOGETHER)
    for number, (name, start, rows) in enumerate(_parts(large, shard_bytes)):
        save_file({f"{name}@{start}": _own(rows)}, folder / SHARDS.replace("*", f"{number:05d}"))


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
    found = tensor_forms(file)
    wanted = {name: (_TYPES.get(dtype, str(dtype)), shape) for name, (dtype, shape) in expected.items()}
    if found != wanted:
        name = min(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise ValueError(
            f"tensor {excerpt(repr(name))} of {file.name} is {_told(found.get(name))}, the recipe makes it "
            f"{_told(wanted.get(name))}"
        )
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in found}
    except SafetensorError as error:
        raise ValueError(f"{file.name}: {excerpt(error)}") from error
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"tensor {broken[0]!r} of {file.name} holds values that are not finite")
    return tensors


_TYPES = {
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.bool: "BOOL",
}
"""What safetensors calls the types that networks and codes have."""


def _form(stored: Any) -> tuple[str, tuple[int, ...]]:
    return stored.get_dtype(), tuple(stored.get_shape())


def _told(form: tuple[str, tuple[int, ...]] | None) -> str:
    return "missing" if form is None else f"{form[0]} {excerpt(form[1])}"


class _Place(NamedTuple):
    file: Path
    key: str
    start: int
    stop: int


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of a folder, each read when it is asked for.

    Raises:
        RunError: a file is missing or damaged, or a shard does not follow on the one before it.
    """

    def __init__(self, folder: Path) -> None:
        self._places: dict[str, list[_Place]] = {}
        for file in [folder / TOGETHER, *sorted(folder.glob(SHARDS))]:
            for key, length in _lengths(file).items():
                name, _, number = (key, "", "0") if file.name == TOGETHER else key.rpartition("@")
                if not number.isdecimal():
                    raise damaged(folder, file.name)
                places, start = self._places.setdefault(name, []), int(number)
                if start != (places[-1].stop if places else 0):
                    raise damaged(folder, file.name)
                places.append(_Place(file, key, start, start + length))

    def __getitem__(self, name: str) -> Tensor:
        parts = [_read(place) for place in self._places[name]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@torch.no_grad()
def overwrite(tensors: Mapping[str, Tensor], stored: StoredTensors) -> None:
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
        tensor.copy_(kept)


def damaged(folder: Path, name: str) -> RunError:
    """What to say of a damaged file in a checkpoint."""
    return RunError(f"{folder / name} is missing or damaged{WAY_OUT}")


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


def _read(place: _Place) -> Tensor:
    try:
        with safe_open(place.file, framework="pt") as stored:
            found: Tensor = stored.get_tensor(place.key)
            return found
    except (SafetensorError, OSError) as error:
        raise damaged(place.file.parent, place.file.name) from error


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    # By name first: the tensors may lie in a file, and be many.
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
