"""Settings of the networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctfgan.core.settings import Settings

MANY_CLASSES = 64
"""Above this many classes ``class_tables=auto`` is codes."""

Conditioning = Literal["none", "concat", "projection", "classifier"]
"""How the class reaches the discriminator: not at all; concatenated to the maps (Reed et al. 2016); by an inner product
with the features (Miyato and Koyama 2018); as what an auxiliary classifier must tell (Odena et al. 2017)."""


class NetworkSettings(Settings):
    """Sizes that every method shares."""

    generator_width: float = Field(default=1.0, gt=0, le=4)
    """Factor on the generators' published channel counts (models/widths.py)."""
    discriminator_width: float = Field(default=1.0, gt=0, le=4)
    """The same for the discriminator."""
    noise: int = Field(default=128, ge=1)
    """Length of the latent vector z_A."""
    class_tables: Literal["auto", "per-class", "codes"] = "per-class"
    """What a network knows of a class: a learned row in a table of every layer, as in the paper, or one fixed code,
    made of the class's images, that all layers read through linear maps of their own; ``auto`` is codes where there are
    more than 64 classes (decisions 23 and 31)."""
    class_code: int = Field(default=32, ge=1)
    """Length of a class code."""


class TransferSettings(Settings):
    """The parts that only CTF-GAN has."""

    block_noise: int = Field(default=16, ge=0)
    """Length of z_m, embedded and concatenated to the input of G_LH's block m; 0 switches it off (decision 6)."""
    embedding: int = Field(default=32, ge=1)
    """Width of Embed(Concat(gamma, beta, g_L)) in Eq. 2."""
    label_tables: Literal["auto", "per-class", "codes"] = "auto"
    """What the embedding knows of a low-quality label: a learned row, or the code of its class; ``auto`` is codes where
    classes have codes and low-quality images are matched to them."""
    noise_maps: Literal["spatial", "tiled"] = "spatial"
    """Whether the embedding of z_m has numbers of its own at every place, or is the same at all (decision 6)."""
    merge_kernel: Literal[1, 3] = 3
    """Side over G_A's own maps of the convolutions that merge them with the features after each block; over the
    features it is 3 (decisions 7 and 35)."""
    statistics: Literal["batch", "instance"] = "batch"
    """Statistics of G_LH's conditional norm: over batch, height and width, or over height and width of each image as an
    ablation (decision 3)."""
    stem: Literal["strided", "resize"] = "strided"
    """How I_L reaches G_LH's base size: strided convolutions, or a bilinear resize as an ablation (decision 2)."""
    frequency: Literal["none", "soft-threshold", "high-pass"] = "none"
    """Non-linear or band-limited use of the DCT coefficients of H_m, as an ablation (decision 1)."""
    frequency_level: float = Field(default=0.1, ge=0)
    """Threshold of ``soft-threshold`` in feature units, or cutoff of ``high-pass`` as a fraction of the band."""
    ctf: Literal["own", "shuffled", "zero"] = "own"
    """Ablation: give G_A the features of other images of the batch, or none at all."""
