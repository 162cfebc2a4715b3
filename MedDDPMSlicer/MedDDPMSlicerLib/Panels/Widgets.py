"""Small helpers for widgets: buttons that say why they are disabled, colors and icons for every theme."""

from __future__ import annotations

from typing import Any

import qt
import slicer

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


def fillComboBox(box: Any, items: list[tuple[str, str]], chosen: str) -> None:
    """Put (text, data) into a combo box and choose by data, without signals."""
    blocked = box.blockSignals(True)
    box.clear()
    for text, data in items:
        box.addItem(text, data)
    box.currentIndex = max(0, box.findData(chosen))
    box.blockSignals(blocked)


def chooseData(box: Any, data: str) -> None:
    """Choose the item with this data, without signals; nothing where there is none."""
    index = box.findData(data)
    if index >= 0 and index != box.currentIndex:
        blocked = box.blockSignals(True)
        box.currentIndex = index
        box.blockSignals(blocked)


class DetailsDialog:
    """A window with a log that stays open beside the work; nothing waits for it."""

    def __init__(self, parent: Any) -> None:
        self.dialog = qt.QDialog(parent)
        self.dialog.windowTitle = "Details"
        self.dialog.resize(720, 420)
        layout = qt.QVBoxLayout(self.dialog)
        self.text = qt.QPlainTextEdit()
        self.text.readOnly = True
        self.text.lineWrapMode = qt.QPlainTextEdit.NoWrap
        layout.addWidget(self.text)
        buttons = qt.QHBoxLayout()
        self.copyButton = qt.QPushButton("Copy")
        self.copyButton.toolTip = "Copies the text, for a report."
        self.copyButton.clicked.connect(self.copy)
        closeButton = qt.QPushButton("Close")
        closeButton.clicked.connect(self.dialog.hide)
        buttons.addStretch(1)
        buttons.addWidget(self.copyButton)
        buttons.addWidget(closeButton)
        layout.addLayout(buttons)

    def show(self, title: str, text: str) -> None:
        """Show the window with this text, at its end."""
        self.dialog.windowTitle = title
        self.text.plainText = text or "There is no log."
        bar = self.text.verticalScrollBar()
        self.dialog.show()
        bar.value = bar.maximum
        self.dialog.raise_()

    def copy(self) -> None:
        """Put the text on the clipboard."""
        slicer.app.clipboard().setText(self.text.plainText)
