"""Settings of the data: where images come from, their form, and who gets to see which."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from ctfgan.core.settings import Seed, Settings

HUB = "hf:"  # before owner/name of the Hugging Face Hub
MIN_IMAGES_PER_CLASS = 4  # enough to train on, to degrade and to hold out
PLACES = ("high_quality", "low_quality", "reference")
PUBLISHED = "published"
"""As ``data.reference``: the test part that the data set itself publishes."""

Pairing = Literal["auto", "matched", "independent"]


class GlyphSettings(Settings):
    """The embedded data set: characters rendered at run time from fonts."""

    characters: str = Field(default="alphanumeric", min_length=2)
    """A named set (alphanumeric, digits, gb2312-level-1, jis-level-1, jis-level-2, hangul, hangul-all), several of
    them joined by +, or the characters themselves."""
    font_folders: tuple[str, ...] = ()
    """Folders with more .ttf, .otf and .ttc faces, besides those that matplotlib ships."""
    low_quality_font_folders: tuple[str, ...] = ()
    """Folders with bitmap fonts (.pcf, .bdf, also gzipped) that the low-quality images are taken from."""
    images_per_class: int | None = Field(default=None, ge=4)
    """Renderings of each character, spread over the faces that have it; None is 200, or one of each face where faces
    are held out."""
    held_out: Literal["auto", "images", "faces"] = "auto"
    """What ``data.held_out`` holds back: some images of every face, or all images of some families of faces, so that
    the reference is of faces that training never sees. auto is faces with low-quality fonts, else images."""

    @property
    def by_face(self) -> bool:
        """Whether faces are held out whole."""
        return self.held_out == "faces" or (self.held_out == "auto" and bool(self.low_quality_font_folders))


class DegradationSettings(Settings):
    """How a high-quality image becomes a low-quality one."""

    share: float = Field(default=0.2, gt=0, le=1)
    """Low-quality training images as a fraction of the high-quality pool; taken from the images that the
    high-quality fraction left out first (decision 13)."""
    size: int = Field(default=8, ge=4)
    """Side of the low-quality image in pixels; area averaging."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Standard deviation of added noise, as a fraction of the grey range."""
    contrast: float = Field(default=1.0, gt=0, le=1)
    """Factor on the distance from middle grey."""


class DataSettings(Settings):
    """Everything that decides which pixels a run sees."""

    high_quality: str | None = None
    """Folder, file or Hub name (``hf:owner/name``) of the high-quality images; None renders glyphs."""
    low_quality: str | None = None
    """The same for the low-quality images, of which all parts are used; None degrades high-quality ones."""
    reference: str | None = None
    """What reported figures compare with. None holds ``held_out`` of the images back; ``published`` trains on the
    training part that the data set publishes and compares with its test part; any other text names other images of
    the same class names. With a reference of its own, all high-quality images form the pool."""
    only: str | tuple[str, ...] | None = None
    """Restricts the high-quality images and the reference to some classes: a named character set (alphanumeric,
    digits, jis-level-1, ...), of which the data need not have all, or a list of class names, of which it must."""
    smallest_class: int = Field(default=MIN_IMAGES_PER_CLASS, ge=MIN_IMAGES_PER_CLASS)
    """High-quality images that a class must have; classes with fewer are named and left out."""
    needs: tuple[str, ...] = ()
    """Names among ``high_quality`` and ``low_quality`` that a recipe cannot run without, each with a hint."""
    glyphs: GlyphSettings = GlyphSettings()
    degradation: DegradationSettings = DegradationSettings()
    resolution: int = Field(default=32, ge=16)
    """Side R of the high-quality images in pixels."""
    channels: Literal["auto", 1, 3] = "auto"
    """1 for grey, 3 for colour; auto looks at the high-quality images."""
    low_quality_size: int | None = Field(default=None, ge=4)
    """Side r of the low-quality images; None takes their median side, at most R."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How an image that is not square becomes square: its centre, with a border, or distorted."""
    high_quality_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the training images that the GAN may use: stratified, seeded, nested."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the images kept from all training, as the reference of the reported figures if they have no other."""
    low_quality_held_out: float | None = Field(default=None, ge=0, lt=1)
    """Share of the low-quality images kept from training, for a second column of figures; None is ``held_out``,
    0 keeps none."""
    pairing: Pairing = "auto"
    """How a low-quality image is chosen for a class: of the same class, or any (decision 8)."""
    lq_only_classes: bool | Literal["auto"] = "auto"
    """Whether classes that have low-quality images only take part, where low-quality images are of the same class; auto
    lets them if every class of the high-quality images has low-quality ones, too, so that names surely agree."""
    without_hq: int = Field(default=0, ge=0)
    """Classes whose high-quality images the GAN does not see, to measure how it does without them; drawn by chance.
    The recogniser learns from these images, and the reference has some."""
    image_column: str | None = None
    """Of a table (Hugging Face data set, parquet) with several image columns: which one holds the high-quality images
    and the reference."""
    label_column: str | None = None
    """The same for their labels; of an npz the array, of WebDataset shards the entry of the .json or the suffix."""
    class_level: int | None = Field(default=None, ge=1)
    """Of image files in folders or archives of them: which folder below the root, or below train, val and test, names
    the class of a high-quality image or one of the reference, 1 the outermost. None is the folder that holds the image,
    named by its path; with ``cat/2020/x.jpg``, 1 makes the class ``cat`` of it."""
    low_quality_image_column: str | None = None
    """The same for the low-quality images."""
    low_quality_label_column: str | None = None
    """The same for their labels."""
    low_quality_class_level: int | None = Field(default=None, ge=1)
    """The same for their folders."""
    seed: Seed = 0
    """Seed of the rendering, the degradation and all splits; runs that share it are comparable."""

    @property
    def has_own_low_quality(self) -> bool:
        """Whether the low-quality images are of their own kind, not degraded copies of high-quality ones."""
        return self.low_quality is not None or bool(self.glyphs.low_quality_font_folders)

    @field_validator(*PLACES)
    @classmethod
    def _check_place(cls, place: str | None) -> str | None:
        if place is not None and not place.strip():
            raise ValueError("it must name images (is a variable empty?); leave it out for the default")
        return place

    @model_validator(mode="after")
    def _check_glyphs(self) -> Self:
        if self.glyphs.held_out == "faces" and self.high_quality is not None:
            raise ValueError("glyphs.held_out=faces belongs to the embedded glyphs; leave it or high_quality out")
        if self.glyphs.low_quality_font_folders and (self.high_quality, self.low_quality) != (None, None):
            other = "high_quality" if self.high_quality is not None else "low_quality"
            raise ValueError(
                f"glyphs.low_quality_font_folders belongs to the embedded glyphs without {other} images; leave one out"
            )
        return self


def name_of(location: str) -> str:
    """What a location is called, without the folders of this machine that lead to it; for what others get to read."""
    return location if location.startswith(HUB) else Path(location).name or location
