"""What the panels of this module look at."""

from __future__ import annotations

from typing import Any

import qt
from MedDDPMSlicerLib.Dependencies import TRAINING
from MedDDPMSlicerLib.Panels.Base import PanelContext


class Context(PanelContext):
    """Logic, service and parameter node; ``parameters`` is None while a scene is closing."""

    use = TRAINING

    def remembered(self) -> list[tuple[str, str]]:
        """The folders that are searched for trainings."""
        return [(str(path), str(path)) for path in self.service.runs.roots()[1:]]

    def forget(self, key: str) -> None:
        """See PanelContext."""
        self.service.runs.removeRoot(key)

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


def formOf(section: Any, name: str) -> Any:
    """A form in a section of the .ui file: the rows of options are put into it."""
    return section.findChild(qt.QFormLayout, name)
