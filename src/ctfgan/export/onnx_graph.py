"""A graph for every other program: ONNX, written by torch's own exporter, checked, and run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctfgan.core.errors import library
from ctfgan.export.graph import Graph
from ctfgan.export.parity import Run
from ctfgan.export.program import convertible, quiet, traced

OPSET = 18  # the exporter's own; newer runtimes read it too
EXTERNAL_BYTES = 1 << 30
"""Larger weights stand in a file of their own beside the graph: a file of protocol buffers ends at 2 GiB."""


def write_onnx(graph: Graph, file: Path, metadata: Mapping[str, str]) -> Run:
    """Write an ``.onnx`` file (above 1 GiB with ``.onnx.data`` beside it), check it, and open it in onnxruntime.

    Args:
        graph: what to write.
        file: where.
        metadata: texts that are kept inside as metadata properties.

    Raises:
        CtfganError: torch has no ONNX for an operation.
    """
    onnx, onnxruntime = (library(name, "export to onnx", "export") for name in ("onnx", "onnxruntime"))
    names = {one.name: None for one in graph.inputs}
    trace = traced(graph)
    with convertible(graph.part):
        program = torch.onnx.export(
            trace,
            dynamo=True,
            opset_version=OPSET,
            output_names=[graph.output.name],
            dynamic_shapes=names | {graph.inputs[0].name: {0: "batch"}},  # all batches are one; this names it
            verbose=False,
        )
    assert program is not None
    _strip(program.model)
    program.model.metadata_props.update(metadata)
    with quiet():
        program.save(file, external_data=_weight_bytes(graph) > EXTERNAL_BYTES)
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Tensor]) -> Tensor:
        (images,) = session.run(None, {name: values.numpy() for name, values in inputs.items()})
        return torch.from_numpy(images)

    return run


def _strip(model: Any) -> None:
    """Take out what the exporter notes of the source: files and lines of this machine."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


def _weight_bytes(graph: Graph) -> int:
    tensors = (*graph.module.parameters(), *graph.module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
