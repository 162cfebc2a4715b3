"""Makes the effect known to the Segment Editor of the application."""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("SegmentEditorEffect.py")


def registerEffect() -> None:
    """Register the effect with the factory of the Segment Editor. A failure is logged and stops nothing else."""
    try:
        from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

        exposeClass()
        scriptedEffect = qSlicerSegmentEditorScriptedEffect(None)
        scriptedEffect.setPythonSource(SOURCE.as_posix())
        scriptedEffect.self().register()
    except Exception:
        logger.exception("The Segment Editor effect MedDDPM could not be registered")


def exposeClass() -> None:
    """Put the class where Slicer looks for it: in the package of the file's folder, under the name of the file.

    An import puts the module there, which Slicer would take for the class.
    """
    import SegmentEditorMedDDPMLib

    from .SegmentEditorEffect import SegmentEditorEffect

    SegmentEditorMedDDPMLib.SegmentEditorEffect = SegmentEditorEffect
