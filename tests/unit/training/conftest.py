from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing

from tests import processes, workers


def spawned(count: int, folder: Path) -> list[dict[str, Any]]:
    """Facts that worker processes have gathered, by rank."""
    multiprocessing.spawn(workers.work, args=(count, processes.free_port(), folder), nprocs=count)
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found."""
    return spawned(2, tmp_path_factory.mktemp("two"))
