"""Where temporary files and imported models lie, and how to delete them."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.Base import plainErrors
from MedDDPMSlicerLib.Panels.StoragePanel import StoragePanel as SharedStoragePanel
from MedDDPMSlicerLib.Panels.Widgets import enable

from .Context import Context


class StoragePanel(SharedStoragePanel):
    """Place, size, deleting, remembered models."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        ui.ForgetModelButton.clicked.connect(self.forgetModel)
        ui.ModelsList.itemSelectionChanged.connect(self._updateButtons)
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
