"""Begin and end of a session: what the application is told at its start, and what ends with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

MODULE = "MedDDPMSynth"


def followApplication(makeLogic: Callable[[], Any]) -> None:
    """When the application has started up, offer the sample case and the module's functions; end all when it quits.

    Call it when the module is loaded, so before any panel is made: then quitting is noticed before the panel's cleanup,
    which would take it for a reload. ``makeLogic`` makes a ``SynthLogic``.
    """
    slicer.app.connect("startupCompleted()", lambda: _onStartupCompleted(makeLogic))
    slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", _onModuleUnloading)


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


def _onModuleUnloading(name: str) -> None:
    """Modules are unloaded only when the application quits."""
    if name == MODULE:
        endService(keepJobs=True)
