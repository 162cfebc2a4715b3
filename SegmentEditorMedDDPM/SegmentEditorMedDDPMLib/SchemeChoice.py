"""Which labels the segments of a segmentation stand for."""

from __future__ import annotations

import logging
from typing import Any

from medddpm.errors import InputError
from medddpm.labels.scheme import SCHEMES, LabelScheme, load_scheme
from MedDDPMSlicerLib.SegmentReading import unsettled
from MedDDPMSlicerLib.Segments import segmentValues

logger = logging.getLogger(__name__)

MODEL_ATTRIBUTE = "MedDDPM.model"


def chooseScheme(segmentationNode: Any, parameterNode: Any = None) -> LabelScheme:
    """The label scheme of a segmentation.

    First that of the model which the segmentation's attribute "MedDDPM.model" names, then that of the model chosen in
    the module MedDDPM Synth (``parameterNode``) where it works on this segmentation, then the shipped scheme that most
    segments are recognized for. Raises InputError where no segment is known, nor can be read by its number.
    """
    keys = [segmentationNode.GetAttribute(MODEL_ATTRIBUTE)]
    if parameterNode is not None and parameterNode.segmentation is segmentationNode:
        keys.append(parameterNode.model)
    for key in filter(None, keys):
        scheme = schemeOfModel(key)
        if scheme is not None and _known(segmentationNode, scheme):
            return scheme
    schemes = [load_scheme(name) for name in SCHEMES]
    best = max(schemes, key=lambda scheme: _score(segmentationNode, scheme))
    if not _known(segmentationNode, best):
        if unsettled(segmentationNode, best):  # to be read by their numbers
            own = (schemeOfModel(key) for key in keys if key)
            return next((scheme for scheme in own if scheme is not None), load_scheme(SCHEMES[0]))
        raise InputError(
            f"None of the segments of '{segmentationNode.GetName()}' is known as brain, head or a part of a tumor. "
            "Create the segments of a model in the module MedDDPM Synth, or name them Brain, Edema, Enhancing tumor, "
            "Necrotic core (or Head and Tumor)."
        )
    return best


def schemeOfModel(key: str) -> LabelScheme | None:
    """The label scheme of a model by its name or folder; None where it is gone or cannot be read."""
    from medddpm.models.config_file import read_config
    from medddpm.models.places import find_model

    try:
        return read_config(find_model(key)).scheme
    except InputError:
        logger.info("The labels of a model could not be read; the segments are recognized by name", exc_info=True)
        return None


def _known(segmentationNode: Any, scheme: LabelScheme) -> set[int]:
    """Values of ``scheme`` that a segment stands for."""
    return {value for value in segmentValues(segmentationNode, scheme).values() if value}


def _score(segmentationNode: Any, scheme: LabelScheme) -> tuple[bool, int]:
    """How well a scheme fits: its outline is named as such, then how many of its labels there are."""
    from medddpm.labels.conventions import outline_kind, role_of

    segmentation = segmentationNode.GetSegmentation()
    names = [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]
    outlined = outline_kind(scheme) in {role_of(name, "") for name in names}
    return outlined, len(_known(segmentationNode, scheme))
