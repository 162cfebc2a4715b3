"""All panels of a module, kept up to date."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..Background import PollTimer
from .Base import Panel, PanelContext

logger = logging.getLogger(__name__)

# Often enough for a smooth progress bar; what a tick does takes a few milliseconds.
INTERVAL_MS = 200


class PanelSet:
    """Makes the panels, hands on what happens, and lets them look after background work while the module is shown."""

    def __init__(self, ui: Any, context: PanelContext, kinds: Sequence[type[Panel]]) -> None:
        self.ui = ui
        self.context = context
        self.panels: list[Panel] = [kind(ui, context) for kind in kinds]
        self._broken: list[Panel] = []
        self._guiTag: int | None = None
        self._observer: int | None = None
        self.timer = PollTimer(self.tick, INTERVAL_MS)
        self._refreshing = self._stale = False

    def setParameters(self, parameters: Any) -> None:
        """Connect the widgets with another parameter node, or with none while there is no scene."""
        old = self.context.parameters
        # The same node is connected again, too: while a scene is loaded, selectors cannot show nodes yet to come.
        if old is not None:
            old.disconnectGui(self._guiTag)
            old.RemoveObserver(self._observer)
        self.context.setParameters(parameters)
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
            self._observer = parameters.AddObserver("ModifiedEvent", self.refresh)
        self.refresh()

    def refresh(self, *_event: Any) -> None:
        """Show what the parameter node says now; once more where a panel changed it meanwhile."""
        self._stale = True
        if self._refreshing or self.context.parameters is None:
            return
        self._refreshing = True
        try:
            while self._stale:
                self._stale = False
                self.context.update()
                for panel in self.panels:
                    panel.refresh()
        finally:
            self._refreshing = False

    def tick(self) -> None:
        """Let every panel look after what goes on in the background; one that fails does not stop the others."""
        for panel in self.panels:
            try:
                panel.tick()
            except Exception:
                if panel not in self._broken:  # once, not five times a second
                    self._broken.append(panel)
                    logger.exception("A panel failed")

    def enter(self, parameters: Any) -> None:
        """The module was opened, with the scene's parameter node."""
        self.setParameters(parameters)
        for panel in self.panels:
            panel.enter()
        self.refresh()
        self.timer.start()

    def exit(self) -> None:
        """Another module was opened; what runs goes on."""
        self.timer.stop()
        for panel in self.panels:
            panel.exit()

    def sceneChanged(self, *_event: Any) -> None:
        """A node came or went."""
        for panel in self.panels:
            panel.sceneChanged()

    def sceneClosing(self) -> None:
        """Let go of all nodes."""
        self.setParameters(None)
        for panel in self.panels:
            panel.sceneClosing()

    def cleanup(self) -> None:
        """The module goes away."""
        self.timer.stop()
        self.setParameters(None)
        for panel in self.panels:
            panel.cleanup()
