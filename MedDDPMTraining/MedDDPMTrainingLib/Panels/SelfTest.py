"""The module's self-test: uses the real panel as a person would, with small simulated scans."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from medddpm.jobs.folder import State

from ..Preparation import PrepareState

# Preparing six small cases and starting a training take about a minute on a laptop.
PATIENCE_SECONDS = 600
# What the panel shows by itself at its next look.
TICKS_SECONDS = 10
# Far more than are waited for: the training is paused, continued and stopped while it goes on.
STEPS = 100_000


def runSelfTest(tell: Callable[[str], object]) -> None:
    """Sample scans, scan, preparation, training, pause, resume, stop; ``tell`` shows what goes on.

    Raises AssertionError where something fails. Everything that it writes is deleted.
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


def _prepare(widget: Any, folder: Path, tell: Callable[[str], object]) -> None:
    ui, context = widget.ui, widget.panels.context
    tell("Writing sample scans")
    panel = next(panel for panel in widget.panels.panels if hasattr(panel, "makeSampleScans"))
    panel.makeSampleScans(folder / "scans")
    waitUntil(lambda: context.table is not None, "the scan")
    assert not context.table.obstacles(), ui.ScanStatusLabel.text
    context.parameters.datasetFolder = str(folder / "dataset")
    if not ui.PrepareButton.enabled and context.service.blockedReason("prepare", context.parameters):
        return
    tell("Preparing")
    preparation = context.service.preparation
    waitUntil(lambda: ui.PrepareButton.enabled, "the Prepare button")
    ui.PrepareButton.click()
    waitUntil(lambda: preparation.finished, "the preparation")
    assert preparation.state is PrepareState.DONE, preparation.message
    waitUntil(lambda: ui.ReportButton.enabled, "the report", TICKS_SECONDS)  # the panel looks a few times a second


def _train(widget: Any, folder: Path, tell: Callable[[str], object]) -> None:
    ui, context = widget.ui, widget.panels.context
    context.parameters.runsFolder, context.parameters.iterations = str(folder / "runs"), STEPS
    tell("Training")
    waitUntil(lambda: ui.StartButton.enabled, "the Start button")
    ui.StartButton.click()
    path = context.chosen
    assert path.startswith(str(folder)), ui.TrainMessageLabel.text
    try:
        _control(ui, context)
    finally:
        _end(context.service, path)


def _control(ui: Any, context: Any) -> None:
    """Pause, resume and stop by the buttons."""
    for button, state in ((ui.PauseButton, State.PAUSED), (ui.ResumeButton, None), (ui.StopButton, State.CANCELLED)):
        if button is not ui.ResumeButton:
            waitUntil(lambda: _summary(context).iteration > 0, "the first steps")
        waitUntil(lambda button=button: button.enabled, "the buttons of the training")
        button.click()
        wanted = state or State.RUNNING
        waitUntil(lambda wanted=wanted: _summary(context).state is wanted, f"the state {wanted}")


def _end(service: Any, path: str) -> None:
    """Let the training stop, whatever happened, and take it from the list."""
    if service.runs.look(path).state is State.RUNNING:
        service.control.stop(path)
        waitUntil(lambda: service.runs.look(path).state is not State.RUNNING, "the end of the training")
    service.runs.forget(path)


def _summary(context: Any) -> Any:
    return context.service.runs.look(context.chosen)


def waitUntil(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Let the application work until ``condition`` holds; AssertionError after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} took longer than {seconds:g} s"
        slicer.app.processEvents()
        time.sleep(0.02)
