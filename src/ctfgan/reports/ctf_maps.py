"""Looking inside a CTF-GAN: what each block of G_LH adds to an image, and what G_A makes of it (Eqs. 2 to 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctfgan.core.progress import Progress
from ctfgan.data.images import Bytes, to_bytes
from ctfgan.distributed.engine import Engine
from ctfgan.distributed.random_streams import PerImageRng, numbers_in_class
from ctfgan.models.ctf_gan import TransferFeature, TransferGenerator, TransferTrace
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.models.synthesis import balanced_labels, draw_inputs, synthesise
from ctfgan.recipes.recipe import CtfGan
from ctfgan.reports.document import Block, Gallery, Heading, Items, Paragraph, TableBlock, Tiles
from ctfgan.reports.loaded_run import LoadedRun, RunGenerator
from ctfgan.reports.pictures import image_tile, map_tile
from ctfgan.reports.run_summary import RunSummary

EXAMPLES = 4  # samples whose maps are drawn
MEASURED = 256  # samples that a block's part is measured on
AT_ONCE = 64
SEED = 20_260_802  # of noise and low-quality images; any constant would do
WIDTH = 96  # CSS pixels of a map

T = TypeVar("T")

ABLATIONS = {
    "shuffled": "This run is the ablation that hands G_A the CTFs of other images, so H_m and Embed are those.",
    "zero": "This run is the ablation that hands G_A zeros in the place of the CTFs.",
}
EXPLANATION = (
    "F_m: the feature maps of block m of G_LH, mean of their magnitudes (black 0, light yellow the largest)",
    "H_m = F_m - the resized mean of F_(m-1): what block m adds to what it was given, mean over its maps (red adds, "
    "blue takes away; F_0 is the grey low-quality image; Eqs. 3 and 4)",
    "Embed: the second part of CTF_m = Concat(H_m, Embed(gamma_m, beta_m, g_L)), one stripe per number, the same at "
    "every pixel (Eq. 2)",
    "without CTF_m: G_A's image from the same noise with CTF_m set to zero and all other CTFs as they are; below it, "
    "where it differs from the image (black: not at all)",
)


@dataclass(frozen=True)
class BlockPart:
    """What a block's CTF means to G_A's images."""

    change: float
    """Root mean square change of the image without it, in grey levels (0 ... 255)."""
    top_1: float | None
    """Share of images that the recogniser reads as meant without it; None without a recogniser."""


@dataclass(frozen=True)
class SampleMaps:
    """A few samples, taken apart."""

    low_quality: Bytes
    trace: TransferTrace
    features: list[TransferFeature]
    from_lh: Bytes
    """G_LH's images, uint8 ``(N, R, R, K)``."""
    image: Bytes | None
    """G_A's images; None while G_A is not trained."""
    without: list[Bytes]
    """G_A's images without CTF_1 ... CTF_M, each ``(N, R, R, K)``; empty while G_A is not trained."""


def maps_section(run: RunSummary, loaded: LoadedRun, level: int, progress: Progress) -> list[Block]:
    """CTF maps of a few samples, and what each block means to the images; nothing for another method than CTF-GAN.

    Args:
        run: the run.
        loaded: its generator, if it can be opened.
        level: of the heading.
        progress: shows how far it is.
    """
    method = run.recipe.method
    if not isinstance(method, CtfGan):
        return []
    blocks: list[Block] = [Heading("Conditional transferring features", level)]
    source = loaded.generator
    if source is None:
        return [*blocks, Paragraph(f"No samples can be made: {loaded.no_images}.")]
    if method.features.ctf in ABLATIONS:
        blocks.append(Paragraph(ABLATIONS[method.features.ctf]))
    numbers = torch.from_numpy(np.linspace(0, len(source.labels) - 1, min(EXAMPLES, len(source.labels))).round()).long()
    maps = sample_maps(source, *_draw(source, numbers, SEED))
    if maps.image is None:
        blocks.append(Paragraph("G_A is not trained yet (that is stage 2), so there are only G_LH's maps to see."))
    else:
        blocks.append(_parts_table(source, progress))
    blocks.append(_shares_table(source))
    blocks.append(Items(EXPLANATION[: 3 if maps.image is None else 4]))
    for row, number in enumerate(numbers.tolist()):
        blocks += _sample(maps, row, source.names[number], level + 1)
    return blocks


@torch.no_grad()
def sample_maps(source: RunGenerator, condition: Condition, noise: Noise) -> SampleMaps:
    """Take samples apart."""
    generator = source.whole
    assert isinstance(generator, TransferGenerator)
    low_quality, labels = condition.required_low_quality()
    lh = generator.generator_lh
    trace = lh.trace(condition, noise)
    features = generator.features(trace, labels)
    image, without = None, []
    if source.sampler is generator:
        image = to_bytes(generator.generator_a(noise.latent, features))
        without = [
            to_bytes(generator.generator_a(noise.latent, without_block(features, block)))
            for block in range(len(features))
        ]
    return SampleMaps(to_bytes(low_quality), trace, features, to_bytes(lh(condition, noise)), image, without)


