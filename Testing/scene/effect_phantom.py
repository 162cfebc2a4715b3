"""A mask that has the same shape in space on any lattice of voxels, for the tests of the effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from medddpm.geometry.volume import Volume, bounding_box
from medddpm.labels.scheme import LabelScheme, load_scheme
from MedDDPMSlicerLib.Background import finish
from MedDDPMSlicerLib.Lattice import Lattice, newImage, voxelView
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
from MedDDPMSlicerLib.Segments import segmentValues
from SegmentEditorMedDDPMLib import Lesions
from SegmentEditorMedDDPMLib.Options import Motion, Point

BRATS = load_scheme("brats")
HEAD = load_scheme("whole-head")
CENTER = np.array([-31.5, 17.25, 8.125])
TUMOR = np.add(CENTER, [12.0, 6.0, -4.0])
RADIUS = 32.0
# Radius in mm and value, from the outside in.
PARTS = ((12.0, 2), (8.0, 3), (4.0, 1))


def phantom(affine: np.ndarray, scheme: LabelScheme = BRATS, tumor: bool = True) -> Volume:
    """A ball of brain (or head) around ``CENTER`` with a nested tumor at ``TUMOR``, on axes as those of ``affine``."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = np.ceil(2 * (RADIUS + 4) / spacing).astype(int)
    placed = affine.copy()
    placed[:3, 3] = CENTER - affine[:3, :3] @ ((shape - 1) / 2)
    distance = np.linalg.norm(points(shape, placed) - CENTER, axis=-1)
    labels = np.where(distance < RADIUS, np.uint8(scheme.surround), np.uint8(0))
    if tumor:
        paint(labels, placed, TUMOR, scheme)
    return Volume(labels, placed)


def paint(labels: np.ndarray, affine: np.ndarray, center: np.ndarray, scheme: LabelScheme = BRATS) -> None:
    """Put the nested tumor around ``center`` (RAS mm) into labels."""
    distance = np.linalg.norm(points(labels.shape, affine) - center, axis=-1)
    for radius, value in PARTS:
        labels[distance < radius] = value if scheme is BRATS else scheme.tumor_values[0]


def points(shape: Any, affine: np.ndarray) -> np.ndarray:
    """RAS mm of all voxel centers, (X, Y, Z, 3)."""
    return np.moveaxis(np.indices(tuple(shape)), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def segmentationOf(scene: Any, volume: Volume, scheme: LabelScheme = BRATS) -> Any:
    """A segmentation node with the labels of ``volume``."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Case")
    node.CreateDefaultDisplayNodes()
    applyLabels(node, scheme, volume)
    return node


def writeSegment(node: Any, segmentId: str, mask: np.ndarray, affine: np.ndarray) -> None:
    """Replace the voxels of a segment by ``mask`` (X, Y, Z)."""
    image = newImage(Lattice.ofVolume(Volume(mask, affine)))
    voxelView(image)[:] = mask.transpose(2, 1, 0)
    assert slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segmentId)


def placeLesion(*arguments: Any) -> Lesions.Outcome:
    """As in ``Lesions``, from beginning to end."""
    return finish(Lesions.placeLesion(*arguments))


def changeTumor(*arguments: Any) -> Lesions.Outcome:
    """As in ``Lesions``, from beginning to end."""
    return finish(Lesions.changeTumor(*arguments))


def mirrorTumor(*arguments: Any) -> Lesions.Outcome:
    """As in ``Lesions``, from beginning to end."""
    return finish(Lesions.mirrorTumor(*arguments))


def segmentOf(node: Any, value: int, scheme: LabelScheme = BRATS) -> str:
    """The ID of the segment that stands for a value."""
    return next(key for key, found in segmentValues(node, scheme).items() if found == value)


def tumorPoints(node: Any, scheme: LabelScheme = BRATS, values: tuple[int, ...] = ()) -> np.ndarray:
    """RAS mm (of the node) of all voxels of tumor, or of the parts ``values``, (N, 3)."""
    volume = composeLabels(node, scheme)
    indices = np.argwhere(np.isin(volume.data, values or scheme.tumor_values))
    return indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def tumorMl(node: Any, scheme: LabelScheme = BRATS, values: tuple[int, ...] = ()) -> float:
    """Milliliters of tumor in a mask."""
    voxel = abs(np.linalg.det(composeLabels(node, scheme).affine[:3, :3])) / 1000
    return len(tumorPoints(node, scheme, values)) * voxel


def voxelsOf(node: Any, segmentId: str) -> set[tuple[float, ...]]:
    """RAS mm (of the node, rounded) of the voxels of one segment, whatever its extent; for small segments."""
    array, affine = _exported(node, segmentId)
    return set(map(tuple, np.round(np.argwhere(array) @ affine[:3, :3].T + affine[:3, 3], 2).tolist()))


def contents(node: Any) -> dict[str, Any]:
    """All that a person can see of a segmentation: order, names, colors and voxels of its segments."""
    segmentation = node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    looks = {key: (segmentation.GetSegment(key).GetName(), segmentation.GetSegment(key).GetColor()) for key in ids}
    return {"order": ids, "looks": looks, "voxels": {key: _voxels(node, key) for key in ids}}


def _voxels(node: Any, segmentId: str) -> tuple[Any, ...]:
    """The voxels of a segment and where they are, as something that can be compared, whatever its extent."""
    array, affine = _exported(node, segmentId)
    box = bounding_box(array)
    if box is None:
        return ()
    first = affine[:3, :3] @ [s.start for s in box] + affine[:3, 3]
    return array[box].shape, np.packbits(array[box] != 0).tobytes(), tuple(np.round(first, 3).tolist())


def _exported(node: Any, segmentId: str) -> tuple[np.ndarray, np.ndarray]:
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segmentId, image)
    return voxelView(image).transpose(2, 1, 0), Lattice.ofImage(image).affine


class UndoCounter:
    """Saves states into a real history, and counts how often it was asked to."""

    def __init__(self, node: Any) -> None:
        self.history = slicer.vtkSegmentationHistory()
        self.history.SetSegmentation(node.GetSegmentation())
        self.history.SetMaximumNumberOfStates(10)
        self.count = 0

    def __call__(self) -> None:
        """Save the state."""
        self.count += 1
        assert self.history.SaveState()


def motionOf(
    scale: float = 100.0, shift: Point = (0.0, 0.0, 0.0), degrees: Point = (0.0, 0.0, 0.0), grow: float = 0.0
) -> Motion:
    """A change of the tumor."""
    return Motion(scale, *shift, *degrees, grow)
