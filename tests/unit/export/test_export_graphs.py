"""Exported graphs of every kind of generator, run by what their users have: onnxruntime, or torch alone."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from ctfgan.bundle.bundle import Bundle
from ctfgan.core.errors import ConfigError, CtfganError
from ctfgan.export import FORMATS, export_graphs, formats
from ctfgan.export.graph import FlatGenerator, Graph, graphs_of, max_error
from ctfgan.models.ctf_gan import TransferGenerator
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.recipes.build import DataSpec
from tests.contract.test_changed_classes import random_bundle, through_disk
from tests.contract.test_table_forms import CODES

COLOUR = DataSpec(num_classes=5, num_low_quality_labels=5, low_quality_size=8, channels=3)
HOSTILE = ('it\'s "x"', "a ``` --- b", "\\n`", "é\U0001f600", "$(rm) | ; <b>")
ALL = ["class_id", "noise", "block_noise", "low_quality", "low_quality_label"]


KINDS: dict[str, Callable[[], Bundle]] = {
    "ctf-gan": lambda: random_bundle("ctf-folders"),
    "ctf-gan, independent, colour": lambda: random_bundle("ctf-folders", matched=False, spec=COLOUR),
    "ctf-gan, ablations": lambda: random_bundle(
        "ctf-folders", "block_noise=0", "frequency=soft-threshold", "stem=resize", "features.ctf=shuffled",
        "features.statistics=batch",
    ),
    "ctf-gan, codes": lambda: random_bundle("ctf-folders", *CODES),
    "ac-gan, codes, colour": lambda: random_bundle("ac-gan-folders", *CODES, spec=COLOUR),
    "sn-gan-concat": lambda: random_bundle("sn-gan-concat-folders"),
    "prog-gan, codes": lambda: random_bundle("prog-gan-folders", *CODES),
}  # fmt: skip
"""Those that take a while; the tests before them export SN-GAN with and without a projection."""


def saved(bundle: Bundle, path: Path) -> Bundle:
    """The bundle as it is read from disk, never measured."""
    provenance = {name: value for name, value in bundle.provenance.items() if name != "figures"}
    return through_disk(replace(bundle, provenance=provenance), path)


def original(bundle: Bundle, part: str, given: dict[str, np.ndarray]) -> np.ndarray:
    """What the network makes of numpy inputs, without the code that flattens it."""
    tensors = {name: torch.from_numpy(values) for name, values in given.items()}
    count = len(next(iter(tensors.values())))
    empty = torch.zeros(count, 0)
    labels = tensors.get("class_id", torch.zeros(count, dtype=torch.int64))
    low_labels = tensors.get("low_quality_label", torch.full((count,), -1))
    network = bundle.generator
    if part == "enhancer":
        assert isinstance(network, TransferGenerator)
        network = network.generator_lh
    condition = Condition(labels, tensors.get("low_quality"), low_labels if "low_quality" in tensors else None)
    with torch.no_grad():
        return network(condition, Noise(tensors.get("noise", empty), tensors.get("block_noise", empty))).numpy()


def made_by_hand(described: dict, count: int) -> dict[str, np.ndarray]:
    """Inputs drawn by numpy from what export.json says, and from nothing else."""
    rng = np.random.default_rng(count)
    found = {}
    for port in described["inputs"]:
        shape = (count, *port["shape"][1:])
        if port["dtype"] == "int64":
            low, high = map(int, port["values"].split(";")[0].split(" ... "))
            found[port["name"]] = rng.integers(low, high + 1, shape)
        elif port["values"] == "standard normal":
            found[port["name"]] = rng.standard_normal(shape, dtype=np.float32)
        else:
            found[port["name"]] = rng.uniform(-1, 1, shape).astype(np.float32)
    return found


def check_folder(folder: Path, bundle: Bundle) -> None:
    """Every graph of a folder, opened anew, makes the images of the original at several batch sizes."""
    described = json.loads((folder / "export.json").read_text())
    for file, graph in described["graphs"].items():
        if file.endswith(".onnx"):
            session = onnxruntime.InferenceSession(folder / file)
            assert {one.name: one.shape[1:] for one in session.get_inputs()} == {
                port["name"]: port["shape"][1:] for port in graph["inputs"]
            }
            assert {one.shape[0] for one in (*session.get_inputs(), *session.get_outputs())} == {"batch"}
        else:
            module = torch.export.load(folder / file).module()
        for count in (1, 2, 5):
            given = made_by_hand(graph, count)
            if file.endswith(".onnx"):
                (images,) = session.run(["images"], given)
            else:
                images = module(**{name: torch.from_numpy(values) for name, values in given.items()}).numpy()
            expected = original(bundle, graph["part"], given)
            assert images.dtype == np.float32
            assert images.shape == (count, *graph["output"]["shape"][1:]) == expected.shape
            np.testing.assert_allclose(images, expected, atol=2e-3)
            assert expected.std() > 0.01


def run_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The Python lines of a README, run in its folder; returns the bytes that they make."""
    monkeypatch.chdir(folder)
    text = (folder / "README.md").read_text(encoding="utf-8")
    opening = next(line for line in text.splitlines() if line.endswith("`python"))
    fence = opening.removesuffix("python")
    code = text.split(opening + "\n")[1].split("\n" + fence + "\n")[0]
    names: dict[str, object] = {}
    exec(code, names)
    levels = names["levels"]
    assert isinstance(levels, np.ndarray)
    assert levels.dtype == np.uint8
    return levels


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, and what is packed in it."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file():
            found[file.name] = file.read_bytes()
        if file.suffix in (".npz", ".pt2"):
            with zipfile.ZipFile(file) as archive:
                found |= {f"{file.name}/{name}": archive.read(name) for name in archive.namelist()}
    return found


