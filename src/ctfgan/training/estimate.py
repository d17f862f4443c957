"""How long and how much memory a run will take, from a few real steps that are thrown away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ctfgan.data.batches import BatchStream
from ctfgan.data.dataset import Dataset
from ctfgan.distributed.engine import Engine, to_device, wait_for
from ctfgan.models.synthesis import draw_inputs, synthesise
from ctfgan.nn.norm import distribute
from ctfgan.training.loop import train_steps
from ctfgan.training.optimizers import GanOptimizers
from ctfgan.training.stage import Method

TIMED_STEPS, TIMED_SECONDS = 3, 1.0  # at least, of each stage
TIMED_SAMPLES = 32
FLOATS = 5  # for each parameter: weight, gradient, two moments of Adam, moving average


@dataclass(frozen=True)
class Estimate:
    """Cost of one stage."""

    stage: str
    steps: int
    seconds_per_step: float
    """Median of a few generator steps with their discriminator steps."""
    bytes: int
    """Parameters with gradients, moments and average, class codes and other buffers, and what autograd keeps in one
    update on average."""


def estimate(method: Method, dataset: Dataset, engine: Engine) -> list[Estimate]:
    """Train a few steps of every stage; the method's weights are spoilt afterwards."""
    device = engine.device
    distribute(method.networks, engine)
    parameters = sum(parameter.numel() for parameter in method.networks.parameters())
    buffers = sum(buffer.nbytes for buffer in method.networks.buffers())
    found = []
    for number, stage in enumerate(method.stages):
        stage.enter()
        stage.objective.generator.train()
        optimizers = GanOptimizers(stage.objective.generator, stage.objective.discriminator, stage.settings, engine)
        batches = BatchStream(dataset, stage.settings.batch_size, number, method.batch_rng, device=device)
        counter = KeptBytes()
        times = []
        with torch.autograd.graph.saved_tensors_hooks(counter.keep, counter.give):
            started = time.perf_counter()
            for _ in train_steps(stage.objective, batches, stage.settings, optimizers):
                wait_for(device)
                times.append(time.perf_counter() - started)
                counter.next_step(stage.settings.critic_steps + 1)
                # Processes that share a batch take the same number of steps.
                if len(times) > TIMED_STEPS and engine.processes.on_main(lambda: sum(times) > TIMED_SECONDS):  # noqa: B023
                    break
                started = time.perf_counter()
        seconds = statistics.median(times[1:] or times)  # the first step warms up
        memory = 4 * FLOATS * parameters + buffers + counter.most
        found.append(Estimate(stage.name, stage.settings.steps, seconds, memory))
    return found


def seconds_per_sample(method: Method, dataset: Dataset, engine: Engine) -> float:
    """How long the generator of the last stage makes one image for a check."""
    generator = method.stages[-1].objective.generator
    to_device(generator, engine.device)
    side = dataset.low_quality
    labels = torch.arange(TIMED_SAMPLES) % dataset.num_classes
    inputs = draw_inputs(generator, labels, side.bank if side else None, method.batch_rng)
    synthesise(generator, *inputs, engine)  # warms up
    started = time.perf_counter()
    synthesise(generator, *inputs, engine)
    wait_for(engine.device)
    return (time.perf_counter() - started) / TIMED_SAMPLES


class KeptBytes:
    """Counts what autograd keeps, storages that are shared once; its methods are hooks for saved tensors.

    Args:
        known: tensors that do not count.

    Attributes:
        most: bytes of an update, of the step in which they were most.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        self.most = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._storages: dict[int, int] = {}

    def keep(self, tensor: Tensor) -> Tensor:
        """Called when autograd saves a tensor."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def give(self, tensor: Tensor) -> Tensor:
        """Called when autograd reads it again."""
        return tensor

    def next_step(self, updates: int) -> None:
        """Count a generator step; its updates of both players keep their activations one after the other."""
        self.most = max(self.most, sum(self._storages.values()) // updates)
        self._storages.clear()
