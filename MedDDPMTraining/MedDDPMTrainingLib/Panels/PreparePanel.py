"""Preparing: what the scans become, the button that becomes Cancel, progress and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from medddpm.jobs.events import State
from medddpm.preparation.options import PrepareOptions
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.OptionWidgets import OptionWidgets
from MedDDPMSlicerLib.Panels.Widgets import NameBoxes, PathInput, enable, say
from MedDDPMSlicerLib.RequestOptions import shownOptions
from MedDDPMSlicerLib.Texts import progressText
from slicer.i18n import tr as _

from .Context import Context, formOf

# The options above the group Advanced; that of the layout is with the source.
PLAIN, ELSEWHERE = ("scheme", "grid", "leave_out_flagged"), ("layout",)
# Data of the entries that ask for another value; no value begins with a line feed.
OTHER = "\nother"
STAGES = {
    "scan": _("Scanning the files"),
    "labels": _("Reading the masks' labels"),
    "prepare": _("Preparing cases"),
    "report": _("Writing the report"),
}


class PreparePanel(Panel):
    """Shows ``service.preparation``."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._paths = [
            PathInput(ui.PreparedPath, context, "datasetFolder"),
            PathInput(ui.TemplatePath, context, "template"),
        ]
        told = {one.name: one for one in shownOptions(PrepareOptions) if one.name not in ELSEWHERE}
        advanced = [one for name, one in told.items() if name not in PLAIN]
        plainForm = formOf(ui.PrepareSection, "PrepareForm")
        advancedForm = formOf(ui.PrepareAdvancedGroup, "PrepareAdvancedForm")
        self.options = [
            OptionWidgets(plainForm, [told[name] for name in PLAIN], self._setOption),
            OptionWidgets(advancedForm, advanced, self._setOption),
        ]
        for name in ("scheme", "grid"):
            self.options[0].widgets[name].addItem("Other…", OTHER)
        self._taken: Any = None
        self._modalities = NameBoxes(ui.ModalitiesWidget.layout(), lambda names: context.set("modalities", names))
        ui.PrepareButton.clicked.connect(self.onPrepare)
        ui.PrepareAgainButton.clicked.connect(self.again)
        ui.ReportButton.clicked.connect(self.openReport)
        details = lambda *args: self.showLog(_("Log of the preparation"), context.service.preparation.details())  # noqa: E731
        ui.PrepareDetailsButton.clicked.connect(details)
        for label in (ui.PrepareProgressLabel, ui.PrepareMessageLabel):
            say(label, "")

    def refresh(self) -> None:
        """Show the parameter node's choices."""
        parameters, ui = self.context.parameters, self.ui
        for one in self._paths:
            one.refresh()
        for options in self.options:
            options.show(parameters)
        for widget in (ui.TemplatePath, ui.TemplatePathCaption):
            widget.visible = parameters.register == "template"

    def tick(self) -> None:
        """Show the progress; what an earlier session left prepared is trained on where nothing else was chosen."""
        preparation = self.context.service.preparation
        names = self.context.scan.modalities if self.context.scan is not None else ()
        self._modalities.show(names, self.context.parameters.modalities if self.context.parameters is not None else ())
        for widget in (self.ui.ModalitiesWidget, self.ui.ModalitiesWidgetCaption):
            widget.visible = bool(names)
        self._showButtons(preparation)
        self._showProgress(preparation)
        self._showMessage(preparation)
        if preparation.result is not None and preparation.result is not self._taken:
            self._taken = preparation.result
            if self.context.parameters is not None and not self.context.parameters.datasetFolder:
                self.context.parameters.datasetFolder = str(preparation.result.dataset)

    def sceneClosing(self) -> None:
        """The next scene begins with its own choices."""
        self.problem = ""

    def onPrepare(self) -> None:
        """Prepare, or cancel the preparation that is going on."""
        with self.told():
            preparation = self.context.service.preparation
            if preparation.finished:
                self.context.service.prepare(self.context.parameters)
            else:
                preparation.cancel()
        self.tick()

    def again(self) -> None:
        """Go on with the preparation that an earlier session left."""
        with self.told():
            request = self.context.service.preparation.request
            self.context.service.startPreparation(request)
            self.context.set("sourceFolder", str(request.get("source", "")))
            self.context.set("datasetFolder", str(request.get("out", "")))
        self.tick()

    def openReport(self) -> None:
        """Show the report in the browser."""
        if self._report() is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._report())))

    def _setOption(self, name: str, value: Any) -> None:
        window = slicer.util.mainWindow()
        if value == OTHER and name == "scheme":
            value = qt.QFileDialog.getOpenFileName(window, _("Choose a label scheme"), "", _("Label schemes (*.json)"))
        elif value == OTHER:
            text = _("Number of voxels, their size in mm and their directions, for example 80x96x80:2:LPS:")
            grid = self.context.parameters.grid
            value = qt.QInputDialog.getText(window, _("Resolution"), text, qt.QLineEdit.Normal, grid).strip()
        if value != "":
            self.context.set(name, value)
        self.refresh()

    def _showButtons(self, preparation: Any) -> None:
        ui, busy = self.ui, not preparation.finished
        ui.PrepareButton.text = _("Cancel") if busy else _("Prepare")
        cancelling = _("The preparation is being cancelled.") if preparation.state is State.CANCELLING else None
        enable(ui.PrepareButton, cancelling if busy else self._blocked())
        ui.PrepareAgainButton.visible = preparation.state is State.INTERRUPTED
        enable(ui.ReportButton, None if self._report() is not None else _("There is a report once scans are prepared."))
        ui.PrepareDetailsButton.visible = self._isOfThisDataset(preparation)

    def _showProgress(self, job: Any) -> None:
        bar = self.ui.PrepareProgressBar
        bar.visible = not job.finished
        bar.maximum, bar.value = job.total or 0, job.step or 0
        stage = STAGES.get(job.stage, job.stage) or _("Waiting for the process")
        said = progressText(stage, job.step, job.total, job.secondsLeft, "case")
        say(self.ui.PrepareProgressLabel, "" if job.finished else said)

    def _showMessage(self, preparation: Any) -> None:
        label = self.ui.PrepareMessageLabel
        if self.problem:
            say(label, self.problem, "error")
        elif preparation.message and self._isOfThisDataset(preparation):
            text = " ".join([preparation.message, *preparation.warnings])
            say(label, text, "error" if preparation.state is State.FAILED else "info")
        else:
            say(label, (self._blocked() or "") if preparation.finished else "")
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
