"""A graph for PyTorch: ``torch.export``, which runs without this package."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from ctfgan.core.errors import CtfganError
from ctfgan.core.text import excerpt
from ctfgan.export.graph import Graph
from ctfgan.export.parity import Run

EXAMPLE_IMAGES = 3  # a batch of 0 or 1 would be taken for the only size


def traced(graph: Graph) -> ExportedProgram:
    """The graph's operations for any batch size, with no path of this machine in them.

    Raises:
        CtfganError: torch cannot trace them.
    """
    inputs = graph.random_inputs(EXAMPLE_IMAGES, seed=0)
    # What layers keep from their first call, such as the matrix of a DCT, must be kept of a real call, not of a trace.
    graph.run(inputs)
    batch = Dim("batch")
    with torch.no_grad(), convertible(graph.part):
        program = torch.export.export(graph.module, (), inputs, dynamic_shapes={name: {0: batch} for name in inputs})
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def write_program(graph: Graph, file: Path, metadata: Mapping[str, str]) -> Run:
    """Write a ``.pt2`` file; returns what it does once it is read again.

    Args:
        graph: what to write.
        file: where.
        metadata: texts that are kept inside; ``torch.export.load`` hands them to ``extra_files``.
    """
    with quiet():
        torch.export.save(traced(graph), file, extra_files=dict(metadata))
        module = torch.export.load(file).module()
    return lambda inputs: module(**inputs)


@contextmanager
def convertible(part: str) -> Iterator[None]:
    """Says in one sentence that torch cannot make a graph of a part.

    Raises:
        CtfganError: whatever the exporter raised.
    """
    try:
        with quiet():
            yield
    except Exception as error:  # the exporter passes on whatever its passes over the graph raise
        raise CtfganError(
            f"torch cannot make a graph of the {part} ({excerpt(error)}); nothing was written, please report this"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
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
