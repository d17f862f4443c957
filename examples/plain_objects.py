"""Networks and data of your own in ctfgan's loop, without a recipe: bars of four widths, in seconds."""

import torch
from torch import nn

from ctfgan.data.batches import Batch
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, normal_noise
from ctfgan.training.loop import train_steps
from ctfgan.training.objectives.adversarial import AdversarialObjective, ObjectiveSetup
from ctfgan.training.optimizers import GanOptimizers
from ctfgan.training.settings import StageSettings


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.classes = nn.Embedding(4, 32)
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.Tanh())

    def draw_noise(self, count, batch_rng):
        return normal_noise(count, 32, 0, 0, batch_rng)

    def forward(self, condition, noise):  # images (N, K, R, R) in [-1, 1]
        return self.layers(torch.cat([self.classes(condition.labels), noise.latent], dim=1)).view(-1, 1, 16, 16)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(256, 256), nn.LeakyReLU(0.2))
        self.realness, self.classes = nn.Linear(256, 1), nn.Embedding(4, 256)

    def features(self, images, labels):
        return self.layers(images)

    def judge(self, features, labels):  # logits (N,), high means real
        return self.realness(features)[:, 0] + (self.classes(labels) * features).sum(dim=1) / 16


def batch():
    labels, wanted = torch.randint(4, (2, 64))  # of the real images, and of those to be made
    bars = torch.where(torch.arange(16) < 4 * labels[:, None] + 2, 1.0, -1.0)[:, None, None].expand(-1, 1, 16, 16)
    return Batch(bars + 0.1 * torch.randn(64, 1, 16, 16), labels, wanted, None, None)


torch.manual_seed(0)
generator, discriminator = Generator(), Discriminator()
stage = StageSettings(steps=400, batch_size=64, generator_rate=1e-3, discriminator_rate=1e-3)
objective = AdversarialObjective(ObjectiveSetup(generator, discriminator))  # the hinge loss
optimizers = GanOptimizers(generator, discriminator, stage)
*_, last = train_steps(objective, [batch() for _ in range(50)], stage, optimizers)  # any iterable of batches
print(optimizers.step, "steps, the discriminator's loss is", round(last.discriminator["adversarial"].item(), 3))
labels = torch.arange(4).repeat_interleave(100)
images = generator(Condition(labels), normal_noise(400, 32, 0, 0, BatchRng.of(1))).detach()
print("widths:", [f"{8 * (1 + images[labels == label].mean().item()):.1f}" for label in range(4)], "of 2, 6, 10, 14")
