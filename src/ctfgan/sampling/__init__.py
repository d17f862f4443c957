"""Images from a bundle."""

from ctfgan.sampling.model import Model, Samples, image_files, load
from ctfgan.sampling.points import Point

__all__ = ["Model", "Point", "Samples", "image_files", "load"]
