"""Segments of a segmentation node: which label of a model each stands for, and its voxels as masks on any lattice."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from medddpm.errors import InputError
from medddpm.labels.conventions import REGIONS, read_names, role_of, scheme_value
from medddpm.labels.scheme import Label, LabelScheme

from .Lattice import Extent, Lattice, intersection, newImage, toMatrix, voxelView

VALUE_TAG = "MedDDPM.Label"
# Slicer's general list; categories by the codes it uses for them.
CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
ANATOMY = "SCT^123037004^Anatomical Structure"
ALTERED = "SCT^49755003^Morphologically Altered Structure"


def segmentValues(segmentationNode: Any, scheme: LabelScheme) -> dict[str, int | None]:
    """Segment id -> value of ``scheme``, None for segments that mean nothing to it, in the order of the segments.

    A segment is known by our tag (``setSegmentValue``), then by the exact name of a label, then by the words of its
    name and its terminology code as the core reads them in files, so that scene and file are understood alike; what a
    region such as a whole tumor is depends on the others. Several segments may have one value.
    """
    segmentation = segmentationNode.GetSegmentation()
    segments = {key: segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()}
    roles = read_names((key, segment.GetName() or "", _codeOf(segment)) for key, segment in segments.items())
    return {key: _valueOf(segment, roles.get(key), scheme) for key, segment in segments.items()}


def regionSegments(segmentationNode: Any, scheme: LabelScheme) -> list[str]:
    """Ids of the segments that hold others, from the outside to the inside: what a whole tumor or its core is named.

    Those that a tag or a label's exact name says to be something else are none.
    """
    segmentation = segmentationNode.GetSegmentation()
    found = []
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        region = role_of(segment.GetName() or "", "")
        if region in REGIONS and _saidValue(segment, scheme) is None:
            found.append((REGIONS.index(region), segmentId))
    return [segmentId for _, segmentId in sorted(found)]


def segmentReading(segmentationNode: Any, scheme: LabelScheme) -> str:
    """What each segment is taken for, for reading; empty where all have the names of the labels themselves."""
    segmentation = segmentationNode.GetSegmentation()
    said, plain = [], True
    for segmentId, value in segmentValues(segmentationNode, scheme).items():
        name = segmentation.GetSegment(segmentId).GetName() or ""
        label = "not known, left out" if value is None else scheme.label(value).name
        plain = plain and name.strip().casefold() == label.casefold()
        said.append(f"'{name}' -> {label}")
    return "" if plain else f"The segments are known by their names: {', '.join(said)}."


def setSegmentValue(segmentationNode: Any, segmentId: str, scheme: LabelScheme, value: int | None) -> None:
    """Say by a tag what a segment means to ``scheme``, whatever its name; None: nothing.

    Another scheme does not heed the tag. Raises KeyError where the scheme has no such value.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    segment.SetTag(VALUE_TAG, f"{scheme.name}:0:" if value is None else _tagOf(scheme, scheme.label(value)))


def createSegments(segmentationNode: Any, scheme: LabelScheme, values: tuple[int, ...] | None = None) -> dict[int, str]:
    """Make a segment for each label of ``scheme`` (or those in ``values``) that has none; returns value -> segment id.

    New segments are empty and have the name, color and terminology code of their label. Where several segments have a
    value already, the first of them is returned.
    """
    found: dict[int, str] = {}
    for segmentId, value in segmentValues(segmentationNode, scheme).items():
        if value is not None:
            found.setdefault(value, segmentId)
    wanted = [label for label in scheme.labels if values is None or label.value in values]
    return {label.value: found.get(label.value) or _newSegment(segmentationNode, scheme, label) for label in wanted}


def terminologyEntry(label: Label) -> str:
    """The label's code as Slicer's terminology tag: context, category, type and the parts that stay empty."""
    category = ALTERED if label.tumor else ANATOMY
    return f"{CONTEXT}~{category}~{label.code}~^^~Anatomic codes - DICOM master list~^^~^^"


def _newSegment(segmentationNode: Any, scheme: LabelScheme, label: Label) -> str:
    segmentation = segmentationNode.GetSegmentation()
    segmentId: str = segmentation.AddEmptySegment("", label.name, [channel / 255 for channel in label.color])
    segment = segmentation.GetSegment(segmentId)
    segment.SetTerminology(terminologyEntry(label))
    # Slicer replaces generated names and colors when a terminology is chosen; these are meant.
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetTag(VALUE_TAG, _tagOf(scheme, label))
    return segmentId


def _tagOf(scheme: LabelScheme, label: Label) -> str:
    """Names the scheme and the label too: schemes that people train can share a name but not all labels."""
    return f"{scheme.name}:{label.value}:{label.name}"


def _valueOf(segment: Any, role: str | None, scheme: LabelScheme) -> int | None:
    """A segment's value; ``role`` is what its name, or else its terminology, tells."""
    said = _saidValue(segment, scheme)
    if said is not None:
        return said or None
    if role_of(segment.GetName() or "", "") is None:
        code = _codeOf(segment)
        exact = [label.value for label in scheme.labels if code and _sameCode(label.code, code)]
        if exact:
            return exact[0]
    return (scheme_value(role, scheme) or None) if role is not None else None


def _saidValue(segment: Any, scheme: LabelScheme) -> int | None:
    """The value that a tag, or a label's own name, says; 0 for nothing, None where neither says anything."""
    tagged = _tag(segment, VALUE_TAG)
    if tagged == f"{scheme.name}:0:":
        return 0
    for label in scheme.labels:
        if tagged == _tagOf(scheme, label):
            return label.value
    name = (segment.GetName() or "").strip().casefold()
    return next((label.value for label in scheme.labels if name == label.name.casefold()), None)


