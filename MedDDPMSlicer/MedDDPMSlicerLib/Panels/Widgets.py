"""Small helpers for widgets: buttons that say why they are disabled, colors and icons for every theme."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

# Readable on light and on dark ground (contrast above 4.5 against white and against #323232).
_COLORS = {"error": ("#b3261e", "#ff9d94"), "warning": ("#8a5300", "#ffc46b"), "info": ("", "")}
_ICONS = {"error": "SP_MessageBoxCritical", "warning": "SP_MessageBoxWarning", "info": "SP_MessageBoxInformation"}
_TIP = "MedDDPMTip"


def enable(button: Any, reason: str | None) -> None:
    """Enable ``button`` where ``reason`` is None; else disable it and give the reason as its tooltip."""
    usual = button.property(_TIP)
    if usual is None:
        usual = button.toolTip
        button.setProperty(_TIP, usual)
    button.enabled = reason is None
    button.toolTip = usual if reason is None else reason


def darkTheme() -> bool:
    """Whether the application's windows are dark."""
    return slicer.app.palette().color(qt.QPalette.Window).lightness() < 128


def say(label: Any, text: str, severity: str = "info") -> None:
    """Show ``text`` in a label in the color of its severity; without text the label takes no room."""
    color = _COLORS[severity][darkTheme()]
    label.styleSheet = f"color: {color};" if color else ""
    label.text = text
    label.visible = bool(text)


def severityIcon(severity: str) -> Any:
    """The style's icon for error, warning or info."""
    return slicer.app.style().standardIcon(getattr(qt.QStyle, _ICONS.get(severity, _ICONS["info"])))


def iconLabel(severity: str, size: int = 16) -> Any:
    """A label with the icon of a severity."""
    label = qt.QLabel()
    label.pixmap = severityIcon(severity).pixmap(size, size)
    label.toolTip = severity.capitalize()
    label.sizePolicy = qt.QSizePolicy(qt.QSizePolicy.Fixed, qt.QSizePolicy.Fixed)
    return label


def clearLayout(layout: Any) -> None:
    """Remove and delete all widgets of a layout."""
    while layout.count():
        widget = layout.takeAt(0).widget()
        if widget is not None:
            widget.hide()
            widget.deleteLater()


@contextlib.contextmanager
def quiet(widget: Any) -> Iterator[None]:
    """The widget tells nobody of changes in the block."""
    blocked = widget.blockSignals(True)
    try:
        yield
    finally:
        widget.blockSignals(blocked)


def fillComboBox(box: Any, items: list[tuple[str, str]], chosen: str) -> None:
    """Put (text, data) into a combo box and choose by data, without signals."""
    with quiet(box):
        box.clear()
        for text, data in items:
            box.addItem(text, data)
        box.currentIndex = max(0, box.findData(chosen))


def fillModels(box: Any, library: Any, chosen: str, before: list[tuple[str, str]], after: list[tuple[str, str]]) -> int:
    """Put the models of a library into a combo box, between other entries, and choose one by its key, which is named
    even where it is not known; returns how many entries lie before ``after``.
    """
    entries = [(title, key) for key, title in library.entries()]
    if chosen not in [key for _, key in (*before, *entries)]:
        entries.append((_("Not found here: {name}").format(name=Path(chosen).name), chosen))
    fillComboBox(box, before + entries + after, chosen)
    return len(before) + len(entries)


def setUpTable(table: Any, stretched: int) -> None:
    """A table without numbers of rows, whose columns are as wide as their texts; one takes what is left."""
    table.verticalHeader().visible = False
    for column in range(table.columnCount):
        mode = qt.QHeaderView.Stretch if column == stretched else qt.QHeaderView.ResizeToContents
        table.horizontalHeader().setSectionResizeMode(column, mode)


def setCells(table: Any, row: int, cells: Iterable[tuple[str, str]], first: int = 0) -> None:
    """Show (text, tooltip) in a row of a table, from the column ``first`` on."""
    for column, (text, tip) in enumerate(cells, first):
        item = qt.QTableWidgetItem(text)
        item.setToolTip(tip)
        table.setItem(row, column, item)


class NameBoxes:
    """A check box for each of some names, in a layout; ``changed`` gets those that are checked, none for all."""

    def __init__(self, layout: Any, changed: Callable[[list[str]], object]) -> None:
        self._layout, self._changed = layout, changed
        self.boxes: dict[str, Any] = {}

    def show(self, names: Iterable[str], chosen: Iterable[str]) -> None:
        """Show names, of which the ``chosen`` ones are checked; all where none is."""
        names, chosen = list(names), list(chosen)
        if names != list(self.boxes):
            clearLayout(self._layout)
            self.boxes = {name: qt.QCheckBox(name) for name in names}
            for box in self.boxes.values():
                box.toggled.connect(lambda *_: self._onToggled())
                self._layout.addWidget(box)
        for name, box in self.boxes.items():
            with quiet(box):
                box.checked = not chosen or name in chosen

    def _onToggled(self) -> None:
        chosen = [name for name, box in self.boxes.items() if box.checked]
        self._changed([] if len(chosen) == len(self.boxes) else chosen)


class PathInput:
    """A path line whose path is a text field of the parameter node, which Slicer cannot connect by itself."""

    def __init__(self, line: Any, context: Any, field: str) -> None:
        self._line, self._context, self._field = line, context, field
        line.connect("currentPathChanged(QString)", lambda *_: context.set(field, line.currentPath))

    def refresh(self) -> None:
        """Show what the parameter node says."""
        text = getattr(self._context.parameters, self._field)
        if self._line.currentPath != text:
            with quiet(self._line):
                self._line.currentPath = text


class DetailsDialog:
    """A window with a log that stays open beside the work; nothing waits for it."""

    def __init__(self, parent: Any) -> None:
        self.dialog = qt.QDialog(parent)
        self.dialog.windowTitle = _("Details")
        self.dialog.resize(720, 420)
        layout = qt.QVBoxLayout(self.dialog)
        self.text = qt.QPlainTextEdit()
        self.text.readOnly = True
        self.text.lineWrapMode = qt.QPlainTextEdit.NoWrap
        layout.addWidget(self.text)
        buttons = qt.QHBoxLayout()
        self.copyButton = qt.QPushButton(_("Copy"))
        self.copyButton.toolTip = _("Copies the text, for a report.")
        self.copyButton.clicked.connect(self.copy)
        closeButton = qt.QPushButton(_("Close"))
        closeButton.clicked.connect(self.dialog.hide)
        buttons.addStretch(1)
        buttons.addWidget(self.copyButton)
        buttons.addWidget(closeButton)
        layout.addLayout(buttons)

    def show(self, title: str, text: str) -> None:
        """Show the window with this text, at its end."""
        self.dialog.windowTitle = title
        self.text.plainText = text or _("There is no log.")
        bar = self.text.verticalScrollBar()
        self.dialog.show()
        bar.value = bar.maximum
        self.dialog.raise_()

    def copy(self) -> None:
        """Put the text on the clipboard."""
        slicer.app.clipboard().setText(self.text.plainText)
