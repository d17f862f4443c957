"""Images from a bundle."""

from ctfgan.sampling.model import Model, Samples, image_files, load

__all__ = ["Model", "Samples", "image_files", "load"]
