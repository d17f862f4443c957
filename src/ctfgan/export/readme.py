"""The README of an exported folder, with lines of Python that work as they stand."""

from __future__ import annotations

from collections.abc import Sequence

from ctfgan.bundle.bundle import Bundle
from ctfgan.bundle.card import Rights, fenced, plain
from ctfgan.export.graph import Graph

ONNX_RUN = ["(images,) = onnxruntime.InferenceSession({file!r}).run(None, inputs)"]
PROGRAM_RUN = [
    "program = torch.export.load({file!r}).module()",
    "images = program(**{{name: torch.from_numpy(values) for name, values in inputs.items()}}).numpy()",
]


def readme(bundle: Bundle, graphs: Sequence[Graph], files: Sequence[str], library: str, rights: Rights) -> str:
    """What the graphs take and give, how to use the first one, and whose they are.

    Args:
        bundle: what was exported.
        graphs: its parts.
        files: the name of each one's file.
        library: ``onnxruntime`` or ``torch``.
        rights: what is said of licences.
    """
    recipe = bundle.recipe
    sections = [
        f"# {plain(recipe.name)}: graphs for {library}",
        f"Made by ctfgan from a `{recipe.method.kind}` model of {len(bundle.classes):,} classes. `classes.json` names\n"
        "the classes in the order of their ids; `export.json` holds versions, hashes, and how far each graph is from\n"
        "the original on random inputs.",
        "## Use",
        f"In this folder, with numpy and {library}:",
        fenced(snippet(bundle, graphs[0], files[0], library), "python"),
    ]
    for graph, file in zip(graphs, files, strict=True):
        sections += [f"## {file}", _table(graph)]
    sections.append(
        "N is the number of images, any from 1. Noise is an input, so the same inputs make the same images; draw it\n"
        "from the standard normal distribution."
    )
    if bundle.bank is not None:
        independent = bundle.bank.label_of_class is None
        label = "-1" if independent else "`label_of_class[class_id]` of `classes.json`"
        sections.append(
            "`low_quality_bank.npz` holds low-quality images, uint8 `(L, r, r, K)`, and their labels. Own images have\n"
            f"the label {label}."
        )
    licence = f"Weights: {rights.licence_text()}. The rights in the training images were not checked."
    sections += ["## Licence", licence]
    return "\n\n".join(sections) + "\n"


def snippet(bundle: Bundle, graph: Graph, file: str, library: str) -> str:
    """Python lines that make four images of the first class."""
    takes = {one.name for one in graph.inputs}
    lines = ["import json", "from pathlib import Path", "", "import numpy as np", f"import {library}", ""]
    lines += ["count, rng = 4, np.random.default_rng(0)"]
    if "class_id" in takes:
        lines += ['known = json.loads(Path("classes.json").read_text(encoding="utf-8"))']
        lines += [f'label = known["classes"].index({bundle.classes[0]!r})']
    else:
        lines = lines[3:]
    if bundle.bank is not None:
        lines += ['bank = np.load("low_quality_bank.npz")']
        rows = 'rng.integers(len(bank["labels"]), size=count)'
        if bundle.bank.label_of_class is not None:
            lines += ['own = np.flatnonzero(bank["labels"] == known["label_of_class"][label])']
            rows = 'rng.choice(own if len(own) else len(bank["labels"]), count)  # a class without own images takes any'
        lines += [f"rows = {rows}"]
    lines += ["inputs = {", *(f'    "{one.name}": {one.example},' for one in graph.inputs), "}"]
    lines += [line.format(file=file) for line in (ONNX_RUN if library == "onnxruntime" else PROGRAM_RUN)]
    lines += ["levels = ((images + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)"]
    return "\n".join(lines)


def _table(graph: Graph) -> str:
    rows = ["| | name | type | shape | values |", "|---|---|---|---|---|"]
    for what, port in (*(("input", one) for one in graph.inputs), ("output", graph.output)):
        shape = ", ".join(["N", *map(str, port.shape)])
        rows.append(f"| {what} | `{port.name}` | {port.dtype} | ({shape}) | {port.values} |")
    return "\n".join(rows)
