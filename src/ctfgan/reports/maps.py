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
from ctfgan.distributed.image_rng import PerImageRng, numbers_in_class
from ctfgan.models.generator_a import TransferGenerator
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.models.synthesis import balanced_labels, draw_inputs, synthesise
from ctfgan.models.transfer_features import TransferFeature, TransferTrace
from ctfgan.reports.loaded_run import Studio
from ctfgan.reports.page_blocks import Block, Cell, Gallery, Heading, Items, Paragraph, TableBlock, Tile, Tiles
from ctfgan.reports.tiles import image_tile, map_tile

SHOWN = 4  # samples that are looked into
MEASURED = 256  # samples that a block's part is measured on
AT_ONCE = 64
SEED = 20_260_802  # of noise and low-quality images; any constant would do
WIDTH = 96  # CSS pixels of a map

T = TypeVar("T")

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
class Look:
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


def maps_section(studio: Studio, level: int, progress: Progress) -> list[Block]:
    """CTF maps of a few samples, and what each block means to the images.

    Args:
        studio: of a CTF-GAN.
        level: of the headings of the samples.
        progress: shows how far it is.
    """
    numbers = torch.from_numpy(np.linspace(0, len(studio.labels) - 1, min(SHOWN, len(studio.labels))).round())
    chosen = numbers.long()
    look = look_into(studio, *_drawn(studio, chosen, SEED))
    blocks: list[Block] = []
    if look.image is None:
        blocks.append(Paragraph("G_A is not trained yet (that is stage 2), so there are only G_LH's maps to see."))
    else:
        blocks += _parts(studio, progress)
    blocks.append(_shares(studio))
    blocks.append(Items(EXPLANATION[: 3 if look.image is None else 4]))
    for row, number in enumerate(chosen.tolist()):
        blocks += _sample(look, row, studio.names[number], level)
    return blocks


@torch.no_grad()
def look_into(studio: Studio, condition: Condition, noise: Noise) -> Look:
    """Take samples apart."""
    generator = studio.model.whole
    assert isinstance(generator, TransferGenerator)
    low_quality, labels = condition.required_low_quality()
    lh = generator.generator_lh
    trace = lh.trace(condition, noise)
    features = generator.features(trace, labels)
    image, without = None, []
    if studio.model.sampler is generator:
        image = to_bytes(generator.generator_a(noise.latent, features))
        without = [
            to_bytes(generator.generator_a(noise.latent, without_block(features, block)))
            for block in range(len(features))
        ]
    return Look(to_bytes(low_quality), trace, features, to_bytes(lh(condition, noise)), image, without)


def without_block(features: list[TransferFeature], block: int) -> list[TransferFeature]:
    """All CTFs as they are but one, which is zero."""
    return [
        TransferFeature(*map(torch.zeros_like, ctf)) if index == block else ctf for index, ctf in enumerate(features)
    ]


def block_parts(studio: Studio, numbers: Tensor, progress: Progress) -> tuple[float | None, list[BlockPart]]:
    """Top-1 of images of some measured classes ``(N,)``, and what each block's CTF means to these images."""
    parts = numbers.split(AT_ONCE)
    squares: list[NDArray[np.float64]] = []  # (images, blocks) each
    hits: list[list[Tensor]] = []
    for index in progress(range(len(parts)), len(parts), "taking samples apart, block by block"):
        look = look_into(studio, *_drawn(studio, parts[index], SEED + 1 + index))
        assert look.image is not None
        whole = look.image.astype(np.float64)
        squares.append(np.stack([((whole - image) ** 2).mean(axis=(1, 2, 3)) for image in look.without], axis=1))
        if studio.eval_classifier is not None:
            read = [studio.eval_classifier.read(image)[1].argmax(dim=1) for image in (look.image, *look.without)]
            hits.append([found == parts[index] for found in read])
    changes = np.sqrt(np.concatenate(squares).mean(axis=0))
    if not hits:
        return None, [BlockPart(float(change), None) for change in changes]
    shares = [torch.cat(column).double().mean().item() for column in zip(*hits, strict=True)]
    found = [BlockPart(float(change), share) for change, share in zip(changes, shares[1:], strict=True)]
    return shares[0], found


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


def _shares(studio: Studio) -> TableBlock:
    """What G_LH's and G_A's images depend on."""
    generator = studio.model.whole
    assert isinstance(generator, TransferGenerator)
    count = len(studio.labels)
    numbers, others = torch.randint(count, (2, MEASURED), generator=torch.Generator().manual_seed(SEED))
    drawn, other = _drawn(studio, numbers, SEED), _drawn(studio, others, SEED + 1)
    anew, _ = _drawn(studio, numbers, SEED + 1)
    networks: dict[str, nn.Module] = {"G_LH's image": generator.generator_lh}
    if studio.model.sampler is generator:
        networks["G_A's image"] = generator
    found = {name: variance_shares(network, *drawn, anew, other, studio.engine) for name, network in networks.items()}
    meanings = {
        "z_A": "noise of G_A",
        "z_m": "noise of G_LH's blocks",
        "I_L": "another low-quality image for the same class",
        "class": "another class for the same I_L",
        "class and I_L": "another class with an I_L that goes with it",
    }
    rows = tuple(
        (key, meaning, *(f"{shares[key]:.1%}" for shares in found.values())) for key, meaning in meanings.items()
    )
    told = (
        "How much of the variance of images each input explains: half the mean squared change of "
        f"{MEASURED} images when it alone is drawn anew, over the variance of all. What inputs do only together counts "
        "for each of them, so the shares may add up to more than 100 %. An input at 0 % does nothing; G_LH has no z_A."
    )
    return TableBlock(("input", "what it is", *found), rows, told)


