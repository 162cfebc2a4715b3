"""Segmentation nodes as label maps of a model, and back, in the coordinates of the node.

A segmentation may have overlapping segments of different extents, or surfaces. Its label map has the inner parts of a
tumor over the outer ones over the tissues over the rest, so painting a tumor over the head loses nothing; of tissues
that overlap, the first of the scheme counts, so ventricles can be painted into white matter. Written back, the segment
of the surrounding label keeps what lies under all others. Parent transforms are left alone: everything here is in the
node's own coordinates.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from medddpm.errors import InputError
from medddpm.labels.scheme import LabelScheme

from .Background import finish
from .Lattice import EMPTY, Extent, Lattice, intersection, newImage, voxelView
from .Segments import createSegments, regionSegments, segmentValues
from .SegmentVoxels import (
    binarySegmentation,
    effectiveLattice,
    fixGeometry,
    labelmapOf,
    maskOn,
    parameterLattice,
    requireBinarySource,
    segmentMask,
    sharedImages,
)

if TYPE_CHECKING:
    from medddpm.geometry.volume import Volume


def composeLabels(segmentationNode: Any, scheme: LabelScheme, referenceGeometry: Any = None) -> Volume:
    """The label map of a segmentation: uint8 (X, Y, Z) in the scheme's values and its affine to RAS+ mm (node).

    The grid is that of ``referenceGeometry`` (a vtkOrientedImageData, in node coordinates, or a volume node, brought
    over by its transform), exactly; else the reference geometry of the segmentation, or what its segments have in
    common, enlarged where segments reach beyond. Does not change the node. Raises InputError where no segment has a
    voxel that means something to ``scheme``, or the geometry cannot be used.
    """
    values = segmentValues(segmentationNode, scheme)
    known = {key: value for key, value in values.items() if value is not None}
    labels = paintSegments(segmentationNode, known, layers(segmentationNode, scheme, known), referenceGeometry)
    if not labels.data.any():
        raise InputError(_emptySentence(values, scheme))
    return labels


def paintSegments(
    segmentationNode: Any, numbers: Mapping[str, int], order: Iterable[str], referenceGeometry: Any = None
) -> Volume:
    """Segments as a label map, each with its number, painted in this order; the grid as of ``composeLabels``."""
    segmentation = binarySegmentation(segmentationNode)
    lattice = _explicitLattice(referenceGeometry, segmentationNode) or _ownLattice(segmentation, numbers)
    painted = np.zeros(lattice.shape, np.min_scalar_type(max(numbers.values(), default=0)))
    for key in order:
        _paint(painted, lattice, segmentation.GetSegment(key), numbers[key])
    return lattice.toVolume(painted)


def layers(segmentationNode: Any, scheme: LabelScheme, values: Mapping[str, int]) -> list[str]:
    """The segments of these values from the first to be painted to the one on top of all."""
    regions = regionSegments(segmentationNode, scheme)
    order = {value: place for place, value in enumerate(_paintOrder(scheme))}
    # Regions lie below all parts of a tumor, the inner ones over the outer ones, which hold them.
    parts = min((order[value] for value in scheme.tumor_values), default=0)
    places = {key: (order[value], 1, 0) for key, value in values.items()}
    places |= {key: (parts, 0, place) for place, key in enumerate(regions)}
    return sorted(places, key=lambda key: places[key])


def applyLabels(segmentationNode: Any, scheme: LabelScheme, labels: Volume) -> list[str]:
    """Write a label map (values of ``scheme``, X, Y, Z) into the segments; returns the ids of those that changed.

    Segments keep their ids, names and colors; a label without a segment gets one. The surrounding label's segment
    becomes all of the outline, tumor included, so erasing tumor later leaves no hole. Where several segments have one
    value, each keeps its part and the first takes what is new. Voxels outside of the map's grid and segments that mean
    nothing to ``scheme`` stay as they are. Call ``SaveState`` of the history before, so that it can be undone. Raises
    InputError where the map has a value that the scheme has not.
    """
    return finish(applyInSteps(segmentationNode, scheme, labels))


def applyInSteps(
    segmentationNode: Any, scheme: LabelScheme, labels: Volume, values: tuple[int, ...] | None = None
) -> Generator[None, None, list[str]]:
    """``applyLabels`` in steps, one a label. ``values``: only these labels' segments are written."""
    data = _checkedData(labels, scheme)
    written = scheme.values if values is None else values
    present = tuple(value for value in written if (data == value).any())
    requireBinarySource(segmentationNode)
    createSegments(segmentationNode, scheme, present)
    yield
    ids = segmentValues(segmentationNode, scheme)
    grid = _snapped(Lattice.ofVolume(labels), segmentationNode.GetSegmentation())
    changed: list[str] = []
    for value in (value for value in reversed(_paintOrder(scheme)) if value in written):
        holders = [key for key, found in ids.items() if found == value]
        if value == scheme.surround:
            changed += _applySurround(segmentationNode, holders, data, value, grid, bool(changed))
        else:
            changed += _applyValue(segmentationNode, holders, data == value, grid)
        yield
    if changed:
        fixGeometry(segmentationNode.GetSegmentation(), grid)
    return changed


def _paintOrder(scheme: LabelScheme) -> list[int]:
    """Values from the first to be painted to the one on top of all."""
    from medddpm.masks.stack import nesting_order

    tumor = nesting_order(scheme)
    outline = [scheme.surround] * (scheme.surround not in tumor)
    return [*outline, *reversed(scheme.tissue_values), *reversed(tumor)]


