from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ctfgan.core.errors import RunError
from ctfgan.storage.checkpoints import Checkpoint, StoredTensors, overwrite, write_checkpoint


def test_a_large_table_goes_into_shards_and_comes_back_whole(tmp_path: Path) -> None:
    tensors = {
        "table": torch.arange(700.0).reshape(100, 7),
        "counts": torch.arange(900),
        "conv": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last),
        "number": torch.tensor(3.0),
    }
    write_checkpoint(Checkpoint(tensors, {}), tmp_path, {}, shard_bytes=600)
    shards = sorted(tmp_path.glob("tables-*"))
    assert len(shards) == 5 + 12
    assert all(file.stat().st_size < 900 for file in shards)
    assert set(load_file(tmp_path / "networks.safetensors")) == {"conv", "number"}
    found = StoredTensors(tmp_path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    into = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    overwrite(into, found)
    assert all(torch.equal(into[name], tensors[name]) for name in tensors)
    with pytest.raises(RunError, match=r"does not fit its recipe \(number is in one of them only\)"):
        overwrite({name: into[name] for name in ("table", "counts", "conv")}, found)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_checkpoint(Checkpoint({"table": torch.zeros(100, 7)}, {}), tmp_path, {}, shard_bytes=600)
    (tmp_path / "tables-00001.safetensors").unlink()
    with pytest.raises(RunError, match=r"tables-00002.safetensors is missing or damaged"):
        StoredTensors(tmp_path)
