"""3D Slicer module: from a folder of scans to a model that makes such images."""

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
    from MedDDPMTrainingLib.TrainingLogic import TrainingLogic

    PROBLEM = ""
except ImportError as exc:  # a part is missing, or of another version; this file must tell
    PROBLEM = _(
        "MedDDPM Training cannot be used: {reason}. Install the extension MedDDPM again, remove other copies of"
        " the package medddpm from Slicer's Python, and restart Slicer."
    ).format(reason=exc)
    DOCUMENTATION = ""
    TrainingLogic = type("Missing", (), {})

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
        parent.helpText += f'<p><a href="{DOCUMENTATION}/tutorial-training.md">{_("Documentation")}</a></p>'
        parent.acknowledgementText = _(
            "Based on Med-DDPM: Dorjsembe, Pao, Odonchimed, Xiao. Conditional Diffusion Models for Semantic 3D Brain"
            " MRI Synthesis. IEEE Journal of Biomedical and Health Informatics, 2024."
            ' <a href="https://doi.org/10.1109/JBHI.2024.3385504">doi:10.1109/JBHI.2024.3385504</a>'
        )
        if not PROBLEM:
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

    def panelKinds(self):
        """See ModuleWidget."""
        from MedDDPMSlicerLib.Panels.SetupPanel import SetupPanel
        from MedDDPMSlicerLib.Panels.StoragePanel import StoragePanel
        from MedDDPMTrainingLib.Panels.Context import Context
        from MedDDPMTrainingLib.Panels.PreparePanel import PreparePanel
        from MedDDPMTrainingLib.Panels.RunsPanel import RunsPanel
        from MedDDPMTrainingLib.Panels.SourcePanel import SourcePanel
        from MedDDPMTrainingLib.Panels.TrainPanel import TrainPanel
        from MedDDPMTrainingLib.Panels.WatchPanel import WatchPanel

        return Context, (SetupPanel, SourcePanel, PreparePanel, TrainPanel, RunsPanel, WatchPanel, StoragePanel)


class MedDDPMTrainingTest(ScriptedLoadableModuleTest):
    """The self-test behind the button Reload and Test."""

    def runTest(self) -> None:
        """Use the panel as a person would, with small simulated scans; everything that is written is deleted."""
        import shutil
        import tempfile
        from pathlib import Path

        from MedDDPMSlicerLib.Background import waitUntil

        slicer.mrmlScene.Clear(0)
        slicer.util.selectModule("MedDDPMTraining")
        widget = slicer.modules.MedDDPMTrainingWidget
        ui, context, service = widget.ui, widget.context, widget.context.service
        folder = Path(tempfile.mkdtemp(prefix="medddpm-self-test-"))
        try:
            self.delayDisplay("Writing sample scans")
            next(p for p in widget.panels if hasattr(p, "makeSampleScans")).makeSampleScans(folder / "scans")
            waitUntil(lambda: context.scan is not None, "the scan")
            # Far more steps than are waited for, and 24 cubed voxels of 8 mm: a step takes a moment on any processor.
            choices = {"preset": "demo", "precision": "fp32", "iterations": 100_000, "grid": "24x24x24:8:LPS"}
            for name, value in {**choices, "datasetFolder": str(folder / "dataset"), "runsFolder": str(folder)}.items():
                setattr(context.parameters, name, value)
            if context.missing:
                assert not ui.StartButton.enabled, "Start must wait for the packages"
                self.delayDisplay("The packages for training are not installed; the rest works.")
                return
            self.delayDisplay("Preparing")
            self._press(ui.PrepareButton)
            waitUntil(lambda: service.preparation.finished, "the preparation")
            assert service.preparation.result is not None, service.preparation.message
            self.delayDisplay("Training")
            self._press(ui.StartButton)
            assert context.chosenRun is not None, ui.TrainMessageLabel.text
            self._train(ui, context)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.delayDisplay("The self-test passed")

    def _train(self, ui, context) -> None:
        """Pause the training, use its model in MedDDPM Synth, delete it."""
        from MedDDPMSlicerLib.Background import waitUntil

        run, told = context.chosenRun, []
        try:
            waitUntil(lambda: run.look().iteration > 0, "the first steps")
            self._press(ui.PauseButton)  # which writes a model
            waitUntil(lambda: run.look().state == "paused", "the pause")
            self.delayDisplay("Using its model")
            model = str(run.modelFolder)
            self._press(ui.UseButton)
            waitUntil(lambda: slicer.util.selectedModule() == "MedDDPMSynth", "MedDDPM Synth")
            assert slicer.modules.MedDDPMSynthWidget.logic.parameterNode().model == model
            context.service.library.forget(model)
            slicer.util.selectModule("MedDDPMTraining")
        finally:
            if run.look().state == "running":
                run.stop()
            waitUntil(lambda: run.look().state != "running", "the end of the training")
            context.service.deleteRun(run.folder, told.append, told.append)
            waitUntil(lambda: told, "the deletion of the training")
        assert told == ["The run was deleted."], told

    def _press(self, button) -> None:
        """Press a button as soon as it can be pressed."""
        from MedDDPMSlicerLib.Background import waitUntil

        waitUntil(lambda: button.enabled, f"{button.objectName} ({button.toolTip})")
        button.click()
