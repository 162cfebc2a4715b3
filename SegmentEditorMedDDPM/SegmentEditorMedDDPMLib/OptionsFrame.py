"""The widgets of the effect. They show and change parameters; ``SegmentEditorEffect`` decides what happens then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from .Generation import ButtonView
from .Options import DEFAULTS, MAX_SEED, MOVE, PLACE, Read, flag, number

COLORS = {"error": "#c0392b", "info": ""}
TOOLS = (PLACE, MOVE)
PART_NAMES = ("Necrotic", "Enhancing", "Edema")
# Axes of the patient, for the tooltips: letter, direction of a positive shift, plane of a turn about it.
AXES = (("R", "right", "sagittal"), ("A", "front (anterior)", "coronal"), ("S", "top (superior)", "axial"))


class OptionsFrame:
    """All widgets of the effect, in ``widget``.

    ``changed`` is called when the user changes a value; ``actions`` are called by the buttons: "newShape", "apply",
    "reset", "mirror", "generate".
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
        self.tabs = qt.QTabWidget()
        self.tabs.addTab(self._lesionTab(), _("New lesion"))
        self.tabs.addTab(self._moveTab(), _("Move and reshape"))
        layout.addWidget(self._statusLabel())
        layout.addWidget(self.tabs)
        layout.addLayout(self._generateRow())
        layout.addWidget(self._generateStatus())
        self._connect(self.tabs, "currentChanged(int)", self._onChanged)
        # Setting limits already makes widgets tell of changes.
        for name, signal in self._signals.items():
            self._connect(self._bound[name], signal, self._onChanged)

    # Values

    def show(self, read: Read) -> None:
        """Show the parameters that ``read`` gives, without telling of a change."""
        for name, widget in self._bound.items():
            blocked = widget.blockSignals(True)
            if isinstance(widget, qt.QCheckBox):
                widget.checked = flag(read, name)
            else:
                widget.value = number(read, name)
            widget.blockSignals(blocked)
        blocked = self.tabs.blockSignals(True)
        self.tabs.currentIndex = TOOLS.index(read("Tool")) if read("Tool") in TOOLS else 0
        self.tabs.blockSignals(blocked)
        if not self._message:
            self.say("")

    def values(self) -> dict[str, str]:
        """The parameters as the widgets show them."""
        values = {"Tool": TOOLS[self.tabs.currentIndex]}
        for name, widget in self._bound.items():
            if isinstance(widget, qt.QCheckBox):
                values[name] = "1" if widget.checked else "0"
            else:
                values[name] = f"{widget.value:.10g}"
        return values

    def setParts(self, parts: set[str]) -> None:
        """Enable what the lesions of the mask's label scheme can have: ``parts`` are lower-case role names."""
        for name in PART_NAMES:
            self._enable(name, name.lower() in parts)
        self._enable("RimWidth", {"necrotic", "enhancing"} <= parts)
        self._enable("EdemaWidth", "edema" in parts)

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
        page, form = _page()
        self._slider(form, "Diameter", _("Diameter:"), 2, 80, 1, " mm", _("Diameter of the solid part (core)."))
        self._slider(
            form, "Irregularity", _("Irregularity:"), 0, 1, 0.05, "", _("0 is a smooth ellipsoid, 1 a ragged lesion.")
        )
        self._slider(form, "Elongation", _("Elongation:"), 1, 4, 0.1, "", _("Longest axis divided by the shortest."))
        row = qt.QHBoxLayout()
        for name, text in zip(PART_NAMES, (_("Necrosis"), _("Enhancing rim"), _("Edema")), strict=True):
            row.addWidget(self._checkBox(name, text, _("Whether a new lesion has this part.")))
        form.addRow(_("Parts:"), row)
        rim = self._field("RimWidth", 0.5, 15, _("rim"), " mm", _("Mean width of the enhancing rim."))
        edema = self._field("EdemaWidth", 1, 30, _("edema"), " mm", _("Mean width of the edema."))
        form.addRow(_("Widths:"), _row(rim, edema))
        form.addRow(_("Shape:"), self._seedRow())
        return page

    def _seedRow(self) -> Any:
        seed = self._bind("Seed", qt.QSpinBox(), "valueChanged(int)")
        seed.setRange(0, MAX_SEED)
        seed.toolTip = _("The same seed gives the same shape again.")
        button = self._button(_("New shape"), _("Draw another shape for the next lesion."), "newShape")
        return _row(seed, button)

    def _moveTab(self) -> Any:
        page, form = _page()
        self._slider(form, "Scale", _("Size:"), 25, 300, 5, " %", _("100 % leaves the size as it is."))
        self._triple(form, "Shift", _("Shift:"), 150, " mm", _("Millimeters toward the {1} of the patient."))
        self._triple(form, "Rotate", _("Turn:"), 180, "°", _("Degrees about the {0} axis, in the {2} plane."))
        self._slider(form, "Grow", _("Grow:"), -20, 20, 0.5, " mm", _("Moves all surfaces outward; negative inward."))
        form.addRow("", self._checkBox("OnlyPicked", _("Only the lesion that was clicked last"), _PICKED_TIP))
        apply = self._button(_("Apply"), _("Change the tumor as the yellow outline shows. Can be undone."), "apply")
        reset = self._button(_("Reset"), _("Put all values of this page back to no change."), "reset")
        mirror = self._button(_("Mirror left-right"), _("Bring the tumor to the other side of the head."), "mirror")
        form.addRow(_row(apply, reset, mirror))
        return page

    def _triple(self, form: Any, name: str, label: str, limit: float, suffix: str, tip: str) -> None:
        """Three fields for the axes of the patient."""
        boxes = [self._field(name + axis[0], -limit, limit, axis[0], suffix, tip.format(*axis)) for axis in AXES]
        form.addRow(label, _row(*boxes))

    def _field(self, name: str, low: float, high: float, prefix: str, suffix: str, tip: str) -> Any:
        """A field for a number with its name and unit in it."""
        box = self._bind(name, qt.QDoubleSpinBox(), "valueChanged(double)")
        box.setRange(low, high)
        box.decimals = 1
        box.singleStep = 1 if low < 0 else 0.5
        box.prefix, box.suffix, box.toolTip = f"{prefix} ", suffix, tip
        return box

    def _slider(
        self, form: Any, name: str, label: str, low: float, high: float, step: float, suffix: str, tip: str
    ) -> None:
        slider = self._bind(name, ctk.ctkSliderWidget(), "valueChanged(double)")
        slider.decimals = 0 if step >= 1 else 2 if step < 0.1 else 1
        slider.minimum, slider.maximum, slider.singleStep = low, high, step
        slider.suffix, slider.toolTip = suffix, tip
        slider.value = float(DEFAULTS[name])
        form.addRow(label, slider)

    def _checkBox(self, name: str, text: str, tip: str) -> Any:
        box = self._bind(name, qt.QCheckBox(text), "toggled(bool)")
        box.toolTip = tip
        return box

    def _statusLabel(self) -> Any:
        self.status = qt.QLabel()
        self.status.wordWrap = True
        # Two lines, so that the widgets below stay where they are when a message comes.
        self.status.minimumHeight = 2 * self.status.fontMetrics().lineSpacing()
        return self.status

    def _generateRow(self) -> Any:
        self.generateButton = self._button(_("Generate MRI"), "", "generate")
        self.progress = qt.QProgressBar()
        self.progress.setRange(0, 100)
        self.progress.visible = False
        return _row(self.generateButton, self.progress)

    def _generateStatus(self) -> Any:
        self.generateStatus = qt.QLabel()
        self.generateStatus.wordWrap = True
        self.generateStatus.visible = False
        return self.generateStatus

    def _button(self, text: str, tip: str, action: str) -> Any:
        button = qt.QPushButton(text)
        button.toolTip = tip
        button.objectName = f"MedDDPM{action[0].upper()}{action[1:]}Button"
        self._connect(button, "clicked()", self._actions[action])
        return button

    def _bind(self, name: str, widget: Any, signal: str) -> Any:
        widget.objectName = f"MedDDPM{name}"
        self._bound[name] = widget
        self._signals[name] = signal
        return widget

    def _connect(self, sender: Any, signal: str, slot: Callable[..., None]) -> None:
        sender.connect(signal, slot)
        self._connections.append((sender, signal, slot))

    def _enable(self, name: str, possible: bool) -> None:
        widget = self._bound[name]
        if not widget.property("ownToolTip"):
            widget.setProperty("ownToolTip", widget.toolTip)
        widget.enabled = possible
        widget.toolTip = widget.property("ownToolTip") if possible else _NO_PART

    def _onChanged(self, *_value: Any) -> None:
        self._changed()


HINTS = {
    PLACE: _("Click inside the brain or head in a slice view to place a lesion."),
    MOVE: _("Drag the tumor in a slice view, or set values and press Apply."),
}
_PICKED_TIP = _("Off: all tumor is changed. On: only the connected lesion at which you clicked last in a slice view.")
_NO_PART = _("The labels of this mask do not have this part of a tumor.")


@contextmanager
def waitCursor() -> Iterator[None]:
    """Show the wait cursor in the block."""
    qt.QApplication.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
    try:
        yield
    finally:
        qt.QApplication.restoreOverrideCursor()


def _page() -> tuple[Any, Any]:
    page = qt.QWidget()
    form = qt.QFormLayout(page)
    return page, form


def _row(*widgets: Any) -> Any:
    row = qt.QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
