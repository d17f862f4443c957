"""Class tables whose rows are spread over two processes (gloo, float64) follow whole ones on one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ctfgan
from ctfgan.errors import ConfigError
from ctfgan.recipes.checks import check_recipe
from ctfgan.training.run_folder import RunFolder
from tests import sharded
from tests.unit.training.conftest import extend

pytestmark = pytest.mark.slow

TOLERANCE = 2e-6  # as in test_processes.py


@pytest.mark.parametrize("name", sharded.METHODS)
def test_sharded_tables_train_and_are_saved_like_whole_ones(two: list[dict[str, Any]], name: str) -> None:
    """Weights, moments, averages, Gram matrices, files, images."""
    for facts in two:
        assert facts["sharded"][name]["gap"] < TOLERANCE
        assert facts["sharded"][name]["images"] <= 1
        assert facts["sharded"][name]["files"] >= (10 if "factorised" in name else 1)


@pytest.mark.parametrize("name", sharded.RESUMED)
def test_sharded_and_whole_tables_go_on_from_each_others_checkpoints(two: list[dict[str, Any]], name: str) -> None:
    assert all(facts["sharded"][name]["gap after"] < TOLERANCE for facts in two)


@pytest.mark.parametrize("name", sharded.METHODS)
def test_each_process_holds_its_own_rows_alone(two: list[dict[str, Any]], name: str) -> None:
    for rank, facts in enumerate(two):
        assert facts["sharded"][name]["shares"]
        for held, rows in facts["sharded"][name]["shares"]:
            assert held == 1 + {7: (4, 3), 4: (2, 2)}[rows][rank]
        kinds = {key.rpartition(".")[2] for key in facts["sharded"][name]["own rows"]}
        assert kinds == {"weight", "second", "last", "lag", "log_decay"}


def test_a_run_goes_from_one_process_to_two_and_back(two: list[dict[str, Any]], sharded_run: Path) -> None:
    run, folder = sharded_run, RunFolder(sharded_run)
    assert all(facts["lost"] for facts in two)
    assert (run / "bundle").is_dir()
    before, after = (set(folder.load_tensors(path)) for path in folder.checkpoints()[-2:])
    assert before == after
    extend(run, 8)
    ctfgan.resume(run)
    steps = [line["step"] for line in folder.journal().read("check") if line["stage"] == "generate"]
    assert steps == [4, 6, 8]
    assert ctfgan.load(run).sample(["A"], 2).images.shape == (2, 16, 16, 1)


def test_a_lost_process_takes_its_rows_along(two: list[dict[str, Any]], sharded_run: Path) -> None:
    for facts in two:
        assert facts["lost"].startswith("process 1 is gone, and with it rows of sharded tables")
        assert f"checkpoints/step-00000009, go on with 'ctfgan resume {sharded_run}'" in facts["lost"]


def test_dense_tables_cannot_be_sharded() -> None:
    recipe = ctfgan.recipe("ctf-glyphs", "table_placement=sharded", "table_updates=dense")
    with pytest.raises(ConfigError, match="table_placement is sharded, but table_updates is dense"):
        check_recipe(recipe)
