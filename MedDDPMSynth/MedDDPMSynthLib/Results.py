"""Results in the scene: samples, where they are in the hierarchy, which are kept, and their mean and variability."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError
from MedDDPMSlicerLib.Background import SlicedTask
from MedDDPMSlicerLib.Lattice import voxelView
from MedDDPMSlicerLib.Nodes import (
    displayGray,
    field,
    folderFor,
    hierarchyOf,
    itemOf,
    markSynthetic,
    parentOf,
    patientOf,
    placeLike,
    provenanceOf,
    putUnder,
    removeIfEmpty,
    removeNode,
    segmentationOf,
    syntheticAnatomies,
    syntheticVolumes,
)
from MedDDPMSlicerLib.Texts import sentenceOf
from MedDDPMSlicerLib.Volumes import newImage, slabs

from .Marking import isEdited

# Attributes of our own beside those of MedDDPMSlicerLib.Nodes.
JOB, KEPT, AUTOMATIC, STATISTIC = "MedDDPM.job", "MedDDPM.kept", "MedDDPM.automatic", "MedDDPM.statistic"
REGION = "MedDDPM.region"

# In the provenance of a volume: what is known of the anatomy of its sample, and what came of segmenting it again.
SAMPLE_ANATOMY, SAMPLE_VERIFICATION = "sample_anatomy", "sample_verification"
# Numbers that are computed with between two pauses, over all samples together.
NUMBERS_AT_ONCE = 3_000_000
# The variability map is shown from 0 to this part of the whole gray range.
VARIABILITY_SHARE = 0.25
VARIABILITY_COLORS = "vtkMRMLColorTableNodeFileMagma.txt"
FOLDER = "Mean and variability"


@dataclass(frozen=True)
class Sample:
    """One sample in the scene: volumes made from one mask with one seed. ``item``: its subject hierarchy folder.

    ``anatomy``: the segmentation of the tissues that it was made from, or None; ``region``: that of the voxels of a
    real scan that are synthetic, or None. ``key`` names its job. ``automatic``: made by the automatic update. ``kept``:
    counts for mean and variability.
    """

    number: int
    seed: int
    key: str
    volumes: tuple[Any, ...]
    kept: bool
    automatic: bool
    item: int
    anatomy: Any = None
    region: Any = None

    @property
    def edited(self) -> bool:
        """Whether it is a real scan of which a region was generated."""
        return any(isEdited(volume) for volume in self.volumes)

    def volume(self, modality: str) -> Any:
        """The volume of a modality, or None."""
        return next((v for v in self.volumes if modalityOf(v) == modality), None)


def samplesOf(segmentationNode: Any) -> list[Sample]:
    """The samples made from a segmentation, in order of their numbers."""
    if segmentationNode is None:
        return []
    found, masks = dict[int, list[Any]](), dict[tuple[int, bool], Any]()
    for node in syntheticVolumes(segmentationNode):
        found.setdefault(_number(node, "sample"), []).append(node)
    for node in syntheticAnatomies(segmentationNode):
        masks.setdefault((_number(node, "sample"), node.GetAttribute(REGION) == "1"), node)
    return [
        Sample(
            number,
            max(0, _number(nodes[0], "seed")),
            nodes[0].GetAttribute(JOB) or "",
            tuple(nodes),
            all(node.GetAttribute(KEPT) != "0" for node in nodes),
            nodes[0].GetAttribute(AUTOMATIC) == "1",
            int(hierarchyOf().GetItemParent(itemOf(nodes[0]))),
            masks.get((number, False)),
            masks.get((number, True)),
        )
        for number, nodes in sorted(found.items())
        if number >= 0
    ]


def _number(node: Any, name: str) -> int:
    """A field as a whole number; -1 where it is none."""
    text = field(node, name) or ""
    return int(text) if text.isdigit() else -1


def setKept(sample: Sample, kept: bool) -> None:
    """Let a sample count for mean and variability, or not. One of the automatic update is kept for good then."""
    for node in sample.volumes:
        node.SetAttribute(KEPT, "1" if kept else "0")
        if kept:
            node.RemoveAttribute(AUTOMATIC)


def discardSample(sample: Sample, jobs: Any = None) -> None:
    """Remove a sample's nodes and folder from the scene, and its job's folder when it was the last of it.

    ``jobs``: the JobMonitor that ran it.
    """
    above = hierarchyOf().GetItemParent(sample.item)
    for node in (*sample.volumes, sample.anatomy, sample.region):
        removeNode(node)
    removeEmptyItems(sample.item, above)
    if jobs is None or not sample.key or any(node.GetAttribute(JOB) == sample.key for node in syntheticVolumes()):
        return
    path = jobs.spool / Path(sample.key).name
    if path.is_dir() and not path.is_symlink():
        jobs.follow(path).discard()


def modalityOf(volumeNode: Any) -> str:
    """The modality of a synthetic volume; empty for others."""
    return field(volumeNode, "modality") or ""


def modalitiesOf(samples: Iterable[Sample]) -> list[str]:
    """All modalities of some samples, in their order."""
    return list(dict.fromkeys(modalityOf(v) for s in samples for v in s.volumes))


def factsOf(sample: Sample, what: str) -> dict[str, Any]:
    """What its provenance says of a sample under ``what`` (``SAMPLE_ANATOMY``, ...); empty where it says nothing."""
    facts = provenanceOf(sample.volumes[0]).get(what) if sample.volumes else None
    return facts if isinstance(facts, dict) else {}


def nextSampleNumber(segmentationNode: Any) -> int:
    """The number of the next sample made from a segmentation."""
    return max((s.number for s in samplesOf(segmentationNode)), default=0) + 1


def caseName(segmentationNode: Any) -> str:
    """What results are called: the segmentation's name, after that of the patient or folder that it lies under."""
    tree, own, above = hierarchyOf(), str(segmentationNode.GetName()), parentOf(segmentationNode)
    folder = "" if above == tree.GetSceneItemID() else str(tree.GetItemName(above))
    named = patientOf(segmentationNode) or folder
    return own if named in own else f"{named}, {own}"