def check_no_path(folder: Path, *more: Path) -> None:
    """No file names a folder of this machine: of the source, of the interpreter, of the test."""
    private = [Path(__file__).parents[3], Path(sys.prefix), Path(torch.__file__).parent, Path.home(), *more]
    for name, content in contents(folder).items():
        for place in private:
            assert len(place.parts) < 2 or str(place).encode() not in content, f"{name} names {place}"
        assert b".py" not in content.replace(b".python", b""), name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("ctf-folders", {"generator": ALL, "enhancer": ["class_id", "block_noise", "low_quality"]}),
        ("projection-folders", {"generator": ["class_id", "noise"]}),
        ("ac-gan-folders", {"generator": ["class_id", "noise"]}),
        ("prog-gan-folders", {"generator": ["class_id", "noise"]}),
        ("sn-gan-concat-folders", {"generator": ["class_id", "noise"]}),
        ("sn-gan-folders", {"generator": ["noise"]}),
    ],
)
def test_a_graph_takes_what_its_method_uses_and_nothing_else(name: str, parts: dict[str, list[str]]) -> None:
    bundle = random_bundle(name)
    graphs = graphs_of(bundle)
    assert {graph.part: [one.name for one in graph.inputs] for graph in graphs} == parts
    for graph in graphs:
        drawn = graph.random_inputs(4, seed=0)
        expected = original(bundle, graph.part, {name: values.numpy() for name, values in drawn.items()})
        np.testing.assert_array_equal(graph.run(drawn).numpy(), expected)
        assert max_error(graph, graph.run) == 0


def test_images_without_labels_need_no_label_as_input() -> None:
    bundle = random_bundle("ctf-folders", matched=False, spec=COLOUR.model_copy(update={"num_low_quality_labels": 0}))
    graph = graphs_of(bundle, "generator")[0]
    assert [one.name for one in graph.inputs] == ALL[:-1]
    drawn = graph.random_inputs(3, seed=0)
    expected = original(bundle, "generator", {name: values.numpy() for name, values in drawn.items()})
    np.testing.assert_array_equal(graph.run(drawn).numpy(), expected)


