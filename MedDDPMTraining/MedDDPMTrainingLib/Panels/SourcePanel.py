"""The folder of scans: what is in it, what is wrong with it, what is left out."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import qt
import slicer
from medddpm.preparation.options import PrepareOptions
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Panels.Base import Panel, plainErrors
from MedDDPMSlicerLib.Panels.OptionWidgets import OptionWidgets
from MedDDPMSlicerLib.Panels.Widgets import PathInput, enable, quiet, say, setCells, setUpTable, severityIcon
from MedDDPMSlicerLib.RequestOptions import shownOptions
from slicer.i18n import tr as _

from ..SampleScans import FOLDER, sampleScans
from ..SourceTable import CaseLine, linesOf, obstacles, summary, toLeaveOut
from .Context import Context, formOf

# Ticks without a change before a folder is looked at by itself.
_SCAN_DELAY = 3
_NOTHING = _("Press 'Scan folder' first.")
USE, NAME, _FILES, TEXT = range(4)
# Beside problems, names get at most this share of the table.
MAX_NAME_SHARE = 0.45


class SourcePanel(Panel):
    """Shows ``service.scan``; ``lines`` are those of the table of cases."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._paths = [
            PathInput(ui.SourcePath, context, "sourceFolder"),
            PathInput(ui.TablePath, context, "tableFile"),
        ]
        layout = [told for told in shownOptions(PrepareOptions) if told.name == "layout"]
        self.options = OptionWidgets(formOf(ui.SourceSection, "SourceForm"), layout, context.set)
        self.lines: list[CaseLine] = []
        self._shown: Any = None
        self._asked: tuple[str, ...] = ()
        self._scanIn = 0
        self._filling = self._writing = None
        setUpTable(ui.CasesTable, NAME)
        ui.CasesTable.textElideMode = qt.Qt.ElideMiddle  # cases differ at the end of their names
        ui.CasesTable.itemChanged.connect(self._onItem)
        ui.ScanButton.clicked.connect(self.onScan)
        ui.SampleScansButton.clicked.connect(self.onSampleScans)
        ui.LeaveOutButton.clicked.connect(self.leaveOutProblems)
        ui.UseAllButton.clicked.connect(lambda *_: context.set("leaveOut", []))
        say(ui.ScanStatusLabel, "")

    def refresh(self) -> None:
        """Show the parameter node's choices; look at a newly chosen folder a moment later."""
        parameters = self.context.parameters
        for one in self._paths:
            one.refresh()
        self.options.show(parameters)
        for widget in (self.ui.TablePath, self.ui.TablePathCaption):
            widget.visible = parameters.layout == "table"
        leftOut = set(parameters.leaveOut)
        with quiet(self.ui.CasesTable):
            for row, line in enumerate(self.lines):
                item = self.ui.CasesTable.item(row, USE)
                state = qt.Qt.Unchecked if line.key in leftOut else qt.Qt.Checked
                if item is not None and line.key and item.checkState() != state:
                    item.setCheckState(state)
        wanted = (parameters.sourceFolder, parameters.layout, parameters.tableFile)
        if wanted != self._asked:
            self._sourceChosen(wanted)

    def tick(self) -> None:
        """Look at the folder when the choice has rested; show what was found."""
        if self._scanIn > 0:
            self._scanIn -= 1
            if self._scanIn == 0 and self._blocked() is None:
                self.scan()
        scan = self.context.scan
        if scan is not self._shown:
            self._shown = scan
            if self._filling is not None:
                self._filling.cancel()
            lines = linesOf(scan) if scan is not None else []
            self._filling = SlicedTask(self._fill(lines), lambda _: None, self._onFailed)
            self.context.service.startTask(self._filling)
        self._showState(scan)

    def sceneClosing(self) -> None:
        """The next scene begins without a source."""
        self._asked, self.problem = (), ""

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
        with self.told():
            self.context.service.scanSource(self.context.parameters)

    def onSampleScans(self) -> None:
        """Write sample scans into a folder of the user's choice, then look at it."""
        parent = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Where shall the sample scans be?"))
        if parent:
            self.makeSampleScans(Path(parent) / FOLDER)

    def makeSampleScans(self, folder: Path) -> None:
        """Write sample scans into a new folder, a moment at a time, then look at it."""
        self.problem = ""
        self._writing = SlicedTask(sampleScans(folder), self._onSamplesWritten, self._onFailed)
        self.context.service.startTask(self._writing)

    def leaveOutProblems(self) -> None:
        """Leave out all that keeps the others from being prepared."""
        parameters = self.context.parameters
        parameters.leaveOut = toLeaveOut(self.lines, list(parameters.leaveOut))

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

    def _fill(self, lines: list[CaseLine]) -> Generator[None, None, None]:
        """Steps that fill the table; a source may have thousands of cases."""
        table, metrics = self.ui.CasesTable, qt.QFontMetrics(self.ui.CasesTable.font)
        leftOut = set(self.context.parameters.leaveOut) if self.context.parameters is not None else set()
        widest = max((metrics.boundingRect(line.name).width() for line in lines[:500]), default=0)
        problems, header = any(line.text for line in lines), table.horizontalHeader()
        with quiet(table):
            table.rowCount = 0
            self.lines = lines
            table.rowCount = len(lines)
            # Sentences take what the names leave; without any, the names have it all.
            header.setSectionResizeMode(NAME, qt.QHeaderView.Interactive if problems else qt.QHeaderView.Stretch)
            header.setSectionResizeMode(TEXT, qt.QHeaderView.Stretch if problems else qt.QHeaderView.ResizeToContents)
            header.resizeSection(NAME, min(int(MAX_NAME_SHARE * table.viewport().width), widest + 24))
        for row, line in enumerate(lines):
            with quiet(table):
                self._fillRow(table, row, line, line.key not in leftOut)
            yield

    def _fillRow(self, table: Any, row: int, line: CaseLine, used: bool) -> None:
        cells = [(text, line.text or text) for text in (line.name, line.files, line.text)]
        setCells(table, row, cells, first=NAME)
        if line.severity:
            table.item(row, TEXT).setIcon(severityIcon(line.severity))
        box = qt.QTableWidgetItem()
        if line.key:
            box.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            box.setCheckState(qt.Qt.Checked if used else qt.Qt.Unchecked)
        box.setToolTip(_("Uncheck to leave it out."))
        table.setItem(row, USE, box)
        if line.text:
            table.resizeRowToContents(row)  # the whole explanation is read without pointing at it

    def _onItem(self, item: Any) -> None:
        """A box was checked or unchecked."""
        parameters = self.context.parameters
        if item.column() == USE and item.row() < len(self.lines) and parameters is not None:
            key = self.lines[item.row()].key
            others = [known for known in parameters.leaveOut if known != key]
            parameters.leaveOut = [*others, key] if item.checkState() == qt.Qt.Unchecked else others

    def _showState(self, found: Any) -> None:
        scan, ui = self.context.service.scan, self.ui
        writing = self._writing is not None and not self._writing.finished
        ui.ScanButton.text = _("Scan folder") if scan.finished else _("Cancel")
        enable(ui.ScanButton, self._blocked() if scan.finished else None)
        enable(ui.SampleScansButton, _("The sample scans are being written. Wait a moment.") if writing else None)
        ui.ScanProgressBar.visible = not scan.finished or writing
        steps = (0, 0) if scan.finished else (scan.total or 0, scan.step or 0)
        ui.ScanProgressBar.maximum, ui.ScanProgressBar.value = steps
        leftOut = list(self.context.parameters.leaveOut) if self.context.parameters is not None else []
        some = found is not None and bool(self.lines)
        for widget in (ui.CasesTable, ui.LeaveOutButton, ui.UseAllButton):
            widget.visible = some
        left = obstacles(found, leftOut) if found is not None else []
        none = _NOTHING if not some else None if left else _("Every case can be used.")
        enable(ui.LeaveOutButton, none)
        enable(ui.UseAllButton, _NOTHING if not some else None if leftOut else _("All cases are used."))
        if self.problem or scan.message:
            say(ui.ScanStatusLabel, self.problem or scan.message, "error")
        elif writing or not scan.finished:
            say(ui.ScanStatusLabel, _("Writing the sample scans…") if writing else _("Scanning the files…"))
        else:
            text = summary(found, leftOut) if found is not None else ""
            say(ui.ScanStatusLabel, text, "error" if left else "info")

    def _blocked(self) -> str | None:
        return self.context.service.blockedReason("scan", self.context.parameters)

    def _onSamplesWritten(self, folder: Path) -> None:
        parameters = self.context.parameters
        if parameters is not None:
            parameters.layout, parameters.grid, parameters.preset = "auto", "demo-2mm", "demo"
            parameters.sourceFolder = str(folder)

    def _onFailed(self, error: BaseException) -> None:
        with plainErrors(self.sayError):
            raise error
