"""The banner that offers to install what is missing; without it everything else works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .. import Dependencies
from .Base import Panel, PanelContext
from .Widgets import say


class SetupPanel(Panel):
    """Visible only while packages are missing that ``context.use`` needs."""

    messageLabel = "SetupLabel"

    def __init__(self, ui: Any, context: PanelContext) -> None:
        super().__init__(ui, context)
        ui.SetupInstallButton.clicked.connect(self.install)
        ui.SetupOfflineButton.clicked.connect(self.installOffline)
        self.enter()

    def enter(self) -> None:
        """Find out what is missing, perhaps installed elsewhere, and show the banner accordingly; imports nothing."""
        self.context.service.packages.lookAgain()
        self.context.missing = Dependencies.missingPackages(self.context.use)
        names = ", ".join(package.name for package in self.context.missing)
        self.ui.SetupFrame.visible = bool(names)
        self._say(
            _("To {aim}, these Python packages are still needed: {names}. Everything else works without them.").format(
                aim=self.context.use.aim, names=names
            )
        )

    def install(self) -> None:
        """Ask with the list of packages, then install from the internet."""

        def confirm(text: str) -> bool:
            return slicer.util.confirmOkCancelDisplay(text, _("Install packages for MedDDPM"))

        with self.told():
            if Dependencies.install(self.context.missing, confirm, self._say, self.context.use):
                self.enter()

    def installOffline(self) -> None:
        """Install from a folder of wheels that the user chooses."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose the folder with wheel files"))
        if folder:
            with self.told():
                Dependencies.installOffline(Path(folder), self.context.missing, self._say)
                self.enter()

    def _say(self, text: str) -> None:
        say(self.ui.SetupLabel, text)
        slicer.app.processEvents()
