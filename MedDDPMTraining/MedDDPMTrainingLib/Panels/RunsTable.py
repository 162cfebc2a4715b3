"""The table of the trainings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from ..Run import progressWords
from .Texts import figure, verdictWords

NAME, STATE, STEPS, LOSS, VERDICT = range(5)


class RunsTable:
    """Shows TrainingRun objects; ``onChosen`` is called with the folder of the row that the user selects."""

    def __init__(self, table: Any, onChosen: Callable[[Any], None]) -> None:
        self._table, self._onChosen = table, onChosen
        self._rows: list[tuple[str, ...]] = []
        self._paths: list[Any] = []
        table.verticalHeader().visible = False
        header = table.horizontalHeader()
        for column in (NAME, STATE, STEPS, LOSS):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(VERDICT, qt.QHeaderView.Stretch)
        table.itemSelectionChanged.connect(self._onSelection)

    def show(self, runs: Sequence[Any]) -> None:
        """Show other rows, or newer figures in them."""
        rows = [_row(run) for run in runs]
        self._paths = [run.folder for run in runs]
        if rows == self._rows:
            return
        blocked = self._table.blockSignals(True)
        self._table.rowCount = len(rows)
        for number, row in enumerate(rows):
            if number >= len(self._rows) or row != self._rows[number]:
                self._fillRow(number, row)
        self._rows = rows
        self._table.clearSelection()
        self._table.blockSignals(blocked)

    def select(self, path: str) -> None:
        """Select the row of a training; none where it is not in the list."""
        texts = [str(known) for known in self._paths]
        wanted = texts.index(path) if path in texts else -1
        ranges = self._table.selectionModel().selectedRows()
        if [index.row() for index in ranges] == ([wanted] if wanted >= 0 else []):
            return
        blocked = self._table.blockSignals(True)
        if wanted >= 0:
            self._table.selectRow(wanted)
        else:
            self._table.clearSelection()
        self._table.blockSignals(blocked)

    def _fillRow(self, number: int, row: tuple[str, ...]) -> None:
        *texts, path = row
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(f"{text}\n{path}" if text else path)
            self._table.setItem(number, column, item)

    def _onSelection(self) -> None:
        rows = [index.row() for index in self._table.selectionModel().selectedRows()]
        if rows and rows[0] < len(self._paths):
            self._onChosen(self._paths[rows[0]])


def _row(run: Any) -> tuple[str, ...]:
    summary = run.summary
    loss = figure(summary.loss if summary.validation is None else summary.validation)
    return (summary.name, run.state, progressWords(summary), loss, verdictWords(summary.verdict)[0], str(run.folder))
