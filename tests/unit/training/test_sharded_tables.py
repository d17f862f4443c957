"""Class tables whose rows are spread over two processes (gloo, float64) follow whole ones on one process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing

import ctfgan
from ctfgan.errors import ConfigError
from ctfgan.recipes.build import check_recipe
from ctfgan.training.run_folder import RunFolder
from tests import sharded
from tests.conftest import TINY_RUN
from tests.processes import free_port

TOLERANCE = 2e-6  # as in test_processes.py


def extend(run: Path, steps: int) -> None:
    """Let a finished run have more to do."""
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["method"]["generate"]["steps"] = steps
    (run / "recipe.json").write_text(json.dumps(recipe))
    shutil.rmtree(run / "bundle")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one process began and two are to go on with."""
    recipe = ctfgan.recipe("ctf-glyphs", *TINY_RUN, "table_placement=sharded")
    run = ctfgan.train(recipe, tmp_path_factory.mktemp("sharded") / "run")
    extend(run, 6)
    return run


@pytest.fixture(scope="module")
def two(run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    multiprocessing.spawn(sharded.work, args=(2, free_port(), folder, run), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", sharded.METHODS)
def test_sharded_tables_train_save_and_resume_like_whole_ones(two: list[dict[str, Any]], name: str) -> None:
    """Weights, moments, averages, Gram matrices, files; either one goes on from the checkpoint of the other."""
    for facts in two:
        assert facts[name]["gap"] < TOLERANCE
        assert facts[name]["gap after"] < TOLERANCE
        assert facts[name]["images"] <= 1


@pytest.mark.parametrize("name", sharded.METHODS)
def test_each_process_holds_its_own_rows_alone(two: list[dict[str, Any]], name: str) -> None:
    for rank, facts in enumerate(two):
        assert facts[name]["shares"]
        for held, rows in facts[name]["shares"]:
            assert held == 1 + {7: (4, 3), 4: (2, 2)}[rows][rank]
        kinds = {key.rpartition(".")[2] for key in facts[name]["own rows"]}
        assert kinds == {"weight", "second", "last", "lag", "log_decay"}


def test_a_run_goes_from_one_process_to_two_and_back(two: list[dict[str, Any]], run: Path) -> None:
    assert two
    folder = RunFolder(run)
    assert (run / "bundle").is_dir()
    before, after = (set(folder.load_tensors(path)) for path in folder.checkpoints()[-2:])
    assert before == after
    extend(run, 8)
    ctfgan.resume(run)
    steps = [line["step"] for line in folder.journal().read("check") if line["stage"] == "generate"]
    assert steps == [4, 6, 8]
    assert ctfgan.load(run).sample(["A"], 2).images.shape == (2, 16, 16, 1)


def test_dense_tables_cannot_be_sharded() -> None:
    recipe = ctfgan.recipe("ctf-glyphs", "table_placement=sharded", "table_updates=dense")
    with pytest.raises(ConfigError, match="table_placement is sharded, but table_updates is dense"):
        check_recipe(recipe)
