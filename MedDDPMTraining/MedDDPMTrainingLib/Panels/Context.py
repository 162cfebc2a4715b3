"""What the panels of this module look at."""

from __future__ import annotations

from typing import Any

import qt
from MedDDPMSlicerLib.Panels.Base import PanelContext


class Context(PanelContext):
    """Logic, service and parameter node; ``parameters`` is None while a scene is closing."""

    @property
    def chosen(self) -> str:
        """The folder of the training that is followed; empty without one."""
        return self.parameters.chosenRun if self.parameters is not None else ""

    @property
    def chosenRun(self) -> Any:
        """The chosen training (TrainingRun); None without one."""
        return self.service.runs.find(self.chosen)

    @property
    def scan(self) -> Any:
        """What was found in the chosen source folder (SourceScan); None before it was looked at."""
        return self.service.scanOf(self.parameters.sourceFolder) if self.parameters is not None else None

    def choose(self, path: Any) -> None:
        """Follow another training."""
        self.set("chosenRun", str(path))

    def set(self, name: str, value: Any) -> None:
        """Take another choice of the user."""
        if self.parameters is not None and getattr(self.parameters, name) != value:
            setattr(self.parameters, name, value)


class PathInput:
    """A path line whose path is a text field of the parameter node, which Slicer cannot connect by itself."""

    def __init__(self, line: Any, context: Context, field: str) -> None:
        self._line, self._context, self._field = line, context, field
        line.connect("currentPathChanged(QString)", lambda *_: context.set(field, line.currentPath))

    def refresh(self) -> None:
        """Show what the parameter node says."""
        text = getattr(self._context.parameters, self._field)
        if self._line.currentPath != text:
            blocked = self._line.blockSignals(True)
            self._line.currentPath = text
            self._line.blockSignals(blocked)


def formOf(section: Any, name: str) -> Any:
    """A form in a section of the .ui file: the rows of options are put into it."""
    return section.findChild(qt.QFormLayout, name)
