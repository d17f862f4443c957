"""Files of graphs: ``torch.export``, which PyTorch runs without this package, and ONNX for every other program."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ctfgan.core.errors import CtfganError, library
from ctfgan.core.text import excerpt
from ctfgan.export.graph import Graph, GraphRunner

EXAMPLE_IMAGES = 3  # a batch of 0 or 1 would be taken for the only size
OPSET = 18  # the exporter's own; newer runtimes read it too
EXTERNAL_BYTES = 1 << 30
"""Larger weights stand in a file of their own beside the graph: a file of protocol buffers ends at 2 GiB."""


def write_program(graph: Graph, file: Path, metadata: Mapping[str, str]) -> GraphRunner:
    """Write a ``.pt2`` file; returns what it does once it is read again.

    Args:
        graph: what to write.
        file: where.
        metadata: texts that are kept inside; ``torch.export.load`` hands them to ``extra_files``.
    """
    with _quiet():
        torch.export.save(_trace(graph), file, extra_files=dict(metadata))
        module = torch.export.load(file).module()
    return lambda inputs: module(**inputs)


def write_onnx(graph: Graph, file: Path, metadata: Mapping[str, str]) -> GraphRunner:
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
    exported = _trace(graph)
    with _convertible(graph.part):
        program = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            output_names=[graph.output.name],
            dynamic_shapes=names | {graph.inputs[0].name: {0: "batch"}},  # all batches are one; this names it
            verbose=False,
        )
    assert program is not None
    _strip(program.model)
    program.model.metadata_props.update(metadata)
    with _quiet():
        program.save(file, external_data=_weight_bytes(graph) > EXTERNAL_BYTES)
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Tensor]) -> Tensor:
        (images,) = session.run(None, {name: values.numpy() for name, values in inputs.items()})
        return torch.from_numpy(images)

    return run


@dataclass(frozen=True)
class GraphFormat:
    """A kind of graph file."""

    suffix: str
    write: Callable[[Graph, Path, Mapping[str, str]], GraphRunner]
    """Writes a graph's file with texts about it inside; returns what runs it."""
    needs: tuple[str, ...]
    """Optional libraries, the one that runs the graph last; without any, torch runs it."""

    @property
    def runner(self) -> str:
        """The library that runs the graph."""
        return self.needs[-1] if self.needs else "torch"


FORMATS = {
    "onnx": GraphFormat(".onnx", write_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "torch-export": GraphFormat(".pt2", write_program, ()),
}


def _trace(graph: Graph) -> ExportedProgram:
    """The graph's operations for any batch size, with no path of this machine in them.

    Raises:
        CtfganError: torch cannot trace them.
    """
    inputs = graph.random_inputs(EXAMPLE_IMAGES, seed=0)
    # What layers keep from their first call, such as the matrix of a DCT, must be kept of a real call, not of a trace.
    graph.run(inputs)
    batch = Dim("batch")
    with torch.no_grad(), _convertible(graph.part):
        program = torch.export.export(graph.module, (), inputs, dynamic_shapes={name: {0: batch} for name in inputs})
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


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


@contextmanager
def _convertible(part: str) -> Iterator[None]:
    """Says in one sentence that torch cannot make a graph of a part.

    Raises:
        CtfganError: whatever the exporter raised.
    """
    try:
        with _quiet():
            yield
    except Exception as error:  # the exporter passes on whatever its passes over the graph raise
        raise CtfganError(
            f"torch cannot make a graph of the {part} ({excerpt(error)}); nothing was written, please report this"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps from the terminal what the exporters say of themselves and no user can act on."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    registry.setLevel(logging.ERROR)  # it tells of every operator of torchvision that is not installed
    try:
        with warnings.catch_warnings():
            # torch copies its own tree specifications in a way that it calls deprecated.
            warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
            yield
    finally:
        registry.setLevel(level)
