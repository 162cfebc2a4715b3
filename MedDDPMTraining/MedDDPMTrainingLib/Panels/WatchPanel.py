"""Watching the chosen training: the charts, and its samples beside the real images."""

from __future__ import annotations

from typing import Any

import slicer
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import chooseData, enable, fillComboBox, say

from .. import RunLayout
from ..SampleVolumes import MASK
from .Context import Context
from .Texts import samplesText

_NONE_YET = "There are no samples yet. The training makes the first ones after some time."


class WatchPanel(Panel):
    """Shows ``service.view`` in the views; the parameter node says which sample."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._before: int | None = None
        self._showAgain = False
        self._fitted: tuple[int, ...] = ()
        self._samples: list[tuple[str, tuple[str, ...]]] | None = None
        ui.SampleCaseComboBox.activated.connect(self._onCase)
        ui.SampleModalityComboBox.activated.connect(self._onModality)
        ui.WatchButton.clicked.connect(self.onWatch)
        say(ui.SamplesLabel, "")

    def refresh(self) -> None:
        """Follow the chosen training."""
        view, parameters = self.context.service.view, self.context.parameters
        view.observe(self.context.chosen or None)
        view.showSamples = parameters.showSamples
        chooseData(self.ui.SampleCaseComboBox, parameters.sampleCase)
        chooseData(self.ui.SampleModalityComboBox, parameters.sampleModality)

    def tick(self) -> None:
        """Show what is new in the views."""
        view = self.context.service.view
        samples = [(sample.case, tuple(sample.modalities)) for sample in view.samples]
        if samples != self._samples:
            self._samples = samples
            self._fillChoices()
        self._fillViews()
        self._showButton()
        say(self.ui.SamplesLabel, self._sentence() if self.shown else "")

    def enter(self) -> None:
        """The module was opened: its views come back."""
        if self._showAgain:
            self.onWatch()
        self._showAgain = False

    def exit(self) -> None:
        """Another module was opened: it finds the views as they were."""
        self._showAgain = self.shown
        if self.shown:
            self._restore()

    def sceneClosing(self) -> None:
        """Neither charts nor samples are there any more."""
        self.context.service.view.observe(None)
        self._samples = None

    @property
    def shown(self) -> bool:
        """Whether the views are arranged for a training."""
        return RunLayout.shown(_layoutNode())

    def onWatch(self) -> None:
        """Arrange the views for the training, or as they were."""
        if self.shown:
            self._restore()
        else:
            self._before = _layoutNode().GetViewArrangement()
            RunLayout.show(_layoutNode(), None, None)
            self._fitted = ()
        self.tick()

    def _restore(self) -> None:
        _layoutNode().SetViewArrangement(self._before or slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def _fitCharts(self) -> None:
        """Let the axes follow the curves; they keep what a person has zoomed to until there are new figures."""
        history = self.context.service.view.history
        figures = (len(history.train), len(history.validation), len(history.quality))
        if figures == self._fitted:
            return
        self._fitted = figures
        manager = slicer.app.layoutManager()
        for number in range(manager.plotViewCount):
            widget = manager.plotWidget(number)
            node = widget.mrmlPlotViewNode() if widget is not None else None
            if node is not None and node.GetSingletonTag() in (RunLayout.LOSS, RunLayout.QUALITY):
                widget.plotView().fitToContent()

    def _fillViews(self) -> None:
        """Bring the views up to date where they are shown."""
        if self.context.parameters is None or not self.shown:
            return
        view, sample = self.context.service.view, self._sample()
        RunLayout.show(_layoutNode(), view.chart.loss, view.chart.quality)
        self._fitCharts()
        pair = view.pair(sample.case, self._modality(sample)) if sample is not None else None
        if pair is not None:
            RunLayout.showPair(*pair, mask=view.volume(sample.case, MASK, ""))

    def _sample(self) -> Any:
        """The sample of the chosen patient, else the first; None without samples."""
        samples = self.context.service.view.samples
        chosen = self.context.parameters.sampleCase if self.context.parameters is not None else ""
        return next((sample for sample in samples if sample.case == chosen), samples[0] if samples else None)

    def _modality(self, sample: Any) -> str:
        chosen = self.context.parameters.sampleModality if self.context.parameters is not None else ""
        return chosen if chosen in sample.modalities else sample.modalities[0]

    def _sentence(self) -> str:
        sample = self._sample()
        return samplesText(sample.case, sample.iteration, self._modality(sample)) if sample is not None else _NONE_YET

    def _showButton(self) -> None:
        shown = self.shown
        button = self.ui.WatchButton
        button.text = "Back to the former views" if shown else "Show charts and samples"
        enable(button, None if shown or self.context.chosen else "Choose a training in the list first.")

    def _fillChoices(self) -> None:
        sample, samples = self._sample(), self._samples or []
        case, modalities = (sample.case, sample.modalities) if sample is not None else ("", [])
        fillComboBox(self.ui.SampleCaseComboBox, [(name, name) for name, _ in samples], case)
        modality = self._modality(sample) if sample is not None else ""
        fillComboBox(self.ui.SampleModalityComboBox, [(name, name) for name in modalities], modality)
        for box in (self.ui.SampleCaseComboBox, self.ui.SampleModalityComboBox):
            enable(box, None if samples else _NONE_YET)

    def _onCase(self, index: int) -> None:
        self.context.parameters.sampleCase = self.ui.SampleCaseComboBox.itemData(index)
        self._fillChoices()
        self._fillViews()

    def _onModality(self, index: int) -> None:
        self.context.parameters.sampleModality = self.ui.SampleModalityComboBox.itemData(index)
        self._fillViews()


def _layoutNode() -> Any:
    return slicer.app.layoutManager().layoutLogic().GetLayoutNode()