def _drawn(studio: Studio, numbers: Tensor, seed: int) -> tuple[Condition, Noise]:
    generator = studio.model.whole
    assert isinstance(generator, TransferGenerator)
    names = [studio.names[number] for number in numbers.tolist()]
    rng = PerImageRng(seed, names, numbers_in_class(names))
    condition, noise = draw_inputs(generator, torch.from_numpy(studio.labels)[numbers], studio.bank, rng)
    return condition.to(studio.engine.device), noise.to(studio.engine.device)


def _parts(studio: Studio, progress: Progress) -> list[Block]:
    numbers = balanced_labels(MEASURED, studio.measured)
    whole, parts = block_parts(studio, numbers, progress)
    judged = "" if whole is None else f" With all CTFs the recogniser reads {whole:.1%} of them as meant."
    known = parts[0].top_1 is not None
    headings = ("block", "change of the image without CTF_m, grey levels", *(["top-1 without CTF_m"] if known else []))
    rows = tuple(
        (f"block {number}", f"{part.change:.1f}", *([f"{part.top_1:.1%}"] if known else []))
        for number, part in enumerate(parts, start=1)
    )
    told = (
        f"What each block's CTF means to G_A's images: root mean square over {len(numbers):,} images, spread "
        f"over the classes.{judged} G_A never saw a CTF of zeros, so a large change says that G_A relies on the "
        "block, not how much better the block makes an image."
    )
    return [TableBlock(headings, rows, told)]


def _sample(look: Look, row: int, name: str, level: int) -> list[Block]:
    first: list[tuple[Tile, str]] = [
        (image_tile(look.low_quality[row], f"the low-quality image of a sample of {name}", WIDTH), "I_L, low quality"),
        (image_tile(look.from_lh[row], f"G_LH's image of {name}", WIDTH), "G_LH's image (Task 2)"),
    ]
    if look.image is not None:
        first.append((image_tile(look.image[row], f"G_A's image of {name}", WIDTH), "G_A's image (Task 1)"))
    sizes = [f"{maps.shape[-1]}x{maps.shape[-1]}, {maps.shape[1]} maps" for maps in look.trace.maps]
    headings = ("", *(f"block {number}: {size}" for number, size in enumerate(sizes, start=1)))
    lines: list[tuple[Cell, ...]] = [
        ("F_m", *(_maps(maps[row].abs(), f"F_{m} of {name}") for m, maps in _numbered(look.trace.maps))),
        ("H_m", *(_maps(ctf.difference[row], f"H_{m} of {name}", signed=True) for m, ctf in _numbered(look.features))),
        ("Embed", *(_stripes(ctf.embedding[row], f"Embed_{m} of {name}") for m, ctf in _numbered(look.features))),
    ]
    if look.image is not None:
        whole = look.image[row].astype(np.float32)
        lost = [np.abs(whole - image[row]).mean(axis=2) for image in look.without]
        lines.append(
            (
                "without CTF_m",
                *(
                    Tiles((image_tile(image[row], f"G_A's image of {name} without CTF_{m}", WIDTH),))
                    for m, image in _numbered(look.without)
                ),
            )
        )
        lines.append(
            (
                "difference",
                *(
                    Tiles(
                        (map_tile(found, f"what {name} loses without CTF_{m}", WIDTH, signed=False, most=255),),
                        f"mean {found.mean():.1f}",
                    )
                    for m, found in _numbered(lost)
                ),
            )
        )
    return [Heading(f"A sample of {name}", level), Gallery(tuple(first)), TableBlock(headings, tuple(lines))]


def _maps(maps: Tensor, alt: str, *, signed: bool = False) -> Tiles:
    """The mean over maps ``(T, H, W)``, with its largest magnitude."""
    mean = maps.mean(dim=0).float().cpu().numpy()
    reach = f"±{np.abs(mean).max():.2g}" if signed else f"0 ... {mean.max():.2g}"
    return Tiles((map_tile(mean, alt, WIDTH, signed=signed),), reach)


def _stripes(vector: Tensor, alt: str) -> Tiles:
    """The numbers of a vector ``(D,)`` beside each other."""
    values = vector.float().cpu().numpy()
    shown = np.repeat(values[None], max(1, len(values) // 6), axis=0)
    return Tiles((map_tile(shown, alt, WIDTH, signed=True),), f"±{np.abs(values).max():.2g}")


def _numbered(items: Sequence[T]) -> Iterator[tuple[int, T]]:
    return enumerate(items, start=1)