def _paint(painted: np.ndarray, lattice: Lattice, segment: Any, value: int) -> None:
    mask, extent = segmentMask(segment, lattice)
    if extent is not None:
        np.copyto(painted[lattice.slices(extent)], painted.dtype.type(value), where=mask)


def _explicitLattice(reference: Any, segmentationNode: Any) -> Lattice | None:
    if reference is None:
        return None
    if reference.IsA("vtkMRMLVolumeNode"):
        from .Volumes import affineOf, transformToSame

        x, y, z = reference.GetImageData().GetDimensions() if reference.GetImageData() else (0, 0, 0)
        matrix = transformToSame(reference, segmentationNode) @ affineOf(reference)
        lattice = Lattice(matrix, (0, x - 1, 0, y - 1, 0, z - 1))
    else:
        lattice = Lattice.ofImage(reference)
    lattice.check()
    if lattice.empty:
        raise InputError("The reference volume has no voxels. Choose another.")
    return lattice


def _ownLattice(segmentation: Any, values: Mapping[str, int]) -> Lattice:
    """The reference geometry, enlarged to what the known segments need; without one, all that their images span.

    Then the voxels are those of the largest image: Slicer makes very fine ones for small surfaces.
    """
    lattice, given = parameterLattice(segmentation), True
    images = sharedImages(segmentation, values)
    for image, labelValues in sorted(images, key=lambda found: -Lattice.ofImage(found[0]).size):
        own = Lattice.ofImage(image)
        if lattice is None:
            lattice, given = Lattice(own.matrix, EMPTY), False
        if not _inside(lattice.extentOf(own), lattice.extent):
            needed = effectiveLattice(image, labelValues) if given else own
            lattice = lattice if needed.empty else lattice.covering(lattice.extentOf(needed))
    return lattice or Lattice(np.eye(4), EMPTY)


def _snapped(grid: Lattice, segmentation: Any) -> Lattice:
    """``grid`` counted as the segmentation counts, so that its geometry does not move by rounding."""
    own = parameterLattice(segmentation)
    if own is not None:
        return grid.on(own)
    images = (labelmapOf(segmentation.GetSegment(segmentId)) for segmentId in segmentation.GetSegmentIDs())
    return next((grid.on(Lattice.ofImage(image)) for image in images if image is not None), grid)


def _applyValue(segmentationNode: Any, holders: list[str], wanted: np.ndarray, grid: Lattice) -> list[str]:
    olds = [maskOn(segmentationNode, segmentId, grid) for segmentId in holders]
    changed = []
    for segmentId, old, new in zip(holders, olds, _shares(olds, wanted), strict=True):
        if not np.array_equal(old, new):
            _write(segmentationNode, segmentId, new, grid)
            changed.append(segmentId)
    return changed


def _applySurround(
    segmentationNode: Any, holders: list[str], data: np.ndarray, value: int, grid: Lattice, othersChanged: bool
) -> list[str]:
    """As _applyValue with all of the outline; where nothing else changed, what is missing under tumor may stay so."""
    if not holders:
        return []
    if not othersChanged:
        old = np.logical_or.reduce([maskOn(segmentationNode, segmentId, grid) for segmentId in holders])
        if np.array_equal(old, (data == value) | (old & (data > 0))):
            return []
    return _applyValue(segmentationNode, holders, data > 0, grid)


def _shares(olds: list[np.ndarray], wanted: np.ndarray) -> list[np.ndarray]:
    """What each of the segments with one value gets: its old part, and the first all that is new."""
    if len(olds) < 2:
        return [wanted] * len(olds)
    shares = [old & wanted for old in olds]
    shares[0] |= wanted & ~np.logical_or.reduce(olds)
    return shares


def _write(segmentationNode: Any, segmentId: str, mask: np.ndarray, grid: Lattice) -> None:
    """Replace what a segment has on ``grid``; what it has beyond stays."""
    import slicer

    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    image = labelmapOf(segment)
    if image is not None and not _inside(grid.extentOf(Lattice.ofImage(image)), grid.extent):
        whole = grid.covering(grid.extentOf(effectiveLattice(image, [segment.GetLabelValue()])))
        former = maskOn(segmentationNode, segmentId, whole)
        former[whole.slices(grid.extent)] = mask
        grid, mask = whole, former
    needed = grid.bounding(mask)
    if needed == EMPTY:
        segmentation.ClearSegment(segmentId)
        return
    written = newImage(Lattice(grid.matrix, needed))
    voxelView(written)[:] = mask[grid.slices(needed)]
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(written, segmentationNode, segmentId)


def _checkedData(labels: Volume, scheme: LabelScheme) -> np.ndarray:
    """The map as a contiguous (Z, Y, X) array. Raises InputError for values that the scheme has not."""
    data = np.ascontiguousarray(np.asarray(labels.data).transpose(2, 1, 0))
    known = data == 0
    for value in scheme.values:
        known |= data == value
    if not known.all():
        named = ", ".join(f"{value:g}" for value in np.unique(data[~known])[:5])
        ours = ", ".join(str(value) for value in scheme.values)
        raise InputError(f"The label map has the values {named}; the model's labels are {ours} (0 is outside).")
    return data


def _inside(inner: Extent, outer: Extent) -> bool:
    return intersection(inner, outer) == inner


def _emptySentence(values: dict[str, int | None], scheme: LabelScheme) -> str:
    names = ", ".join(label.name for label in scheme.labels)
    if not any(value is not None for value in values.values()):
        return (
            f"None of the {len(values)} segments is a label of the model ({names}). Choose what each shows under "
            "'Segment roles', or give them these names."
        )
    return f"The segmentation is empty: no voxel is painted for {names}. Paint a mask, or load one."
