"""Generating: choices, estimate, the button that becomes Cancel, and progress."""

from __future__ import annotations

import random
from typing import Any

from medddpm.jobs.events import State
from medddpm.synthesis.request import SynthesisRequest
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.EstimateLine import EstimateLine, Fail, Show
from MedDDPMSlicerLib.Panels.OptionWidgets import OptionWidgets, describe
from MedDDPMSlicerLib.Panels.Widgets import NameBoxes, enable, say
from MedDDPMSlicerLib.RequestOptions import MAX_INT, valuesOf
from MedDDPMSlicerLib.Texts import progressPercent, progressText
from slicer.i18n import tr as _

from ..Options import Quality, advancedOptions, unguided
from .Context import Context


class GeneratePanel(Panel):
    """Shows the generation that goes on, whoever started it."""

    messageLabel = "MessageLabel"

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._estimate = EstimateLine(ui.EstimateLabel, self._requestEstimate)
        self._blocked: str | None = None
        self._former: Any = None
        self._modalities = NameBoxes(ui.ModalitiesWidget.layout(), lambda names: context.set("modalities", names))
        describe(ui, SynthesisRequest)
        self.options = OptionWidgets(ui.AdvancedGroupBox.layout(), advancedOptions(), context.set)
        ui.GenerateButton.clicked.connect(self.onGenerate)
        ui.GrowthButton.clicked.connect(self.onGrowth)
        ui.NewSeedButton.clicked.connect(lambda *_: context.set("seed", random.randrange(MAX_INT)))
        ui.DetailsButton.clicked.connect(self.showDetails)
        for label in (ui.MessageLabel, ui.ProgressLabel):
            say(label, "")

    def refresh(self) -> None:
        """Show the parameter node's choices."""
        parameters = self.context.parameters
        model = self.context.model
        self._modalities.show(model.modalities if model is not None else (), parameters.modalities)
        self.options.show(parameters)
        custom = None if parameters.quality == Quality.CUSTOM else _("Choose the quality Custom to set this.")
        enable(self.options.widgets["sampler"], custom)
        enable(self.options.widgets["steps"], custom)
        if model is not None:
            enable(self.options.widgets["guidance"], unguided(model))
        self.context.service.watchForUpdates(parameters)

    def tick(self) -> None:
        """Show the progress; ask for the estimate when the choices have rested."""
        self._estimate.follow(self._choices(self.context.parameters))
        self._updateButton()
        self._showRun(self._shownRun())
        if self.context.busyRun is None:
            self._estimate.tick()

    def sceneClosing(self) -> None:
        """The service ends what runs; here is nothing left to show."""
        self.context.service.watchForUpdates(None)
        self._estimate.follow(())  # its question ends with the scene; the same choices in the next one are a new one
        self.problem, self._former = "", self.context.service.run

    def cleanup(self) -> None:
        """See Panel."""
        self.context.service.watchForUpdates(None)
        super().cleanup()

    def onGenerate(self) -> None:
        """Start a generation, or cancel the one that is going on."""
        with self.told():
            run = self.context.busyRun
            if run is not None:
                run.cancel()
            elif self.context.maySend():
                self.context.service.start(self.context.parameters)
        self.tick()

    def onGrowth(self) -> None:
        """Start a growth series."""
        with self.told():
            if self.context.maySend():
                self.context.service.start(self.context.parameters, self.context.parameters.growthFrames)
        self.tick()

    def showDetails(self) -> None:
        """Show the log of the last generation."""
        run = self.context.service.run
        self.showLog(_("Log of the last generation"), run.details() if run is not None else "")

    def _updateButton(self) -> None:
        button, run = self.ui.GenerateButton, self.context.busyRun
        if run is not None:
            button.text = _("Cancel")
            cancelling = run.state is State.CANCELLING
            enable(button, _("The generation is being cancelled.") if cancelling else None)
            enable(self.ui.GrowthButton, _("Wait for what is running, or cancel it."))
            return
        button.text = _("Generate")
        parameters = self.context.parameters
        self._blocked = self.context.service.blockedReason(parameters)
        enable(button, self._blocked)
        enable(self.ui.GrowthButton, self._blocked or self.context.service.seriesBlockedReason(parameters))

    def _shownRun(self) -> Any:
        """What the user started; the automatic preview only while nothing else runs."""
        automatic, run = self.context.service.autoUpdate.run, self.context.busyRun
        if run is None and automatic is not None and not automatic.finished:
            return automatic
        ended = self.context.service.run
        if ended is None or ended is self._former:  # of a scene that was closed
            return run
        another = ended.state is State.DONE and ended.inputs.segmentation is not self.context.parameters.segmentation
        return run or (None if another else ended)

    def _showRun(self, run: Any) -> None:
        busy = run is not None and not run.finished
        self.ui.ProgressBar.visible = busy
        if busy:
            percent = progressPercent(run.progress)
            self.ui.ProgressBar.maximum = 0 if percent is None else 100
            self.ui.ProgressBar.value = percent or 0
            say(self.ui.ProgressLabel, progressText(run.doing, run.step, run.total, run.secondsLeft))
        else:
            say(self.ui.ProgressLabel, "")
        self.ui.DetailsButton.visible = run is not None and run is self.context.service.run
        self._showMessage(run, busy)
        if run is not None:
            self.ui.MessageLabel.visible = True  # keeps the Details button at the right

    def _showMessage(self, run: Any, busy: bool) -> None:
        if self.problem:
            say(self.ui.MessageLabel, self.problem, "error")
        elif busy:
            say(self.ui.MessageLabel, "")
        elif self._blocked is not None:
            say(self.ui.MessageLabel, self._blocked)
        elif run is None:
            say(self.ui.MessageLabel, _("The mask can be used: press Generate."))
        else:
            text = " ".join([run.message or "", *run.warnings]).strip()
            say(self.ui.MessageLabel, text, "error" if run.state is State.FAILED else "info")

    def _choices(self, parameters: Any) -> tuple[Any, ...]:
        """What the estimate depends on; () where nothing can be generated yet."""
        if parameters is None or self.context.missing or self.context.model is None or not self.context.agreed:
            return ()
        chosen = valuesOf(parameters, SynthesisRequest)
        if chosen["on"]:  # whose speed is not known here
            return ()
        if parameters.quality != Quality.CUSTOM:
            chosen["sampler"] = chosen["steps"] = None
        chosen["seed"] = 0
        return (parameters.model, parameters.quality, *chosen.values())

    def _requestEstimate(self, show: Show, fail: Fail) -> None:
        self.context.service.requestEstimate(self.context.parameters, show, fail)
