"""Images with what they are, as JSON, as one sheet or as a zip archive."""

from __future__ import annotations

import json
import zipfile
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from fastapi import Response

from ctfgan.data.images import Bytes, to_picture
from ctfgan.sampling.names import folder_names
from ctfgan.sampling.sheets import png, sheet_of_columns
from ctfgan.web.messages import Form
from ctfgan.web.refusals import as_json

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same images make the same archive


@dataclass(frozen=True)
class Entry:
    """What one image is."""

    kind: str
    class_name: str | None
    seed: int | None
    position: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": self.kind, "class": self.class_name, "seed": self.seed, "position": self.position}

    def file_name(self, number: int) -> str:
        """Of the image in its folder; ``number`` counts all images."""
        if self.position is not None:
            return f"{self.kind}-{number:03d}.png"
        return f"{self.kind}.png" if self.seed is None else f"{self.kind}-{self.seed}.png"


@dataclass(frozen=True)
class Result:
    """Images of one request."""

    what: str
    """For the name of a file: samples, slide, enhanced."""
    images: Bytes
    """uint8 ``(N, R, R, K)``."""
    entries: Sequence[Entry]
    """What each of them is."""
    headings: Sequence[str]
    """Of the columns of a sheet; they have equally many images."""
    origin: dict[str, Any]
    """Model and request, for the manifest of an archive."""

    def response(self, form: Form) -> Response:
        """The images in the form that was asked for."""
        if form == "sheet":
            picture = sheet_of_columns(self.images, len(self.images) // len(self.headings), self.headings)
            return self._file(png(picture), "image/png", "png")
        files = [png(to_picture(image)) for image in self.images]
        if form == "zip":
            return self._file(self._archive(files), "application/zip", "zip")
        shown = [
            {**entry.as_dict(), "png": b64encode(file).decode()}
            for entry, file in zip(self.entries, files, strict=True)
        ]
        return as_json({"images": shown})

    def _file(self, content: bytes, media_type: str, suffix: str) -> Response:
        disposition = {"Content-Disposition": f'attachment; filename="ctfgan-{self.what}.{suffix}"'}
        return Response(content, headers=disposition, media_type=media_type)

    def _archive(self, files: Sequence[bytes]) -> bytes:
        content = BytesIO()
        folders = self._folders()
        listed = []
        with zipfile.ZipFile(content, "w") as archive:  # PNGs are compressed already
            for number, (entry, folder, file) in enumerate(zip(self.entries, folders, files, strict=True)):
                name = folder + entry.file_name(number)
                listed.append({"file": name, **entry.as_dict()})
                archive.writestr(zipfile.ZipInfo(name, LONG_AGO), file)
            manifest = json.dumps({**self.origin, "images": listed}, indent=1)
            archive.writestr(zipfile.ZipInfo("manifest.json", LONG_AGO), manifest)
        return content.getvalue()

    def _folders(self) -> list[str]:
        """A folder for each class, or none: on a slide images belong to no class."""
        names = list(dict.fromkeys(entry.class_name for entry in self.entries if entry.class_name is not None))
        if any(entry.class_name is None for entry in self.entries):
            return [""] * len(self.entries)
        folder = dict(zip(names, folder_names(names), strict=True))
        return [f"{folder[str(entry.class_name)]}/" for entry in self.entries]
