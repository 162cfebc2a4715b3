"""Anatomy and contrast of models with tissue labels, and showing the anatomy as segments."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import enable, say

from ..Options import Anatomy
from ..Readiness import untold
from .Context import Context
from .Texts import anatomyShown


class AnatomyPanel(Panel):
    """The choices are bound to the parameter node; here they appear where the model leaves any."""

    messageLabel = "AnatomyStatusLabel"
    _said, _revision = "", 0

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        ui.AnatomyButton.clicked.connect(self.showAnatomy)
        say(ui.AnatomyStatusLabel, "")

    def refresh(self) -> None:
        """Show what can be chosen for the model."""
        parameters, model = self.context.parameters, self.context.model
        if model is None:
            return
        told = untold(model) is None
        self.ui.AnatomyWidget.visible = told
        for widget in (self.ui.AnatomySourceSelector, self.ui.AnatomySourceSelectorCaption):
            widget.visible = parameters.anatomy == Anatomy.SEGMENTATION
        if not told:
            self._said = self.problem = ""

    def tick(self) -> None:
        """Say what is missing, or what became of it."""
        if self.context.parameters is None or self.context.model is None:
            return
        if self.context.service.check.revision != self._revision:
            self._said = ""
        reason = self.context.service.anatomyBlockedReason(self.context.parameters)
        enable(self.ui.AnatomyButton, reason)
        none = untold(self.context.model)
        say(self.ui.AnatomyStatusLabel, none or self.problem or self._said, "error" if self.problem else "info")

    def sceneClosing(self) -> None:
        """What was said is about a mask that goes."""
        self._said = self.problem = ""

    def showAnatomy(self) -> None:
        """Complete the anatomy in the background, and show it as segments of the mask."""
        with self.told():
            done, saveUndo = self._onDone, self.ui.SegmentEditorWidget.saveStateForUndo
            self.context.service.completeAnatomy(self.context.parameters, done, self.sayError, saveUndo)
            self._said = ""
        self.tick()

    def _onDone(self, facts: dict[str, Any]) -> None:
        self._said, self._revision = anatomyShown(facts), self.context.service.check.revision
