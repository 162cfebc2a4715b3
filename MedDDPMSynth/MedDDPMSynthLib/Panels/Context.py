"""What the panels of this module look at."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.Base import PanelContext, plainErrors


class Context(PanelContext):
    """What the panels look at: the logic, the service, the parameter node and the chosen model.

    ``model`` is the ``ModelDescription`` of ``parameters.model``, or None where it cannot be read; then
    ``modelProblem`` is the sentence that says why.
    """

    model: Any = None
    modelProblem: str | None = None
    _describedKey: str | None = None

    def update(self) -> None:
        """Read the description of the chosen model where the choice has changed."""
        key = self.parameters.model if self.parameters is not None else None
        if key == self._describedKey:
            return
        self._describedKey, self.model, self.modelProblem = key, None, None
        if key is not None:
            with plainErrors(lambda sentence: setattr(self, "modelProblem", sentence)):
                self.model = self.service.library.describe(key)

    def remembered(self) -> list[tuple[str, str]]:
        """The models that the user added."""
        return self.service.library.added()

    def forget(self, key: str) -> None:
        """See PanelContext."""
        self.service.library.forget(key)

    @property
    def agreed(self) -> bool:
        """Whether the terms of the chosen model were agreed to, or need not be."""
        return self.model is not None and self.service.library.acknowledged(self.parameters.model)

    @property
    def scheme(self) -> Any:
        """The label scheme of the chosen model, or None."""
        return self.model.config.scheme if self.model is not None else None

    @property
    def busyRun(self) -> Any:
        """The generation that is going on, or what completes the mask for it, or None."""
        work = (self.service.run, self.service.maskJob)
        return next((job for job in work if job is not None and not job.finished), None)
