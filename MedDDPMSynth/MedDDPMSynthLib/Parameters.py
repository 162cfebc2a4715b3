"""The parameter node of the module: everything that the user chose, saved with the scene."""

from __future__ import annotations

from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLSequenceNode
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

from .Options import MAX_SEED, Quality


@parameterNodeWrapper
class MedDDPMSynthParameterNode:
    """Choices of the user; see ``Options.SynthOptions`` and ``SynthInputs`` for their meaning.

    ``model``: name or path as ``ModelLibrary`` takes it. ``sampler`` (empty: the model's own) and ``steps`` count for
    the quality CUSTOM only. ``modalities`` empty means all of the model. ``knownVolumes``: modality -> node ID of the
    real scan. ``batchSource`` (a folder) or ``batchSequence`` hold the masks of a batch.
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
