"""Mean and voxel-wise standard deviation over samples of the same mask."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Lattice import voxelView
from MedDDPMSlicerLib.Nodes import displayGray, folderFor, markSynthetic, placeLike, putUnder, segmentationOf
from MedDDPMSlicerLib.Texts import sentenceOf
from MedDDPMSlicerLib.Volumes import newImage, slabs

from .Results import STATISTIC, Sample, caseItem, modalityOf

# Numbers that are computed with between two pauses, over all samples together.
NUMBERS_AT_ONCE = 3_000_000
# The variability map is shown from 0 to this part of the whole gray range.
VARIABILITY_SHARE = 0.25
VARIABILITY_COLORS = "vtkMRMLColorTableNodeFileMagma.txt"
FOLDER = "Mean and variability"


def statisticsTask(
    samples: Sequence[Sample],
    modality: str,
    onDone: Callable[[Any, Any], None],
    onError: Callable[[str], None] | None = None,
) -> Any:
    """A SlicedTask that makes two volumes from the ``samples`` that are kept: their mean and their standard deviation.

    Both are float32 in the intensity units of the samples; the standard deviation is that of the samples themselves
    (divided by N). ``onDone`` gets the two nodes, ``onError`` a sentence.
    """

    def failed(error: Exception) -> None:
        if onError is not None:
            onError(sentenceOf(error))

    return SlicedTask(_steps(samples, modality), lambda nodes: onDone(*nodes), failed)


def _steps(samples: Sequence[Sample], modality: str) -> Generator[None, None, tuple[Any, Any]]:
    volumes = [v for s in samples if s.kept and (v := s.volume(modality)) is not None]
    if len(volumes) < 2:
        raise InputError(f"Mean and variability need at least two kept samples with {modality}. Generate more.")
    if len({v.GetImageData().GetDimensions() for v in volumes}) > 1:
        raise InputError("The samples are on different grids, because the segmentation's geometry was changed.")
    sources = [voxelView(v.GetImageData()) for v in volumes]
    z, y, x = sources[0].shape
    meanImage, mean = newImage((x, y, z), np.dtype(np.float32))
    deviationImage, deviation = newImage((x, y, z), np.dtype(np.float32))
    for part in slabs(z, x * y, NUMBERS_AT_ONCE // len(sources)):
        stack = np.stack([source[part] for source in sources]).astype(np.float32)
        mean[part] = stack.mean(axis=0)
        yield
        deviation[part] = stack.std(axis=0)
        yield
    count, first = len(volumes), volumes[0]
    meanNode = _newVolume(first, meanImage, f"mean of {count}", "mean", modality)
    yield
    deviationNode = _newVolume(first, deviationImage, f"variability of {count} (SD)", "variability", modality)
    # From nothing to a quarter of the gray range, in a color map whose brightness grows evenly.
    display = deviationNode.GetDisplayNode()
    display.SetWindowLevelMinMax(0.0, display.GetWindow() * VARIABILITY_SHARE)
    if slicer.mrmlScene.GetNodeByID(VARIABILITY_COLORS) is not None:
        display.SetAndObserveColorNodeID(VARIABILITY_COLORS)
    return meanNode, deviationNode


def _newVolume(like: Any, image: Any, what: str, statistic: str, modality: str) -> Any:
    segmentation = segmentationOf(like)
    case = segmentation.GetName() if segmentation is not None else like.GetName()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{modality} {what} – {case} (synthetic)")
    node.CopyOrientation(like)
    markSynthetic(node, segmentation, {"modality": modalityOf(like)})
    node.SetAttribute(STATISTIC, statistic)
    display = like.GetDisplayNode()
    low, high = (display.GetWindowLevelMin(), display.GetWindowLevelMax()) if display is not None else (0.0, 1000.0)
    displayGray(node, low, high)
    node.SetAndObserveImageData(image)
    if segmentation is not None:
        placeLike(node, segmentation)
        putUnder(node, folderFor(FOLDER, caseItem(segmentation)))
    return node
