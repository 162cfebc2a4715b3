"""What the panels of this module look at."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.Base import PanelContext, plainErrors


class Context(PanelContext):
    """What the panels look at: the logic, the service, the parameter node and the chosen model.

    ``parameters`` is None while a scene is closing. ``model`` is the ``ModelDescription`` of ``parameters.model``, or
    None where it cannot be read; then ``modelProblem`` is the sentence that says why. ``missing``: packages to install.
    """

    def __init__(self, logic: Any) -> None:
        super().__init__(logic)
        self.model: Any = None
        self.modelProblem: str | None = None
        self._describedKey: str | None = None

    def update(self) -> None:
        """See PanelContext."""
        self.describeModel()

    def describeModel(self, again: bool = False) -> None:
        """Read the description of the chosen model where the choice has changed, or ``again``."""
        key = self.parameters.model if self.parameters is not None else None
        if key == self._describedKey and not again:
            return
        self._describedKey, self.model, self.modelProblem = key, None, None
        if key is None:
            return
        with plainErrors(self._setProblem):
            self.model = self.service.library.describe(key)

    def _setProblem(self, sentence: str) -> None:
        self.modelProblem = sentence

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
        """The generation that is going on, or None."""
        run = self.service.run
        return run if run is not None and not run.finished else None
