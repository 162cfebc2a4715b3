"""The module's self-test: uses the real panel as a person would, with the sample case and the demo model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from MedDDPMSlicerLib.Background import waitUntil

from .. import Results
from ..Options import Quality


def runSelfTest(tell: Callable[[str], object]) -> None:
    """Sample case, check, preview, result; ``tell`` shows what goes on. Raises AssertionError where something fails."""
    slicer.mrmlScene.Clear(0)
    slicer.util.selectModule("MedDDPMSynth")
    widget = slicer.modules.MedDDPMSynthWidget
    ui, context = widget.ui, widget.panels.context
    tell("Loading the sample case")
    ui.SampleCaseButton.click()
    segmentation = context.parameters.segmentation
    assert segmentation is not None, ui.CheckStatusLabel.text
    assert segmentation.GetSegmentation().GetNumberOfSegments() == len(context.scheme.labels)
    waitUntil(lambda: not context.service.check.checking, "the mask check")
    assert not any(finding.severity == "error" for finding in context.service.check.findings)
    if context.missing:
        assert not ui.GenerateButton.enabled, "Generate must wait for the packages"
        tell("The packages for generating are not installed; the rest works.")
        return
    _generate(ui, context, tell)


def _generate(ui: Any, context: Any, tell: Callable[[str], object]) -> None:
    if not context.agreed:
        ui.ModelTermsButton.click()
    context.parameters.quality = Quality.PREVIEW
    context.parameters.samples = 1
    waitUntil(lambda: ui.GenerateButton.enabled, "the Generate button")
    tell("Generating a preview")
    ui.GenerateButton.click()
    run = context.service.run
    assert ui.GenerateButton.text == "Cancel"
    waitUntil(lambda: run.finished, "the generation")
    samples = Results.samplesOf(context.parameters.segmentation)
    assert len(samples) == 1, run.message
    assert len(samples[0].volumes) == len(context.model.modalities)
    waitUntil(lambda: ui.ResultsTable.rowCount == 1, "the table of results")
    tell("The self-test passed")