def caseItem(segmentationNode: Any, edited: bool = False) -> int:
    """The hierarchy folder beside a segmentation for its synthetic or its ``edited`` images, made where needed.

    It is found by the samples in it, also after the segmentation was renamed.
    """
    tree = hierarchyOf()
    for sample in samplesOf(segmentationNode):
        above = int(tree.GetItemParent(sample.item))
        known = above not in (0, tree.GetSceneItemID()) and tree.GetItemDataNode(above) is None
        if known and sample.edited is edited:
            return above
    name = f"{caseName(segmentationNode)} – {'edited scan' if edited else 'synthetic'}"
    return folderFor(name, parentOf(segmentationNode), key=segmentationNode.GetID())


def kindOf(edited: bool) -> str:
    """What the name of an image ends with."""
    return "(edited scan)" if edited else "(synthetic)"


def removeEmptyItems(*items: int) -> None:
    """Remove those hierarchy folders that hold no node any more."""
    tree = hierarchyOf()
    for item in items:
        if item and item != tree.GetSceneItemID() and tree.GetItemDataNode(item) is None:
            removeIfEmpty(item)


def isSaved(volumeNode: Any) -> bool:
    """Whether a volume is in a file as it is now."""
    storage = volumeNode.GetStorageNode()
    return storage is not None and bool(storage.GetFileName()) and not volumeNode.GetModifiedSinceRead()


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
    if len({isEdited(v) for v in volumes}) > 1:
        raise InputError(
            "Some of the kept samples are edited scans, others are synthetic throughout; their mean would say nothing. "
            "Keep only those of one kind."
        )
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
    case, edited = caseName(segmentation) if segmentation is not None else like.GetName(), isEdited(like)
    name = f"{modality} {what} – {case} {kindOf(edited)}"
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.CopyOrientation(like)
    partly = {"partly_synthetic": [modalityOf(like)]} if edited else None
    markSynthetic(node, segmentation, {"modality": modalityOf(like)}, partly)
    node.SetAttribute(STATISTIC, statistic)
    display = like.GetDisplayNode()
    low, high = (display.GetWindowLevelMin(), display.GetWindowLevelMax()) if display is not None else (0.0, 1000.0)
    displayGray(node, low, high)
    node.SetAndObserveImageData(image)
    if segmentation is not None:
        placeLike(node, segmentation)
        putUnder(node, folderFor(FOLDER, caseItem(segmentation, edited)))
    return node
