"""The life cycle of a module's panel, the same for all our modules."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from ..ModuleLogic import ModuleLogic


class ModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Loads ``Resources/UI/<module>.ui`` and hands on what happens to the module's panels.

    A module derives its widget from this one and says its logic (with ``parameterNode()``) and its panels.
    """

    logicClass: ClassVar[type[ModuleLogic]]

    def makePanels(self, ui: Any, logic: Any) -> Any:
        """The module's ``PanelSet``."""
        raise NotImplementedError

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.panels = self.uiWidget = None

    def setup(self) -> None:
        """Load the panel and connect it."""
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.logicClass()
        self.logic.offerToScripts()
        self.logic.service.startTimer()
        self.panels = self.makePanels(self.ui, self.logic)
        self._observeScene()
        if self.parent.isEntered:  # reloaded while it is shown: nobody enters it again
            self.enter()

    def cleanup(self) -> None:
        """The module is reloaded, or unloaded when the application has quit: leave no observer."""
        self.removeObservers()
        if self.panels is not None:  # None where ``setup`` has failed
            self.panels.cleanup()
            self.uiWidget.setMRMLScene(None)  # a reload only hides the former panel, which must not go on
            self.uiWidget.deleteLater()
        self.logicClass.endService(keepJobs=False)

    def enter(self) -> None:
        """The module was opened."""
        if self.panels is not None:
            self.panels.enter(self.logic.parameterNode())

    def exit(self) -> None:
        """Another module was opened. What runs in the background goes on."""
        if self.panels is not None:
            self.panels.exit()

    def onSceneStartClose(self, *_event: Any) -> None:
        """The scene is about to be closed: let go of its nodes."""
        if self.panels is not None:
            self.logic.service.closeScene()
            self.panels.sceneClosing()

    def onSceneEndClose(self, *_event: Any) -> None:
        """A new scene began, by closing or loading one."""
        if self.panels is not None and self.parent.isEntered:
            self.panels.setParameters(self.logic.parameterNode())

    def _observeScene(self) -> None:
        """Follow the scene until ``cleanup``."""
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            self.addObserver(scene, event, self.onSceneEndClose)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self.panels.sceneChanged)
