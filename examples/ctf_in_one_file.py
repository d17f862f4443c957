"""CTF-GAN in one file: the method of the paper (arXiv 1909.11308) on ten letters, in plain torch loops: a CPU minute.

Good images are few; bad ones (small, pale, noisy) make up for them. Stage 1 teaches G_LH to turn bad images into good
ones (Task 2). What its block m adds to an image is the conditional transferring feature CTF_m. Stage 2 teaches G_A to
make good images of noise and CTFs (Task 1). D_LH judges them, and finds patches that are pasted into images (Task 3).
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.data.glyphs import GlyphSource
from ctfgan.data.images import normalised, sheet, square, to_bytes
from ctfgan.data.settings import GlyphSettings
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.nn.blocks import DiscriminatorBlock, GeneratorBlock, conv, linear
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.dct import dct2, idct2
from ctfgan.nn.embed import concat_tiled
from ctfgan.nn.norm import ConditionalNorm2d, UnconditionalBatchNorm2d
from ctfgan.training.objectives.adversarial import paste_patches

LETTERS = "ABCDEFGHIJ"
C, GOOD, BAD = len(LETTERS), 130, 70  # classes; good images of each, and bad ones, made of the other 35 % of the good
b, M, R, r = 6, 2, 24, 8  # side of the first maps, blocks, sides of good (R = b * 2**M) and bad images
T, E, Z, Z_A, W = 16, 16, 8, 32, 24  # feature maps of generators; widths of Embed, z_m, z_A; feature maps of D_LH
BATCH, RATE, CONSISTENCY, PATCH_RNG = 24, 8e-4, 20.0, BatchRng.of(0)


class GeneratorLH(nn.Module):
    """Task 2, Fig. 3: a bad image becomes a good image of class c, in M blocks."""

    def __init__(self) -> None:
        super().__init__()
        norm = partial(ConditionalNorm2d, classes=ClassSpace(C), statistics="batch")
        self.stem = conv(1, T)
        self.embed = nn.ModuleList(linear(Z, Z) for _ in range(M))
        self.blocks = nn.ModuleList(GeneratorBlock(T + Z, T, norm) for _ in range(M))
        self.norm, self.to_image = norm(T), conv(T, 1)

    def forward(self, low: Tensor, c: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        trace = []
        maps = self.stem(F.interpolate(low, (b, b), mode="bilinear", antialias=True))  # (N, T, b, b)
        for embed, block in zip(self.embed, self.blocks, strict=True):
            maps = concat_tiled(maps, embed(torch.randn(len(c), Z)))  # (N, T + Z, H, W): noise z_m
            maps = block(maps, c)  # F_m, (N, T, 2H, 2W); its norms are Eq. 1
            trace.append((maps, torch.cat(block.norm_2.rows(c), dim=1)))  # with gamma_{m,2}, beta_{m,2} of c, (N, 2T)
        return torch.tanh(self.to_image(F.relu(self.norm(maps, c)))), trace  # (N, 1, R, R)


class GeneratorA(nn.Module):
    """Task 1, Fig. 2: noise z_A becomes a good image; of its class G_A learns by the CTFs alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.ModuleList(linear(2 * T + C, E) for _ in range(M))
        self.from_noise = linear(Z_A, T * b**2)
        self.blocks = nn.ModuleList(GeneratorBlock(T, T, UnconditionalBatchNorm2d) for _ in range(M))
        self.merges = nn.ModuleList(conv(T + T + E, T) for _ in range(M))
        self.norm, self.to_image = UnconditionalBatchNorm2d(T), conv(T, 1)

    def forward(self, low: Tensor, low_labels: Tensor, trace: list[tuple[Tensor, Tensor]]) -> Tensor:
        maps = self.from_noise(torch.randn(len(low), Z_A)).unflatten(1, (T, b, b))  # (N, T, b, b): noise z_A
        g_low, previous = F.one_hot(low_labels, C).float(), low  # g_L, (N, C); I_L, (N, 1, r, r), which is grey already
        for block, merge, embed, (lh_maps, rows) in zip(self.blocks, self.merges, self.embed, trace, strict=True):
            upscaled = F.interpolate(previous, lh_maps.shape[2:], mode="bilinear")  # F_{m-1}, (N, S, H, W)
            difference = idct2(dct2(lh_maps) - dct2(upscaled).mean(dim=1, keepdim=True))  # H_m, (N, T, H, W): Eqs. 3, 4
            ctf = concat_tiled(difference, embed(torch.cat([rows, g_low], dim=1)))  # CTF_m, (N, T + E, H, W): Eq. 2
            maps = merge(torch.cat([block(maps, None), ctf], dim=1))  # (N, T, H, W)
            previous = lh_maps
        return torch.tanh(self.to_image(F.relu(self.norm(maps))))  # (N, 1, R, R)


