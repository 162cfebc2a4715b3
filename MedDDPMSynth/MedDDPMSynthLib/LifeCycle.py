"""Begin and end of a session: what the application is told at its start, and what ends with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from MedDDPMSlicerLib import Application

MODULE = "MedDDPMSynth"


def followApplication(makeLogic: Callable[[], Any]) -> None:
    """When the application has started up, offer the sample case and the module's functions; end all when it quits.

    Call it when the module is loaded. ``makeLogic`` makes a ``SynthLogic``.
    """
    Application.followApplication(MODULE, lambda: _onStartupCompleted(makeLogic), lambda: endService(keepJobs=True))


def offerToScripts(logic: Any) -> None:
    """Make ``slicer.modules.medddpmsynth.logic().synthesize(...)`` work.

    ``logic()`` is a C++ object that knows nothing of Python classes. Python attributes set on it stay as long as the
    C++ object lives: VTK keeps them for the next Python wrapper of the same object.
    """
    module = slicer.modules.medddpmsynth.logic()
    module.synthesize = logic.synthesize
    module.parameterNode = logic.parameterNode
    module.synthService = lambda: logic.service


def endService(keepJobs: bool) -> None:
    """End all workers; with ``keepJobs`` what was running is offered again in the next session."""
    from .SynthService import SynthService

    service = SynthService.existing()
    if service is not None:
        service.shutdown(keepJobs)


def _onStartupCompleted(makeLogic: Callable[[], Any]) -> None:
    from .SampleCase import registerSampleData

    registerSampleData()
    offerToScripts(makeLogic())
