"""What a test's worker processes do; a module of its own, so that a spawned process need not import pytest."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ctfgan.core.errors import ConfigError
from ctfgan.data.batches import Batch
from ctfgan.distributed.engine import Engine, alone
from ctfgan.distributed.processes import Processes
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.synthesis import draw_inputs, synthesise
from ctfgan.nn.norm import SharedBatchNorm2d, distribute
from ctfgan.recipes.build import DataSpec, build_method
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.training.loop import train_steps
from ctfgan.training.optimizers import Ema, GanOptimizers
from ctfgan.training.regularization import Augmentation
from ctfgan.training.settings import AugmentationSettings

SHAPE = DataSpec(num_classes=4, num_low_quality_labels=3, low_quality_size=8, channels=1)
NARROW = ("generator_width=0.05", "discriminator_width=0.05", "data.resolution=16")
AIDED = (
    "strengthening.augmentation.policy=['translation', 'cutout']", "augmentation.probability=0.5",
    "lecam.weight=0.3", "lecam.from_step=2", "penalty.r1=0.1", "penalty.every=2",
)  # fmt: skip
CTF = ("ctf-folders", *NARROW, *AIDED, "transfer.steps=3", "generate.steps=3", "transfer.batch_size=16",
       "generate.batch_size=16", "transfer.critic_steps=2", "generate.critic_steps=2")  # fmt: skip
PROJECTION = ("projection-folders", *NARROW, "adversarial.steps=3", "adversarial.batch_size=16",
              "adversarial.critic_steps=2", "adversarial.generator_batches=2")  # fmt: skip
IN_PARTS = (*PROJECTION, "adversarial.accumulate=2")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun tells a worker."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    return {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}


def facts(engine: Engine) -> dict[str, Any]:
    """What the tests of test_processes.py look at, in float64."""
    found: dict[str, Any] = {"ctf": distances(engine, CTF)}
    if engine.processes.count == 2:
        found |= {"projection": distances(engine, PROJECTION), "in parts": distances(engine, IN_PARTS)}
        found |= (
            exchanged(engine.processes)
            | {"steered": steered(engine.processes)}
            | normalised(engine.processes)
            | {"images": differing_pixels(engine)}
        )
    return found


def whole_batches(size: int) -> Iterator[Batch]:
    rng = torch.Generator().manual_seed(3)
    while True:
        yield Batch(
            torch.rand(size, 1, 16, 16, generator=rng) * 2 - 1,
            torch.randint(4, (size,), generator=rng),
            torch.randint(4, (size,), generator=rng),
            torch.rand(size, 1, 8, 8, generator=rng) * 2 - 1,
            torch.randint(-1, 3, (size,), generator=rng),
        )


def own_rows(batch: Batch, processes: Processes) -> Batch:
    def own(tensor: Tensor | None) -> Tensor:
        assert tensor is not None
        return tensor[processes.rank :: processes.count]

    return Batch(own(batch.real), own(batch.real_labels), own(batch.fake_labels), own(batch.low_quality),
                 own(batch.low_quality_labels))  # fmt: skip


def trained(engine: Engine, settings: tuple[str, ...]) -> dict[str, Tensor]:
    """Weights, averages and Adam's moments after all stages, in float64."""
    recipe = with_settings(named_recipe(settings[0]), {}, settings[1:])
    method = build_method(recipe, SHAPE, matched=True, processes=engine.processes)
    method.networks.double()
    # Away from zero: a shift of 0 behind the instance norm of a constant map leaves the next ReLU to rounding errors.
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in method.networks.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=rng)
    if engine.processes.rank:
        nn.init.zeros_(next(method.networks.parameters()))  # what the main process has must win
    distribute(method.networks, engine)
    found: dict[str, Tensor] = {}
    for stage in method.stages:
        stage.enter()
        generator = stage.objective.generator.train()
        updates = GanOptimizers(generator, stage.objective.discriminator, stage.settings, engine)
        ema = Ema(generator, 0.99)
        batches = (own_rows(batch, engine.processes) for batch in whole_batches(stage.settings.batch_size))
        for _ in train_steps(stage.objective, batches, stage.settings, updates):
            ema.update(generator)
        found |= ema.network.state_dict(prefix=f"{stage.name}.average.")
        for player in ("generator", "discriminator"):
            for index, moments in updates.state()[player]["state"].items():
                found |= {f"{stage.name}.{player}.{index}.{name}": value for name, value in moments.items()}
    return found | method.networks.state_dict(prefix="networks.")


