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
    except ImportError as exc:  # a part is missing, or of another version
        logging.getLogger(__name__).warning("The Segment Editor has no effect MedDDPM: %s.", exc)
    except Exception:
        logging.getLogger(__name__).exception("The Segment Editor effect MedDDPM could not be registered")


class SegmentEditorMedDDPMTest(ScriptedLoadableModuleTest):
    """The self-test behind the button Reload and Test."""

    def runTest(self) -> None:
        """Place a lesion, drag it, scale and mirror it by the buttons, and undo it all."""
        import numpy as np
        from medddpm.geometry.volume import Volume, centered_affine
        from medddpm.labels.scheme import load_scheme
        from MedDDPMSlicerLib.Background import waitUntil
        from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
        from SegmentEditorMedDDPMLib.Options import Motion

        scheme, shape = load_scheme("brats"), (60, 72, 50)
        brain = Volume(np.zeros(shape, np.uint8), centered_affine(shape, (3.0, 3.0, 3.0), "RAS"))
        brain.data[4:-4, 4:-4, 4:-4] = scheme.surround
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Self-test")
        applyLabels(node, scheme, brain)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(node)
        editor.setActiveEffectByName("MedDDPM")
        assert editor.activeEffect() is not None, "The effect MedDDPM is not registered."
        effect = editor.activeEffect().self()

        def tumor() -> np.ndarray:
            """R (mm) of the voxels of the tumor, when the effect has done its work."""
            waitUntil(lambda: not effect.working, "the end of the change")
            labels = composeLabels(node, scheme)
            voxels = np.argwhere(np.isin(labels.data, scheme.tumor_values))
            return voxels @ labels.affine[0, :3] + labels.affine[0, 3]

        self.delayDisplay("A lesion is placed and dragged to the other side")
        effect.place((20.0, 0.0, 0.0))
        placed = len(tumor())
        assert placed > 0, effect.frame.status.text
        effect.drop((20.0, 0.0, 0.0), Motion(shiftR=-40.0))
        assert tumor().mean() < 0, effect.frame.status.text
        self.delayDisplay("It is made larger, and mirrored")
        effect.scriptedEffect.setParameter("Scale", "120")
        for name in ("Apply", "Mirror"):
            slicer.util.findChild(effect.frame.widget, f"MedDDPM{name}Button").click()
            waitUntil(lambda: not effect.working, "the end of the change")
        assert len(tumor()) > 1.3 * placed and tumor().mean() > 0, effect.frame.status.text
        self.delayDisplay("Undo takes it all back")
        for _step in range(4):
            editor.undo()
        assert len(tumor()) == 0
        editor.setActiveEffect(None)
        slicer.mrmlScene.RemoveNode(node)
