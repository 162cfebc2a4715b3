"""Rules for the code that faces 3D Slicer which no linter knows: it loads in every Slicer, whatever is installed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

from slicer_code import (
    BUNDLED,
    MODULE_FILES,
    OWN,
    ROOT,
    functions,
    imports,
    python_files,
    top_packages,
    tree,
)

MODULE_LINES = 175
NOT_IN_SLICER = ("torch", "nibabel", "safetensors", "PIL", "typer", "rich", "lightning_fabric", "monai", "psutil")
FORBIDDEN = {"QTextCodec", "waitForFinished", "waitForReadyRead"}  # gone in Qt 6; they block the application


def test_file_scope_imports_nothing_that_a_slicer_may_lack() -> None:
    assert {name for path in python_files() for name in top_packages(path)} <= BUNDLED | OWN | {"medddpm"}


def test_what_files_import_of_the_core_needs_no_package_that_slicer_lacks() -> None:
    """``import medddpm.x`` at file scope is allowed where it works in a Slicer as it comes."""
    names = sorted({name for path in python_files() for name in imports(path, True) if name.startswith("medddpm")})
    assert names
    result = _import_without(NOT_IN_SLICER, names)
    assert result.returncode == 0, result.stderr


def test_the_check_above_finds_an_import_that_needs_torch() -> None:
    result = _import_without(NOT_IN_SLICER, ["medddpm.network.unet"])
    assert result.returncode == 1 and "No module named 'torch'" in result.stderr


IMPORT_ALL = """
import importlib, importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for name in NAMES:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        parent, _, attribute = name.rpartition(".")
        if error.name != name or not hasattr(importlib.import_module(parent), attribute):
            raise
"""


def _import_without(missing: tuple[str, ...], names: list[str]) -> subprocess.CompletedProcess[str]:
    code = IMPORT_ALL.replace("MISSING", repr(missing)).replace("NAMES", repr(names))
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "MedDDPMCore")}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)


def test_module_files_are_thin_and_do_nothing_that_could_fail_when_slicer_imports_them() -> None:
    harmless = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.AnnAssign, ast.Assign, ast.Try)
    for path in MODULE_FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) < MODULE_LINES
        doubtful = [node for node in tree(path).body if not isinstance(node, harmless) and not _is_text(node)]
        assert not [ast.unparse(node) for node in doubtful]
        assert not [name for name in imports(path, True) if name.split(".")[0] in ("medddpm", "numpy")]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_nothing_is_used_that_newer_slicers_lack_or_that_blocks_the_application() -> None:
    nodes = ((path, node) for path in python_files() for node in ast.walk(tree(path)))
    assert not [(path, node.attr) for path, node in nodes if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN]


def test_slicer_facing_names_are_camel_case() -> None:
    names = {node.name.strip("_"): path for path in python_files() for node in functions(path) if node.name[:2] != "__"}
    assert not {name: path for name, path in names.items() if "_" in name}


def test_sentences_of_panels_can_be_translated() -> None:
    """What ends with a period, or a mark of waiting, is a sentence; docstrings are not shown."""
    found = []
    for path in (path for path in python_files() if path.parent.name == "Panels"):
        marked = {id(text) for node in ast.walk(tree(path)) if _is_translated(node) for text in ast.walk(node)}
        marked |= {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
        texts = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and id(node) not in marked]
        sentences = [text for text in texts if isinstance(text.value, str) and _SENTENCE.fullmatch(text.value.strip())]
        found += [f"{path.name}, line {text.lineno}: {text.value}" for text in sentences]
    assert not found


_SENTENCE = re.compile(r"[A-Z][a-z']+ .*[.…]", re.DOTALL)


def _is_translated(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_"
