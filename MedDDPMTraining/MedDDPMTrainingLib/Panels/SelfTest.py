"""The module's self-test: uses the real panel as a person would, with small simulated scans."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from medddpm.jobs.folder import State
from MedDDPMSlicerLib.Background import waitUntil

from .. import OtherSlicer
from ..HandOver import MODULE as SYNTH
from ..Preparation import PrepareState

# What the panel shows by itself at its next look.
TICKS_SECONDS = 10
# Far more than are waited for: the training is left alone, paused, continued and stopped while it goes on.
STEPS = 100_000
# 24 cubed voxels of 8 mm: a step takes a moment on any processor.
GRID = "24x24x24:8:LPS"
# What is trained; the panel takes the same.
CHOICES = {"preset": "demo", "precision": "fp32", "iterations": STEPS}

Tell = Callable[[str], object]


def runSelfTest(tell: Tell) -> None:
    """Sample scans, preparation, a training that outlives its Slicer, pause, resume, stop, images by its model.

    ``tell`` shows what goes on. Raises AssertionError where something fails. Everything that it writes is deleted.
    """
    slicer.mrmlScene.Clear(0)
    slicer.util.selectModule("MedDDPMTraining")
    widget = slicer.modules.MedDDPMTrainingWidget
    folder = Path(tempfile.mkdtemp(prefix="medddpm-self-test-"))
    try:
        _prepare(widget, folder, tell)
        if widget.panels.context.missing:
            assert not widget.ui.StartButton.enabled, "Start must wait for the packages"
            tell("The packages for training are not installed; the rest works.")
            return
        _train(widget, folder, tell)
        tell("The self-test passed")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(widget: Any, folder: Path, tell: Tell) -> None:
    ui, context = widget.ui, widget.panels.context
    tell("Writing sample scans")
    panel = next(panel for panel in widget.panels.panels if hasattr(panel, "makeSampleScans"))
    panel.makeSampleScans(folder / "scans")
    waitUntil(lambda: context.table is not None, "the scan")
    assert not context.table.obstacles(), ui.ScanStatusLabel.text
    context.parameters.grid, context.parameters.datasetFolder = GRID, str(folder / "dataset")
    if not ui.PrepareButton.enabled and context.service.blockedReason("prepare", context.parameters):
        return
    tell("Preparing")
    preparation = context.service.preparation
    waitUntil(lambda: ui.PrepareButton.enabled, "the Prepare button")
    ui.PrepareButton.click()
    waitUntil(lambda: preparation.finished, "the preparation")
    assert preparation.state is PrepareState.DONE, preparation.message
    waitUntil(lambda: ui.ReportButton.enabled, "the report", TICKS_SECONDS)  # the panel looks a few times a second


def _train(widget: Any, folder: Path, tell: Tell) -> None:
    ui, context = widget.ui, widget.panels.context
    path = _trainElsewhere(context, folder, tell) or _trainHere(ui, context, tell)
    try:
        _control(ui, context, tell)
        _useInSynth(ui, context, tell)
    finally:
        _erase(context.service, path)


# Another Slicer starts the training


def _trainElsewhere(context: Any, folder: Path, tell: Tell) -> str:
    """Let another Slicer start the training and quit, and find it here; empty where no other one can be started."""
    tell("Another Slicer starts a training and is closed while it goes on")
    service, name = context.service, f"Self-test {uuid.uuid4().hex[:6]}"
    order = {**CHOICES, "datasetFolder": context.parameters.datasetFolder, "name": name}
    other = OtherSlicer.begin(folder, order, service.storage.root)
    if other is not None:
        _waitForEnd(other)
    told = OtherSlicer.answer(folder)
    if not told:
        tell("No other Slicer could be started, so this one starts the training.")
        return ""
    assert "run" in told, f"The other Slicer could not train: {told.get('problem')}"
    _find(context, told["run"], tell)
    return told["run"]


def _waitForEnd(other: subprocess.Popen[bytes]) -> None:
    try:
        waitUntil(lambda: other.poll() is not None, "the other Slicer")
    finally:
        with contextlib.suppress(OSError):
            other.kill()


def _find(context: Any, path: str, tell: Tell) -> None:
    """The training goes on without its Slicer, and is in the list of this one."""
    tell("Finding the training that was left alone")
    service = context.service
    service.runs.refresh()  # else only every some seconds
    waitUntil(lambda: service.runs.find(path) is not None, "the training in the list")
    context.choose(path)
    assert _summary(context).state is State.RUNNING, "The training ended with the Slicer that had started it"
    before = _summary(context).iteration
    waitUntil(lambda: _summary(context).iteration > before, "steps without the Slicer that started it")


def _trainHere(ui: Any, context: Any, tell: Tell) -> str:
    """Start the training by the panel; returns its folder."""
    tell("Training")
    for name, value in CHOICES.items():
        setattr(context.parameters, name, value)
    waitUntil(lambda: ui.StartButton.enabled, "the Start button")
    ui.StartButton.click()
    assert context.chosen, ui.TrainMessageLabel.text
    return str(context.chosen)


# What is done with it


def _control(ui: Any, context: Any, tell: Tell) -> None:
    """Pause, resume and stop by the buttons."""
    tell("Pausing, resuming and stopping it")
    for button, state in ((ui.PauseButton, State.PAUSED), (ui.ResumeButton, None), (ui.StopButton, State.CANCELLED)):
        if button is not ui.ResumeButton:
            waitUntil(lambda: _summary(context).iteration > 0, "the first steps")
        waitUntil(lambda button=button: button.enabled, "the buttons of the training")
        button.click()
        wanted = state or State.RUNNING
        waitUntil(lambda wanted=wanted: _summary(context).state is wanted, f"the state {wanted}")


def _useInSynth(ui: Any, context: Any, tell: Tell) -> None:
    """Hand the model to MedDDPM Synth by the button, and let it make images of the sample mask."""
    if getattr(slicer.modules, SYNTH.lower(), None) is None:
        tell("The module MedDDPM Synth is not installed; the rest works.")
        return
    model = str(_summary(context).model)
    waitUntil(lambda: ui.UseButton.enabled, "the button that hands over the model")
    ui.UseButton.click()
    try:
        waitUntil(lambda: slicer.util.selectedModule() == SYNTH, SYNTH, TICKS_SECONDS)
        synth = getattr(slicer.modules, f"{SYNTH}Widget")
        assert synth.logic.parameterNode().model == model, "MedDDPM Synth has another model"
        tell("Making images with the trained model")
        _generate(synth)
    finally:
        slicer.util.selectModule("MedDDPMTraining")
        context.service.library.forget(model)


def _generate(synth: Any) -> None:
    from MedDDPMSynthLib.Options import Quality

    synth.logic.parameterNode().quality = Quality.PREVIEW
    _button(synth, "SampleCase").click()
    if not synth.panels.context.agreed:
        _button(synth, "ModelTerms").click()
    waitUntil(lambda: _button(synth, "Generate").enabled, "the Generate button")
    _button(synth, "Generate").click()
    run = synth.logic.service.run
    waitUntil(lambda: run.finished, "the images")
    assert len(run.volumes) == len(synth.panels.context.model.modalities), run.message


def _button(widget: Any, name: str) -> Any:
    """A button of another module's panel."""
    return getattr(widget.ui, f"{name}Button")


def _erase(service: Any, path: str) -> None:
    """Let the training stop, whatever happened, and delete it."""
    if service.runs.look(path).state is State.RUNNING:
        service.control.stop(path)
        waitUntil(lambda: service.runs.look(path).state is not State.RUNNING, "the end of the training")
    task = service.deleteRun(path)
    waitUntil(lambda: task.finished, "the deletion of the training")


def _summary(context: Any) -> Any:
    return context.service.runs.look(context.chosen)
