"""The banner that offers to install what is missing; without it everything else works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer

from .. import Dependencies
from .Base import Panel, PanelContext, plainErrors
from .Widgets import say


class SetupPanel(Panel):
    """Visible only while packages are missing that ``use`` needs; modules derive from it with their own."""

    use = Dependencies.GENERATING

    def __init__(self, ui: Any, context: PanelContext) -> None:
        super().__init__(ui, context)
        ui.SetupInstallButton.clicked.connect(self.install)
        ui.SetupOfflineButton.clicked.connect(self.installOffline)
        self.look()

    def enter(self) -> None:
        """Look again: packages may have been installed elsewhere."""
        self.look()

    def look(self) -> None:
        """Find out what is missing and show the banner accordingly; imports nothing."""
        self.context.service.refreshPackages()
        self.context.missing = Dependencies.missingPackages(self.use)
        names = ", ".join(package.name for package in self.context.missing)
        self.ui.SetupFrame.visible = bool(names)
        self._say(
            f"To {self.use.aim}, these Python packages are still needed: {names}. Everything else works without them."
        )

    def install(self) -> None:
        """Ask with the list of packages, then install from the internet."""
        with plainErrors(self._sayError):
            if Dependencies.install(self.context.missing, self._confirm, self._say, self.use):
                self.look()

    def installOffline(self) -> None:
        """Install from a folder of wheels that the user chooses."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Choose the folder with wheel files")
        if not folder:
            return
        with plainErrors(self._sayError):
            Dependencies.installOffline(Path(folder), self.context.missing, self._say)
            self.look()

    def _confirm(self, text: str) -> bool:
        return slicer.util.confirmOkCancelDisplay(text, "Install packages for MedDDPM")

    def _say(self, text: str) -> None:
        say(self.ui.SetupLabel, text)
        slicer.app.processEvents()

    def _sayError(self, text: str) -> None:
        say(self.ui.SetupLabel, text, "error")
