"""A bundle for other programs: its generator as an ONNX or torch.export graph, or the bundle for the Hub."""

from ctfgan.export.export_folder import FORMATS, Exported, export_graphs
from ctfgan.export.graph import PARTS
from ctfgan.export.hub_folder import export_hub

__all__ = ["FORMATS", "PARTS", "Exported", "export_graphs", "export_hub"]
