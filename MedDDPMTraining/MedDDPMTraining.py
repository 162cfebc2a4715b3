"""3D Slicer module: from a folder of scans to a model that makes such images."""

from __future__ import annotations

import slicer
from MedDDPMTrainingLib.LifeCycle import endService, followApplication, offerToScripts
from MedDDPMTrainingLib.TrainingLogic import TrainingLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class MedDDPMTraining(ScriptedLoadableModule):
    """What the application knows of the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("MedDDPM Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["Volumes", "Tables", "Plots", "SubjectHierarchy"]
        parent.contributors = ["The SlicerMedDDPM developers"]
        parent.helpText = _(
            "Trains a model on your own scans and masks, which MedDDPM Synth then uses. Choose the folder of scans,"
            " prepare it, start. The training goes on when Slicer is closed. For research only."
        )
        parent.acknowledgementText = _(
            "Based on Med-DDPM: Dorjsembe, Pao, Odonchimed, Xiao. Conditional Diffusion Models for Semantic 3D Brain"
            " MRI Synthesis. IEEE Journal of Biomedical and Health Informatics, 2024."
            ' <a href="https://doi.org/10.1109/JBHI.2024.3385504">doi:10.1109/JBHI.2024.3385504</a>'
        )
        followApplication(MedDDPMTrainingLogic)


class MedDDPMTrainingLogic(TrainingLogic, ScriptedLoadableModuleLogic):
    """The functions of the module without its panel; see ``TrainingLogic``."""

    _parameters = None

    def parameterNode(self):
        """The typed parameter node of the scene, made where there is none.

        The same object for panel and scripts: another one would see changes only after those who were told of them.
        """
        from MedDDPMTrainingLib.Parameters import MedDDPMTrainingParameterNode

        node = self.getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = MedDDPMTrainingParameterNode(node)
        return self._parameters


class MedDDPMTrainingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel of the module: life cycle only, the rest is in ``MedDDPMTrainingLib.Panels``."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.panels = self.uiWidget = None

    def setup(self) -> None:
        """Load the panel and connect it."""
        from MedDDPMTrainingLib.Panels.PanelSet import PanelSet

        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDDPMTraining.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MedDDPMTrainingLogic()
        offerToScripts(self.logic)
        self.logic.service.startTimer()
        self.panels = PanelSet(self.ui, self.logic)
        self.observeScene()
        if self.parent.isEntered:  # reloaded while it is shown: nobody enters it again
            self.enter()

    def cleanup(self) -> None:
        """The module is reloaded, or unloaded when the application has quit: leave no observer. Trainings go on."""
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
        """Another module was opened. Preparation and trainings go on."""
        if self.panels is not None:
            self.panels.exit()

    def onSceneStartClose(self, *_event) -> None:
        """The scene is about to be closed: let go of its nodes."""
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


class MedDDPMTrainingTest(ScriptedLoadableModuleTest):
    """The self-test behind the button Reload and Test."""

    def runTest(self) -> None:
        """Use the panel as a person would, with small simulated scans."""
        from MedDDPMTrainingLib.Panels.SelfTest import runSelfTest

        runSelfTest(self.delayDisplay)
