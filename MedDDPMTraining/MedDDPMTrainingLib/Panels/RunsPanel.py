"""The list of trainings, and what can be done with the chosen one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from medddpm.jobs.folder import State
from MedDDPMSlicerLib.Panels.Base import Panel, plainErrors
from MedDDPMSlicerLib.Panels.Widgets import DetailsDialog, enable, say

from ..HandOver import openSynth
from ..RunDeletion import deletionQuestion
from ..Runs import message
from .Context import Context
from .RunsTable import RunsTable
from .Texts import runProgress, verdictWords

# Which button does what; the service says why one cannot be pressed.
_ACTIONS = (
    ("PauseButton", "pause"),
    ("ResumeButton", "resume"),
    ("StopButton", "stop"),
    ("ExtendButton", "extend"),
    ("UseButton", "use"),
    ("ForgetRunButton", "forget"),
    ("DeleteRunButton", "delete"),
)


class RunsPanel(Panel):
    """Shows ``service.runs``; ``parameters.chosenRun`` is the selected row."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self.details = DetailsDialog(slicer.util.mainWindow())
        self.table = RunsTable(ui.RunsTable, context.choose)
        self._said = ("", "")
        ui.AddFolderButton.clicked.connect(self.onAddFolder)
        ui.OpenRunButton.clicked.connect(self.openFolder)
        ui.ForgetRunButton.clicked.connect(self.forget)
        ui.DeleteRunButton.clicked.connect(self.onDelete)
        ui.RunDetailsButton.clicked.connect(self.showDetails)
        ui.PauseButton.clicked.connect(lambda *_: self._do("pause"))
        ui.ResumeButton.clicked.connect(lambda *_: self._do("resume"))
        ui.StopButton.clicked.connect(lambda *_: self._do("stop"))
        ui.ExtendButton.clicked.connect(lambda *_: self._do("extend", self.ui.MoreStepsSpinBox.value))
        ui.UseButton.clicked.connect(self.useInSynth)
        for label in (ui.RunProgressLabel, ui.RunMessageLabel):
            say(label, "")

    def refresh(self) -> None:
        """Select the chosen training."""
        self.table.select(self.context.chosen)

    def tick(self) -> None:
        """Show the states."""
        self.table.show(self.context.service.runs.summaries)
        for widget in (self.ui.RunsTable, self.ui.WatchGroup):
            widget.visible = bool(self.context.service.runs.summaries)
        self._chooseRunning()
        self.table.select(self.context.chosen)
        self._showButtons()
        self._showProgress()
        self._showMessage()

    def enter(self) -> None:
        """Look again: trainings may have been started elsewhere."""
        self.context.service.runs.refresh()

    def sceneClosing(self) -> None:
        """What was said is over."""
        self._said = ("", "")

    def cleanup(self) -> None:
        """Close the details window."""
        self.details.dialog.hide()
        self.details.dialog.deleteLater()

    def onAddFolder(self) -> None:
        """Let the user choose a folder whose trainings are listed, too."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), "Choose a folder with trainings")
        if folder:
            self.addFolder(Path(folder))

    def addFolder(self, folder: Path) -> None:
        """List a training, or all trainings below a folder."""
        with self._told():
            if (folder / "job.json").is_file():
                self.context.choose(self.context.service.runs.add(folder))
            else:
                self.context.service.runs.places.addRoot(folder)
                self.context.service.runs.refresh()
                self._said = (f"Trainings in {folder} are listed from now on.", "info")

    def openFolder(self) -> None:
        """Show the folder of the training in the file browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self.context.chosen))

    def forget(self) -> None:
        """Take the training from the list; its folder stays."""
        with self._told():
            path = self.context.chosen
            self.context.choose("")
            self.context.service.runs.forget(path)

    def onDelete(self) -> None:
        """Delete the training after asking."""
        summary = self.context.chosenSummary
        if summary is not None and slicer.util.confirmOkCancelDisplay(deletionQuestion(summary), "Delete a training"):
            self.delete()

    def delete(self) -> None:
        """Delete the folder of the training."""
        with self._told():
            path = self.context.chosen
            self.context.choose("")
            self.context.service.deleteRun(path, self._tell, self._sayError)

    def useInSynth(self) -> None:
        """Open MedDDPM Synth with the model of the training."""
        with self._told():
            if not openSynth(self.context.service.useInSynth(self.context.chosen)):
                self._sayError("The module MedDDPM Synth is not installed. Install the extension again.")

    def showDetails(self) -> None:
        """Show the log of the training."""
        self.details.show("Log of the training", self.context.service.control.details(self.context.chosen))

    def _do(self, action: str, *arguments: Any) -> None:
        with self._told():
            getattr(self.context.service.control, action)(self.context.chosen, *arguments)
        self.tick()

    def _chooseRunning(self) -> None:
        """A training that goes on is followed without being asked for."""
        if self.context.parameters is None or self.context.chosen:
            return
        running = [run for run in self.context.service.runs.summaries if run.state is State.RUNNING]
        if running:
            self.context.choose(running[0].path)

    def _showButtons(self) -> None:
        service, path = self.context.service, self.context.chosen
        for name, action in _ACTIONS:
            enable(getattr(self.ui, name), service.runBlockedReason(action, path))
        none = None if path else "Choose a training in the list first."
        enable(self.ui.OpenRunButton, none)
        enable(self.ui.RunDetailsButton, none)
        self.ui.MoreStepsSpinBox.enabled = self.ui.ExtendButton.enabled

    def _showProgress(self) -> None:
        summary, control, path = self.context.chosenSummary, self.context.service.control, self.context.chosen
        starting = bool(path) and control.starting(path)
        running = summary is not None and summary.state is State.RUNNING
        ending = control.ending(path) if running else ""
        bar = self.ui.RunProgressBar
        bar.visible = starting or running
        if starting or ending or not running:
            bar.maximum = 0
        else:
            bar.maximum, bar.value = max(1, summary.total), summary.iteration
        say(self.ui.RunProgressLabel, runProgress(summary, starting, ending))

    def _showMessage(self) -> None:
        label, summary = self.ui.RunMessageLabel, self.context.chosenSummary
        problem = self.context.service.control.problems.get(Path(self.context.chosen)) if self.context.chosen else None
        if self._said[0]:
            say(label, *self._said)
        elif problem:
            say(label, problem, "error")
        elif summary is None:
            none = "There are no trainings yet." if not self.context.service.runs.summaries else ""
            say(label, none)
        else:
            failed = summary.problem or summary.state in (State.FAILED, State.INTERRUPTED)
            say(label, message(summary), "error" if failed else verdictWords(summary.verdict)[1])
        label.visible = True  # keeps the Details button at the right

    def _told(self) -> Any:
        """What was said before is over; errors of the block are said."""
        self._said = ("", "")
        return plainErrors(self._sayError)

    def _tell(self, text: str) -> None:
        self._said = (text, "info")

    def _sayError(self, text: str) -> None:
        self._said = (text, "error")
