"""A game that two processes play sees what it sees when one plays it with the whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ctfgan.data.batches import Batch
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.training.losses import ADVERSARIAL_LOSSES
from ctfgan.training.objectives.adversarial import AdversarialObjective, ObjectiveSetup
from ctfgan.training.regularization import DiscriminatorRegularization
from ctfgan.training.settings import AugmentationSettings, SelfSupervisionSettings, StrengtheningSettings

IMAGES, SIDE = 16, 16
AUGMENTATION = AugmentationSettings(policy=("brightness", "translation", "cutout"), probability=0.8)


class Scribble(nn.Module):
    """Images that are nothing but noise and class."""

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        return normal_noise(count, SIDE * SIDE, 0, 0, batch_rng)

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        return noise.latent.reshape(-1, 1, SIDE, SIDE) + condition.labels[:, None, None, None]


class Witness(nn.Module):
    """A critic that remembers the images it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def features(self, images: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(images.detach())
        return images.flatten(1)

    def judge(self, features: Tensor, labels: Tensor) -> Tensor:
        return features.mean(dim=1) + labels

    def locate(self, features: Tensor) -> Tensor:
        return features[:, :4]


def witnessed(rank: int, processes: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    real = torch.rand(IMAGES, 1, SIDE, SIDE, generator=rng)
    labels, fake_labels = torch.randint(0, 5, (2, IMAGES), generator=rng)
    own = slice(rank, None, processes)
    batch_rng = BatchRng(torch.Generator().manual_seed(1), rank, processes)
    strengthening = DiscriminatorRegularization(StrengtheningSettings(augmentation=AUGMENTATION), batch_rng)
    witness = Witness()
    setup = ObjectiveSetup(Scribble(), witness, ADVERSARIAL_LOSSES["hinge"], batch_rng, strengthening)
    objective = AdversarialObjective(setup, SelfSupervisionSettings(share=0.25))
    batch = Batch(real[own], labels[own], fake_labels[own], None, None)
    objective.discriminator_terms(batch)
    objective.generator_terms(batch)
    return witness.seen


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_show_their_critics_together_what_one_process_shows(processes: int) -> None:
    alone = witnessed(0, 1)
    together = [witnessed(rank, processes) for rank in range(processes)]
    for number, whole in enumerate(alone):
        parts = [seen[number] for seen in together]
        assert sum(map(len, parts)) == len(whole)
        # Real, synthetic and pasted images follow one another, each a multiple of the number of processes.
        assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)
