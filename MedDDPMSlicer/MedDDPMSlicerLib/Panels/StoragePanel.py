"""Where the files of the extension lie, and how to delete those that are not needed any more."""

from __future__ import annotations

from typing import Any

import qt

from ..Texts import fileSize
from .Base import Panel, PanelContext, plainErrors
from .Widgets import say


class StoragePanel(Panel):
    """Place, size, deleting; modules derive from it to list more."""

    def __init__(self, ui: Any, context: PanelContext) -> None:
        super().__init__(ui, context)
        ui.StorageSection.connect("contentsCollapsed(bool)", lambda *_: self.showSize())
        ui.OpenFolderButton.clicked.connect(self.openFolder)
        ui.DeleteTemporaryButton.clicked.connect(self.deleteTemporary)
        say(ui.StorageMessageLabel, "")

    def showSize(self) -> None:
        """Measure the folder; only while the section is open, since it walks through all files."""
        if self.ui.StorageSection.collapsed:
            return
        storage = self.context.service.storage
        say(self.ui.StorageLabel, f"{storage.root}\n{fileSize(storage.sizeBytes())} in use. Only you can read it.")

    def openFolder(self) -> None:
        """Show the folder in the system's file browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.context.service.storage.root)))

    def deleteTemporary(self) -> None:
        """Delete what is not needed any more; what a running job uses stays."""
        with plainErrors(self._sayError):
            stays = self.context.service.storage.clear()
            say(self.ui.StorageMessageLabel, stays or "Temporary files were deleted.")
            self.showSize()

    def _sayError(self, text: str) -> None:
        say(self.ui.StorageMessageLabel, text, "error")