def without_block(features: list[TransferFeature], block: int) -> list[TransferFeature]:
    """All CTFs as they are but one, which is zero."""
    return [
        TransferFeature(*map(torch.zeros_like, ctf)) if index == block else ctf for index, ctf in enumerate(features)
    ]


def block_parts(source: RunGenerator, numbers: Tensor, progress: Progress) -> tuple[float | None, list[BlockPart]]:
    """Top-1 of images of some measured classes ``(N,)``, and what each block's CTF means to these images."""
    parts = numbers.split(AT_ONCE)
    squares: list[NDArray[np.float64]] = []  # (images, blocks) each
    hits: list[list[Tensor]] = []
    for index in progress(range(len(parts)), len(parts), "taking samples apart, block by block"):
        maps = sample_maps(source, *_draw(source, parts[index], SEED + 1 + index))
        assert maps.image is not None
        whole = maps.image.astype(np.float64)
        squares.append(np.stack([((whole - image) ** 2).mean(axis=(1, 2, 3)) for image in maps.without], axis=1))
        if source.eval_classifier is not None:
            read = [source.eval_classifier.read(image)[1].argmax(dim=1) for image in (maps.image, *maps.without)]
            hits.append([labels == parts[index] for labels in read])
    changes = np.sqrt(np.concatenate(squares).mean(axis=0))
    if not hits:
        return None, [BlockPart(float(change), None) for change in changes]
    shares = [torch.cat(column).double().mean().item() for column in zip(*hits, strict=True)]
    blocks = [BlockPart(float(change), share) for change, share in zip(changes, shares[1:], strict=True)]
    return shares[0], blocks


def variance_shares(
    network: nn.Module,
    condition: Condition,
    noise: Noise,
    anew: Condition,
    other: tuple[Condition, Noise],
    engine: Engine,
) -> dict[str, float]:
    """How much of the variance of a generator's images each of its inputs explains, by the input's name.

    The total effect of an input (Jansen 1999): half the mean squared change of an image when this input alone is drawn
    anew, over the variance of all images. What two inputs do only together counts for both, so that the shares may add
    up to more than 1. An input that does nothing has 0.

    Args:
        network: G_LH or the whole generator.
        condition: of N images.
        noise: of these.
        anew: the same classes with other low-quality images.
        other: a second draw of classes, low-quality images and noise.
        engine: where the network is.
    """
    images = synthesise(network, condition, noise, engine).astype(np.float64)
    variance = images.var(axis=0).mean()
    changed = {
        "z_A": (condition, noise._replace(latent=other[1].latent)),
        "z_m": (condition, noise._replace(blocks=other[1].blocks)),
        "I_L": (anew, noise),
        "class": (replace(condition, labels=other[0].labels), noise),
        "class and I_L": (other[0], noise),
    }
    shares = {}
    for name, inputs in changed.items():
        squares = (synthesise(network, *inputs, engine).astype(np.float64) - images) ** 2
        shares[name] = float(squares.mean() / 2 / variance) if variance > 0 else 0.0
    return shares


def _shares_table(source: RunGenerator) -> TableBlock:
    """What G_LH's and G_A's images depend on."""
    generator = source.whole
    assert isinstance(generator, TransferGenerator)
    count = len(source.labels)
    numbers, others = torch.randint(count, (2, MEASURED), generator=torch.Generator().manual_seed(SEED))
    drawn, other = _draw(source, numbers, SEED), _draw(source, others, SEED + 1)
    anew, _ = _draw(source, numbers, SEED + 1)
    networks: dict[str, nn.Module] = {"G_LH's image": generator.generator_lh}
    if source.sampler is generator:
        networks["G_A's image"] = generator
    by_image = {
        name: variance_shares(network, *drawn, anew, other, source.engine) for name, network in networks.items()
    }
    meanings = {
        "z_A": "noise of G_A",
        "z_m": "noise of G_LH's blocks",
        "I_L": "another low-quality image for the same class",
        "class": "another class for the same I_L",
        "class and I_L": "another class with an I_L that goes with it",
    }
    rows = tuple(
        (key, meaning, *(f"{shares[key]:.1%}" for shares in by_image.values())) for key, meaning in meanings.items()
    )
    caption = (
        "How much of the variance of images each input explains: half the mean squared change of "
        f"{MEASURED} images when it alone is drawn anew, over the variance of all. What inputs do only together counts "
        "for each of them, so the shares may add up to more than 100 %. An input at 0 % does nothing; G_LH has no z_A."
    )
    return TableBlock(("input", "what it is", *by_image), rows, caption)


