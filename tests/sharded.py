"""Class tables spread over processes beside whole ones; what the worker processes of a test do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import ctfgan
from ctfgan.data.batches import Batch
from ctfgan.errors import ProcessLost
from ctfgan.nn.class_tables import lazy_tables
from ctfgan.nn.row_parts import Kept, OwnRows, kept_of
from ctfgan.recipes.build import Shape, build_method
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.training.collecting import on_main_with_all_rows, overwrite
from ctfgan.training.ema import Ema
from ctfgan.training.loop import Updates, play
from ctfgan.training.runtime import Engine, alone
from ctfgan.training.synthesis import draw_condition, synthesise
from ctfgan.training.tensor_files import Rows, StoredTensors, write_tensors
from ctfgan.training.trainer import Trainer
from tests.processes import NARROW, own_rows

CLASSES = 7  # four rows on the first of two processes, three on the second
SHAPE = Shape(num_classes=CLASSES, num_low_quality_labels=3, low_quality_size=8, channels=1)
SHARDED = (*NARROW, "table_placement=sharded")
METHODS = {
    "ctf, factorised": ("ctf-folders", *SHARDED, "class_tables=factorised", "class_code=200",
                        "transfer.steps=9", "generate.steps=9", "transfer.batch_size=8", "generate.batch_size=8"),
    "ctf, per class": ("ctf-folders", *SHARDED, "transfer.steps=9", "generate.steps=9",
                       "transfer.batch_size=8", "generate.batch_size=8"),
    "projection, factorised": ("projection-folders", *SHARDED, "class_tables=factorised", "class_code=200",
                               "adversarial.steps=9", "adversarial.batch_size=8", "adversarial.accumulate=2"),
    "projection, per class": ("projection-folders", *SHARDED, "adversarial.steps=9", "adversarial.batch_size=8"),
}  # fmt: skip
RESUMED = ("ctf, factorised", "projection, per class")
SHARD_BYTES = 8_000  # so that codes are written in three files, of which one holds rows of both processes


class Run:
    """A method in float64 that can be trained, saved and restored."""

    def __init__(self, engine: Engine, settings: tuple[str, ...]) -> None:
        self.engine = engine
        recipe = with_settings(named_recipe(settings[0]), {}, settings[1:])
        self.method = build_method(recipe, SHAPE, matched=True, processes=engine.processes)
        networks = self.method.networks.double()
        self.tables = {f"{name}.weight": table for name, table in lazy_tables(networks).items()}
        # Away from zero: a shift of 0 behind the instance norm of a constant map leaves the next ReLU to rounding.
        rng = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in networks.named_parameters():
                part = self.tables[name].part if name in self.tables else None
                if part is None:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=rng)
                else:
                    noise = 0.05 * torch.randn(part.rows, *parameter.shape[1:], generator=rng)
                    parameter[:-1] += noise[part.start : part.stop]
        engine.prepare(networks)

    def enter(self, number: int) -> None:
        self.stage = self.method.stages[number]
        self.stage.enter()
        self.generator = self.stage.game.generator.train()
        self.updates = Updates(self.generator, self.stage.game.discriminator, self.stage.settings, self.engine)
        self.ema = Ema(self.generator, 0.99)

    def train(self, steps: int) -> None:
        whole = batches(self.stage.settings.batch_size, self.updates.step)
        own = (own_rows(batch, self.engine.processes) for batch in whole)
        for _ in islice(play(self.stage.game, own, self.stage.settings, self.updates), steps):
            self.ema.update(self.generator, self.updates.generator_changes)

    def kept(self) -> dict[str, Kept]:
        kept = kept_of(self.method.networks, "networks.") | kept_of(self.ema.network, "average.")
        return kept | {f"moments.{name}": tensor for name, tensor in self.updates.moments().items()}

    def save(self, folder: Path) -> dict[str, Any]:
        def write(tensors: Mapping[str, Tensor | Rows]) -> None:
            folder.mkdir(parents=True)
            write_tensors(tensors, folder, SHARD_BYTES)

        on_main_with_all_rows(self.engine.processes, self.kept(), write)
        return {"updates": self.updates.state(), "ema": self.ema.updates, "rng": self.method.chance.rng.get_state()}

    def restore(self, folder: Path, state: dict[str, Any]) -> None:
        self.enter(len(self.method.stages) - 1)
        self.updates.restore(state["updates"])
        self.ema.updates = state["ema"]
        self.method.chance.rng.set_state(state["rng"])
        overwrite(self.kept(), StoredTensors(folder))


def batches(size: int, seed: int) -> Iterator[Batch]:
    rng = torch.Generator().manual_seed(seed)
    while True:
        yield Batch(
            torch.rand(size, 1, 16, 16, generator=rng) * 2 - 1,
            torch.randint(CLASSES, (size,), generator=rng),
            torch.randint(CLASSES, (size,), generator=rng),
            torch.rand(size, 1, 8, 8, generator=rng) * 2 - 1,
            torch.randint(-1, 3, (size,), generator=rng),
        )


def compared(engine: Engine, settings: tuple[str, ...], folder: Path, *, resumed: bool) -> dict[str, Any]:
    """Sharded on all processes beside whole on the main one; ``resumed`` lets each go on from what the other saved."""
    found: dict[str, Any] = {}
    main = engine.processes.on_main
    together = Run(engine, settings)
    found["shares"] = [
        (len(table.weight), table.part is not None and table.part.rows) for table in together.tables.values()
    ]
    by_itself = Run(alone(engine.device), settings)
    states = []
    for run, name in ((together, "together"), (by_itself, "alone")):
        for number in range(len(run.method.stages)):
            run.enter(number)
            if run is together or engine.processes.is_main:
                run.train(2)
            if number + 1 < len(run.method.stages):
                run.ema.hand_over(run.generator)
        if run is together:
            states.append(run.save(folder / name))
            found["own rows"] = {name: len(own.rows) for name, own in run.kept().items() if isinstance(own, OwnRows)}
        else:
            states.append(engine.processes.all_of(run.save(folder / name) if engine.processes.is_main else {})[0])
    found["images"] = largest_difference(together, by_itself)
    found["files"] = main(lambda: len(list((folder / "together").iterdir())))
    found["gap"] = main(lambda: gap(folder / "together", folder / "alone"))
    if not resumed:
        return found

    together, by_itself = Run(engine, settings), Run(alone(engine.device), settings)
    together.restore(folder / "alone", states[1])
    together.train(1)
    together.save(folder / "together after")

    def go_on() -> None:
        by_itself.restore(folder / "together", states[0])
        by_itself.train(1)
        by_itself.save(folder / "alone after")

    main(go_on)
    found["gap after"] = main(lambda: gap(folder / "together after", folder / "alone after"))
    return found


def gap(one: Path, other: Path) -> float:
    """The largest difference between tensors in two folders of the same files."""
    assert sorted(file.name for file in one.iterdir()) == sorted(file.name for file in other.iterdir())
    first, second = StoredTensors(one), StoredTensors(other)
    assert list(first) == list(second)
    return max((first[name].double() - second[name].double()).abs().max().item() for name in first)


def largest_difference(together: Run, by_itself: Run) -> int:
    """Of pixels (0 ... 255) that averaged generators make, for a number of images that cannot be shared evenly."""
    processes = together.engine.processes
    count, rng = 47, torch.Generator().manual_seed(2)
    condition = draw_condition(torch.arange(count) % CLASSES, None, 0)
    if together.stage.name == "generate":
        labels = torch.randint(-1, 3, (count,), generator=rng)
        condition = type(condition)(condition.labels, torch.rand(count, 1, 8, 8, generator=rng), labels)
    images = synthesise(together.ema.network, condition, 5, together.engine)
    expected = processes.on_main(lambda: synthesise(by_itself.ema.network, condition, 5, by_itself.engine))
    assert images.shape == expected.shape
    return int(abs(images.astype(int) - expected.astype(int)).max())


def facts(engine: Engine, folder: Path) -> dict[str, Any]:
    """What the tests of test_sharded_tables.py look at, in float64."""
    with patch("ctfgan.training.synthesis.CHUNK", 20):
        return {
            name: compared(engine, settings, folder / name, resumed=name in RESUMED)
            for name, settings in METHODS.items()
        }


def lost_and_resumed(run: Path) -> str:
    """What is said of a lost process; then the run goes on to its end."""
    message = ""
    with patch.object(Trainer, "run", side_effect=ProcessLost("process 1 is gone")):
        try:
            ctfgan.resume(run)
        except ProcessLost as lost:
            message = str(lost)
    ctfgan.resume(run)
    return message
