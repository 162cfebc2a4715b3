"""3D Slicer module: paint a segmentation of the brain and its tumor, get the matching MRI."""

from __future__ import annotations

from MedDDPMSlicerLib.Panels.ModuleWidget import ModuleWidget
from MedDDPMSynthLib.Marking import SyntheticFileWriter
from MedDDPMSynthLib.SynthLogic import SynthLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)


class MedDDPMSynth(ScriptedLoadableModule):
    """What the application knows of the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("MedDDPM Synth")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Volumes", "SubjectHierarchy", "Sequences"]
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
        MedDDPMSynthLogic.followApplication()


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


class MedDDPMSynthWidget(ModuleWidget):
    """The panel of the module; a generation ends with it."""

    logicClass = MedDDPMSynthLogic

    def makePanels(self, ui, logic):
        """See ModuleWidget."""
        from MedDDPMSynthLib.Panels.PanelSet import PanelSet

        return PanelSet(ui, logic)


class MedDDPMSynthFileWriter(SyntheticFileWriter):
    """Slicer finds the writer of a module by this name."""


class MedDDPMSynthTest(ScriptedLoadableModuleTest):
    """The self-test behind the button Reload and Test."""

    def runTest(self) -> None:
        """Use the panel as a person would, with the demo model."""
        from MedDDPMSynthLib.Panels.SelfTest import runSelfTest

        runSelfTest(self.delayDisplay)
