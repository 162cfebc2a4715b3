"""The logic of a module without its panel: its service, what scripts can call, and what begins and ends with Slicer.

The application loads this file at its start, so modules import the rest when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import slicer

if TYPE_CHECKING:
    from .Background import Background

# Below the address of the repository, which pyproject.toml says; a test compares them.
DOCUMENTATION = "https://github.com/medddpm/SlicerMedDDPM/blob/main/docs"


class ModuleLogic:
    """A module derives its logic from this one and implements the functions at the beginning.

    ``module``: its name.
    """

    module: ClassVar[str]

    @classmethod
    def serviceClass(cls) -> type[Background]:
        """The class of the service."""
        raise NotImplementedError

    @classmethod
    def onStarted(cls) -> None:
        """The application has started up."""

    @property
    def service(self) -> Any:
        """The one service of the application."""
        return self.serviceClass().instance()

    def follow(self, work: Any, onFinished: Callable[[Any], None] | None, waitForCompletion: bool = False) -> Any:
        """Have ``onFinished`` called once, when ``work`` has ended; wait for that where wanted.

        Raises MedDDPMError, with the sentence, where work that is waited for fails.
        """

        def tell(_: Any) -> None:
            if work.finished and onFinished is not None:
                work.observers.remove(tell)
                onFinished(work)

        work.observers.append(tell)
        if waitForCompletion:
            self.service.waitFor(work)
            work.raiseFailure()
        return work

    @classmethod
    def endService(cls, keepJobs: bool) -> None:
        """End the workers; with ``keepJobs`` what was running is offered again in the next session."""
        service = cls.serviceClass()._instance
        if service is not None:
            service.shutdown(keepJobs)

    @classmethod
    def followApplication(cls) -> None:
        """Call ``onStarted`` when the application has started up, end the service when it quits.

        Call it when the module is loaded, so before any panel is made: then quitting is noticed before the panel's
        cleanup, which would take it for a reload.
        """

        def onModuleUnloading(name: str) -> None:
            if name == cls.module:  # modules are unloaded only when the application quits
                cls.endService(keepJobs=True)

        slicer.app.connect("startupCompleted()", cls.onStarted)
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", onModuleUnloading)
