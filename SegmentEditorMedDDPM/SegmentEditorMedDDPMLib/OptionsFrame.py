"""The widgets of the effect. They show and change parameters; ``SegmentEditorEffect`` decides what happens then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
from MedDDPMSlicerLib.Panels.RolesList import RolesList
from MedDDPMSlicerLib.Panels.Widgets import enable, quiet
from slicer.i18n import tr as _

from .Generation import ButtonView
from .Options import MOVE, OPTIONS, PART_NAMES, PLACE, Read, parameterOf, textOf, valueOf

COLORS = {"error": "#c0392b", "info": ""}
TOOLS = (PLACE, MOVE)


class OptionsFrame:
    """All widgets of the effect, in ``widget``.

    ``changed`` is called when the user changes a value; ``actions`` are called by the buttons: "newShape", "apply",
    "reset", "mirror", "generate", and "roles" when the role of a segment was chosen.
    """

    def __init__(self, changed: Callable[[], None], actions: dict[str, Callable[[], None]]) -> None:
        self._changed, self._actions = changed, actions
        self._bound: dict[str, Any] = {}
        self._signals: dict[str, str] = {}
        self._message = ""
        self._connections: list[tuple[Any, str, Callable[..., None]]] = []
        self.widget = qt.QWidget()
        layout = qt.QVBoxLayout(self.widget)
        layout.setContentsMargins(0, 0, 0, 0)
        self.status = qt.QLabel()
        self.status.wordWrap = True
        # Two lines, so that the widgets below stay where they are when a message comes.
        self.status.minimumHeight = 2 * self.status.fontMetrics().lineSpacing()
        self.tabs = qt.QTabWidget()
        self.tabs.addTab(self._lesionTab(), _("New lesion"))
        self.tabs.addTab(self._moveTab(), _("Move and reshape"))
        self.generateButton = self._button(_("Generate MRI"), "", "generate")
        self.progress = qt.QProgressBar()
        self.progress.setRange(0, 100)
        self.generateStatus = qt.QLabel()
        self.generateStatus.wordWrap = True
        self.progress.visible = self.generateStatus.visible = False
        layout.addWidget(self.status)
        layout.addWidget(self.tabs)
        self.roles = RolesList(actions["roles"])
        layout.addWidget(self.roles.box)
        layout.addLayout(_row(self.generateButton, self.progress))
        layout.addWidget(self.generateStatus)
        self._connect(self.tabs, "currentChanged(int)", self._onChanged)
        # Setting limits already makes widgets tell of changes.
        for name, signal in self._signals.items():
            self._connect(self._bound[name], signal, self._onChanged)

    # Values

    def show(self, read: Read) -> None:
        """Show the parameters that ``read`` gives, without telling of a change."""
        for name, widget in self._bound.items():
            with quiet(widget):
                setattr(widget, _valueProperty(widget), valueOf(read, name))
        with quiet(self.tabs):
            self.tabs.currentIndex = TOOLS.index(read("Tool")) if read("Tool") in TOOLS else 0
        if not self._message:
            self.say("")

    def values(self) -> dict[str, str]:
        """The parameters as the widgets show them."""
        shown = {name: textOf(getattr(widget, _valueProperty(widget))) for name, widget in self._bound.items()}
        return {"Tool": TOOLS[self.tabs.currentIndex], **shown}

    def setParts(self, parts: set[str]) -> None:
        """Enable what the lesions of the mask's label scheme can have: ``parts`` are lower-case role names."""
        for name in PART_NAMES:
            enable(self._bound[parameterOf(name)], None if name in parts else _NO_PART)
        enable(self._bound["RimWidth"], None if {"necrotic", "enhancing"} <= parts else _NO_PART)
        enable(self._bound["EdemaWidth"], None if "edema" in parts else _NO_PART)

    # Messages

    def say(self, text: str, kind: str = "info") -> None:
        """Show a sentence above the tabs, or what to do there for ""; ``kind`` is "info" or "error"."""
        self._message = text
        self.status.text = text or HINTS[TOOLS[self.tabs.currentIndex]]
        self.status.styleSheet = f"color: {COLORS[kind]}" if COLORS[kind] else ""

    def showGeneration(self, view: ButtonView) -> None:
        """Show how it stands with the generation."""
        self.generateButton.text = _(view.text)
        self.generateButton.enabled = view.enabled
        self.generateButton.toolTip = view.toolTip
        self.progress.visible = view.percent is not None
        self.progress.value = view.percent or 0
        self.generateStatus.text = view.status
        self.generateStatus.visible = bool(view.status)

    def cleanup(self) -> None:
        """Disconnect all signals, so that neither side keeps the other alive."""
        for sender, signal, slot in self._connections:
            sender.disconnect(signal, slot)
        self._connections = []

    # Building

    def _lesionTab(self) -> Any:
        page = qt.QWidget()
        form = qt.QFormLayout(page)
        for name, step in (("Diameter", 1), ("Irregularity", 0.05), ("Elongation", 0.1)):
            form.addRow(f"{_(OPTIONS[name].label)}:", self._slider(name, step))
        form.addRow(_("Parts:"), _row(*(self._checkBox(parameterOf(name)) for name in PART_NAMES)))
        form.addRow(_("Widths:"), _row(self._field("RimWidth"), self._field("EdemaWidth")))
        seed = self._bind("Seed", qt.QSpinBox(), "valueChanged(int)")
        button = self._button(_("New shape"), _("Draw another shape for the next lesion."), "newShape")
        form.addRow(_("Shape:"), _row(seed, button))
        return page

    def _moveTab(self) -> Any:
        page = qt.QWidget()
        form = qt.QFormLayout(page)
        form.addRow(_("Size:"), self._slider("Scale", 5))
        form.addRow(_("Shift:"), _row(*(self._field(f"Shift{axis}") for axis in "RAS")))
        form.addRow(_("Turn:"), _row(*(self._field(f"Rotate{axis}") for axis in "RAS")))
        form.addRow(_("Grow:"), self._slider("Grow", 0.5))
        form.addRow("", self._checkBox("OnlyPicked"))
        apply = self._button(_("Apply"), _("Change the tumor as the yellow outline shows. Can be undone."), "apply")
        reset = self._button(_("Reset"), _("Put all values of this page back to no change."), "reset")
        mirror = self._button(_("Mirror left-right"), _("Bring the tumor to the other side of the head."), "mirror")
        form.addRow(_row(apply, reset, mirror))
        return page

    def _field(self, name: str) -> Any:
        """A field for a number with its name and unit in it."""
        box = self._bind(name, qt.QDoubleSpinBox(), "valueChanged(double)")
        box.decimals = 1
        box.singleStep = 1 if box.minimum < 0 else 0.5
        box.prefix = f"{_(OPTIONS[name].label)} "
        return box

    def _slider(self, name: str, step: float) -> Any:
        slider = self._bind(name, ctk.ctkSliderWidget(), "valueChanged(double)")
        slider.singleStep, slider.decimals = step, 0 if step >= 1 else 2 if step < 0.1 else 1
        slider.value = OPTIONS[name].default
        return slider

    def _checkBox(self, name: str) -> Any:
        return self._bind(name, qt.QCheckBox(_(OPTIONS[name].label)), "toggled(bool)")

    def _button(self, text: str, tip: str, action: str) -> Any:
        button = qt.QPushButton(text)
        button.toolTip = tip
        button.objectName = f"MedDDPM{action[0].upper()}{action[1:]}Button"
        if action in KEYS:  # works while the button can be seen
            button.setShortcut(qt.QKeySequence(KEYS[action]))
        self._connect(button, "clicked()", self._actions[action])
        return button

    def _bind(self, name: str, widget: Any, signal: str) -> Any:
        told = OPTIONS[name]
        widget.objectName, widget.toolTip = f"MedDDPM{name}", _(told.help)
        if told.kind is not bool:
            widget.minimum, widget.maximum = told.low, told.high
            widget.suffix = told.unit if told.unit == "°" else f" {told.unit}".rstrip()
        self._bound[name] = widget
        self._signals[name] = signal
        return widget

    def _connect(self, sender: Any, signal: str, slot: Callable[..., None]) -> None:
        sender.connect(signal, slot)
        self._connections.append((sender, signal, slot))

    def _onChanged(self, *_value: Any) -> None:
        self._changed()


