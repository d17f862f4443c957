"""Images from a bundle."""

from ctfgan.sampling.model import Model, Samples, from_pretrained, image_files, load

__all__ = ["Model", "Samples", "from_pretrained", "image_files", "load"]
