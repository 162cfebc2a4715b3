"""A training as scripts see it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.jobs.folder import State
from medddpm.training.run import RunFolder
from medddpm.training.summary import RunSummary
from MedDDPMSlicerLib.Background import Observed

from .Runs import message

LOOK_SECONDS = 0.5
_GOING_ON = (State.PENDING, State.RUNNING)


class ScriptedRun(Observed):
    """One run that was started by a script: ``folder``, and what its ``summary`` tells at the moment.

    ``finished``: it does not run (any more), because it is done, was paused or stopped, failed, or was interrupted.
    """

    def __init__(self, service: Any, folder: Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._service = service
        self._looked = 0.0
        self.finished = False
        self.summary: RunSummary = RunFolder(folder).summary()

    @property
    def message(self) -> str:
        """A sentence on how it goes or how it ended."""
        return self._service.control.problems.get(self.folder) or message(self.summary)

    @property
    def modelFolder(self) -> Path:
        """The newest model. Raises InputError before there is one."""
        if self.summary.model is None:
            raise InputError("The training has no model yet. It writes one with its first checkpoint.")
        return self.summary.model

    def pause(self) -> None:
        """See RunControl."""
        self._service.control.pause(self.folder)

    def stop(self) -> None:
        """See RunControl."""
        self._service.control.stop(self.folder)

    def raiseFailure(self) -> None:
        """Raise MedDDPMError with the sentence of a run that has not come to its end; for scripts."""
        if self.finished and self.summary.state is not State.DONE:
            raise MedDDPMError(self.message or f"The training is {self.summary.state}.")

    def cancel(self) -> None:
        """The service ends: the training goes on all the same."""

    def tick(self) -> None:
        """Called regularly by the service."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            control = self._service.control
            starting = control.starting(self.folder)  # before the summary: it may begin in between
            self.summary = RunFolder(self.folder).summary()
            ended = self.summary.state not in _GOING_ON or self.folder in control.problems
            self.finished = ended and not starting
            self.changed()
        self.notify()
