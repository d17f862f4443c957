"""What one visitor may ask of the page."""

from __future__ import annotations

from pydantic import Field

from ctfgan.core.settings import Settings

MAX_OUTPUT_PIXELS = 16_000_000  # of all images of one answer
MIB = 1 << 20


class Limits(Settings):
    """Bounds on what is sent, made and asked for at once."""

    upload_bytes: int = Field(default=8 * MIB, ge=1)
    """Of an own image with the form around it."""
    upload_pixels: int = Field(default=16_000_000, ge=16)
    """Of an own image; its header is asked before anything is decoded."""
    json_bytes: int = Field(default=MIB // 4, ge=1)
    """Of any other request."""
    upload_seconds: float = Field(default=60.0, gt=0)
    """In which a request must have arrived."""
    images: int = Field(default=128, ge=2)
    """Of one answer."""
    requests_per_minute: int = Field(default=300, ge=1)
    """From one address that make images; all others count for a tenth. As many may come at once."""
    waiting: int = Field(default=32, ge=1)
    """Requests in line for the one thread that makes images."""
    held_bytes: int = Field(default=64 * MIB, ge=1)
    """Of all requests together that have arrived and are not answered yet."""

    def images_of(self, resolution: int) -> int:
        """Images of one answer of a model with this resolution: also bounded by their pixels."""
        return max(2, min(self.images, MAX_OUTPUT_PIXELS // resolution**2))
