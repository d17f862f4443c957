"""Nothing in the source unpickles or evaluates what it reads, but where it is said here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ctfgan

SOURCE = Path(ctfgan.__file__).parent
UNPICKLER = "data/sources/classic_sets.py"
"""CIFAR's batches are pickles; the class there knows plain values alone (test_sources_arrays.py)."""
PLUGIN = "metrics/plugin.py"
"""The user's own extractor, a Python file that the command line or a recipe of theirs names."""
MODULES = {"pickle", "_pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "yaml"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(SOURCE.rglob("*.py")):
        yield file.relative_to(SOURCE).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(word.value) for word in call.keywords if word.arg == name), None)


def found_in(tree: ast.Module) -> list[str]:
    """What in a module could run code from a file."""
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"imports {name}" for name in names if name.split(".")[0] in MODULES]
    for name, call in calls(tree):
        if name in ("eval", "exec", "compile", "__import__"):
            found.append(name)
        if name == "torch.load" and keyword(call, "weights_only") is not True:
            found.append("torch.load of more than weights")
        if name in ("np.load", "numpy.load") and keyword(call, "allow_pickle"):
            found.append("np.load of pickles")
        if name.endswith("torch.jit.load") or name == "torch.package.PackageImporter":
            found.append(name)
    return found


def test_only_two_modules_hold_what_could_run_code() -> None:
    found = {name: reasons for name, tree in trees() if (reasons := found_in(tree))}
    assert set(found) == {UNPICKLER, PLUGIN}
    assert found[UNPICKLER] == ["imports pickle"]
    assert set(found[PLUGIN]) == {"exec", "compile"}


def test_the_pickle_module_lends_a_base_class_and_nothing_that_loads() -> None:
    tree = next(tree for name, tree in trees() if name == UNPICKLER)
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {name for name in used if name.startswith("pickle.")} == {
        "pickle._Unpickler", "pickle._Unpickler.dispatch", "pickle.UnpicklingError", "pickle.BYTEARRAY8",
    }  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from dill import load", "eval(text)", "exec(code)", "torch.load(file)",
        "torch.load(file, weights_only=False)", "np.load(file, allow_pickle=True)", "import yaml",
    ],
)  # fmt: skip
def test_this_check_sees_what_it_is_for(code: str) -> None:
    assert found_in(ast.parse(code))
