"""Exported folders: graphs, each compared with the original, and what their user needs; or a bundle for the Hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ctfgan.bundle.bundle import (
    BANK,
    CARD,
    CLASSES,
    MODEL,
    Bundle,
    class_names,
    environment,
    load_bundle,
    publish,
    write_bank,
)
from ctfgan.bundle.card import Rights, fenced, plain
from ctfgan.core.errors import CtfganError, library, pick
from ctfgan.core.files import new_folder, require_free, sha256
from ctfgan.core.text import json_bytes, plural
from ctfgan.export.formats import FORMATS, GraphFormat
from ctfgan.export.graph import BATCHES, TOLERANCE, Graph, Port, graphs_of, max_error

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
    recipe, classes = bundle.recipe, plural(len(bundle.classes), "class", "classes")
    sections = [
        f"# {plain(recipe.name)}: graphs for {library}",
        f"Made by ctfgan from a `{recipe.method.kind}` model of {classes}. `classes.json` names\n"
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


EXPORT = "export.json"
NAMED_INSIDE = 10_000  # class names that a graph file itself holds at most; classes.json holds all


@dataclass(frozen=True)
class GraphFile:
    """A graph that was written and compared."""

    file: Path
    max_error: float
    """Largest difference of a pixel from the original, in [-1, 1]."""
    bytes: int
    """Of the file and what stands beside it."""


def export_graphs(
    bundle: Bundle,
    to: str,
    out: Path,
    *,
    part: str | None = None,
    license: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[GraphFile]:
    """Write the graphs of a bundle to a new folder, each compared with the original on random inputs.

    Args:
        bundle: from :func:`~ctfgan.bundle.bundle.load_bundle`.
        to: ``onnx`` or ``torch-export``.
        out: must not exist, or be empty.
        part: ``generator`` or ``enhancer`` (G_LH of CTF-GAN); None for all that there are.
        license: of the weights; None keeps what the bundle says, if anything.
        say: told what happens.

    Raises:
        ConfigError: no such format or part, a missing library, or something is at ``out`` already.
        CtfganError: a graph differs from the original; nothing is then written.
    """
    form = pick(FORMATS, to, "format")
    require_free(out, "folder")
    for name in form.needs:
        library(name, f"export to {to}", "export")
    graphs = graphs_of(bundle, part)
    rights = Rights.stated(bundle.provenance, license)
    exported = []
    with new_folder(out) as folder:
        (folder / CLASSES).write_bytes(json_bytes(class_names(bundle)))
        if bundle.bank is not None:
            write_bank(bundle.bank, folder / BANK)
        for graph in graphs:
            say(f"{graph.part}: tracing and writing")
            file = folder / f"{graph.part}{form.suffix}"
            runner = form.write(graph, file, _metadata(bundle, graph, rights))
            error = max_error(graph, runner)
            say(f"{graph.part}: max error {error:.2e} on batches of {', '.join(map(str, BATCHES))} random inputs")
            exported.append(GraphFile(out / file.name, error, sum(one.stat().st_size for one in _files(file))))
        description = _description(bundle, to, form, folder, graphs, exported, rights)
        (folder / EXPORT).write_bytes(json_bytes(description))
        files = [one.file.name for one in exported]
        (folder / CARD).write_text(readme(bundle, graphs, files, form.runner, rights), encoding="utf-8")
    return exported


def export_hub(bundle: Bundle, out: Path, *, license: str | None = None, datasets: Sequence[str] = ()) -> float:
    """Write a bundle and its model card to a new folder, and read it again as whoever downloads it will.

    Args:
        bundle: from :func:`~ctfgan.bundle.bundle.load_bundle`.
        out: must not exist, or be empty.
        license: of the weights, as the Hub writes it (``cc-by-4.0``); None keeps what the bundle says, if anything.
        datasets: names on the Hub of the training data; none keeps what the bundle says.

    Returns:
        The largest difference of a pixel from the original, on random inputs; always 0.

    Raises:
        ConfigError: something is at ``out`` already, or a licence or name that the Hub could not read.
        CtfganError: what was read makes other images; nothing is then left at ``out``.
    """
    publish(bundle, out, Rights.stated(bundle.provenance, license, datasets))
    pairs = zip(graphs_of(bundle), graphs_of(load_bundle(out)), strict=True)
    error = max(max_error(original, again.run) for original, again in pairs)
    if error > 0:
        shutil.rmtree(out)
        raise CtfganError(
            f"the bundle read again differs by up to {error:.2e}; nothing was written, please report this"
        )
    return error


def _files(file: Path) -> list[Path]:
    """A graph's file, and that of its weights if they stand beside it."""
    return sorted(file.parent.glob(f"{file.name}*"))


def _metadata(bundle: Bundle, graph: Graph, rights: Rights) -> dict[str, str]:
    """What a graph's file says of itself."""
    texts = {
        "ctfgan": version("ctfgan"),
        "part": graph.part,
        "inputs": json.dumps([_port(one) for one in graph.inputs]),
        "output": json.dumps(_port(graph.output)),
        "noise": "standard normal; an input, so that equal inputs make equal images",
        "license": rights.licence_text(),
        "classes_file": CLASSES,
    }
    if len(bundle.classes) <= NAMED_INSIDE:
        texts["classes"] = json.dumps(bundle.classes)
    return texts


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": ["N", *port.shape], "values": port.values}


def _description(
    bundle: Bundle,
    to: str,
    form: GraphFormat,
    folder: Path,
    graphs: list[Graph],
    exported: list[GraphFile],
    rights: Rights,
) -> dict[str, Any]:
    by_file = {
        one.file.name: {
            "part": graph.part,
            "inputs": [_port(port) for port in graph.inputs],
            "output": _port(graph.output),
            "max_error": one.max_error,
            "sha256": {file.name: sha256(file) for file in _files(folder / one.file.name)},
        }
        for graph, one in zip(graphs, exported, strict=True)
    }
    return {
        "format": 1,
        "to": to,
        "graphs": by_file,
        "parity": {"batches": BATCHES, "inputs": "random, seeds 1, 3 and 8", "tolerance": TOLERANCE},
        "noise": "draw from N(0, 1)",
        "license": rights.licence_text(),
        "bundle": {
            "recipe": bundle.recipe.name,
            "method": bundle.recipe.method.kind,
            "sha256": bundle.provenance.get("sha256", {}).get(MODEL),
        },
        "versions": environment() | {name: version(name) for name in form.needs},
    }
