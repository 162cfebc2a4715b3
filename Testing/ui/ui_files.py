"""Reads .ui files, and the fields of the parameter node that their widgets are bound to."""

from __future__ import annotations

import ast
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")
# Panels that modules share take their widgets from the .ui file of each module that uses them.
SHARED = ROOT / "MedDDPMSlicer" / "MedDDPMSlicerLib" / "Panels"

# Which widgets slicer.parameterNodeWrapper can connect to which kind of field.
CONNECTORS = {
    "QCheckBox": {"bool"},
    "QPushButton": {"bool"},
    "ctkCheckBox": {"bool"},
    "ctkCheckablePushButton": {"bool"},
    "QSlider": {"int"},
    "QSpinBox": {"int"},
    "QDoubleSpinBox": {"int", "float"},
    "ctkDoubleSpinBox": {"int", "float"},
    "ctkDoubleSlider": {"int", "float"},
    "ctkSliderWidget": {"int", "float"},
    "qMRMLSliderWidget": {"int", "float"},
    "QComboBox": {"str", "int", "float", "bool", "enum"},
    "ctkComboBox": {"str", "int", "float", "bool", "enum"},
    "QLineEdit": {"str"},
    "QLabel": {"str"},
    "QTextEdit": {"str"},
    "ctkPathLineEdit": {"Path"},
    "ctkDirectoryButton": {"Path"},
    "qMRMLNodeComboBox": {"node"},
}
# Numbers need limits: without WithinRange these widgets keep their own.
NUMBERS = {"int", "float"}
INPUTS = (set(CONNECTORS) - {"QLabel"}) | {
    *("QToolButton", "QRadioButton", "QListWidget", "QTableWidget", "QTreeWidget", "QPlainTextEdit"),
    *("ctkRangeWidget", "ctkColorPickerButton", "qMRMLSegmentSelectorWidget", "qMRMLSubjectHierarchyTreeView"),
}
BUTTONS = {"QPushButton", "QToolButton", "QCheckBox", "QRadioButton", "ctkCheckBox", "ctkCheckablePushButton"}


@dataclass(frozen=True)
class Widget:
    """One widget of a .ui file; ``properties`` holds the text of its simple properties."""

    kind: str
    name: str
    properties: dict[str, str]


class UiFile:
    """What the tests look at in one .ui file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = ElementTree.parse(path).getroot()

    @cached_property
    def widgets(self) -> list[Widget]:
        """All widgets in the order of the file, which is the order in which Qt makes them."""
        return [Widget(w.get("class", ""), w.get("name", ""), _properties(w)) for w in self.root.iter("widget")]

    @property
    def names(self) -> list[str]:
        """The object names of everything that has one."""
        tags = ("widget", "layout", "spacer", "action", "actiongroup", "buttongroup")
        return [str(element.get("name")) for tag in tags for element in self.root.iter(tag) if element.get("name")]

    @property
    def tabstops(self) -> list[str]:
        return [element.text or "" for element in self.root.iter("tabstop")]

    @property
    def declared(self) -> set[str]:
        """The classes that the file declares as custom widgets."""
        return {element.findtext("class", "") for element in self.root.iter("customwidget")}

    @property
    def connections(self) -> list[tuple[str, str, str, str]]:
        """(sender, signal, receiver, slot) of the connections that the file makes."""
        keys = ("sender", "signal", "receiver", "slot")
        found = [[element.findtext(key, "") for key in keys] for element in self.root.iter("connection")]
        return [(sender, signal, receiver, slot) for sender, signal, receiver, slot in found]


def _properties(widget: ElementTree.Element) -> dict[str, str]:
    return {str(p.get("name")): "".join(p.itertext()).strip() for p in widget.findall("property")}


def ui_paths() -> list[Path]:
    return [path for name in MODULES for path in sorted((ROOT / name).rglob("*.ui"))]


def module_of(path: Path) -> str:
    """The module that a file belongs to."""
    (module,) = (name for name in MODULES if path.is_relative_to(ROOT / name))
    return module


def fields(module: str) -> dict[str, ast.expr]:
    """The annotations of the fields of the parameter node of a module."""
    tree = ast.parse((ROOT / module / f"{module}Lib" / "Parameters.py").read_text(encoding="utf-8"))
    (node,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == f"{module}ParameterNode")
    return (option_fields() if module == "MedDDPMSynth" else {}) | {
        line.target.id: line.annotation
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def option_fields() -> dict[str, ast.expr]:
    """The annotations that ``withOptions`` adds."""
    sys.path[:0] = [str(ROOT / name) for name in ("MedDDPMCore", "MedDDPMSlicer") if str(ROOT / name) not in sys.path]
    from medddpm.synthesis.request import SynthesisRequest
    from MedDDPMSlicerLib.RequestOptions import parameterName, shownOptions

    kinds = {parameterName(told.name): told.kind.__name__ for told in shownOptions(SynthesisRequest)}
    texts = {name: f"Annotated[{kind}, WithinRange(0, 1)]" for name, kind in kinds.items()}
    return {name: ast.parse(text, mode="eval").body for name, text in texts.items()}


def code_files(module: str) -> list[Path]:
    """The Python files of a module, with the panels that it shares with others where it has a .ui file."""
    own = sorted((ROOT / module).rglob("*.py"))
    has_panel = any((ROOT / module).rglob("*.ui"))
    return own + (_shared_panels(own) if has_panel else [])


def _shared_panels(own: list[Path]) -> list[Path]:
    """Those that files of a module import by name."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in own)
    return [path for path in sorted(SHARED.glob("*.py")) if f"MedDDPMSlicerLib.Panels.{path.stem} " in text]


def kind_of(annotation: ast.expr) -> str:
    """bool, int, float, str, Path, node, enum or collection."""
    base = _base(annotation)
    if isinstance(base, ast.BinOp):  # "SomeNode | None"
        base = base.left
    if isinstance(base, ast.Subscript) and ast.unparse(base.value) == "Union":  # "Union[SomeNode, OtherNode, None]"
        assert isinstance(base.slice, ast.Tuple)
        base = base.slice.elts[0]
    if not isinstance(base, ast.Name):
        return "collection"
    if base.id.startswith("vtkMRML"):
        return "node"
    return base.id if base.id in ("bool", "int", "float", "str", "Path") else "enum"


def _base(annotation: ast.expr) -> ast.expr:
    """What ``Annotated`` annotates."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Annotated"):
        assert isinstance(annotation.slice, ast.Tuple)
        return annotation.slice.elts[0]
    return annotation


def is_limited(annotation: ast.expr) -> bool:
    return "WithinRange(" in ast.unparse(annotation)


def named_in_code(path: Path) -> Iterator[str]:
    """The names of widgets that a Python file takes from an object called ``ui``: ``ui.Name`` or ``self.ui.Name``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and _last_name(node.value) == "ui":
            yield node.attr


def constants(path: Path) -> list[str]:
    """The texts in a Python file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
