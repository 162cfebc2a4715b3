"""The parameter node of the module: everything that the user chose, saved with the scene."""

from __future__ import annotations

from typing import Annotated, Union

from medddpm.synthesis.request import SynthesisRequest
from MedDDPMSlicerLib.RequestOptions import withOptions
from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceNode,
)
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

from .Options import Anatomy, Contrast, Quality


@parameterNodeWrapper
@withOptions(SynthesisRequest)
class MedDDPMSynthParameterNode:
    """Choices of the user; see ``Options.SynthOptions`` and ``SynthInputs`` for their meaning.

    Those that are options of a request are not named here: "mass_effect" is ``massEffect``, and one that is left to the
    model is 0 or empty.

    ``model``: name or path as ``ModelLibrary`` takes it. ``sampler`` and ``steps`` count for the quality CUSTOM only.
    ``modalities`` empty means all of the model. ``knownVolumes``: modality -> node ID of the real scan, which also is
    the reference of anatomy and contrast. ``anatomySource``: a segmentation or label map. ``growthFrames``: time points
    of a growth series. ``batchSource`` (a folder) or ``batchSequence`` hold the masks of a batch.
    """

    segmentation: vtkMRMLSegmentationNode
    referenceVolume: vtkMRMLScalarVolumeNode
    model: str = "demo"
    lockSeed: bool = False
    quality: Quality = Quality.STANDARD
    modalities: list[str]
    anatomy: Anatomy = Anatomy.SEED
    # The connector of the selector knows no types.UnionType, and takes its node types from here.
    anatomySource: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007
    contrast: Contrast = Contrast.SEED
    growthFrames: Annotated[int, WithinRange(2, 50), Default(8)]
    showPreview: bool = True
    autoUpdate: bool = False
    liveCheck: bool = True
    editRealScan: bool = False
    knownVolumes: dict[str, str]
    originalSegmentation: vtkMRMLSegmentationNode
    marginMm: Annotated[float, WithinRange(0, 50), Default(6.0)]
    batchSource: str = ""
    batchSequence: vtkMRMLSequenceNode
    batchOutput: str = ""
