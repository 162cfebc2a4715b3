"""Preparing: what the scans become, the button that becomes Cancel, progress and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from medddpm.jobs.events import State
from MedDDPMSlicerLib.Panels.Base import Panel, plainErrors
from MedDDPMSlicerLib.Panels.Widgets import DetailsDialog, clearLayout, enable, fillComboBox, say

from .Context import Context
from .Inputs import ChoiceInput, PathInput
from .Texts import GRIDS, INTENSITIES, OUTLINES, OWN_GRID, REGISTRATIONS, SCHEMES, preparationText

# Data of the entry that is an action; no scheme's path begins with a line feed.
CHOOSE_SCHEME = "\nscheme"


class PreparePanel(Panel):
    """Shows ``service.preparation``."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self.details = DetailsDialog(slicer.util.mainWindow())
        self._inputs = [
            PathInput(ui.PreparedPath, context, "datasetFolder"),
            PathInput(ui.TemplatePath, context, "template"),
            ChoiceInput(ui.RegisterComboBox, context, "register", REGISTRATIONS),
            ChoiceInput(ui.IntensitiesComboBox, context, "intensities", INTENSITIES),
            ChoiceInput(ui.OutlineComboBox, context, "outline", OUTLINES),
        ]
        self._problem = ""
        self._taken: Any = None
        self._ownGrid = False
        self._modalities: tuple[str, ...] = ()
        self._boxes: dict[str, Any] = {}
        fillComboBox(ui.GridComboBox, list(GRIDS), "auto")
        ui.GridComboBox.activated.connect(self._onGrid)
        ui.GridLineEdit.editingFinished.connect(self._onOwnGrid)
        ui.SchemeComboBox.activated.connect(self._onScheme)
        ui.PrepareButton.clicked.connect(self.onPrepare)
        ui.PrepareAgainButton.clicked.connect(self.again)
        ui.ReportButton.clicked.connect(self.openReport)
        ui.PrepareDetailsButton.clicked.connect(self.showDetails)
        for label in (ui.PrepareProgressLabel, ui.PrepareMessageLabel):
            say(label, "")

    def refresh(self) -> None:
        """Show the parameter node's choices."""
        parameters, ui = self.context.parameters, self.ui
        for one in self._inputs:
            one.refresh()
        self._showScheme(parameters.scheme)
        self._showGrid(parameters.grid)
        for widget in (ui.TemplatePath, ui.TemplatePathCaption):
            widget.visible = parameters.register == "template"
        self._checkModalities(parameters.modalities)

    def tick(self) -> None:
        """Show the progress; what an earlier session left prepared is trained on where nothing else was chosen."""
        preparation = self.context.service.preparation
        table = self.context.table
        self._showModalities(table.modalities if table is not None else ())
        self._showButtons(preparation)
        self._showProgress(preparation)
        self._showMessage(preparation)
        if preparation.result is not None and preparation.result is not self._taken:
            self._taken = preparation.result
            if self.context.parameters is not None and not self.context.parameters.datasetFolder:
                self.context.parameters.datasetFolder = str(preparation.result.dataset)

    def sceneClosing(self) -> None:
        """The next scene begins with its own choices."""
        self._ownGrid, self._problem = False, ""

    def cleanup(self) -> None:
        """Close the details window."""
        self.details.dialog.hide()
        self.details.dialog.deleteLater()

    def onPrepare(self) -> None:
        """Prepare, or cancel the preparation that is going on."""
        self._problem = ""
        with plainErrors(self._sayError):
            preparation = self.context.service.preparation
            if preparation.finished:
                self.context.service.prepare(self.context.parameters)
            else:
                preparation.cancel()
        self.tick()

    def again(self) -> None:
        """Go on with the preparation that an earlier session left."""
        self._problem = ""
        with plainErrors(self._sayError):
            preparation = self.context.service.preparation
            preparation.again()
            if self.context.parameters is not None:
                self.context.parameters.sourceFolder = str(preparation.request.get("source", ""))
                self.context.parameters.datasetFolder = str(preparation.request.get("out", ""))
        self.tick()

    def openReport(self) -> None:
        """Show the report in the browser."""
        report = self._report()
        if report is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(report)))

    def showDetails(self) -> None:
        """Show the log."""
        self.details.show("Log of the preparation", self.context.service.preparation.details())

    def _onScheme(self, index: int) -> None:
        chosen = self.ui.SchemeComboBox.itemData(index)
        if chosen == CHOOSE_SCHEME:
            window = slicer.util.mainWindow()
            chosen = qt.QFileDialog.getOpenFileName(window, "Choose a label scheme", "", "Label schemes (*.json)")
        if chosen and self.context.parameters is not None:
            self.context.parameters.scheme = chosen
        self._showScheme(self.context.parameters.scheme)

    def _showScheme(self, chosen: str) -> None:
        items = list(SCHEMES)
        if chosen not in [data for _, data in items]:
            items.append((Path(chosen).name, chosen))
        fillComboBox(self.ui.SchemeComboBox, [*items, ("From a file…", CHOOSE_SCHEME)], chosen)

    def _onGrid(self, index: int) -> None:
        chosen = self.ui.GridComboBox.itemData(index)
        self._ownGrid = chosen == OWN_GRID
        if not self._ownGrid:
            self.context.parameters.grid = chosen
        self._showGrid(self.context.parameters.grid)

    def _onOwnGrid(self) -> None:
        if self.context.parameters is not None and self._ownGrid and self.ui.GridLineEdit.text.strip():
            self.context.parameters.grid = self.ui.GridLineEdit.text.strip()

    def _showGrid(self, grid: str) -> None:
        known = grid in [data for _, data in GRIDS]
        self._ownGrid = self._ownGrid or not known
        box = self.ui.GridComboBox
        box.currentIndex = box.findData(OWN_GRID if self._ownGrid else grid)
        if not known:
            self.ui.GridLineEdit.text = grid
        for widget in (self.ui.GridLineEdit, self.ui.GridLineEditCaption):
            widget.visible = self._ownGrid

    def _showModalities(self, names: tuple[str, ...]) -> None:
        """One check box an image that the source has."""
        if names == self._modalities:
            return
        self._modalities, self._boxes = names, {}
        layout = self.ui.ModalitiesWidget.layout()
        clearLayout(layout)
        for name in names:
            box = qt.QCheckBox(name)
            box.toggled.connect(lambda *_: self._modalitiesChanged())
            layout.addWidget(box)
            self._boxes[name] = box
        if self.context.parameters is not None:
            self._checkModalities(self.context.parameters.modalities)

    def _checkModalities(self, chosen: Any) -> None:
        for widget in (self.ui.ModalitiesWidget, self.ui.ModalitiesWidgetCaption):
            widget.visible = bool(self._boxes)
        for name, box in self._boxes.items():
            blocked = box.blockSignals(True)
            box.checked = not chosen or name in chosen
            box.blockSignals(blocked)

    def _modalitiesChanged(self) -> None:
        chosen = [name for name, box in self._boxes.items() if box.checked] or list(self._boxes)
        self.context.parameters.modalities = [] if len(chosen) == len(self._boxes) else chosen

    def _showButtons(self, preparation: Any) -> None:
        ui = self.ui
        ui.PrepareButton.text = "Prepare" if preparation.finished else "Cancel"
        if preparation.finished:
            enable(ui.PrepareButton, self._blocked())
        else:
            cancelling = preparation.state is State.CANCELLING
            enable(ui.PrepareButton, "The preparation is being cancelled." if cancelling else None)
        ui.PrepareAgainButton.visible = preparation.state is State.INTERRUPTED
        enable(ui.ReportButton, None if self._report() is not None else "There is a report once scans are prepared.")
        ui.PrepareDetailsButton.visible = self._isOfThisDataset(preparation)

    def _showProgress(self, preparation: Any) -> None:
        bar, busy = self.ui.PrepareProgressBar, not preparation.finished
        bar.visible = busy
        if not busy:
            say(self.ui.PrepareProgressLabel, "")
            return
        bar.maximum, bar.value = preparation.total or 0, preparation.step or 0
        where = (preparation.stage, preparation.step, preparation.total, preparation.secondsLeft)
        say(self.ui.PrepareProgressLabel, preparationText(*where))

    def _showMessage(self, preparation: Any) -> None:
        label = self.ui.PrepareMessageLabel
        failed = preparation.state is State.FAILED
        blocked = self._blocked() if preparation.finished else None
        if self._problem:
            say(label, self._problem, "error")
        elif preparation.message and self._isOfThisDataset(preparation):
            text = " ".join([preparation.message, *preparation.warnings])
            say(label, text, "error" if failed else "info")
        else:
            say(label, blocked or "")
        label.visible = True  # keeps the buttons at the right

    def _isOfThisDataset(self, preparation: Any) -> bool:
        """Whether a preparation concerns the dataset of the panel; one that goes on or was interrupted always does."""
        folder = self.context.parameters.datasetFolder if self.context.parameters is not None else ""
        same = bool(folder) and Path(folder).expanduser().absolute() == Path(preparation.request.get("out", ""))
        return same or not preparation.finished or preparation.state is State.INTERRUPTED

    def _report(self) -> Path | None:
        folder = self.context.parameters.datasetFolder if self.context.parameters is not None else ""
        report = Path(folder).expanduser() / "report.html" if folder else None
        return report if report is not None and report.is_file() else None

    def _blocked(self) -> str | None:
        return self.context.service.blockedReason("prepare", self.context.parameters)

    def _sayError(self, text: str) -> None:
        self._problem = text
