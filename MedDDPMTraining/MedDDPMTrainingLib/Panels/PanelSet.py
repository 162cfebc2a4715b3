"""The panels of this module, and the two that it shares with others but for a little."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib import Dependencies
from MedDDPMSlicerLib.Panels.Base import plainErrors
from MedDDPMSlicerLib.Panels.PanelSet import PanelSet as SharedPanelSet
from MedDDPMSlicerLib.Panels.SetupPanel import SetupPanel as SharedSetupPanel
from MedDDPMSlicerLib.Panels.StoragePanel import StoragePanel as SharedStoragePanel
from MedDDPMSlicerLib.Panels.Widgets import enable

from .Context import Context
from .PreparePanel import PreparePanel
from .RunsPanel import RunsPanel
from .SourcePanel import SourcePanel
from .TrainPanel import TrainPanel
from .WatchPanel import WatchPanel


class SetupPanel(SharedSetupPanel):
    """Visible only while packages for training are missing."""

    use = Dependencies.TRAINING


class StoragePanel(SharedStoragePanel):
    """Place, size, deleting, folders that are searched for trainings."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._folders: list[str] = []
        ui.RemoveFolderButton.clicked.connect(self.removeFolder)

    def tick(self) -> None:
        """Show the folders; they change with the button "Add a folder"."""
        runs = self.context.service.runs
        folders = [str(path) for path in runs.roots() if path != runs.home]
        if folders != self._folders:
            self._folders = folders
            self.ui.FoldersList.clear()
            self.ui.FoldersList.addItems(folders)
        chosen = 0 <= self.ui.FoldersList.currentRow < len(folders)
        enable(self.ui.RemoveFolderButton, None if chosen else "Select a folder in the list.")

    def removeFolder(self) -> None:
        """Search the selected folder no more."""
        with plainErrors(self._sayError):
            self.context.service.runs.removeRoot(self._folders[self.ui.FoldersList.currentRow])


class PanelSet(SharedPanelSet):
    """All sections of MedDDPM Training."""

    def __init__(self, ui: Any, logic: Any) -> None:
        kinds = (SetupPanel, SourcePanel, PreparePanel, TrainPanel, RunsPanel, WatchPanel, StoragePanel)
        super().__init__(ui, Context(logic), kinds)
