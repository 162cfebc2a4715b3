"""3D Slicer module: from a folder of scans to a model that makes such images."""

from __future__ import annotations

from MedDDPMSlicerLib.Panels.ModuleWidget import ModuleWidget
from MedDDPMTrainingLib.TrainingLogic import TrainingLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)


class MedDDPMTraining(ScriptedLoadableModule):
    """What the application knows of the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("MedDDPM Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["Volumes", "Tables", "Plots", "SubjectHierarchy"]
        parent.contributors = ["The SlicerMedDDPM developers"]
        parent.helpText = _(
            "Trains a model on your own scans and masks, which MedDDPM Synth then uses. Choose the folder of scans, "
            "prepare it, start. The training continues when Slicer is closed. For research only."
        )
        parent.acknowledgementText = _(
            "Based on Med-DDPM: Dorjsembe, Pao, Odonchimed, Xiao. Conditional Diffusion Models for Semantic 3D Brain"
            " MRI Synthesis. IEEE Journal of Biomedical and Health Informatics, 2024."
            ' <a href="https://doi.org/10.1109/JBHI.2024.3385504">doi:10.1109/JBHI.2024.3385504</a>'
        )
        MedDDPMTrainingLogic.followApplication()


class MedDDPMTrainingLogic(TrainingLogic, ScriptedLoadableModuleLogic):
    """The functions of the module without its panel; see ``TrainingLogic``."""

    _parameters = None

    def parameterNode(self):
        """The typed parameter node of the scene, made where there is none.

        The same object for panel and scripts: another one would see changes only after those who were told of them.
        """
        from MedDDPMTrainingLib.Orders import renewed
        from MedDDPMTrainingLib.Parameters import MedDDPMTrainingParameterNode

        node = renewed(self.getParameterNode())
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = MedDDPMTrainingParameterNode(node)
        return self._parameters


class MedDDPMTrainingWidget(ModuleWidget):
    """The panel of the module; trainings go on without it."""

    logicClass = MedDDPMTrainingLogic

    def makePanels(self, ui, logic):
        """See ModuleWidget."""
        from MedDDPMTrainingLib.Panels.PanelSet import PanelSet

        return PanelSet(ui, logic)


class MedDDPMTrainingTest(ScriptedLoadableModuleTest):
    """The self-test behind the button Reload and Test."""

    def runTest(self) -> None:
        """Use the panel as a person would, with small simulated scans."""
        from MedDDPMTrainingLib.Panels.SelfTest import runSelfTest

        runSelfTest(self.delayDisplay)
