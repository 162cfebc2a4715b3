"""The module's self-test: uses the real panel as a person would, with small simulated scans."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from medddpm.jobs.events import State
from MedDDPMSlicerLib.Background import waitUntil

# Far more steps than are waited for, and 24 cubed voxels of 8 mm: a step takes a moment on any processor.
CHOICES = {"preset": "demo", "precision": "fp32", "iterations": 100_000, "grid": "24x24x24:8:LPS"}


def runSelfTest(tell: Callable[[str], object]) -> None:
    """Sample scans, preparation, a training that is paused, and its model in MedDDPM Synth.

    ``tell`` shows what goes on. Raises AssertionError where something fails. Everything that it writes is deleted.
    """
    slicer.mrmlScene.Clear(0)
    slicer.util.selectModule("MedDDPMTraining")
    widget = slicer.modules.MedDDPMTrainingWidget
    ui, context = widget.ui, widget.panels.context
    folder = Path(tempfile.mkdtemp(prefix="medddpm-self-test-"))
    try:
        tell("Writing sample scans")
        next(p for p in widget.panels.panels if hasattr(p, "makeSampleScans")).makeSampleScans(folder / "scans")
        waitUntil(lambda: context.scan is not None, "the scan")
        for name, value in {**CHOICES, "datasetFolder": str(folder / "dataset"), "runsFolder": str(folder)}.items():
            setattr(context.parameters, name, value)
        if context.missing:
            assert not ui.StartButton.enabled, "Start must wait for the packages"
            tell("The packages for training are not installed; the rest works.")
            return
        tell("Preparing")
        press(ui.PrepareButton)
        waitUntil(lambda: context.service.preparation.finished, "the preparation")
        assert context.service.preparation.state is State.DONE, context.service.preparation.message
        tell("Training")
        press(ui.StartButton)
        assert context.chosenRun is not None, ui.TrainMessageLabel.text
        _train(ui, context, tell)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tell("The self-test passed")


def press(button: Any) -> None:
    """Press a button as soon as it can be pressed."""
    waitUntil(lambda: button.enabled, f"{button.objectName} ({button.toolTip})")
    button.click()


def _train(ui: Any, context: Any, tell: Callable[[str], object]) -> None:
    run = context.chosenRun
    try:
        waitUntil(lambda: run.look().iteration > 0, "the first steps")
        press(ui.PauseButton)  # which writes a model
        waitUntil(lambda: run.look().state is State.PAUSED, "the pause")
        tell("Using its model")
        model = str(run.modelFolder)
        press(ui.UseButton)
        waitUntil(lambda: slicer.util.selectedModule() == "MedDDPMSynth", "MedDDPM Synth")
        assert slicer.modules.MedDDPMSynthWidget.logic.parameterNode().model == model
        context.service.library.forget(model)
        slicer.util.selectModule("MedDDPMTraining")
    finally:
        if run.look().state is State.RUNNING:
            run.stop()
        waitUntil(lambda: run.look().state is not State.RUNNING, "the end of the training")
        told: list[str] = []
        context.service.deleteRun(run.folder, told.append, told.append)
        waitUntil(lambda: told, "the deletion of the training")
    assert told == ["The run was deleted."], told
