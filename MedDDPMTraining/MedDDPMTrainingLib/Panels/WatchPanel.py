"""Watching the chosen training: the charts, and its samples beside the real images."""

from __future__ import annotations

import logging
from typing import Any

import slicer
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import enable, fillComboBox, say
from slicer.i18n import tr as _

from .. import RunLayout
from ..Samples import MASK
from .Context import Context

logger = logging.getLogger(__name__)

_NONE_YET = _("There are no samples yet. The training makes the first ones after some time.")


class WatchPanel(Panel):
    """Shows ``service.view`` in the views; the parameter node says which sample."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._before: int | None = None
        self._showAgain = False
        self._arranging: Any = None
        self._drawn: tuple[Any, ...] = ()
        self._seen: tuple[Any, ...] = ()
        self._offered: Any = None
        for box, name in ((ui.SampleCaseComboBox, "sampleCase"), (ui.SampleModalityComboBox, "sampleModality")):
            box.activated.connect(lambda index, box=box, name=name: self._choose(name, box.itemData(index)))
        ui.WatchButton.clicked.connect(self.onWatch)
        say(ui.SamplesLabel, "")

    def refresh(self) -> None:
        """Follow the chosen training."""
        view, parameters = self.context.service.view, self.context.parameters
        view.observe(self.context.chosen or None)
        view.showSamples = parameters.showSamples

    def tick(self) -> None:
        """Show what is new in the views."""
        self._fillChoices()
        shown, sample = self.shown, self._sample()
        if RunLayout.shown(_layoutNode()) and self.context.parameters is not None:
            self._fillViews(sample)
        self.ui.WatchButton.text = _("Back to the former views") if shown else _("Show charts and samples")
        enable(self.ui.WatchButton, None if shown or self.context.chosen else _("Choose a training in the list first."))
        text = _NONE_YET
        if sample is not None:
            text = _(
                "{modality} of {case}: left the real image, right what the model made of the mask after "
                "{iteration:,} steps. The model is not trained on this patient."
            ).format(modality=self._modality(sample), case=sample.case, iteration=sample.iteration)
        say(self.ui.SamplesLabel, text if shown else "")

    def enter(self) -> None:
        """The module was opened: its views come back."""
        if self._showAgain:
            self.onWatch()
        self._showAgain = False

    def exit(self) -> None:
        """Another module was opened: it finds the views as they were."""
        self._showAgain = self.shown
        if self._showAgain:
            self.onWatch()

    def sceneClosing(self) -> None:
        """Neither charts nor samples are there any more."""
        self.context.service.view.observe(None)
        self._drawn = self._seen = ()

    @property
    def shown(self) -> bool:
        """Whether the views are arranged for a training, or are about to be."""
        arranging = self._arranging is not None and not self._arranging.finished
        return arranging or RunLayout.shown(_layoutNode())

    def onWatch(self) -> None:
        """Arrange the views for the training, or as they were."""
        if self.shown:
            if self._arranging is not None:
                self._arranging.cancel()
            _layoutNode().SetViewArrangement(self._before or slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        else:
            self._before = _layoutNode().GetViewArrangement()
            self._drawn = self._seen = ()
            self._arranging = SlicedTask(RunLayout.arrange(_layoutNode()), lambda _: None, _logFailure)
            self._arranging.seconds = 0.0  # one view a turn
            self.context.service.startTask(self._arranging)
        self.tick()

    def _fillViews(self, sample: Any) -> None:
        """Bring the views up to date; what a person has zoomed to is kept until there is something new."""
        view = self.context.service.view
        drawn = (view.path, view.shown, view.charts.loss)
        if drawn != self._drawn:
            self._drawn = drawn
            RunLayout.showCharts(view.charts.loss, view.charts.quality, fit=True)
        pair = view.pair(sample.case, self._modality(sample)) if sample is not None else None
        if pair is None:
            return
        mask = view.volumes.volume(sample.case, MASK)
        RunLayout.showPair(*pair, mask)
        if self._seen != (sample.case, mask):  # another modality is seen in the same place
            self._seen = (sample.case, mask)
            RunLayout.lookAt(view.volumes.center(sample.case))

    def _sample(self) -> Any:
        chosen = self.context.parameters.sampleCase if self.context.parameters is not None else ""
        return self.context.service.view.sample(chosen)

    def _modality(self, sample: Any) -> str:
        chosen = self.context.parameters.sampleModality if self.context.parameters is not None else ""
        return chosen if chosen in sample.modalities else sample.modalities[0]

    def _fillChoices(self) -> None:
        sample, samples = self._sample(), self.context.service.view.samples
        chosen = (sample.case, self._modality(sample)) if sample is not None else ("", "")
        offered = ([one.case for one in samples], sample.modalities if sample is not None else [])
        if (offered, chosen) == self._offered:
            return
        self._offered = (offered, chosen)
        boxes = (self.ui.SampleCaseComboBox, self.ui.SampleModalityComboBox)
        for box, names, name in zip(boxes, offered, chosen, strict=True):
            fillComboBox(box, [(text, text) for text in names], name)
            enable(box, None if samples else _NONE_YET)

    def _choose(self, name: str, value: str) -> None:
        self.context.set(name, value)
        self.tick()


def _layoutNode() -> Any:
    return slicer.app.layoutManager().layoutLogic().GetLayoutNode()


def _logFailure(error: Exception) -> None:
    logger.error("the views of a training could not be arranged", exc_info=error)
