"""Many masks at once: a table of them with their images, the state of each and a picture of what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import PathInput, enable, quiet, say, setCells, setUpTable, severityIcon
from MedDDPMSlicerLib.Texts import duration
from slicer.i18n import tr as _

from ..BatchItems import SEARCHING
from ..Options import batchSource
from .Context import Context

FOLDER, SEQUENCE = range(2)
MASK, IMAGE, STATE, RESULT = range(4)
# Ticks without a change before a folder is looked at.
_LOOK_DELAY = 3
THUMBNAIL_PIXELS, TOOLTIP_PIXELS = 44, 640
# The PNG text of a contact sheet that tells where its first picture is; see the core's synthesis.sheet.
FIRST_PICTURE = "First picture"


class BatchPanel(Panel):
    """Shows ``service.batchTable``, and of its items what ``service.batch`` makes of them."""

    messageLabel = "BatchMessageLabel"

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._shown: list[tuple[Any, ...]] = []
        self._lookIn, self._wanted = 0, None
        setUpTable(ui.BatchTable, MASK)
        ui.BatchTable.wordWrap, ui.BatchTable.textElideMode = False, qt.Qt.ElideMiddle
        ui.BatchTable.iconSize = qt.QSize(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
        ui.BatchKindComboBox.activated.connect(lambda *_: self._kindChosen())
        self._paths = [
            PathInput(ui.BatchSourcePath, context, "batchSource"),
            PathInput(ui.BatchOutputPath, context, "batchOutput"),
        ]
        ui.BatchTable.cellDoubleClicked.connect(self.onDoubleClick)
        ui.BatchTable.itemChanged.connect(self._onItem)
        ui.BatchButton.clicked.connect(self.onButton)
        say(ui.BatchMessageLabel, "")

    def refresh(self) -> None:
        """Show the chosen source and output; look at a newly chosen source a moment later."""
        parameters = self.context.parameters
        if parameters.batchSequence is not None:
            self.ui.BatchKindComboBox.currentIndex = SEQUENCE
        for one in self._paths:
            one.refresh()
        self._showKind()
        source = batchSource(parameters)
        if source != self._wanted:
            self._wanted, self._lookIn = source, _LOOK_DELAY

    def tick(self) -> None:
        """Look at the source when the choice has rested; show the masks and their states."""
        batch, service = self.context.service.batch, self.context.service
        running = batch is not None and not batch.finished
        if self._lookIn > 0 and not running:
            self._lookIn -= 1
            if self._lookIn == 0:
                service.batchTable.look(self._wanted)
                service.startTimer()
        self._fill()
        self.ui.BatchButton.text = _("Cancel") if running else _("Start")
        reason = None if running else service.batchBlockedReason(self.context.parameters)
        if self._lookIn > 0 and not running:  # what begins is what is seen
            reason = reason or SEARCHING
        enable(self.ui.BatchButton, reason)
        if self.problem or service.batchTable.problem:
            say(self.ui.BatchMessageLabel, self.problem or service.batchTable.problem, "error")
        elif batch is not None and any(item in self._items() for item in (row.item for row in batch.rows)):
            left = (
                _(" About {duration} left.").format(duration=duration(batch.secondsLeft))
                if batch.secondsLeft is not None
                else ""
            )
            said = f"{batch.message}{left} {self._ofSelected()}"
            say(self.ui.BatchMessageLabel, said.strip())
        else:
            busy = _("The folder is being searched for masks…") if service.batchTable.busy else ""
            said = f"{service.batchTable.listed.sentence} {self._ofSelected()}"
            say(self.ui.BatchMessageLabel, busy or said.strip())

    def sceneClosing(self) -> None:
        """The next scene begins without masks."""
        self._wanted, self._lookIn, self.problem = None, 0, ""

    def onButton(self) -> None:
        """Start the batch, or cancel it."""
        with self.told():
            batch = self.context.service.batch
            if batch is not None and not batch.finished:
                batch.cancel()
            elif self.context.maySend():
                self.context.service.startBatch(self.context.parameters)
        self.tick()

    def onDoubleClick(self, row: int, column: int) -> None:
        """Choose another image, open the contact sheet, or show the log, whichever the cell is about."""
        item = self._items()[row]
        case = self._caseOf(item)
        if column == IMAGE and (case is None or case.finished):
            self.chooseImage(item)
        elif column == RESULT and case is not None and case.sheet is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(case.sheet)))
        elif case is not None:
            self.showLog(_("Log of {name}").format(name=item.name), case.details())

    def chooseImage(self, item: Any) -> None:
        """Offer the images that belong to a mask, any other file, or none."""
        menu = qt.QMenu(self.ui.BatchTable)
        actions = {menu.addAction(f"{name}: {path.name}"): path for name, path in item.images.items()}
        actions[menu.addAction(_("No image"))] = None
        other = menu.addAction(_("Choose a file…"))
        chosen = menu.exec_(qt.QCursor.pos())
        if chosen == other:
            start = str((item.image or Path(item.place)).parent)
            path = qt.QFileDialog.getOpenFileName(
                slicer.util.mainWindow(), _("Image of {name}").format(name=item.name), start
            )
            item.image = Path(path) if path else item.image
        elif chosen in actions:
            item.image = actions[chosen]
        self._fill()

    def _items(self) -> list[Any]:
        """What the table shows; of a batch of an earlier session its own cases."""
        batch, items = self.context.service.batch, list(self.context.service.batchTable.listed.items)
        return items or ([row.item for row in batch.rows] if batch is not None else [])

    def _caseOf(self, item: Any) -> Any:
        """The case that the last batch makes of an item, or None."""
        batch = self.context.service.batch
        return next((row for row in batch.rows if row.item is item), None) if batch is not None else None

    def _ofSelected(self) -> str:
        """What there is to say of the selected mask."""
        row, items = self.ui.BatchTable.currentRow(), self._items()
        if not 0 <= row < len(items):
            return ""
        said = _told(items[row], self._caseOf(items[row]))[1]
        return f"{items[row].name}: {said}" if said else ""

    def _fill(self) -> None:
        """Bring the table up to date, row by row where something has changed."""
        cases = [(item, self._caseOf(item)) for item in self._items()]
        rows = [
            (item.name, item.place, item.image, item.used, *_told(item, case), case is not None and case.finished)
            for item, case in cases
        ]
        table = self.ui.BatchTable
        if len(rows) != len(self._shown):
            table.rowCount, self._shown = len(rows), [()] * len(rows)
        for number, (row, (item, case)) in enumerate(zip(rows, cases, strict=True)):
            if row != self._shown[number]:
                self._shown[number] = row
                with quiet(table):
                    self._fillRow(number, item, case)

    def _fillRow(self, number: int, item: Any, case: Any) -> None:
        table, (state, said, severity) = self.ui.BatchTable, _told(item, case)
        known = {path: name for name, path in item.images.items()}
        image = known.get(item.image) or (item.image.name if item.image is not None else "none")
        tip = _("{value}. Double-click to choose another.").format(value=item.image or _("No image"))
        cells = [(item.name, item.place), (image, tip), (state, f"{state}. {said}"), ("", "")]
        setCells(table, number, cells)
        box = table.item(number, MASK)
        box.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsSelectable)
        box.setCheckState(qt.Qt.Checked if item.used else qt.Qt.Unchecked)
        if severity:
            table.item(number, STATE).setIcon(qt.QIcon(severityIcon(severity).pixmap(16, 16)))
        sheet = case.sheet if case is not None else None
        if sheet is not None:
            table.item(number, RESULT).setIcon(qt.QIcon(_thumbnail(sheet)))
            picture = f'<img src="{qt.QUrl.fromLocalFile(str(sheet)).toString()}" width="{TOOLTIP_PIXELS}">'
            table.item(number, RESULT).setToolTip(f"{picture}<p>Double-click to open the contact sheet.</p>")
        table.resizeRowToContents(number)

    def _onItem(self, cell: Any) -> None:
        """The user checked or unchecked a mask."""
        if cell.column() == MASK:
            self._items()[cell.row()].used = cell.checkState() == qt.Qt.Checked

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


def _told(item: Any, case: Any) -> tuple[str, str, str]:
    """The state of an item, what there is to say of it, and how serious that is."""
    if case is None:
        return (_("not usable"), item.problem, "error") if item.problem else ("", "", "")
    severity = "error" if case.status == "failed" else "warning" if case.invented else ""
    return case.status, case.message or "", severity


def _thumbnail(sheet: Path) -> Any:
    """The first picture of a contact sheet, made small."""
    image = qt.QImage(str(sheet))
    numbers = [int(number) for number in image.text(FIRST_PICTURE).split()]
    part = image.copy(*numbers) if len(numbers) == 4 else image
    side = (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
    return qt.QPixmap.fromImage(part.scaled(*side, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation))
