"""The parameter node of the module: everything that the user chose, saved with the scene."""

from __future__ import annotations

from typing import Annotated, Union

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceNode,
)
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

from .Options import MAX_SEED, Anatomy, Contrast, Quality


@parameterNodeWrapper
class MedDDPMSynthParameterNode:
    """Choices of the user; see ``Options.SynthOptions`` and ``SynthInputs`` for their meaning.

    ``model``: name or path as ``ModelLibrary`` takes it. ``sampler`` (empty: the model's own) and ``steps`` count for
    the quality CUSTOM only. ``modalities`` empty means all of the model. ``knownVolumes``: modality -> node ID of the
    real scan, which also is the reference of anatomy and contrast. ``anatomySource``: a segmentation or label map.
    ``growthFrames``: time points of a growth series. ``batchSource`` (a folder) or ``batchSequence`` hold the masks of
    a batch.
    """

    segmentation: vtkMRMLSegmentationNode
    referenceVolume: vtkMRMLScalarVolumeNode
    model: str = "demo"
    samples: Annotated[int, WithinRange(1, 100), Default(1)]
    seed: Annotated[int, WithinRange(0, MAX_SEED), Default(0)]
    lockSeed: bool = False
    quality: Quality = Quality.STANDARD
    sampler: str = ""
    steps: Annotated[int, WithinRange(1, 1000), Default(25)]
    modalities: list[str]
    device: str = "auto"
    precision: str = "auto"
    anatomy: Anatomy = Anatomy.SEED
    # The connector of the selector knows no types.UnionType, and takes its node types from here.
    anatomySource: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007
    massEffect: Annotated[float, WithinRange(0, 1), Default(1.0)]
    contrast: Contrast = Contrast.SEED
    growthFrames: Annotated[int, WithinRange(2, 50), Default(8)]
    showPreview: bool = True
    autoUpdate: bool = False
    liveCheck: bool = True
    editRealScan: bool = False
    knownVolumes: dict[str, str]
    originalSegmentation: vtkMRMLSegmentationNode
    seamMm: Annotated[float, WithinRange(0, 30), Default(4.0)]
    marginMm: Annotated[float, WithinRange(0, 50), Default(6.0)]
    batchSource: str = ""
    batchSequence: vtkMRMLSequenceNode
    batchOutput: str = ""