def _draw(source: RunGenerator, numbers: Tensor, seed: int) -> tuple[Condition, Noise]:
    generator = source.whole
    assert isinstance(generator, TransferGenerator)
    names = [source.names[number] for number in numbers.tolist()]
    rng = PerImageRng(seed, names, numbers_in_class(names))
    condition, noise = draw_inputs(generator, torch.from_numpy(source.labels)[numbers], source.bank, rng)
    return condition.to(source.engine.device), noise.to(source.engine.device)


def _parts_table(source: RunGenerator, progress: Progress) -> TableBlock:
    numbers = balanced_labels(MEASURED, source.measured)
    whole, parts = block_parts(source, numbers, progress)
    judged = "" if whole is None else f" With all CTFs the recogniser reads {whole:.1%} of them as meant."
    known = parts[0].top_1 is not None
    headings = ("block", "change of the image without CTF_m, grey levels", *(["top-1 without CTF_m"] if known else []))
    rows = tuple(
        (f"block {number}", f"{part.change:.1f}", *([f"{part.top_1:.1%}"] if known else []))
        for number, part in enumerate(parts, start=1)
    )
    caption = (
        f"What each block's CTF means to G_A's images: root mean square over {len(numbers):,} images, spread "
        f"over the classes.{judged} G_A never saw a CTF of zeros, so a large change says that G_A relies on the "
        "block, not how much better the block makes an image."
    )
    return TableBlock(headings, rows, caption)


def _sample(maps: SampleMaps, row: int, name: str, level: int) -> list[Block]:
    def image(pixels: Bytes, what: str, text: str = "") -> Tiles:
        return Tiles((image_tile(pixels[row], f"{what} of {name}", WIDTH),), text)

    images = [
        image(maps.low_quality, "the low-quality image of a sample", "I_L, low quality"),
        image(maps.from_lh, "G_LH's image", "G_LH's image (Task 2)"),
    ]
    sizes = [f"{f.shape[-1]}x{f.shape[-1]}, {f.shape[1]} maps" for f in maps.trace.maps]
    features = list(_numbered(maps.features))
    rows: list[tuple[str | Tiles, ...]] = [
        ("F_m", *(_mean_map(f[row].abs(), f"F_{m} of {name}") for m, f in _numbered(maps.trace.maps))),
        ("H_m", *(_mean_map(ctf.difference[row], f"H_{m} of {name}", signed=True) for m, ctf in features)),
        ("Embed", *(_stripes(ctf.embedding[row], f"Embed_{m} of {name}") for m, ctf in features)),
    ]
    if maps.image is not None:
        images.append(image(maps.image, "G_A's image", "G_A's image (Task 1)"))
        without = list(_numbered(maps.without))
        rows += [
            ("without CTF_m", *(image(pixels, f"G_A's image without CTF_{m}") for m, pixels in without)),
            (
                "difference",
                *(
                    _difference(maps.image[row], pixels[row], f"what {name} loses without CTF_{m}")
                    for m, pixels in without
                ),
            ),
        ]
    headings = ("", *(f"block {m}: {size}" for m, size in _numbered(sizes)))
    return [Heading(f"A sample of {name}", level), Gallery(tuple(images)), TableBlock(headings, tuple(rows))]


def _mean_map(maps: Tensor, alt: str, *, signed: bool = False) -> Tiles:
    """The mean over maps ``(T, H, W)``, with its largest magnitude."""
    mean = maps.mean(dim=0).float().cpu().numpy()
    reach = f"±{np.abs(mean).max():.2g}" if signed else f"0 ... {mean.max():.2g}"
    return Tiles((map_tile(mean, alt, WIDTH, signed=signed),), reach)


def _stripes(vector: Tensor, alt: str) -> Tiles:
    """The numbers of a vector ``(D,)`` beside each other."""
    values = vector.float().cpu().numpy()
    stripes = np.repeat(values[None], max(1, len(values) // 6), axis=0)
    return Tiles((map_tile(stripes, alt, WIDTH, signed=True),), f"±{np.abs(values).max():.2g}")


def _difference(image: Bytes, other: Bytes, alt: str) -> Tiles:
    """How much each pixel of two images ``(R, R, K)`` differs."""
    levels = np.abs(image.astype(np.float32) - other).mean(axis=2)
    return Tiles((map_tile(levels, alt, WIDTH, signed=False, most=255),), f"mean {levels.mean():.1f}")


def _numbered(items: Sequence[T]) -> Iterator[tuple[int, T]]:
    return enumerate(items, start=1)
