"""A bundle for other programs: its generator as an ONNX or torch.export graph, or the bundle for the Hub."""

from ctfgan.export.export_folder import GraphFile, export_graphs, export_hub
from ctfgan.export.formats import FORMATS
from ctfgan.export.graph import PARTS

__all__ = ["FORMATS", "PARTS", "GraphFile", "export_graphs", "export_hub"]
