"""Named tensors in a folder: small ones together in one file, large tables in shards of consecutive rows.

No copy of a whole table is made while writing, and no file is larger than a shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ctfgan.errors import RunError

TOGETHER = "networks.safetensors"
SHARDS = "tables-*.safetensors"
SHARD_BYTES = 1 << 28


def write_tensors(tensors: Mapping[str, Tensor], folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors into an empty folder; a tensor above ``shard_bytes`` goes into shards of at most that size."""
    large = {name: tensor for name, tensor in tensors.items() if tensor.nbytes > shard_bytes and len(tensor) > 1}
    save_file({name: _own(tensor) for name, tensor in tensors.items() if name not in large}, folder / TOGETHER)
    for number, (name, start, rows) in enumerate(_parts(large, shard_bytes)):
        save_file({f"{name}@{start}": _own(rows)}, folder / SHARDS.replace("*", f"{number:05d}"))


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder, whole.

    Raises:
        RunError: a file is missing or damaged, or a shard does not follow on the one before it.
    """
    tensors = _read(folder / TOGETHER)
    shards: dict[str, list[Tensor]] = {}
    for file in sorted(folder.glob(SHARDS)):
        for key, rows in _read(file).items():
            name, _, start = key.rpartition("@")
            parts = shards.setdefault(name, [])
            if sum(map(len, parts)) != int(start):
                raise damaged(folder, file.name)
            parts.append(rows)
    return tensors | {name: torch.cat(parts) for name, parts in shards.items()}


def damaged(folder: Path, name: str) -> RunError:
    """What to say of a damaged file in a checkpoint."""
    return RunError(f"{folder / name} is missing or damaged; delete {folder} and resume from the checkpoint before it")


def _parts(tensors: Mapping[str, Tensor], shard_bytes: int) -> Iterator[tuple[str, int, Tensor]]:
    for name, tensor in tensors.items():
        count = max(1, len(tensor) // ceil(tensor.nbytes / shard_bytes))
        for start in range(0, len(tensor), count):
            yield name, start, tensor[start : start + count]


def _own(tensor: Tensor) -> Tensor:
    # safetensors wants contiguous tensors that share nothing; convolutions are kept in channels-last order.
    return tensor.detach().cpu().contiguous().clone()


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise damaged(file.parent, file.name) from error
