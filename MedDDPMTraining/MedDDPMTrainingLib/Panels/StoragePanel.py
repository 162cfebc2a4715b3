"""Where temporary files lie, and where trainings are looked for."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.Base import plainErrors
from MedDDPMSlicerLib.Panels.StoragePanel import StoragePanel as SharedStoragePanel
from MedDDPMSlicerLib.Panels.Widgets import enable

from .Context import Context


class StoragePanel(SharedStoragePanel):
    """Place, size, deleting, folders that are searched for trainings."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._folders: list[str] = []
        ui.RemoveFolderButton.clicked.connect(self.removeFolder)
        ui.FoldersList.itemSelectionChanged.connect(self._updateButtons)

    def tick(self) -> None:
        """Show the folders; they change with the button "Add a folder"."""
        runs = self.context.service.runs
        folders = [str(path) for path in runs.roots() if path != runs.home]
        if folders != self._folders:
            self._folders = folders
            self.ui.FoldersList.clear()
            for folder in folders:
                self.ui.FoldersList.addItem(folder)
        self._updateButtons()

    def removeFolder(self) -> None:
        """Search the selected folder no more."""
        with plainErrors(self._sayError):
            self.context.service.runs.removeRoot(self._folders[self.ui.FoldersList.currentRow])

    def _updateButtons(self) -> None:
        row = self.ui.FoldersList.currentRow
        chosen = 0 <= row < len(self._folders)
        enable(self.ui.RemoveFolderButton, None if chosen else "Select a folder in the list.")
