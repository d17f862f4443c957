"""``ctfgan export`` as a user types it: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

import ctfgan
from ctfgan.bundle.bundle import load_bundle
from ctfgan.cli import export as command
from ctfgan.export import FORMATS, PARTS
from tests.unit.export.test_export_graphs import check_folder, check_no_path, run_readme


@pytest.fixture
def bundle(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of the classes A, B, C and D in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run / "bundle", tmp_path / "bundle")
    return Path("bundle")


def test_a_folder_for_the_hub_is_the_bundle_with_a_card(bundle: Path, finished_run: Path, run_cli: Callable) -> None:
    done = run_cli("export", bundle, "--to", "hub", "--license", "cc-by-4.0", "--dataset", "owner/glyphs",
                   "--out", "my model")  # fmt: skip
    assert (done.code, done.err) == (0, ""), done
    assert done.out.startswith("read again: max error 0; ")
    assert done.out.endswith("'my model'. Next: hf upload OWNER/NAME 'my model'\n")
    fields = ModelCard.load(Path("my model/README.md")).data.to_dict()
    assert (fields["license"], fields["datasets"]) == ("cc-by-4.0", ["owner/glyphs"])
    loaded = ctfgan.from_pretrained("my model", device="cpu")
    expected = ctfgan.load(finished_run, "cpu").sample(["A"], 3, seed=1).images
    assert np.array_equal(loaded.sample(["A"], 3, seed=1).images, expected)
    check_no_path(Path("my model"), Path.cwd(), finished_run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx", "--out", "bundle"], "bundle exists already; choose another --out"),
        (["--to", "onnx", "--out", "no/such"], "does not exist; make it first"),
        (["--to", "hub", "--part", "generator", "--out", "new"], "--part generator is for graphs"),
        (["--to", "onnx", "--dataset", "a/b", "--out", "new"], "--dataset a/b is for the model card"),
        (["--to", "onnx", "--license", "CC BY", "--out", "new"], "'CC BY' is no identifier of the Hub"),
        (["--to", "hub", "--license", "CC BY", "--out", "new"], "'CC BY' is no identifier of the Hub"),
        (["--to", "hub", "--dataset", "a b", "--out", "new"], "data set 'a b' is no name on the Hub"),
        (["--to", "tflite", "--out", "new"], "'tflite' is not one of"),
        (["--to", "onnx"], "Missing option '--out'"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_any_work(
    arguments: list[str], message: str, bundle: Path, refused: Callable
) -> None:
    assert message in refused("export", bundle, *arguments)


def test_a_missing_bundle_or_library_is_one_sentence(
    bundle: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nothing does not exist" in refused("export", "nothing", "--to", "hub", "--out", "new")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            said = refused("export", bundle, "--to", "onnx", "--out", "new")
        assert f"export to onnx needs the library {name}; install it: pip install 'ctfgan[export]'" in said


@pytest.mark.slow
@pytest.mark.parametrize(("to", "suffix"), [("onnx", ".onnx"), ("torch-export", ".pt2")])
def test_graphs_are_written_compared_and_explained_and_nothing_else_is_said(
    to: str, suffix: str, bundle: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "ctfgan", "export", "bundle", "--to", to, "--out", "graphs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == ["generator", "generator", "enhancer", "enhancer"]
    assert lines[4].startswith("max error ")
    for words in ("grey levels); ", f"generator{suffix} ", f"enhancer{suffix} ", "Next: read graphs/README.md"):
        assert words in lines[4]
    assert len(lines) == 5
    described = json.loads(Path("graphs/export.json").read_text())
    assert described["bundle"]["sha256"] == json.loads(Path("bundle/provenance.json").read_text())["sha256"][
        "model.safetensors"
    ]  # fmt: skip
    original = load_bundle(bundle)
    assert json.loads(Path("graphs/classes.json").read_text())["classes"] == list("ABCD")
    folder = Path("graphs").absolute()
    check_folder(folder, original)
    check_no_path(folder, Path.cwd(), finished_run)
    assert run_readme(folder, monkeypatch).shape == (4, 16, 16, 1)


def test_help_shows_an_example_and_all_there_is(run_cli: Callable) -> None:
    assert (tuple(FORMATS), PARTS) == (command.GRAPHS, command.PARTS)
    shown = run_cli("export", "--help")
    assert shown.code == 0
    assert "ctfgan export runs/my-run --to onnx --out my-model-onnx" in shown.out