def _codeOf(segment: Any) -> str:
    parts = _tag(segment, segment.GetTerminologyEntryTagName()).split("~")
    return parts[2] if len(parts) > 2 else ""


def _sameCode(a: str, b: str) -> bool:
    """Whether two codes agree in scheme and value; the meaning is only their wording."""
    return a.split("^")[:2] == b.split("^")[:2]


def _tag(segment: Any, name: str) -> str:
    """The text of a segment's tag; empty where it has none."""
    if not segment.HasTag(name):
        return ""
    value = vtk.reference("")
    segment.GetTag(name, value)
    return str(value)


def labelmapOf(segment: Any) -> Any:
    """The image that holds a segment's voxels (perhaps others' too); None where it has none."""
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(name)
    return None if image is None or voxelView(image).size == 0 else image


def segmentMask(segment: Any, lattice: Lattice) -> tuple[np.ndarray, Extent | None]:
    """Where a segment lies on ``lattice``: a mask of the extent returned with it; None for nowhere."""
    image = labelmapOf(segment)
    if image is None:
        return np.zeros((0, 0, 0), bool), None
    own = Lattice.ofImage(image)
    offset = own.offsetFrom(lattice)
    if offset is None:
        image = _resampled(image, lattice)
        own = lattice
    else:
        own = own.on(lattice)
    extent = intersection(own.extent, lattice.extent)
    if extent is None:
        return np.zeros((0, 0, 0), bool), None
    return voxelView(image)[own.slices(extent)] == segment.GetLabelValue(), extent


def maskOn(segmentationNode: Any, segmentId: str, grid: Lattice) -> np.ndarray:
    """Where a segment lies on ``grid``: a mask (Z, Y, X) of all of it."""
    result = np.zeros(grid.shape, bool)
    mask, extent = segmentMask(segmentationNode.GetSegmentation().GetSegment(segmentId), grid)
    if extent is not None:
        result[grid.slices(extent)] = mask
    return result


def _resampled(image: Any, lattice: Lattice) -> Any:
    """The nearest neighbors of an image on another lattice."""
    reference, result = newImage(lattice), slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(image, reference, result)
    # The filter may return less than the reference where the input ends earlier.
    if tuple(result.GetExtent()) != lattice.extent:
        whole = newImage(lattice)
        voxelView(whole)[:] = 0
        extent = intersection(tuple(result.GetExtent()), lattice.extent)
        if extent is not None:
            part = Lattice(lattice.matrix, tuple(result.GetExtent())).slices(extent)
            voxelView(whole)[lattice.slices(extent)] = voxelView(result)[part]
        return whole
    return result


def binarySegmentation(segmentationNode: Any) -> Any:
    """The node's segmentation, or a copy of it with label maps where it has only surfaces or the like."""
    segmentation = segmentationNode.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if segmentation.ContainsRepresentation(name):
        return segmentation
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    if segmentation.GetNumberOfSegments() and not copy.CreateRepresentation(name):
        raise InputError(
            "The segmentation cannot be turned into voxels. Set its geometry to that of an image of the head (Segment "
            "Editor, Specify geometry), or convert it to a binary labelmap in the Segmentations module."
        )
    return copy


def requireBinarySource(segmentationNode: Any) -> None:
    """Make the node one of voxels, as the Segment Editor does before it edits one of surfaces."""
    if not segmentationNode.GetSegmentation().GetNumberOfSegments():
        return
    made = segmentationNode.CreateBinaryLabelmapRepresentation()
    if not made or not segmentationNode.SetSourceRepresentationToBinaryLabelmap():
        raise InputError(
            "The segmentation cannot be edited as voxels. Convert it to a binary labelmap in the Segmentations module."
        )


def parameterLattice(segmentation: Any) -> Lattice | None:
    """The reference geometry of a segmentation; None where it has none that can be used."""
    converter = slicer.vtkSegmentationConverter
    text = segmentation.GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    image = slicer.vtkOrientedImageData()
    if not text or not converter.DeserializeImageGeometry(text, image, False):
        return None
    lattice = Lattice.ofImage(image)
    if lattice.empty or not np.isfinite(lattice.matrix).all() or abs(np.linalg.det(lattice.matrix)) < 1e-12:
        return None  # a damaged scene: better the geometry of the segments
    lattice.check()
    return lattice


def fixGeometry(segmentation: Any, grid: Lattice) -> None:
    """Make ``grid`` the reference geometry of a segmentation that has none; it then no longer follows the segments."""
    converter = slicer.vtkSegmentationConverter
    if parameterLattice(segmentation) is None:
        text = converter.SerializeImageGeometry(toMatrix(grid.matrix), list(grid.extent))
        segmentation.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), text)


def sharedImages(segmentation: Any, values: dict[str, int | None]) -> list[tuple[Any, list[int]]]:
    """The images of the known segments, each once, with the numbers that these segments have in it."""
    found: dict[Any, list[int]] = {}
    for segment in (segmentation.GetSegment(key) for key, value in values.items() if value is not None):
        image = labelmapOf(segment)
        if image is not None:
            found.setdefault(image, []).append(segment.GetLabelValue())
    return list(found.items())


def effectiveLattice(image: Any, labelValues: list[int]) -> Lattice:
    """The lattice of the voxels of an image that have one of these numbers."""
    own = Lattice.ofImage(image)
    voxels = voxelView(image)
    mask = np.logical_or.reduce([voxels == value for value in labelValues])
    return Lattice(own.matrix, own.bounding(mask))
