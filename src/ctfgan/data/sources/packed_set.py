"""Packed images as a source: a folder that ``ctfgan data build`` wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from ctfgan.core.text import printable
from ctfgan.data.images import to_picture
from ctfgan.data.packed import SourceSummary, check_labels, open_packed
from ctfgan.data.sources.base import ImageSource, file_identity


class PackedSource(ImageSource):
    """Packed images as a source: ``pack`` uses them where they are if size and colour agree, else resamples them."""

    def __init__(self, folder: Path) -> None:
        packed = open_packed(folder)
        check_labels(packed, folder)
        note = f"built from {packed.survey.location} at {packed.form}, fit {packed.fit}"
        survey = replace(packed.survey, location=str(folder), notes=tuple(map(printable, (*packed.survey.notes, note))))
        self.packed = replace(packed, survey=survey)
        self.location = str(folder)
        self.classes = self.packed.names
        self.labels = packed.labels
        self.notes = survey.notes
        self._files = sorted(folder.iterdir())

    def identity(self) -> str:
        return file_identity(self._files)

    def name(self, index: int) -> str:
        return f"{self.location}[{index}]"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        _, height, width, channels = self.packed.images.shape
        return ("L" if channels == 1 else "RGB"), (width, height)

    def read(self, index: int) -> Image.Image:
        return to_picture(self.packed.images[index])

    def survey(self) -> SourceSummary:
        """The stored survey, with size and colour as they are now."""
        mode, (side, _) = self.header(0)
        return replace(
            self.packed.survey, sides=(side, side, side), modes={mode: len(self.labels)}, most_pixels=side * side
        )
