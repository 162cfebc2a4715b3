"""Connecting the widgets that Slicer's parameter nodes cannot connect by themselves."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.Widgets import chooseData, fillComboBox

from .Context import Context
from .Texts import Choices


class ChoiceInput:
    """A combo box whose items stand for values of a field of the parameter node."""

    def __init__(self, box: Any, context: Context, field: str, choices: Choices) -> None:
        self._box, self._context, self._field = box, context, field
        fillComboBox(box, list(choices), choices[0][1])
        box.activated.connect(self._onActivated)

    def refresh(self) -> None:
        """Show what the parameter node says."""
        chooseData(self._box, getattr(self._context.parameters, self._field))

    def _onActivated(self, index: int) -> None:
        if self._context.parameters is not None:
            setattr(self._context.parameters, self._field, self._box.itemData(index))


class PathInput:
    """A path line whose path is a text field of the parameter node."""

    def __init__(self, line: Any, context: Context, field: str) -> None:
        self._line, self._context, self._field = line, context, field
        line.connect("currentPathChanged(QString)", lambda *_: self._onChanged())

    def refresh(self) -> None:
        """Show what the parameter node says."""
        text = getattr(self._context.parameters, self._field)
        if self._line.currentPath != text:
            blocked = self._line.blockSignals(True)
            self._line.currentPath = text
            self._line.blockSignals(blocked)

    def _onChanged(self) -> None:
        if self._context.parameters is not None:
            setattr(self._context.parameters, self._field, self._line.currentPath)
