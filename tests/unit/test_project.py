"""What the README promises about the project itself."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    command = next(line.strip() for line in readme.splitlines() if line.startswith("    ") and "pytest" in line)
    install, _, tests = command.rpartition(" && ")
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert install in lines
    assert tests in lines


def test_links_between_the_pages_lead_somewhere() -> None:

    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_test_and_source_file_of_the_paper_map_exists() -> None:

    for name in re.findall(r"`((?:tests|nn|models|training|recipes|data|metrics)/[\w/.]+\.py)`",
                           (ROOT / "docs/paper-map.md").read_text()):  # fmt: skip
        assert (ROOT / name).exists() or (ROOT / "src/ctfgan" / name).exists(), name


def _text_without_encoding(call: ast.Call) -> bool:
    if ast.unparse(call.func) == "tarfile.open":
        return False
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    modes = [value.value for value in [*call.args, *(keyword.value for keyword in call.keywords)]
             if isinstance(value, ast.Constant) and re.fullmatch("[rwax]t?[+]?", str(value.value))]  # fmt: skip
    is_text = name in ("read_text", "write_text") or (name in ("open", "fdopen", "NamedTemporaryFile") and bool(modes))
    return is_text and "encoding" not in {keyword.arg for keyword in call.keywords}


def test_text_files_are_utf_8_whatever_the_code_page_of_the_machine() -> None:
    """Python takes the machine's, which on Windows cannot write every name of a class."""
    for line in ("p.write_text(x)", "p.open('w')", "open(p, mode='a')", "p.read_text(errors='replace')"):
        assert _text_without_encoding(ast.parse(line, mode="eval").body)  # type: ignore[arg-type]
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Call) or not _text_without_encoding(node), f"{file}:{node.lineno}"


def _twins(names: list[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def test_no_two_files_and_no_two_classes_share_a_name() -> None:
    files = [file for file in (ROOT / "src").rglob("*.py") if file.stem not in ("__init__", "settings")]
    assert _twins([file.stem for file in files]) == []
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "src").rglob("*.py")]
    classes = [node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    aliases = [
        target.id
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and re.fullmatch("_?[A-Z][a-z]\\w*", target.id)
    ]
    assert len(classes) > 200
    typevars = ["T", "Item"]
    assert [name for name in _twins(classes + aliases) if name not in typevars] == []


def test_no_two_files_import_each_other_by_any_way() -> None:
    """import-linter sees circles of layers, not those inside of one."""
    graph = grimp.build_graph("ctfgan")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := {module for module, imported in imports.items() if not imported}:
        imports = {module: imported - leaves for module, imported in imports.items() if module not in leaves}
    assert sorted(imports) == []
