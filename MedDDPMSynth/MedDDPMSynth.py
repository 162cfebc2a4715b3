"""3D Slicer module: paint a segmentation of the brain and its tumor, get the matching MRI."""

from __future__ import annotations

import slicer
from MedDDPMSynthLib.LifeCycle import endService, followApplication, offerToScripts
from MedDDPMSynthLib.SynthLogic import SynthLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class MedDDPMSynth(ScriptedLoadableModule):
    """What the application knows of the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("MedDDPM Synth")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Volumes", "SubjectHierarchy"]
        parent.contributors = ["The SlicerMedDDPM developers"]
        parent.helpText = _(
            "Turns a segmentation of the brain and its tumor into synthetic MRI (Med-DDPM). Load the sample case,"
            " change the mask, press Generate. For research only, not for diagnosis or treatment."
        )
        parent.acknowledgementText = _(
            "Based on Med-DDPM: Dorjsembe, Pao, Odonchimed, Xiao. Conditional Diffusion Models for Semantic 3D Brain"
            " MRI Synthesis. IEEE Journal of Biomedical and Health Informatics, 2024."
            ' <a href="https://doi.org/10.1109/JBHI.2024.3385504">doi:10.1109/JBHI.2024.3385504</a>'
        )
        followApplication(MedDDPMSynthLogic)


class MedDDPMSynthLogic(SynthLogic, ScriptedLoadableModuleLogic):
    """The functions of the module without its panel; see ``SynthLogic``."""

    def parameterNode(self):
        """The typed parameter node of the scene, made where there is none."""
        from MedDDPMSynthLib.Parameters import MedDDPMSynthParameterNode

        node = self.getParameterNode()
        isNew = not node.GetParameter("model")
        parameters = MedDDPMSynthParameterNode(node)
        if isNew:
            parameters.model = self.service.library.lastUsed
        return parameters


class MedDDPMSynthWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel of the module: life cycle only, the rest is in ``MedDDPMSynthLib.Panels``."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.panels = self.uiWidget = None

    def setup(self) -> None:
        """Load the panel and connect it."""
        from MedDDPMSynthLib.Panels.PanelSet import PanelSet

        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDDPMSynth.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MedDDPMSynthLogic()
        offerToScripts(self.logic)
        self.logic.service.startTimer()
        self.panels = PanelSet(self.ui, self.logic)
        self.observeScene()
        if self.parent.isEntered:  # reloaded while it is shown: nobody enters it again
            self.enter()

    def cleanup(self) -> None:
        """The module is reloaded, or unloaded when the application has quit: end what runs, leave no observer."""
        self.removeObservers()
        if self.panels is not None:  # None where ``setup`` has failed
            self.panels.cleanup()
            self.uiWidget.setMRMLScene(None)  # a reload only hides the former panel, which must not go on
            self.uiWidget.deleteLater()
        endService(keepJobs=False)

    def enter(self) -> None:
        """The module was opened."""
        if self.panels is not None:
            self.panels.enter(self.logic.parameterNode())

    def exit(self) -> None:
        """Another module was opened. A generation goes on; its results appear in the scene."""
        if self.panels is not None:
            self.panels.exit()

    def onSceneStartClose(self, *_event) -> None:
        """The scene is about to be closed: end what runs, let go of its nodes."""
        if self.panels is not None:
            self.logic.service.closeScene()
            self.panels.sceneClosing()

    def onSceneEndClose(self, *_event) -> None:
        """A new scene began, by closing or loading one."""
        if self.panels is not None and self.parent.isEntered:
            self.panels.setParameters(self.logic.parameterNode())

    def observeScene(self) -> None:
        """Follow the scene until ``cleanup``."""
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            self.addObserver(scene, event, self.onSceneEndClose)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self.panels.sceneChanged)


class MedDDPMSynthTest(ScriptedLoadableModuleTest):
    """The self-test behind the button Reload and Test."""

    def runTest(self) -> None:
        """Use the panel as a person would, with the demo model."""
        from MedDDPMSynthLib.Panels.SelfTest import runSelfTest

        runSelfTest(self.delayDisplay)
