"""Hidden module: adds the effect MedDDPM to the Segment Editor."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest


class SegmentEditorMedDDPM(ScriptedLoadableModule):
    """What the application knows of the module."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = "SegmentEditorMedDDPM"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations"]
        parent.contributors = ["The SlicerMedDDPM developers"]
        parent.hidden = True
        parent.helpText = _(
            "This hidden module adds the effect MedDDPM to the Segment Editor: place lesions in a mask of the brain or"
            " head, move and reshape them, and generate matching MRI."
        )
        parent.acknowledgementText = _(
            "Based on Med-DDPM: Dorjsembe, Pao, Odonchimed, Xiao. Conditional Diffusion Models for Semantic 3D Brain"
            " MRI Synthesis. IEEE Journal of Biomedical and Health Informatics, 2024."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """Register the effect, once all modules are there. A failure is logged and stops nothing else."""
    import logging
    from pathlib import Path

    try:
        import SegmentEditorMedDDPMLib
        from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect
        from SegmentEditorMedDDPMLib import SegmentEditorEffect as effect  # noqa: N813 - a module

        # Slicer looks for the class in the package of the file's folder, under the name of the file, where an import
        # puts the module.
        SegmentEditorMedDDPMLib.SegmentEditorEffect = effect.SegmentEditorEffect
        scriptedEffect = qSlicerSegmentEditorScriptedEffect(None)
        scriptedEffect.setPythonSource(Path(effect.__file__).as_posix())
        scriptedEffect.self().register()
    except Exception:
        logging.getLogger(__name__).exception("The Segment Editor effect MedDDPM could not be registered")


class SegmentEditorMedDDPMTest(ScriptedLoadableModuleTest):
    """The self-test behind the button Reload and Test."""

    def runTest(self) -> None:
        """Check that the effect is registered and can be activated."""
        from SegmentEditorMedDDPMLib.SelfTest import runSelfTest

        runSelfTest(self.delayDisplay)
