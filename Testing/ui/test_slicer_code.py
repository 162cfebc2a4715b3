"""Rules for the code that faces 3D Slicer: it loads in every Slicer, whatever is installed, and stays small."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from slicer_code import (
    BUNDLED,
    MODULE_FILES,
    OWN,
    ROOT,
    functions,
    imports,
    length,
    python_files,
    top_packages,
    tree,
)

MODULE_LINES, FILE_LINES, FUNCTION_LINES = 150, 300, 60
NOT_IN_SLICER = ("torch", "nibabel", "safetensors", "PIL", "typer", "rich", "lightning_fabric", "monai", "psutil")
FORBIDDEN = {"QTextCodec", "waitForFinished", "waitForReadyRead"}  # gone in Qt 6; they block the application

every_file = pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
every_module = pytest.mark.parametrize("path", MODULE_FILES, ids=lambda path: path.name)


@every_file
def test_file_scope_imports_nothing_that_a_slicer_may_lack(path: Path) -> None:
    assert not top_packages(path, file_scope=True) - BUNDLED - OWN - {"medddpm"}


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


@every_file
def test_torch_is_left_to_the_core(path: Path) -> None:
    assert not {"torch", "torchvision"} & top_packages(path, file_scope=False)


@every_module
def test_module_files_are_thin(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MODULE_LINES


@every_module
def test_module_files_do_nothing_at_file_scope_that_could_fail(path: Path) -> None:
    harmless = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.AnnAssign, ast.Assign)
    doubtful = [node for node in tree(path).body if not isinstance(node, harmless) and not _is_text(node)]
    assert not [ast.unparse(node) for node in doubtful]
    assert not [name for name in imports(path, True) if name.split(".")[0] in ("medddpm", "numpy")]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@every_file
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES


@every_file
def test_functions_are_short(path: Path) -> None:
    assert not [f"{node.name}: {length(node)} lines" for node in functions(path) if length(node) >= FUNCTION_LINES]


def test_most_functions_are_under_ten_lines() -> None:
    lengths = sorted(length(node) for path in python_files() for node in functions(path))
    assert lengths[len(lengths) // 2] < 10


@every_file
def test_no_error_is_swallowed(path: Path) -> None:
    handlers = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler)]
    assert not [node.lineno for node in handlers if node.type is None]
    broad = [node for node in handlers if node.type and ast.unparse(node.type) in ("Exception", "BaseException")]
    assert not [node.lineno for node in broad if all(isinstance(line, ast.Pass) for line in node.body)]


@every_file
def test_nothing_is_used_that_newer_slicers_lack_or_that_blocks_the_application(path: Path) -> None:
    used = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    assert not used & FORBIDDEN
    assert not {"imp", "pickle"} & {name.split(".")[0] for name in imports(path, file_scope=False)}


@every_file
def test_public_functions_and_classes_say_what_they_are(path: Path) -> None:
    nodes = [node for node in tree(path).body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    assert not [node.name for node in nodes if not node.name.startswith("_") and ast.get_docstring(node) is None]
    assert ast.get_docstring(tree(path)) or path.name == "__init__.py"


@every_file
def test_slicer_facing_names_are_camel_case(path: Path) -> None:
    names = {node.name.strip("_") for node in functions(path) if not node.name.startswith("__")}
    assert not [name for name in names if "_" in name]
