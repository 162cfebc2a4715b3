"""The panel of a module, made of sections; the same for all our modules."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from ..ModuleLogic import ModuleLogic

logger = logging.getLogger(__name__)

# Often enough for a smooth progress bar; what a tick does takes a few milliseconds.
INTERVAL_MS = 200


class ModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Loads ``Resources/UI/<module>.ui``, makes its ``panels``, hands on what happens, and lets them look after
    background work while the module is shown.

    A module derives its widget from this one and says its logic (with ``parameterNode()``) and its panels.
    """

    logicClass: ClassVar[type[ModuleLogic]]

    def panelKinds(self) -> tuple[type, tuple[type, ...]]:
        """The module's ``PanelContext``, and the classes of its panels."""
        raise NotImplementedError

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.uiWidget = self.context = self.timer = None
        self.panels: list[Any] = []
        self._broken: list[Any] = []
        self._guiTag: int | None = None
        self._observer: int | None = None
        self._refreshing = self._stale = False

    def setup(self) -> None:
        """Load the panel and connect it."""
        from ..Background import PollTimer

        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.logicClass()
        self.logic.service.startTimer()
        context, kinds = self.panelKinds()
        self.context = context(self.logic, self.refresh)
        self.panels = [kind(self.ui, self.context) for kind in kinds]
        self.timer = PollTimer(self.tick, INTERVAL_MS)
        scene = slicer.mrmlScene
        for event in (scene.StartCloseEvent, scene.StartImportEvent):
            self.addObserver(scene, event, self.onSceneStart)
        # It ends closing and importing as well, and comes when selectors and editors know the nodes, too.
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onSceneEnd)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, lambda *_event: self._tell("sceneChanged"))
        if self.parent.isEntered:  # reloaded while it is shown: nobody enters it again
            self.enter()

    def cleanup(self) -> None:
        """The module is reloaded, or unloaded when the application has quit: leave no observer."""
        self.removeObservers()
        if self.timer is not None:  # None where ``setup`` has failed
            self.timer.stop()
            self.setParameters(None)
            self._tell("cleanup")
            self.uiWidget.setMRMLScene(None)  # a reload only hides the former panel, which must not go on
            self.uiWidget.deleteLater()
        self.logicClass.endService(keepJobs=False)

    def enter(self) -> None:
        """The module was opened."""
        if self.timer is not None:
            self.setParameters(self.logic.parameterNode())
            self._tell("enter")
            self.refresh()
            self.timer.start()

    def exit(self) -> None:
        """Another module was opened. What runs in the background goes on."""
        if self.timer is not None:
            self.timer.stop()
            self._tell("exit")

    def onSceneStart(self, *_event: Any) -> None:
        """The scene is about to be closed, or to get the nodes of another one: let go of its nodes."""
        if self.timer is not None:
            if slicer.mrmlScene.IsClosing():
                self.logic.service.closeScene()
            self.setParameters(None)
            self._tell("sceneClosing")

    def onSceneEnd(self, *_event: Any) -> None:
        """The scene was closed or loaded, or has changed in many places at once."""
        if self.timer is None or not self.parent.isEntered:
            return
        if self.context.parameters is None:
            self.setParameters(self.logic.parameterNode())
        else:  # the segment editor takes what its selectors show, which know no hidden volume
            self.refresh()

    def setParameters(self, parameters: Any) -> None:
        """Connect the widgets with another parameter node, or with none while there is no scene."""
        old = self.context.parameters
        # The same node is connected again, too: while a scene is loaded, selectors cannot show nodes yet to come.
        if old is not None:
            old.disconnectGui(self._guiTag)
            old.RemoveObserver(self._observer)
        self.context.parameters = parameters
        self.context.update()
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
                self._tell("refresh")
        finally:
            self._refreshing = False

    def tick(self) -> None:
        """Let every panel look after what goes on in the background; one that fails does not stop the others."""
        area = getattr(self.ui, "SectionsArea", None)
        if area is not None:  # what scrolls within the module must not be narrower than what it shows
            area.minimumWidth = area.widget().minimumSizeHint.width() + area.verticalScrollBar().sizeHint.width()
        for panel in self.panels:
            try:
                panel.tick()
            except Exception:
                if panel not in self._broken:  # once, not five times a second
                    self._broken.append(panel)
                    logger.exception("A panel failed")

    def _tell(self, event: str) -> None:
        for panel in self.panels:
            getattr(panel, event)()
