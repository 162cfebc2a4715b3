"""The table of the cases of a source folder."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import qt
from MedDDPMSlicerLib.Panels.Widgets import severityIcon

from .Texts import CaseLine

USE, NAME, FILES, TEXT = range(4)
# Longer names are cut; the explanation needs the room.
NAME_PIXELS = 120


class CasesTable:
    """Shows ``lines``; ``onLeaveOut`` is called with the key of a line and whether it was unchecked."""

    def __init__(self, table: Any, onLeaveOut: Callable[[str, bool], None]) -> None:
        self.lines: list[CaseLine] = []
        self._table, self._onLeaveOut = table, onLeaveOut
        table.verticalHeader().visible = False
        header = table.horizontalHeader()
        for column in (USE, FILES):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(NAME, qt.QHeaderView.Interactive)
        header.resizeSection(NAME, NAME_PIXELS)
        header.setSectionResizeMode(TEXT, qt.QHeaderView.Stretch)
        table.itemChanged.connect(self._onChanged)

    def fill(self, lines: Sequence[CaseLine], leftOut: set[str]) -> Generator[None, None, None]:
        """Steps that show other lines; a source may have thousands."""
        blocked = self._table.blockSignals(True)
        self._table.rowCount = 0
        self.lines = list(lines)
        self._table.rowCount = len(self.lines)
        self._table.blockSignals(blocked)
        for row, line in enumerate(self.lines):
            blocked = self._table.blockSignals(True)
            self._fillRow(row, line, line.key not in leftOut)
            self._table.blockSignals(blocked)
            yield

    def showLeftOut(self, leftOut: set[str]) -> None:
        """Check what is used."""
        blocked = self._table.blockSignals(True)
        for row, line in enumerate(self.lines):
            item = self._table.item(row, USE)
            state = qt.Qt.Unchecked if line.key in leftOut else qt.Qt.Checked
            if item is not None and line.key and item.checkState() != state:
                item.setCheckState(state)
        self._table.blockSignals(blocked)

    def _fillRow(self, row: int, line: CaseLine, used: bool) -> None:
        for column, text in ((NAME, line.name), (FILES, line.files), (TEXT, line.text)):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(line.text or text)
            if column == TEXT and line.severity:
                item.setIcon(severityIcon(line.severity))
            self._table.setItem(row, column, item)
        box = qt.QTableWidgetItem()
        if line.key:
            box.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            box.setCheckState(qt.Qt.Checked if used else qt.Qt.Unchecked)
        box.setToolTip("Uncheck to leave it out.")
        self._table.setItem(row, USE, box)
        if line.text:
            self._table.resizeRowToContents(row)  # the whole explanation is read without pointing at it

    def _onChanged(self, item: Any) -> None:
        if item.column() == USE and item.row() < len(self.lines):
            self._onLeaveOut(self.lines[item.row()].key, item.checkState() == qt.Qt.Unchecked)
