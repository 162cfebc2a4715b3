"""3D Slicer module: paint a segmentation of the brain and its tumor, get the matching MRI."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

try:
    from MedDDPMSlicerLib.ModuleLogic import DOCUMENTATION
    from MedDDPMSlicerLib.Panels.ModuleWidget import ModuleWidget
    from MedDDPMSynthLib.Marking import SyntheticFileWriter
    from MedDDPMSynthLib.SynthLogic import SynthLogic

    PROBLEM = ""
except ImportError as exc:  # a part is missing, or of another version; this file must tell
    PROBLEM = _(
        "MedDDPM Synth cannot be used: {reason}. Install the extension MedDDPM again, remove other copies of"
        " the package medddpm from Slicer's Python, and restart Slicer."
    ).format(reason=exc)
    DOCUMENTATION = ""
    SynthLogic = SyntheticFileWriter = type("Missing", (), {})

    class ModuleWidget(ScriptedLoadableModuleWidget):
        """Stands in for the panel."""

        def setup(self) -> None:
            """Say what is wrong."""
            import qt

            super().setup()
            label = qt.QLabel(PROBLEM)
            label.wordWrap = True
            self.layout.addWidget(label)
            self.layout.addStretch(1)


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
        parent.helpText += f'<p><a href="{DOCUMENTATION}/tutorial.md">{_("Documentation")}</a></p>'
        parent.acknowledgementText = _(
            "Based on Med-DDPM: Dorjsembe, Pao, Odonchimed, Xiao. Conditional Diffusion Models for Semantic 3D Brain"
            " MRI Synthesis. IEEE Journal of Biomedical and Health Informatics, 2024."
            ' <a href="https://doi.org/10.1109/JBHI.2024.3385504">doi:10.1109/JBHI.2024.3385504</a>'
        )
        if not PROBLEM:
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

    def panelKinds(self):
        """See ModuleWidget."""
        from MedDDPMSlicerLib.Panels.SetupPanel import SetupPanel
        from MedDDPMSlicerLib.Panels.StoragePanel import StoragePanel
        from MedDDPMSynthLib.Panels.AnatomyPanel import AnatomyPanel
        from MedDDPMSynthLib.Panels.BatchPanel import BatchPanel
        from MedDDPMSynthLib.Panels.Context import Context
        from MedDDPMSynthLib.Panels.EditScanPanel import EditScanPanel
        from MedDDPMSynthLib.Panels.GeneratePanel import GeneratePanel
        from MedDDPMSynthLib.Panels.MaskPanel import MaskPanel
        from MedDDPMSynthLib.Panels.ModelPanel import ModelPanel
        from MedDDPMSynthLib.Panels.ReaderPanel import ReaderPanel
        from MedDDPMSynthLib.Panels.RecoveryPanel import RecoveryPanel
        from MedDDPMSynthLib.Panels.ResultsPanel import ResultsPanel

        scene = (ModelPanel, MaskPanel, AnatomyPanel, GeneratePanel, ResultsPanel, EditScanPanel)
        return Context, (SetupPanel, RecoveryPanel, *scene, BatchPanel, ReaderPanel, StoragePanel)


class MedDDPMSynthFileWriter(SyntheticFileWriter):
    """Slicer finds the writer of a module by this name."""


class MedDDPMSynthTest(ScriptedLoadableModuleTest):
    """The self-test behind the button Reload and Test."""

    def runTest(self) -> None:
        """Sample case, check, preview, result: the panel is used as by a person, with the demo model."""
        from MedDDPMSlicerLib.Background import waitUntil
        from MedDDPMSynthLib.Options import Quality
        from MedDDPMSynthLib.Results import samplesOf

        slicer.mrmlScene.Clear(0)
        slicer.util.selectModule("MedDDPMSynth")
        ui, context = slicer.modules.MedDDPMSynthWidget.ui, slicer.modules.MedDDPMSynthWidget.context
        self.delayDisplay("Loading the sample case")
        ui.SampleCaseButton.click()
        waitUntil(lambda: ui.SampleCaseButton.enabled, "the sample case")
        segmentation = context.parameters.segmentation
        assert segmentation is not None, ui.CheckStatusLabel.text
        assert segmentation.GetSegmentation().GetNumberOfSegments() == len(context.scheme.labels)
        waitUntil(lambda: not context.service.check.checking, "the mask check")
        assert not any(finding.severity == "error" for finding in context.service.check.findings)
        if context.missing:
            assert not ui.GenerateButton.enabled, "Generate must wait for the packages"
            self.delayDisplay("The packages for generating are not installed; the rest works.")
            return
        if not context.agreed:
            ui.ModelTermsButton.click()
        context.parameters.quality, context.parameters.samples = Quality.PREVIEW, 1
        waitUntil(lambda: ui.GenerateButton.enabled, "the Generate button")
        self.delayDisplay("Generating a preview")
        ui.GenerateButton.click()
        run = context.service.run
        assert ui.GenerateButton.text == "Cancel"
        waitUntil(lambda: run.finished, "the generation")
        samples = samplesOf(segmentation)
        assert len(samples) == 1 and len(samples[0].volumes) == len(context.model.modalities), run.message
        waitUntil(lambda: ui.ResultsTable.rowCount == 1, "the table of results")
        self.delayDisplay("The self-test passed")
