"""Starting a training: on which dataset, by which preset, from which model, and what that takes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import qt
import slicer
from medddpm.errors import MedDDPMError
from medddpm.options import options_of
from medddpm.training.presets import PRESETS, preset_data
from MedDDPMSlicerLib.Panels.Base import Panel, plainErrors
from MedDDPMSlicerLib.Panels.EstimateLine import EstimateLine, Fail, Show
from MedDDPMSlicerLib.Panels.OptionWidgets import OptionWidgets
from MedDDPMSlicerLib.Panels.Widgets import PathInput, enable, fillModels, say
from MedDDPMSlicerLib.RequestOptions import valuesOf
from slicer.i18n import tr as _

from ..Orders import TrainChoices, datasetSentence
from .Context import Context, formOf

# Data of the entry that is an action; no key of a model begins with a line feed.
CHOOSE_FOLDER = "\nfolder"
_WAITING = _("Finding out how long it takes and whether it fits…")
_AS_PRESET = _("As in the preset")
# The preset for computers that the usual one is too large for: by its memory, or by a training longer than four weeks.
COMPACT, LONGEST_SECONDS = "compact", 28 * 24 * 3600
# Ticks between two looks at what stands in the way; it reads a few small files.
_LOOK_TICKS = 3


class TrainPanel(Panel):
    """Dataset, preset, starting model, estimate, Start."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._paths = [
            PathInput(ui.DatasetPath, context, "datasetFolder"),
            PathInput(ui.RunsPath, context, "runsFolder"),
        ]
        preset, iterations, *advanced = options_of(TrainChoices)
        forms = (
            (formOf(ui.TrainSection, "PresetForm"), [preset]),
            (formOf(ui.TrainSection, "TrainForm"), [iterations]),
            (formOf(ui.TrainAdvancedGroup, "TrainAdvancedForm"), advanced),
        )
        self.options = [OptionWidgets(form, told, self._set, _AS_PRESET) for form, told in forms]
        self._estimate = EstimateLine(ui.EstimateLabel, self._requestEstimate, _WAITING)
        self._lookIn = 0
        self._blocked: str | None = None
        self._mayOffer, self._offered = False, ""
        ui.StartModelComboBox.activated.connect(self._onStartModel)
        ui.StartButton.clicked.connect(self.start)
        for label in (ui.DatasetLabel, ui.PresetLabel, ui.TrainMessageLabel):
            say(label, "")

    def refresh(self) -> None:
        """Show the parameter node's choices."""
        parameters = self.context.parameters
        if not parameters.datasetFolder:  # nothing was chosen yet, so that no choice is overruled
            self._mayOffer, self._offered = True, ""
        for one in self._paths:
            one.refresh()
        for options in self.options:
            options.show(parameters)
        self._showPreset(parameters)
        self._showModels(parameters.startModel)
        self._lookIn = 0

    def tick(self) -> None:
        """Look whether it can start; ask for the estimate when the choices have rested."""
        self._lookIn -= 1
        if self._lookIn <= 0:
            self._lookIn = _LOOK_TICKS
            service, node = self.context.service, self.context.parameters
            self._blocked = service.blockedReason("train", node)
            if not service.preparation.finished:
                self._blocked = _("The scans are being prepared. Start when that is done.")
            text = ""  # what is wrong with the dataset, stands at the button
            with contextlib.suppress(MedDDPMError):
                text = datasetSentence(node.datasetFolder) if node is not None else ""
            say(self.ui.DatasetLabel, text)
        enable(self.ui.StartButton, self._blocked)
        self._estimate.follow(self._choices())
        self._estimate.tick()
        say(self.ui.TrainMessageLabel, self.problem or self._blocked or "", "error" if self.problem else "info")

    def sceneClosing(self) -> None:
        """Nothing of this scene is estimated any more."""
        self.problem, self._mayOffer, self._offered = "", False, ""
        self._estimate.follow(())
        self.context.service.estimate.cancel()

    def start(self) -> None:
        """Start the training and follow it."""
        with self.told():
            if self.context.maySend():
                self.context.choose(self.context.service.train(self.context.parameters).folder)

    def _set(self, name: str, value: Any) -> None:
        """Take a choice of the user."""
        if name == "preset":
            self._mayOffer, self._offered = False, ""
        self.context.set(name, value)

    def _offerPreset(self, estimate: Any) -> None:
        """In place of a preset that nobody chose and that is too large for this computer, offer the compact one."""
        node, may, self._mayOffer = self.context.parameters, self._mayOffer, False
        large = not estimate.fits or (estimate.seconds or 0) > LONGEST_SECONDS
        if may and large and node is not None and node.preset != COMPACT:
            self._offered = _("The preset '{preset}' is too large for this computer, so this one is offered.").format(
                preset=node.preset
            )
            self.context.set("preset", COMPACT)

    def _showPreset(self, parameters: Any) -> None:
        name = parameters.preset
        text = PRESETS.get(name, "")
        with plainErrors(self.sayError):
            text = _("{text} {value:,} steps by default.").format(text=text, value=preset_data(name)["iterations"])
            if parameters.startModel:
                model = self.context.service.library.describe(parameters.startModel)
                text = _("{text} Network and noise are those of the starting model (license: {license}).").format(
                    text=text, license=model.config.license
                )
        say(self.ui.PresetLabel, f"{text} {self._offered}".strip())

    def _showModels(self, chosen: str) -> None:
        none, other = (_("None: train from scratch"), ""), (_("Choose model folder…"), CHOOSE_FOLDER)
        fillModels(self.ui.StartModelComboBox, self.context.service.library, chosen, [none], [other])

    def _onStartModel(self, index: int) -> None:
        chosen = self.ui.StartModelComboBox.itemData(index) or ""
        self.problem = ""
        if chosen == CHOOSE_FOLDER:
            chosen = self.context.parameters.startModel
            folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose a model folder"))
            if folder:
                with plainErrors(self.sayError):
                    chosen = self.context.service.library.remember(Path(folder))
        self.context.set("startModel", chosen)
        self._showModels(chosen)

    def _choices(self) -> tuple[Any, ...]:
        """What the estimate depends on; () where no training can start."""
        node = self.context.parameters
        if node is None or self._blocked is not None or node.on:  # of the other computer nothing is known
            return ()
        return (node.datasetFolder, node.startModel, *valuesOf(node, TrainChoices).values(), self.ui.DatasetLabel.text)

    def _requestEstimate(self, show: Show, fail: Fail) -> None:
        def told(estimate: Any) -> None:
            show(estimate)
            self._offerPreset(estimate)

        self.context.service.requestEstimate(self.context.parameters, told, fail)
