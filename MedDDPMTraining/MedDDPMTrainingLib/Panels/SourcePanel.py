"""The folder of scans: what is in it, what is wrong with it, what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Panels.Base import Panel, plainErrors
from MedDDPMSlicerLib.Panels.Widgets import enable, say

from ..SampleScans import FOLDER, sampleScans
from .CasesTable import CasesTable
from .Context import Context
from .Inputs import ChoiceInput, PathInput
from .Texts import LAYOUTS, caseLines, toLeaveOut

# Ticks without a change before a folder is looked at by itself.
_SCAN_DELAY = 3
_NOTHING = "Look at the folder first."


class SourcePanel(Panel):
    """Shows ``service.scan``."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._inputs = [
            PathInput(ui.SourcePath, context, "sourceFolder"),
            PathInput(ui.TablePath, context, "tableFile"),
            ChoiceInput(ui.LayoutComboBox, context, "layout", LAYOUTS),
        ]
        self.cases = CasesTable(ui.CasesTable, self._leaveOut)
        self._shownTable: Any = None
        self._problem = ""
        self._asked: tuple[str, ...] = ()
        self._scanIn = 0
        self._filling = self._writing = None
        ui.ScanButton.clicked.connect(self.onScan)
        ui.SampleScansButton.clicked.connect(self.onSampleScans)
        ui.LeaveOutButton.clicked.connect(self.leaveOutProblems)
        ui.UseAllButton.clicked.connect(self.useAll)
        say(ui.ScanStatusLabel, "")

    def refresh(self) -> None:
        """Show the parameter node's choices; look at a newly chosen folder a moment later."""
        parameters = self.context.parameters
        for one in self._inputs:
            one.refresh()
        for widget in (self.ui.TablePath, self.ui.TablePathCaption):
            widget.visible = parameters.layout == "table"
        self.cases.showLeftOut(set(parameters.leaveOut))
        wanted = (parameters.sourceFolder, parameters.layout, parameters.tableFile)
        if wanted != self._asked:
            self._sourceChosen(wanted)

    def tick(self) -> None:
        """Look at the folder when the choice has rested; show what was found."""
        if self._scanIn > 0:
            self._scanIn -= 1
            if self._scanIn == 0 and self._blocked() is None:
                self.scan()
        table = self.context.table
        if table is not self._shownTable:
            self._show(table)
        self._showState()

    def sceneClosing(self) -> None:
        """The next scene begins without a source."""
        self._asked, self._problem = (), ""

    def cleanup(self) -> None:
        """End what still works for the panel."""
        for task in (self._filling, self._writing):
            if task is not None:
                task.cancel()

    def onScan(self) -> None:
        """Look at the folder, or give it up."""
        if self.context.service.scan.finished:
            self.scan()
        else:
            self.context.service.scan.cancel()

    def scan(self) -> None:
        """Look at the folder."""
        self._problem = ""
        with plainErrors(self._sayError):
            self.context.service.scanSource(self.context.parameters)

    def onSampleScans(self) -> None:
        """Write sample scans into a folder of the user's choice, then look at it."""
        parent = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Where shall the sample scans be?")
        if parent:
            self.makeSampleScans(Path(parent) / FOLDER)

    def makeSampleScans(self, folder: Path) -> None:
        """Write sample scans into a new folder, a moment at a time, then look at it."""
        self._problem = ""
        self._writing = SlicedTask(sampleScans(folder), self._onSamplesWritten, self._onFailed)
        self.context.service.startTask(self._writing)

    def leaveOutProblems(self) -> None:
        """Leave out all that keeps the others from being prepared."""
        parameters = self.context.parameters
        parameters.leaveOut = toLeaveOut(self.cases.lines, list(parameters.leaveOut))

    def useAll(self) -> None:
        """Leave out nothing."""
        self.context.parameters.leaveOut = []

    def _sourceChosen(self, wanted: tuple[str, ...]) -> None:
        """Another source: other cases, and another folder for its dataset where the user chose none."""
        parameters, service = self.context.parameters, self.context.service
        before, self._asked = self._asked, wanted
        self._scanIn = _SCAN_DELAY
        usual = str(service.defaultDatasetFolder(before[0])) if before and before[0] else ""
        if not wanted[0]:
            return
        if before and before[0] and before[0] != wanted[0]:
            parameters.leaveOut = []
        if parameters.datasetFolder in ("", usual):
            parameters.datasetFolder = str(service.defaultDatasetFolder(wanted[0]))

    def _show(self, table: Any) -> None:
        self._shownTable = table
        if self._filling is not None:
            self._filling.cancel()
        leftOut = set(self.context.parameters.leaveOut) if self.context.parameters is not None else set()
        lines = caseLines(table) if table is not None else []
        self._filling = SlicedTask(self.cases.fill(lines, leftOut), lambda _: None, self._onFailed)
        self.context.service.startTask(self._filling)

    def _showState(self) -> None:
        scan, ui = self.context.service.scan, self.ui
        writing = self._writing is not None and not self._writing.finished
        ui.ScanButton.text = "Look at the folder" if scan.finished else "Cancel"
        enable(ui.ScanButton, self._blocked() if scan.finished else None)
        enable(ui.SampleScansButton, "The sample scans are being written. Wait a moment." if writing else None)
        ui.ScanProgressBar.visible = not scan.finished or writing
        done, total = scan.progress or (0, 0)
        ui.ScanProgressBar.maximum, ui.ScanProgressBar.value = total, done
        table = self.context.table
        leftOut = list(self.context.parameters.leaveOut) if self.context.parameters is not None else []
        some = table is not None and bool(self.cases.lines)
        for widget in (ui.CasesTable, ui.LeaveOutButton, ui.UseAllButton):
            widget.visible = some
        obstacles = table.obstacles(leftOut) if table is not None else []
        none = _NOTHING if not some else None if obstacles else "No case has a problem that keeps it from being used."
        enable(ui.LeaveOutButton, none)
        enable(ui.UseAllButton, _NOTHING if not some else None if leftOut else "All cases are used.")
        self._say(scan, writing, leftOut, bool(obstacles))

    def _say(self, scan: Any, writing: bool, leftOut: list[str], obstacles: bool) -> None:
        label = self.ui.ScanStatusLabel
        if self._problem or scan.message:
            say(label, self._problem or scan.message, "error")
        elif writing:
            say(label, "Writing the sample scans…")
        elif not scan.finished:
            say(label, "Looking at the files…")
        elif self.context.table is not None:
            say(label, self.context.table.summary(leftOut), "error" if obstacles else "info")
        else:
            say(label, "")

    def _leaveOut(self, key: str, out: bool) -> None:
        parameters = self.context.parameters
        if parameters is not None:
            others = [known for known in parameters.leaveOut if known != key]
            parameters.leaveOut = [*others, key] if out else others

    def _blocked(self) -> str | None:
        return self.context.service.blockedReason("scan", self.context.parameters)

    def _onSamplesWritten(self, folder: Path) -> None:
        parameters = self.context.parameters
        if parameters is not None:
            parameters.layout, parameters.grid, parameters.preset = "auto", "demo-2mm", "demo"
            parameters.sourceFolder = str(folder)

    def _onFailed(self, error: BaseException) -> None:
        def fail() -> None:
            raise error

        with plainErrors(self._sayError):
            fail()

    def _sayError(self, text: str) -> None:
        self._problem = text
