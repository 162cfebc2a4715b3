"""Many masks at once, with a table of states."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import DetailsDialog, enable, say
from MedDDPMSlicerLib.Texts import duration

from .Context import Context

FOLDER, SEQUENCE = range(2)


class BatchPanel(Panel):
    """Shows ``service.batch``."""

    messageLabel = "BatchMessageLabel"

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._shown: list[tuple[str, str, str, str]] = []
        self.details = DetailsDialog(slicer.util.mainWindow())
        self._setUpTable()
        ui.BatchKindComboBox.activated.connect(lambda *_: self._kindChosen())
        ui.BatchSourcePath.connect("currentPathChanged(QString)", lambda *_: self._pathsChanged())
        ui.BatchOutputPath.connect("currentPathChanged(QString)", lambda *_: self._pathsChanged())
        ui.BatchTable.cellDoubleClicked.connect(lambda row, *_: self.showDetails(row))
        ui.BatchButton.clicked.connect(self.onButton)
        say(ui.BatchMessageLabel, "")

    def refresh(self) -> None:
        """Show the chosen source and output."""
        parameters = self.context.parameters
        if parameters.batchSequence is not None:
            self.ui.BatchKindComboBox.currentIndex = SEQUENCE
        for widget, text in (
            (self.ui.BatchSourcePath, parameters.batchSource),
            (self.ui.BatchOutputPath, parameters.batchOutput),
        ):
            if widget.currentPath != text:
                widget.currentPath = text
        self._showKind()

    def tick(self) -> None:
        """Show the states of the cases."""
        batch = self.context.service.batch
        cases = batch.rows if batch is not None else []
        rows = [(case.name, case.state.value, case.message, case.place) for case in cases]
        if rows != self._shown:
            self._shown = rows
            self._fill(rows)
        self._updateButton(batch)
        self._showMessage(batch)

    def cleanup(self) -> None:
        """Close the details window."""
        self.details.dialog.hide()
        self.details.dialog.deleteLater()

    def onButton(self) -> None:
        """Start the batch, or cancel it."""
        with self.told():
            batch = self.context.service.batch
            if batch is not None and not batch.finished:
                batch.cancel()
            else:
                self.context.service.startBatch(self.context.parameters)
        self.tick()

    def showDetails(self, row: int) -> None:
        """Show the log of one case."""
        batch = self.context.service.batch
        if batch is not None and row < len(batch.rows):
            case = batch.rows[row]
            self.details.show(f"Log of {case.name}", case.details())

    def _setUpTable(self) -> None:
        table = self.ui.BatchTable
        table.verticalHeader().visible = False
        table.toolTip = "Double-click a row for its log."
        header = table.horizontalHeader()
        header.setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(2, qt.QHeaderView.Stretch)

    def _fill(self, rows: list[tuple[str, str, str, str]]) -> None:
        table = self.ui.BatchTable
        table.rowCount = len(rows)
        for number, (name, state, message, place) in enumerate(rows):
            for column, (text, tip) in enumerate([(name, place), (state, state), (message, message)]):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(tip)
                table.setItem(number, column, item)
        table.resizeRowsToContents()  # messages are broken into lines

    def _kindChosen(self) -> None:
        if self.ui.BatchKindComboBox.currentIndex == FOLDER:
            self.context.parameters.batchSequence = None
        self._showKind()

    def _showKind(self) -> None:
        fromFolder = self.ui.BatchKindComboBox.currentIndex == FOLDER
        for widget in (self.ui.BatchSourcePath, self.ui.BatchSourcePathCaption):
            widget.visible = fromFolder
        for widget in (self.ui.BatchSequenceSelector, self.ui.BatchSequenceSelectorCaption):
            widget.visible = not fromFolder

    def _pathsChanged(self) -> None:
        parameters = self.context.parameters
        if parameters is not None:
            parameters.batchSource = self.ui.BatchSourcePath.currentPath
            parameters.batchOutput = self.ui.BatchOutputPath.currentPath

    def _updateButton(self, batch: Any) -> None:
        running = batch is not None and not batch.finished
        self.ui.BatchButton.text = "Cancel" if running else "Start"
        reason = None if running else self.context.service.batchBlockedReason(self.context.parameters)
        enable(self.ui.BatchButton, reason)

    def _showMessage(self, batch: Any) -> None:
        if self.problem:
            say(self.ui.BatchMessageLabel, self.problem, "error")
        elif batch is not None:
            left = f" About {duration(batch.secondsLeft)} left." if batch.secondsLeft is not None else ""
            say(self.ui.BatchMessageLabel, f"{batch.message or ''}{left}".strip())
