"""Watching the chosen training: the charts, and its samples beside the real images."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import slicer
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import chooseData, enable, fillComboBox, say

from .. import RunLayout, SampleViews
from ..SampleVolumes import MASK
from .Context import Context
from .Texts import samplesText

logger = logging.getLogger(__name__)

_NONE_YET = "There are no samples yet. The training makes the first ones after some time."


class WatchPanel(Panel):
    """Shows ``service.view`` in the views; the parameter node says which sample.

    Every step on the views makes the application draw. So the steps are a task of the service, one at each of its
    ticks.
    """

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self._before: int | None = None
        self._showAgain = False
        self._fitted: tuple[int, ...] = ()
        self._lookedAt: tuple[Any, ...] = ()
        self._task: Any = None
        self._arranging = False
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
        self._endTask()
        self.context.service.view.observe(None)
        self._samples, self._lookedAt = None, ()

    def cleanup(self) -> None:
        """See Panel."""
        self._endTask()

    @property
    def shown(self) -> bool:
        """Whether the views are arranged for a training, or are about to be."""
        return RunLayout.shown(_layoutNode()) or (self._arranging and self._busy)

    def onWatch(self) -> None:
        """Arrange the views for the training, or as they were."""
        if self.shown:
            self._restore()
        else:
            self._before = _layoutNode().GetViewArrangement()
            self._fitted, self._arranging = (), True
            self._start(RunLayout.arrange(_layoutNode()))
        self.tick()

    def _restore(self) -> None:
        self._endTask()
        self._arranging = False
        _layoutNode().SetViewArrangement(self._before or slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    @property
    def _busy(self) -> bool:
        return self._task is not None and not self._task.finished

    def _start(self, steps: Generator[None, None, None]) -> None:
        """Begin with steps on the views; those that need none are over at once."""
        self._task = SlicedTask(steps, lambda _: None, _logFailure)
        if not self._task.step(0):
            self.context.service.startTask(self._task, 0)

    def _endTask(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _fillViews(self) -> None:
        """Bring the views up to date where they are shown."""
        if self.context.parameters is not None and self.shown and not self._busy:
            self._start(self._fillingSteps())

    def _fillingSteps(self) -> Generator[None, None, None]:
        view, sample = self.context.service.view, self._sample()
        yield from RunLayout.showCharts(view.chart.loss, view.chart.quality)
        self._fitCharts()
        pair = view.pair(sample.case, self._modality(sample)) if sample is not None else None
        if pair is None:
            return
        mask = view.volume(sample.case, MASK, "")
        yield from SampleViews.showPair(*pair, mask)
        what = (view.path, sample.case, mask is not None)
        if what != self._lookedAt:  # another modality is seen in the same place
            self._lookedAt = what
            yield from SampleViews.lookAt(mask, view.tumorValues)

    def _fitCharts(self) -> None:
        """Let the axes follow the curves; they keep what a person has zoomed to until there are new figures."""
        history = self.context.service.view.history
        figures = (len(history.train), len(history.validation), len(history.quality))
        if figures == self._fitted:
            return
        self._fitted = figures
        for canvas in (view.canvas() for view in RunLayout.PLOTS):
            if canvas is not None:
                canvas.fitToContent()

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


def _logFailure(error: Exception) -> None:
    logger.error("the views of a training could not be filled", exc_info=error)
