"""Choosing the model, and what is to be known of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import fillModels, say
from MedDDPMSlicerLib.Texts import modelSummary
from slicer.i18n import tr as _

from .Context import Context
from .Texts import termsText

# Data of the entries that are actions, not models; no key of a model begins with a line feed.
CHOOSE_FOLDER, CHOOSE_CHECKPOINT = "\nfolder", "\ncheckpoint"


class ModelPanel(Panel):
    """The combo box of models, the summary and the terms of use."""

    messageLabel = "ModelMessageLabel"

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        ui.ModelComboBox.activated.connect(self.onActivated)
        ui.ModelTermsButton.clicked.connect(self.acknowledge)
        self._folded: bool | None = None
        say(ui.ModelMessageLabel, "")

    def refresh(self) -> None:
        """Show the chosen model."""
        self.fill()
        model = self.context.model
        self.ui.ModelSection.text = _("1. Model") if model is None else _("1. Model: {title}").format(title=model.title)
        self.ui.ModelSummaryLabel.visible = model is not None
        if model is not None:
            self.ui.ModelSummaryLabel.text = modelSummary(model)
        elif self.context.modelProblem:
            say(self.ui.ModelMessageLabel, self.context.modelProblem, "error")
        self._showTerms()

    def fill(self) -> None:
        """Put the known models and the two ways to add one into the combo box."""
        actions = [(_("Choose model folder…"), CHOOSE_FOLDER), (_("Choose published .pt file…"), CHOOSE_CHECKPOINT)]
        order = (self.context.service.library, self.context.parameters.model, [], actions)
        self.ui.ModelComboBox.insertSeparator(fillModels(self.ui.ModelComboBox, *order))

    def onActivated(self, index: int) -> None:
        """The user chose an entry."""
        data = self.ui.ModelComboBox.itemData(index)
        say(self.ui.ModelMessageLabel, "")
        if data == CHOOSE_FOLDER:
            self.chooseFolder()
        elif data == CHOOSE_CHECKPOINT:
            self.chooseCheckpoint()
        elif data:
            self.choose(data)
        self.fill()

    def choose(self, key: str) -> None:
        """Make a model the one to use, here and in the next scene."""
        self.context.parameters.model = key
        self.context.service.library.lastUsed = key
        if self.context.parameters.segmentation is not None:
            self.context.parameters.segmentation.SetAttribute("MedDDPM.model", key)

    def chooseFolder(self) -> None:
        """Let the user choose a model folder and remember it."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose a model folder"))
        if folder:
            with self.told():
                self.choose(self.context.service.library.remember(Path(folder)))

    def chooseCheckpoint(self) -> None:
        """Let the user choose a published checkpoint; it is converted in the background."""
        if self.context.missing:
            self.sayError(_("A .pt file can be read only after the missing packages are installed (see above)."))
            return
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Choose a published Med-DDPM file"), "", _("Checkpoints (*.pt *.pth)")
        )
        if not path:
            return
        with self.told():
            library = self.context.service.library
            library.importCheckpoint(Path(path), Path(path).stem, self._onImported, self.sayError)
            say(self.ui.ModelMessageLabel, _("The file is being read and converted. This takes a moment…"))

    def acknowledge(self) -> None:
        """The user agrees to the model's terms."""
        self.context.service.library.acknowledge(self.context.parameters.model)
        self._showTerms()

    def _onImported(self, key: str) -> None:
        say(self.ui.ModelMessageLabel, _("The model was added to the list."))
        if self.context.parameters is not None:
            self.choose(key)

    def _showTerms(self) -> None:
        model = self.context.model
        asked = model is not None and not self.context.agreed
        self.ui.ModelTermsFrame.visible = asked
        if self._folded is not self.context.agreed:  # folded or opened by hand, it stays so
            self._folded = self.ui.ModelSection.collapsed = self.context.agreed
        if asked:
            self.ui.ModelTermsLabel.text = termsText(model)
