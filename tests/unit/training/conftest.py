from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing

import ctfgan
from tests import processes, workers
from tests.conftest import TINY_RUN


def spawned(count: int, folder: Path, run: Path | None = None) -> list[dict[str, Any]]:
    """Facts that worker processes have gathered, by rank."""
    multiprocessing.spawn(workers.work, args=(count, processes.free_port(), folder, run), nprocs=count)
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def extend(run: Path, steps: int) -> None:
    """Let a finished run have more to do."""
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["method"]["generate"]["steps"] = steps
    (run / "recipe.json").write_text(json.dumps(recipe))
    shutil.rmtree(run / "bundle")


@pytest.fixture(scope="session")
def sharded_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with sharded tables that one process began; two have gone on with it once ``two`` is there."""
    recipe = ctfgan.recipe("ctf-glyphs", *TINY_RUN, "table_placement=sharded")
    run = ctfgan.train(recipe, tmp_path_factory.mktemp("sharded") / "run")
    extend(run, 6)
    return run


@pytest.fixture(scope="session")
def two(sharded_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found."""
    return spawned(2, tmp_path_factory.mktemp("two"), sharded_run)