class Discriminator(nn.Module):
    """D_LH: how real is an image of class c, and where is the patch."""

    def __init__(self) -> None:
        super().__init__()
        block = partial(DiscriminatorBlock, outputs=W, normalised=True)  # spectral norm
        self.blocks = nn.Sequential(block(1, down=True, first=True), block(W, down=True), block(W, down=False))
        self.realness, self.classes = linear(W, 1, normalised=True), ClassSpace(C).embedding(W, normalised=True)
        self.box = linear(W * (R // 4) ** 2, 4, normalised=True)

    def forward(self, images: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        maps = F.relu(self.blocks(images))  # (N, W, R / 4, R / 4)
        pooled = maps.sum(dim=(2, 3))  # (N, W)
        logits = self.realness(pooled)[:, 0] + (self.classes(c) * pooled).sum(dim=1)  # (N,): projection on the class
        return logits, torch.sigmoid(self.box(maps.flatten(1)))  # (N, 4): a patch's (x0, y0, x1, y1) / R


def letters() -> tuple[Tensor, Tensor]:
    """Good images (C, GOOD, 1, R, R) and bad ones (C, BAD, 1, r, r), in [-1, 1]."""
    source = GlyphSource(GlyphSettings(characters=LETTERS, images_per_class=GOOD + BAD), R, seed=0)
    pixels = torch.stack([torch.tensor(square(source.read(i), R, 1, "crop")) for i in range(C * (GOOD + BAD))])
    good, bad = normalised(pixels).unflatten(0, (C, -1)).split([GOOD, BAD], dim=1)
    return good, 0.9 * F.avg_pool3d(bad, (1, R // r, R // r)) + 0.12 * torch.randn(C, BAD, 1, r, r)


def judge(critic: nn.Module, images: Tensor, c: Tensor, donors: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N,) of images, and the loss of Task 3: every fourth passes D_LH again with a patch of a real image."""
    patched, boxes = paste_patches(images[::4], donors[: len(images[::4])], PATCH_RNG)
    logits, located = critic(torch.cat([images, patched]), torch.cat([c, c[::4]]))
    return logits[: len(images)], F.smooth_l1_loss(located[len(images) :], boxes)


def train(generate: Callable[[Tensor, Tensor], Tensor], player: nn.Module, critic: nn.Module, steps: int) -> None:
    """One stage: a generator, whose weights are those of ``player``, against D_LH."""
    good, bad = letters()
    g_step, d_step = (torch.optim.Adam(net.parameters(), RATE, betas=(0.0, 0.9)) for net in (player, critic))
    for _ in range(steps):
        c, real_c = torch.randint(C, (2, BATCH))
        real, low = good[real_c, torch.randint(GOOD, (BATCH,))], bad[c, torch.randint(BAD, (BATCH,))]
        fake = generate(low, c)
        logits, box_loss = judge(critic, torch.cat([real, fake.detach()]), torch.cat([real_c, c]), real.roll(1, 0))
        loss = F.relu(1 - logits[:BATCH]).mean() + F.relu(1 + logits[BATCH:]).mean() + box_loss  # hinge
        d_step.zero_grad(), loss.backward(), d_step.step()
        logits, box_loss = judge(critic, fake, c, real)
        # Ours, not the paper's: seen from afar, a good image is the bad one that it was made of.
        loss = -logits.mean() + 0.2 * box_loss + CONSISTENCY * F.l1_loss(F.avg_pool2d(fake, R // r), low)
        g_step.zero_grad(), loss.backward(), g_step.step()


def main() -> None:
    """Train both stages, and draw what goes in and comes out: good, bad, G_LH's, and five times G_A's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of each stage")
    parser.add_argument("--out", default="letters.png", help="the sheet of samples")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    networks = GeneratorLH(), GeneratorA(), Discriminator()
    generator_lh, generator_a, critic = (net.to(memory_format=torch.channels_last) for net in networks)  # is faster
    # Stage 1: Tasks 2 and 3. G_LH is frozen after that; D_LH goes on as it is.
    train(lambda low, c: generator_lh(low, c)[0], generator_lh, critic, arguments.steps)
    generator_lh.eval().requires_grad_(False)
    # Stage 2: Tasks 1 and 3. A bad image is of the class that is to be made, so g_L = c.
    train(lambda low, c: generator_a(low, c, generator_lh(low, c)[1]), generator_a, critic, arguments.steps)
    (good, bad), c = letters(), torch.arange(C)
    generator_a.eval()
    rows = [good[:, 0], F.interpolate(bad[:, 0], R), generator_lh(bad[:, 0], c)[0]]
    rows += [generator_a(bad[:, i], c, generator_lh(bad[:, i], c)[1]) for i in range(5)]
    sheet(to_bytes(torch.cat(rows)), C, list(LETTERS)).save(arguments.out)


if __name__ == "__main__":
    main()
