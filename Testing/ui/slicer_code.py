"""Reads the Python files that face 3D Slicer, without importing them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")
ROOMS = ("MedDDPMSlicer", *MODULES)
MODULE_FILES = tuple(ROOT / name / f"{name}.py" for name in MODULES)
OWN = {f"{name}Lib" for name in ROOMS}
# What is there in every Slicer when its modules are loaded.
BUNDLED = {"slicer", "vtk", "qt", "ctk", "numpy", "SegmentEditorEffects"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, Function)]


def imports(path: Path, file_scope: bool) -> Iterator[str]:
    """The full names of absolute imports; with ``file_scope`` only those that run when the file is imported."""
    nodes = _at_file_scope(tree(path)) if file_scope else ast.walk(tree(path))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from _imported_from(node)


def _imported_from(node: ast.ImportFrom) -> Iterator[str]:
    assert node.module is not None
    yield node.module
    if node.module.startswith("medddpm"):  # "from medddpm.labels import check" may import a module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_file_scope(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below ``node`` that run with the file: neither in functions nor for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*Function.__args__, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from _at_file_scope(child)


def top_packages(path: Path) -> set[str]:
    """The packages that a file imports when it is imported, but for those of Python."""
    return {name.split(".")[0] for name in imports(path, True)} - set(sys.stdlib_module_names)
