"""The banner that offers what an earlier session left: interrupted jobs and results that were never taken."""

from __future__ import annotations

import time
from typing import Any

from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import say
from slicer.i18n import tr as _

from .Context import Context


class RecoveryPanel(Panel):
    """Shows one left-over job at a time; visible only while there is one."""

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self.jobs: list[Any] = []
        ui.RecoveryResumeButton.clicked.connect(self.resume)
        ui.RecoveryDiscardButton.clicked.connect(self.discard)
        self.look()

    def enter(self) -> None:
        """Look again for left-over jobs."""
        self.look()

    def look(self) -> None:
        """Read from the disk what an earlier session left."""
        self.jobs = []
        with self.told():
            self.jobs = list(self.context.service.recovery.found())
        self._show()

    def resume(self) -> None:
        """Take the results of the shown job, or run it again."""
        with self.told():
            segmentation = self.context.parameters.segmentation if self.context.parameters else None
            self.context.service.recovery.resume(self.jobs[0], segmentation)
            self.jobs.pop(0)
            self._show()

    def discard(self) -> None:
        """Delete the shown job."""
        with self.told():
            self.context.service.recovery.discard(self.jobs.pop(0))
            self._show()

    def _show(self) -> None:
        self.ui.RecoveryFrame.visible = bool(self.jobs)
        if not self.jobs:
            return
        job = self.jobs[0]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.job.created))
        more = _(" ({value} more after this one.)").format(value=len(self.jobs) - 1) if len(self.jobs) > 1 else ""
        if job.finished:
            text = _(
                "A generation of {when} was finished, but its images were not brought into a scene: {title}."
            ).format(when=when, title=job.title)
        else:
            text = _("A generation of {when} was interrupted: {title}.").format(when=when, title=job.title)
        say(self.ui.RecoveryLabel, text + more)
        self.ui.RecoveryResumeButton.text = _("Import the images") if job.finished else _("Run again")

    def sayError(self, text: str) -> None:
        """See Panel."""
        self.ui.RecoveryFrame.visible = True
        say(self.ui.RecoveryLabel, text, "error")
