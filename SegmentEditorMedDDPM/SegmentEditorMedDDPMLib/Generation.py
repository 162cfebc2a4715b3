"""The button "Generate MRI" of the effect: what it shows, and what a press does. Needs no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
from medddpm.errors import InputError
from medddpm.jobs.events import State
from MedDDPMSlicerLib.Texts import progressPercent, progressText

from .SchemeChoice import MODEL_ATTRIBUTE

MODULE_MISSING = "The module MedDDPM Synth is not loaded, so no MRI can be made. Enable it in the settings (Modules)."


def synthModule() -> Any:
    """The logic of MedDDPM Synth; None where the module is not loaded."""
    if getattr(slicer.modules, "medddpmsynth", None) is None:
        return None
    from MedDDPMSynth import MedDDPMSynthLogic

    return MedDDPMSynthLogic()


@dataclass(frozen=True)
class ButtonView:
    """How the button looks: ``percent`` (0..100) of the progress bar, None where none is shown; ``status`` below it."""

    text: str = "Generate MRI"
    enabled: bool = True
    toolTip: str = "Generate MRI for this mask, with the choices made in the module MedDDPM Synth."
    percent: int | None = None
    status: str = ""


def blockedView(reason: str) -> ButtonView:
    """A disabled button that says why."""
    return ButtonView(enabled=False, toolTip=reason, status=reason)


class Generation:
    """Generates for one segmentation at a time through the service of MedDDPM Synth.

    ``service``: its SynthService; ``parameterNode``: what was chosen in its panel.
    """

    def __init__(self, service: Any, parameterNode: Any) -> None:
        self._service = service
        self._parameters = parameterNode

    def view(self, segmentationNode: Any) -> ButtonView:
        """How the button is to look now."""
        if segmentationNode is None:
            return blockedView("Choose a segmentation first.")
        run = self._service.activeRun(segmentationNode)
        if run is not None:
            return _running(run)
        # For another segmentation than the module's, the question can only be answered at the press.
        chosen = self._parameters.segmentation is segmentationNode
        reason = self._service.blockedReason(self._parameters) if chosen else None
        if reason:
            return blockedView(reason)
        ended = [run for run in self._service.runs if run.finished and run.inputs.segmentation is segmentationNode]
        return ButtonView(status=ended[-1].message if ended else "")

    def press(self, segmentationNode: Any) -> None:
        """Start a generation for the segmentation, or cancel the one that runs for it.

        Raises InputError with the reason where none can be started.
        """
        if segmentationNode is None:
            raise InputError("Choose a segmentation first.")
        run = self._service.activeRun(segmentationNode)
        if run is not None:
            run.cancel()
            return
        self._choose(segmentationNode)
        self._service.start(self._parameters)

    def _choose(self, segmentationNode: Any) -> None:
        """Make the segmentation, with its own model, the one that the module works on."""
        if self._parameters.segmentation is segmentationNode:
            return
        self._parameters.segmentation = segmentationNode
        # An edit of a real scan belongs to the segmentation that was chosen before.
        self._parameters.editRealScan = False
        model = segmentationNode.GetAttribute(MODEL_ATTRIBUTE)
        if model:
            self._parameters.model = model


def _running(run: Any) -> ButtonView:
    percent = progressPercent(run.progress) or 0
    if run.state is State.CANCELLING:
        return ButtonView("Cancelling…", False, "It ends after the step that is being computed.", percent, run.doing)
    status = progressText(run.doing or run.message, None, None, run.secondsLeft)
    return ButtonView("Cancel", True, "Stop making the MRI. Nothing of it is kept.", percent, status)
