"""What would only show when the panel is opened in Slicer: wrong names, bindings and declarations in .ui files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from ui_files import (
    BUTTONS,
    CONNECTORS,
    INPUTS,
    MODULES,
    NUMBERS,
    ROOT,
    UiFile,
    code_files,
    constants,
    fields,
    is_limited,
    kind_of,
    module_of,
    named_in_code,
    option_fields,
    ui_paths,
)

BINDING = "SlicerParameterName"
every_file = pytest.mark.parametrize("path", ui_paths(), ids=lambda path: path.name)


with_panel = pytest.mark.parametrize("module", ("MedDDPMSynth", "MedDDPMTraining"))


@with_panel
def test_the_module_has_its_ui_file(module: str) -> None:
    assert ROOT / module / "Resources" / "UI" / f"{module}.ui" in ui_paths()


@every_file
def test_object_names_are_unique(path: Path) -> None:
    assert not [name for name, times in Counter(UiFile(path).names).items() if times > 1]


@every_file
def test_every_parameter_name_is_a_field_of_the_parameter_node(path: Path) -> None:
    bound = {widget.properties[BINDING] for widget in UiFile(path).widgets if BINDING in widget.properties}
    assert bound
    assert bound <= set(fields(module_of(path)))


@every_file
def test_no_field_is_bound_twice(path: Path) -> None:
    bound = Counter(widget.properties[BINDING] for widget in UiFile(path).widgets if BINDING in widget.properties)
    assert not [name for name, times in bound.items() if times > 1]


@every_file
def test_bound_widgets_are_of_a_class_that_slicer_connects_to_the_type_of_the_field(path: Path) -> None:
    bound = [widget for widget in UiFile(path).widgets if BINDING in widget.properties]
    known = fields(module_of(path))
    wrong = [
        f"{widget.name}: a {widget.kind} cannot be connected to {name}, {kind_of(known[name])}"
        for widget in bound
        if kind_of(known[name := widget.properties[BINDING]]) not in CONNECTORS.get(widget.kind, set())
    ]
    assert not wrong


@every_file
def test_bound_numbers_have_a_range(path: Path) -> None:
    bound = [widget.properties[BINDING] for widget in UiFile(path).widgets if BINDING in widget.properties]
    known = fields(module_of(path))
    assert not [name for name in bound if kind_of(known[name]) in NUMBERS and not is_limited(known[name])]


@every_file
def test_inputs_have_a_tooltip_that_is_a_sentence(path: Path) -> None:
    inputs = [widget for widget in UiFile(path).widgets if widget.kind in INPUTS]
    tips = {widget.name: widget.properties.get("toolTip", "") for widget in inputs}
    described = {widget.name for widget in inputs if widget.properties.get(BINDING) in option_fields()}
    assert not [name for name in described if tips.pop(name)], "those of options come from the fields"
    assert tips
    assert not [name for name, tip in tips.items() if len(tip) < 10 or tip[0].islower() or tip[-1] not in ".?)>"]


@every_file
def test_buttons_have_a_text_or_an_icon(path: Path) -> None:
    buttons = [widget for widget in UiFile(path).widgets if widget.kind in BUTTONS]
    assert not [w.name for w in buttons if not w.properties.get("text") and not w.properties.get("icon")]


@every_file
def test_the_tab_order_is_that_of_the_file_or_names_every_input(path: Path) -> None:
    ui = UiFile(path)
    inputs = {widget.name for widget in ui.widgets if widget.kind in INPUTS}
    assert max(Counter(ui.tabstops).values(), default=1) == 1
    assert set(ui.tabstops) <= set(ui.names)
    assert not ui.tabstops or inputs <= set(ui.tabstops)


@every_file
def test_widgets_of_slicer_and_ctk_are_declared(path: Path) -> None:
    ui = UiFile(path)
    assert {widget.kind for widget in ui.widgets if not widget.kind.startswith("Q")} <= ui.declared


@every_file
def test_connections_are_between_widgets_of_the_file(path: Path) -> None:
    ui = UiFile(path)
    assert not [one for one in ui.connections if not {one[0], one[2]} <= set(ui.names)]


@every_file
def test_every_mrml_widget_gets_the_scene(path: Path) -> None:
    """From a connection with the top widget in the file, or from code that calls setMRMLScene."""
    ui = UiFile(path)
    top, *others = ui.widgets
    connected = {receiver for *_, receiver, slot in ui.connections if slot == "setMRMLScene(vtkMRMLScene*)"}
    assert not connected or top.kind == "qMRMLWidget"
    files = code_files(module_of(path))
    by_code = {name for file in files if ".setMRMLScene(" in file.read_text("utf-8") for name in named_in_code(file)}
    needy = {widget.name for widget in others if widget.kind.startswith("qMRML")}
    assert not needy - connected - by_code


@every_file
def test_lengths_carry_their_unit(path: Path) -> None:
    """A field whose name ends with Mm is shown in millimeters."""
    bound = [w for w in UiFile(path).widgets if w.properties.get(BINDING, "").endswith("Mm")]
    assert not [w.name for w in bound if "mm" not in w.properties.get("suffix", w.properties.get("text", ""))]


@pytest.mark.parametrize("module", MODULES)
def test_widgets_that_the_code_names_exist(module: str) -> None:
    known = {name for path in ui_paths() if module_of(path) == module for name in UiFile(path).names}
    found = {f"{path.name}: {name}" for path in code_files(module) for name in set(named_in_code(path)) - known}
    assert not found


@with_panel
def test_the_panels_use_the_names_of_the_ui_file(module: str) -> None:
    """The test above would find nothing if the panels took their widgets in another way."""
    texts = [constant for path in code_files(module) for constant in constants(path)]
    named = {name for path in code_files(module) for name in named_in_code(path)} | set(texts)
    widgets = [widget for path in ui_paths() if module_of(path) == module for widget in UiFile(path).widgets]
    inputs = {widget.name for widget in widgets if widget.kind in BUTTONS}
    bound = {widget.name for widget in widgets if BINDING in widget.properties}
    assert inputs - bound <= named, "buttons that nothing listens to"


@with_panel
def test_names_of_widgets_in_texts_exist(module: str) -> None:
    """Panels that go through a table of buttons name them in texts."""
    known = {name for path in ui_paths() if module_of(path) == module for name in UiFile(path).names}
    files = [path for path in code_files(module) if path.parent.name == "Panels"]
    named = {text for path in files for text in constants(path) if re.fullmatch(r"[A-Z][A-Za-z]+Button", text)}
    assert named <= known


def test_texts_are_not_in_british_spelling_nor_unfinished() -> None:
    texts = "\n".join(path.read_text(encoding="utf-8") for path in ui_paths())
    assert not re.findall(r"TODO|FIXME|lorem|colour|tumour|centre", texts, re.IGNORECASE)
