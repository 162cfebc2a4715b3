"""What the panels of this module look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    def table(self) -> Any:
        """What was found in the chosen source folder (SourceScan); None before it was looked at."""
        source = self.parameters.sourceFolder if self.parameters is not None else ""
        scan = self.service.scan
        return scan.table if source and scan.source == str(Path(source).expanduser()) else None

    def choose(self, path: Any) -> None:
        """Follow another training."""
        if self.parameters is not None and str(path) != self.parameters.chosenRun:
            self.parameters.chosenRun = str(path)
