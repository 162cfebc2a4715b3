"""The voxels of segments, as masks on any lattice, and the lattices of segmentations."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError

from .Lattice import Extent, Lattice, intersection, newImage, toMatrix, voxelView


def labelmapOf(segment: Any) -> Any:
    """The image that holds a segment's voxels (perhaps others' too); None where it has none."""
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(name)
    return None if image is None or voxelView(image).size == 0 else image


def contentStamp(segmentationNode: Any) -> tuple[Any, ...]:
    """Something that differs after each change of voxels or segments, undo included, which tells of no change itself
    where it exchanges images or moves segments between shared ones. Names, tags and display do not count.
    """
    segmentation = segmentationNode.GetSegmentation()
    name = segmentation.GetSourceRepresentationName()
    stamp = []
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        data = segment.GetRepresentation(name)
        told = (data.GetAddressAsString(""), data.GetMTime()) if data is not None else ()
        stamp.append((segmentId, segment.GetLabelValue(), *told))
    return tuple(stamp)


def voxelsOf(segment: Any) -> int:
    """How many voxels a segment has; of one without a label map (a surface) 1, which is only known to be something."""
    image = labelmapOf(segment)
    if image is not None:
        return int(np.count_nonzero(voxelView(image) == segment.GetLabelValue()))
    names: list[str] = []
    segment.GetContainedRepresentationNames(names)
    return int(any(segment.GetRepresentation(name).GetNumberOfPoints() for name in names))


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


def sharedImages(segmentation: Any, values: Collection[str]) -> list[tuple[Any, list[int]]]:
    """The images of these segments, each once, with the numbers that these segments have in it."""
    found: dict[Any, list[int]] = {}
    for segment in (segmentation.GetSegment(key) for key in values):
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