def test_a_part_that_a_method_has_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="projection model has no enhancer"):
        graphs_of(random_bundle("projection-folders"), "enhancer")
    assert [graph.part for graph in graphs_of(random_bundle("ctf-folders"), "enhancer")] == ["enhancer"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images + 0.01, r"differs from the original by up to 1\.00e-02, more than half a grey level"),
        (lambda images: images * torch.nan, "differs from the original by up to nan"),
        (lambda images: images[:, :, 1:], r"shape \(1, 1, 15, 16\), the original \(1, 1, 16, 16\)"),
    ],
)
def test_a_graph_that_is_off_is_not_released(
    change: Callable[[Tensor], Tensor], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: Graph, file: Path, metadata: dict[str, str]) -> Callable[[dict[str, Tensor]], Tensor]:
        file.write_bytes(b"graph")
        return lambda inputs: change(graph.run(inputs))

    monkeypatch.setitem(FORMATS, "torch-export", replace(FORMATS["torch-export"], write=wrong))
    with pytest.raises(CtfganError, match=message) as error:
        export_graphs(random_bundle("sn-gan-folders"), "torch-export", tmp_path / "out")
    assert "nothing was written" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_what_torch_cannot_trace_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **how: object) -> None:
        raise RuntimeError("no such operator\nmore\nand more")

    monkeypatch.setattr(torch.export, "export", broken)
    with pytest.raises(CtfganError, match=r"cannot make a graph of the generator \(no such operator\); nothing was"):
        export_graphs(random_bundle("sn-gan-folders"), "torch-export", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_first_call_of_a_dct_is_no_trace() -> None:
    """A matrix kept from a trace would break every later call in this process."""
    graph = graphs_of(random_bundle("ctf-folders", "frequency=high-pass", "data.resolution=16"), "generator")[0]
    formats._trace(graph)
    assert graph.run(graph.random_inputs(2, 0)).isfinite().all()


@pytest.mark.slow
def test_an_onnx_graph_of_hostile_names_says_what_it_is_and_its_readme_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = saved(replace(random_bundle("projection-folders"), classes=HOSTILE), tmp_path / "bundle")
    said: list[str] = []
    (exported,) = export_graphs(bundle, "onnx", tmp_path / "out", license="mit", say=said.append)
    assert exported.max_error < 1e-4
    assert any("max error" in line for line in said)
    folder = tmp_path / "out"
    check_folder(folder, bundle)
    model = onnx.load(folder / "generator.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", formats.OPSET)]
    told = {one.key: one.value for one in model.metadata_props}
    assert tuple(json.loads(told["classes"])) == HOSTILE
    assert told["license"] == "mit"
    check_no_path(folder, tmp_path)
    assert run_readme(folder, monkeypatch).shape == (4, 16, 16, 1)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "classes.json", "export.json", "generator.onnx"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_torch_program_runs_in_a_process_that_knows_no_ctfgan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = saved(random_bundle("sn-gan-folders"), tmp_path / "bundle")
    export_graphs(bundle, "torch-export", tmp_path / "out")
    check_folder(tmp_path / "out", bundle)
    check_no_path(tmp_path / "out", tmp_path)
    assert run_readme(tmp_path / "out", monkeypatch).shape == (4, 16, 16, 1)
    graph = json.loads((tmp_path / "out/export.json").read_text())["graphs"]["generator.pt2"]
    given = made_by_hand(graph, 3)
    np.savez(tmp_path / "given.npz", **given)
    code = (
        "import sys, numpy, torch; given = numpy.load('given.npz'); module = torch.export.load('out/generator.pt2')"
        ".module(); made = module(**{name: torch.from_numpy(given[name]) for name in given}); "
        "assert not [name for name in sys.modules if name.startswith('ctfgan')]; numpy.save('made.npy', made.numpy())"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "made.npy"), original(bundle, "generator", given), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "to"),
    [*((name, "onnx") for name in KINDS), ("ctf-gan", "torch-export"), ("prog-gan, codes", "torch-export")],
)
def test_graphs_of_every_kind_make_the_images_of_the_original(
    name: str, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = saved(KINDS[name](), tmp_path / "bundle")
    exported = export_graphs(bundle, to, tmp_path / "out")
    assert len(exported) == (2 if name.startswith("ctf-gan") else 1)
    check_folder(tmp_path / "out", bundle)
    check_no_path(tmp_path / "out", tmp_path)
    side, channels = bundle.recipe.data.resolution, bundle.data_spec.channels
    assert run_readme(tmp_path / "out", monkeypatch).shape == (4, side, side, channels)


@pytest.mark.slow
def test_weights_too_large_for_one_file_stand_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "EXTERNAL_BYTES", 1_000)
    bundle = saved(random_bundle("projection-folders"), tmp_path / "bundle")
    (exported,) = export_graphs(bundle, "onnx", tmp_path / "out")
    files = {file.name: file.stat().st_size for file in (tmp_path / "out").glob("generator*")}
    assert set(files) == {"generator.onnx", "generator.onnx.data"}
    assert exported.bytes == sum(files.values())
    described = json.loads((tmp_path / "out/export.json").read_text())["graphs"]["generator.onnx"]
    assert set(described["sha256"]) == set(files)
    check_folder(tmp_path / "out", bundle)


def test_inputs_may_be_left_out_only_where_the_network_has_no_use_for_them() -> None:
    bundle = random_bundle("ctf-folders")
    with pytest.raises(AssertionError, match="needs low-quality images"):
        FlatGenerator(bundle.generator)(class_id=torch.zeros(2, dtype=torch.int64), noise=torch.zeros(2, 64))
