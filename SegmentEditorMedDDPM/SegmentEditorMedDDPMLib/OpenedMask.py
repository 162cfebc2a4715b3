"""A segmentation opened for an operation: its labels in the world, and how changed labels are written back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume, Window, bounding_box
from medddpm.labels.scheme import LabelScheme
from medddpm.masks.stack import one_of
from MedDDPMSlicerLib.Lattice import toArray
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels

# Voxels around the outline that an operation may look at: surfaces are smoothed over two.
MARGIN = 3

SaveUndo = Callable[[], object]


@dataclass(frozen=True)
class OpenedMask:
    """The block of a segmentation that holds all of its labels.

    ``labels``: uint8 (X, Y, Z), values of ``scheme``. ``local``: 4x4, voxel index -> RAS mm of the segmentation's own
    node. ``affine``: 4x4, voxel index -> RAS mm of the world, so that what is done is in the millimeters and directions
    that the user sees, also where the segmentation lies under a transform.
    """

    node: Any
    scheme: LabelScheme
    labels: np.ndarray
    local: np.ndarray
    affine: np.ndarray

    @property
    def outlineName(self) -> str:
        """What the scheme calls the tissue around the tumor, in lower case: "brain" or "head"."""
        return self.scheme.label(self.scheme.surround).name.lower()

    def voxelAt(self, point: tuple[float, float, float]) -> tuple[int, int, int] | None:
        """Index in ``labels`` of the voxel at ``point`` (RAS mm, world); None outside of the block."""
        index = np.linalg.inv(self.affine) @ [*point, 1.0]
        x, y, z = np.floor(index[:3] + 0.5).astype(int).tolist()
        inside = all(0 <= v < n for v, n in zip((x, y, z), self.labels.shape, strict=True))
        return (x, y, z) if inside else None

    def commit(self, labels: np.ndarray, saveUndo: SaveUndo | None = None) -> list[str]:
        """Write new ``labels`` into the segments; returns the IDs of those that changed.

        ``saveUndo`` is called once, before the first change and only if there is one. Segments that the labels need and
        the segmentation lacks are created.
        """
        # Only the part that changes is written, which is what keeps an operation on a large mask short.
        box = bounding_box(labels != self.labels)
        if box is None:
            return []
        if saveUndo is not None:
            saveUndo()
        with modifiedOnce(self.node):
            return applyLabels(self.node, self.scheme, Volume(labels[box], shifted(self.local, box)))


def openMask(segmentationNode: Any, scheme: LabelScheme) -> OpenedMask:
    """Open a segmentation for an operation.

    Raises InputError where it is empty, lacks the brain or head around the tumor, or lies under a warp.
    """
    toWorld = worldMatrix(segmentationNode)
    whole = composeLabels(segmentationNode, scheme)
    if not one_of(whole.data, (scheme.surround, *scheme.tissue_values)).any():
        name = scheme.label(scheme.surround).name
        raise InputError(
            f"The segment '{name}' is missing or empty, so it is not known where a tumor may lie. Paint it, or make it "
            f"from an MRI in the module MedDDPM Synth ('{name} from MRI')."
        )
    block = bounding_box(whole.data, MARGIN)
    assert block is not None  # surround or tissues have voxels
    local = shifted(np.asarray(whole.affine, dtype=float), block)
    return OpenedMask(segmentationNode, scheme, whole.data[block], local, toWorld @ local)


def shifted(affine: np.ndarray, block: Window) -> np.ndarray:
    """The affine (4x4) of a block of the array whose affine is given."""
    result = affine.copy()
    result[:3, 3] += affine[:3, :3] @ [s.start for s in block]
    return result


def worldMatrix(node: Any) -> np.ndarray:
    """4x4, RAS mm of the node -> RAS mm of the world. Raises InputError where the node is warped."""
    import vtk

    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not parent.GetMatrixTransformToWorld(matrix):
        raise InputError(
            f"The segmentation '{node.GetName()}' lies under the nonlinear transform '{parent.GetName()}', in which "
            "distances are not the same everywhere. Harden the transform first (Data module, right click on the "
            "transform, Harden transform)."
        )
    return toArray(matrix)


@contextmanager
def modifiedOnce(node: Any) -> Iterator[None]:
    """Tell the views of a node's changes only once, at the end of the block."""
    was = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(was)