# None that the segment editor or a slice view has for itself; said in the effect's help.
KEYS = {"newShape": "N", "apply": "A", "mirror": "M", "reset": "Backspace", "generate": "Ctrl+Return"}
HELP = "<html>" + _(
    "Place and change tumors in a mask of the brain or head.<br><ul style='margin: 0'>"
    "<li><b>New lesion:</b> click in a slice view.</li>"
    "<li><b>Move and reshape:</b> drag the tumor in a slice view, or set values and press Apply."
    " Escape ends a drag.</li>"
    "<li><b>Generate MRI</b> makes images of the mask.</li></ul>"
    "Keys: N new shape, Shift+wheel diameter, A apply, M mirror, Backspace reset, Ctrl+Return generate or"
    " cancel; Z and Y undo and redo, as everywhere in the editor.<br>"
    "A tumor always stays inside of the brain or head, and nothing below it is lost. All segments of the mask"
    " change together; masking and overwrite settings of the editor do not count. Each change is one undo step."
)
HINTS = {
    PLACE: _("Click inside the brain or head in a slice view to place a lesion."),
    MOVE: _("Drag the tumor in a slice view, or set values and press Apply."),
}
_NO_PART = _("The labels of this mask do not have this part of a tumor.")


def _valueProperty(widget: Any) -> str:
    return "checked" if isinstance(widget, qt.QCheckBox) else "value"


def _row(*widgets: Any) -> Any:
    row = qt.QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