def distances(engine: Engine, settings: tuple[str, ...]) -> dict[str, float]:
    """How far apart several processes and a single one end."""
    together = trained(engine, settings)
    by_itself = engine.processes.on_main(lambda: trained(alone(engine.device), settings))
    assert together.keys() == by_itself.keys()
    gaps = [(together[name].double() - by_itself[name].double()).abs().max().item() for name in by_itself]
    return {"gap": max(gaps), "tensors": len(gaps)}


def exchanged(processes: Processes) -> dict[str, Any]:
    rank = processes.rank
    gradients = [torch.full((3, 2), rank + 1.0).t(), torch.full((4,), 10.0 * rank)]
    processes.average(gradients)
    return {
        "average": [gradient.tolist() for gradient in gradients],
        "mean": processes.mean(torch.tensor([rank, 1.0], requires_grad=True)).tolist(),
        "on main": processes.on_main(lambda: rank),
        "all of": processes.all_of(f"process {rank}"),
        "error of main": _message(lambda: processes.on_main(lambda: _fail(f"of {rank}"))),
        "error of one": _message(lambda: processes.main_first(lambda: _fail("of 1") if rank == 1 else "")),
        "first": processes.main_first(lambda: rank),
        "votes": [processes.agreed(15 * (rank == 1 and turn == 1)) for turn in range(4)],
    }


def steered(processes: Processes) -> list[float]:
    """Probability of augmentation while three of four real logits are positive, one process's half and all of the
    other's; then none.
    """
    settings = AugmentationSettings(policy=("flip",), target=0.4, images_to_full=40)
    augmentation = Augmentation(settings, BatchRng(torch.Generator(), processes.rank, processes.count), processes.mean)
    found = []
    for signs in ([1.0, -1.0], [1.0, 1.0]), ([-1.0, -1.0], [-1.0, 1.0]):
        augmentation.observe(torch.tensor(signs[processes.rank]))
        found.append(augmentation.probability)
    return found


def normalised(processes: Processes) -> dict[str, Any]:
    """Batch norm of a batch in two parts, beside torch's own of the whole: outputs, gradients, statistics."""
    rng = torch.Generator().manual_seed(0)
    whole = torch.randn(6, 3, 4, 4, generator=rng) * 2 + 5
    wanted = torch.randn(6, 3, 4, 4, generator=rng)
    rows = slice(processes.rank, None, processes.count)
    gaps = {}
    for affine in (True, False):
        plain = nn.BatchNorm2d(3, affine=affine)
        if affine:
            nn.init.uniform_(plain.weight, generator=rng)
        shared = SharedBatchNorm2d(nn.BatchNorm2d(3, affine=affine))
        shared.load_state_dict(plain.state_dict())
        inputs, own = whole.clone().requires_grad_(), whole[rows].clone().requires_grad_()
        expected, output = plain(inputs), shared(own)
        ((expected * wanted).square().sum() / len(whole)).backward()
        ((output * wanted[rows]).square().sum() / len(own)).backward()  # a mean over the own images
        assert inputs.grad is not None
        assert own.grad is not None
        pairs = [(output, expected[rows]), (own.grad / processes.count, inputs.grad[rows])]
        pairs += [(shared.state_dict()[name], tensor) for name, tensor in plain.state_dict().items()]
        for parameter, like in zip(shared.parameters(), plain.parameters(), strict=True):
            assert parameter.grad is not None
            pairs.append((processes.mean(parameter.grad), like.grad))
        pairs.append((shared.eval()(own), plain.eval()(inputs)[rows]))
        gaps[f"batch norm, affine {affine}"] = max((a - b).abs().max().item() for a, b in pairs)
    return gaps


def differing_pixels(engine: Engine) -> int:
    """Pixels in which images that processes make together differ from those that one makes."""
    recipe = with_settings(named_recipe("projection-folders"), {}, NARROW)
    generator = build_method(recipe, SHAPE, matched=False).networks["generator"]
    inputs = draw_inputs(generator, torch.arange(1_100) % 4, None, BatchRng.of(5))
    both = [synthesise(generator, *inputs, of) for of in (engine, alone(engine.device))]
    return int((both[0] != both[1]).sum())


def _fail(message: str) -> str:
    raise ConfigError(message)


def _message(work: Callable[[], object]) -> str:
    try:
        work()
    except ConfigError as error:
        return str(error)
    return "no error"
