"""Begin and end of a session: what the application is told at its start, and what ends with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from MedDDPMSlicerLib import Application

MODULE = "MedDDPMTraining"


def followApplication(makeLogic: Callable[[], Any]) -> None:
    """When the application has started up, offer the module's functions; end the workers when it quits.

    Call it when the module is loaded. ``makeLogic`` makes a ``TrainingLogic``.
    """
    Application.followApplication(MODULE, lambda: offerToScripts(makeLogic()), lambda: endService(keepJobs=True))


def offerToScripts(logic: Any) -> None:
    """Make ``slicer.modules.medddpmtraining.logic().train(...)`` work.

    ``logic()`` is a C++ object that knows nothing of Python classes. Python attributes set on it stay as long as the
    C++ object lives: VTK keeps them for the next Python wrapper of the same object.
    """
    module = slicer.modules.medddpmtraining.logic()
    module.prepare = logic.prepare
    module.train = logic.train
    module.resume = logic.resume
    module.parameterNode = logic.parameterNode
    module.trainingService = lambda: logic.service


def endService(keepJobs: bool) -> None:
    """End the workers; with ``keepJobs`` a preparation is offered again in the next session. Trainings go on."""
    from .TrainingService import TrainingService

    service = TrainingService.existing()
    if service is not None:
        service.shutdown(keepJobs)
