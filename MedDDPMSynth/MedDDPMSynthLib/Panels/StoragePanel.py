"""Where temporary files and imported models lie, and how to delete them."""

from __future__ import annotations

from typing import Any

import qt

from .Base import Context, Panel, plainErrors
from .Texts import fileSize
from .Widgets import enable, say


class StoragePanel(Panel):
    """Place, size, deleting, remembered models."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        ui.StorageSection.connect("contentsCollapsed(bool)", lambda *_: self.showSize())
        ui.OpenFolderButton.clicked.connect(self.openFolder)
        ui.DeleteTemporaryButton.clicked.connect(self.deleteTemporary)
        ui.ForgetModelButton.clicked.connect(self.forgetModel)
        ui.ModelsList.itemSelectionChanged.connect(self._updateButtons)
        say(ui.StorageMessageLabel, "")
        self._models: list[tuple[str, str]] = []

    def refresh(self) -> None:
        """Show the remembered models."""
        models = [(key, title) for key, title in self.context.service.library.entries() if not self._bundled(key)]
        if models != self._models:
            self._models = models
            self.ui.ModelsList.clear()
            for _, title in models:
                self.ui.ModelsList.addItem(title)
        self._updateButtons()

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

    def forgetModel(self) -> None:
        """Take the selected model from the list."""
        with plainErrors(self._sayError):
            key = self._models[self.ui.ModelsList.currentRow][0]
            self.context.service.library.forget(key)
            self.refresh()

    def _bundled(self, key: str) -> bool:
        found = True
        with plainErrors(lambda _: None):
            found = self.context.service.library.describe(key).bundled
        return found

    def _updateButtons(self) -> None:
        chosen = self.ui.ModelsList.currentRow >= 0
        enable(self.ui.ForgetModelButton, None if chosen else "Select a model in the list.")

    def _sayError(self, text: str) -> None:
        say(self.ui.StorageMessageLabel, text, "error")
