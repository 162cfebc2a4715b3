"""Many masks at once, with a table of states."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import PathInput, enable, say, setCells, setUpTable
from MedDDPMSlicerLib.Texts import duration

from .Context import Context

FOLDER, SEQUENCE = range(2)


class BatchPanel(Panel):
    """Shows ``service.batch``."""

    messageLabel = "BatchMessageLabel"

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._shown: list[tuple[str, str, str, str]] = []
        setUpTable(ui.BatchTable, 2)
        ui.BatchTable.toolTip = "Double-click a row for its log."
        ui.BatchKindComboBox.activated.connect(lambda *_: self._kindChosen())
        self._paths = [
            PathInput(ui.BatchSourcePath, context, "batchSource"),
            PathInput(ui.BatchOutputPath, context, "batchOutput"),
        ]
        ui.BatchTable.cellDoubleClicked.connect(lambda row, *_: self.showDetails(row))
        ui.BatchButton.clicked.connect(self.onButton)
        say(ui.BatchMessageLabel, "")

    def refresh(self) -> None:
        """Show the chosen source and output."""
        parameters = self.context.parameters
        if parameters.batchSequence is not None:
            self.ui.BatchKindComboBox.currentIndex = SEQUENCE
        for one in self._paths:
            one.refresh()
        self._showKind()

    def tick(self) -> None:
        """Show the states of the cases."""
        batch = self.context.service.batch
        cases = batch.rows if batch is not None else []
        rows = [(case.name, case.state.value, case.message, case.place) for case in cases]
        if rows != self._shown:
            self._shown = rows
            self.ui.BatchTable.rowCount = len(rows)
            for row, (name, state, message, place) in enumerate(rows):
                setCells(self.ui.BatchTable, row, [(name, place), (state, state), (message, message)])
            self.ui.BatchTable.resizeRowsToContents()  # messages are broken into lines
        running = batch is not None and not batch.finished
        self.ui.BatchButton.text = "Cancel" if running else "Start"
        reason = None if running else self.context.service.batchBlockedReason(self.context.parameters)
        enable(self.ui.BatchButton, reason)
        if self.problem:
            say(self.ui.BatchMessageLabel, self.problem, "error")
        elif batch is not None:
            left = f" About {duration(batch.secondsLeft)} left." if batch.secondsLeft is not None else ""
            say(self.ui.BatchMessageLabel, f"{batch.message or ''}{left}".strip())

    def onButton(self) -> None:
        """Start the batch, or cancel it."""
        with self.told():
            batch = self.context.service.batch
            if batch is not None and not batch.finished:
                batch.cancel()
            elif self.context.maySend():
                self.context.service.startBatch(self.context.parameters)
        self.tick()

    def showDetails(self, row: int) -> None:
        """Show the log of one case."""
        batch = self.context.service.batch
        if batch is not None and row < len(batch.rows):
            case = batch.rows[row]
            self.showLog(f"Log of {case.name}", case.details())

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
