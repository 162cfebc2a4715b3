"""Where the files of the extension lie, how to delete those that are not needed any more, and what is remembered."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from ..Texts import fileSize
from .Base import Panel, PanelContext
from .Widgets import enable, say


class StoragePanel(Panel):
    """Place, size, deleting; the list of what ``context.remembered`` says, of which entries can be removed."""

    messageLabel = "StorageMessageLabel"

    def __init__(self, ui: Any, context: PanelContext) -> None:
        super().__init__(ui, context)
        self._entries: list[tuple[str, str]] = []
        ui.StorageSection.connect("contentsCollapsed(bool)", lambda *_: self.showSize())
        ui.OpenFolderButton.clicked.connect(self.openFolder)
        ui.DeleteTemporaryButton.clicked.connect(self.deleteTemporary)
        ui.RemoveRememberedButton.clicked.connect(self.removeRemembered)
        ui.RememberedList.itemSelectionChanged.connect(self._updateButton)
        say(ui.StorageMessageLabel, "")

    def refresh(self) -> None:
        """Show what is remembered."""
        entries = self.context.remembered()
        if entries != self._entries:
            self._entries = entries
            self.ui.RememberedList.clear()
            self.ui.RememberedList.addItems([title for _, title in entries])
        self._updateButton()

    def tick(self) -> None:
        """Show what was added meanwhile."""
        if not self.ui.StorageSection.collapsed:
            self.refresh()

    def showSize(self) -> None:
        """Measure the folder; only while the section is open, since it walks through all files."""
        if self.ui.StorageSection.collapsed:
            return
        storage = self.context.service.storage
        say(
            self.ui.StorageLabel,
            _("{root}\n{fileSize} in use. Only you can read it.").format(
                root=storage.root, fileSize=fileSize(storage.sizeBytes())
            ),
        )

    def openFolder(self) -> None:
        """Show the folder in the system's file browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.context.service.storage.root)))

    def deleteTemporary(self) -> None:
        """Delete what is not needed any more; what a running job uses stays."""
        with self.told():
            stays = self.context.service.storage.clear()
            say(self.ui.StorageMessageLabel, stays or _("Temporary files were deleted."))
            self.showSize()

    def removeRemembered(self) -> None:
        """Take the selected entry from the list."""
        with self.told():
            self.context.forget(self._entries[self.ui.RememberedList.currentRow][0])
            self.refresh()

    def _updateButton(self) -> None:
        chosen = 0 <= self.ui.RememberedList.currentRow < len(self._entries)
        enable(self.ui.RemoveRememberedButton, None if chosen else _("Select an entry in the list."))
