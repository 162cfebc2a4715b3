"""The list of trainings, and what can be done with the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from medddpm.jobs.events import State
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import enable, quiet, say, setCells, setUpTable
from slicer.i18n import tr as _

from .Context import Context

SYNTH = "MedDDPMSynth"
VERDICT = 4
# Ticks in which a module that was just opened still makes room for a running training.
_OPENING_TICKS = 15


class RunsPanel(Panel):
    """Shows ``service.runs``; ``parameters.chosenRun`` is the selected row."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._rows: list[tuple[str, ...]] = []
        self._opening = 0
        setUpTable(ui.RunsTable, VERDICT)
        ui.RunsTable.itemSelectionChanged.connect(self._onSelection)
        self._said = ""
        # The service says why one cannot be pressed.
        self._actions: dict[str, tuple[Any, Callable[[], object]]] = {
            "pause": (ui.PauseButton, lambda: context.chosenRun.pause()),
            "resume": (ui.ResumeButton, lambda: context.chosenRun.resume()),
            "stop": (ui.StopButton, lambda: context.chosenRun.stop()),
            "extend": (ui.ExtendButton, lambda: context.chosenRun.resume(ui.MoreStepsSpinBox.value)),
            "use": (ui.UseButton, self.useInSynth),
            "forget": (ui.ForgetRunButton, self.forget),
            "delete": (ui.DeleteRunButton, self.onDelete),
        }
        for button, action in self._actions.values():
            button.clicked.connect(lambda *_, action=action: self._do(action))
        ui.AddFolderButton.clicked.connect(self.onAddFolder)
        openFolder = lambda *_: qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(context.chosen))  # noqa: E731
        ui.OpenRunButton.clicked.connect(openFolder)
        ui.RunDetailsButton.clicked.connect(lambda *args: self.showLog(_("Log of the training"), self._log()))
        for label in (ui.RunProgressLabel, ui.RunMessageLabel):
            say(label, "")

    def refresh(self) -> None:
        """Select the row of the chosen training; none where it is not in the list."""
        paths, table = [row[-1] for row in self._rows], self.ui.RunsTable
        wanted = [paths.index(self.context.chosen)] if self.context.chosen in paths else []
        if [index.row() for index in table.selectionModel().selectedRows()] != wanted:
            with quiet(table):
                table.selectRow(wanted[0]) if wanted else table.clearSelection()

    def tick(self) -> None:
        """Show the states."""
        runs = self.context.service.runs.runs
        self._fill([_row(run) for run in runs])
        for widget in (self.ui.RunsTable, self.ui.WatchGroup):
            widget.visible = bool(runs)
        running = next((run for run in runs if run.running), None)
        if running is not None and self.context.parameters is not None and not self.context.chosen:
            self.context.choose(running.folder)  # a training that goes on is followed without being asked for
        if running is not None and self._opening > 0:
            self._opening = 0
            for section in (self.ui.SourceSection, self.ui.PrepareSection, self.ui.TrainSection):
                section.collapsed = True
            self.ui.RunsSection.collapsed = False
        self._opening -= 1
        self.refresh()
        self._showButtons()
        self._showProgress()
        self._showMessage()

    def enter(self) -> None:
        """Look again: trainings may have been started elsewhere. One that is running is the first thing to be seen."""
        self._opening = _OPENING_TICKS
        self.context.service.runs.refresh()

    def sceneClosing(self) -> None:
        """What was said is over."""
        self._said = self.problem = ""

    def onAddFolder(self) -> None:
        """Let the user choose a folder whose trainings are listed, too."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose a folder with trainings"))
        if folder:
            self._do(lambda: self.addFolder(Path(folder)))

    def addFolder(self, folder: Path) -> None:
        """List a training, or all trainings below a folder."""
        if (folder / "job.json").is_file():
            self.context.choose(self.context.service.runs.add(folder).folder)
        else:
            self.context.service.runs.addRoot(folder)
            self._said = _("Trainings in {folder} are listed from now on.").format(folder=folder)
            self.context.refresh()

    def forget(self) -> None:
        """Take the training from the list; its folder stays."""
        path = self.context.chosen
        self.context.choose("")
        self.context.service.runs.forget(path)

    def onDelete(self) -> None:
        """Delete the folder of the training after asking."""
        question = self.context.chosenRun.deletionQuestion()
        if slicer.util.confirmOkCancelDisplay(question, _("Delete a training")):
            path = self.context.chosen
            self.context.choose("")
            self.context.service.deleteRun(path, self._tell, self.sayError)

    def useInSynth(self) -> None:
        """Open MedDDPM Synth with the model of the training."""
        key = self.context.service.useInSynth(self.context.chosen)
        if getattr(slicer.modules, SYNTH.lower(), None) is None:
            self.sayError(_("The module MedDDPM Synth is not installed. Install the extension again."))
            return
        from MedDDPMSynth import MedDDPMSynthLogic

        MedDDPMSynthLogic().parameterNode().model = key
        slicer.util.selectModule(SYNTH)

    def _do(self, action: Callable[[], object]) -> None:
        self._said = ""
        with self.told():
            action()
        self.tick()

    def _fill(self, rows: list[tuple[str, ...]]) -> None:
        """Show other rows, or newer figures in them."""
        if rows == self._rows:
            return
        table = self.ui.RunsTable
        with quiet(table):
            table.rowCount = len(rows)
            for number, (*texts, path) in enumerate(rows):
                if self._rows[number : number + 1] != [rows[number]]:
                    setCells(table, number, [(text, f"{text}\n{path}" if text else path) for text in texts])
            self._rows = rows
            table.clearSelection()

    def _onSelection(self) -> None:
        rows = [index.row() for index in self.ui.RunsTable.selectionModel().selectedRows()]
        if rows and rows[0] < len(self._rows):
            self.context.choose(self._rows[rows[0]][-1])

    def _showButtons(self) -> None:
        for action, (button, _function) in self._actions.items():
            enable(button, self.context.service.runBlockedReason(action, self.context.chosen))
        none = None if self.context.chosenRun is not None else _("Choose a training in the list first.")
        enable(self.ui.OpenRunButton, none)
        enable(self.ui.RunDetailsButton, none)
        self.ui.MoreStepsSpinBox.enabled = self.ui.ExtendButton.enabled

    def _showProgress(self) -> None:
        run, bar = self.context.chosenRun, self.ui.RunProgressBar
        bar.visible = run is not None and (run.starting or run.running)
        if run is None or run.starting or run.ending or not run.running:
            bar.maximum = 0
        else:
            bar.maximum, bar.value = max(1, run.summary.total), run.summary.iteration
        say(self.ui.RunProgressLabel, run.progress if run is not None else "")

    def _showMessage(self) -> None:
        label, run = self.ui.RunMessageLabel, self.context.chosenRun
        if self.problem or self._said:
            say(label, self.problem or self._said, "error" if self.problem else "info")
        elif run is None:
            say(label, "" if self.context.service.runs.runs else _("There are no trainings yet."))
        else:
            failed = run.problem or run.summary.problem or run.summary.state in (State.FAILED, State.INTERRUPTED)
            say(label, run.message, "error" if failed else run.verdict[1])
        label.visible = True  # keeps the Details button at the right

    def _log(self) -> str:
        return self.context.chosenRun.details() if self.context.chosenRun is not None else ""

    def _tell(self, text: str) -> None:
        self._said = text


def _row(run: Any) -> tuple[str, ...]:
    """The texts of a row, and the folder of its run."""
    summary = run.summary
    loss = summary.loss if summary.validation is None else summary.validation
    figure = "" if loss is None else f"{loss:.3g}"
    steps = f"{summary.iteration:,} of {summary.total:,}" if summary.total else ""
    return (summary.name, run.state, steps, figure, run.verdict[0], str(run.folder))
