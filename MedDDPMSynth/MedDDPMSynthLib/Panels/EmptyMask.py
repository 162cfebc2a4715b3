"""A new segmentation to paint in; without Qt."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from medddpm.geometry.volume import centered_affine
from MedDDPMSlicerLib.Lattice import Lattice, toMatrix
from MedDDPMSlicerLib.SegmentVoxels import fixGeometry, parameterLattice
from MedDDPMSlicerLib.Volumes import newImage

CANVAS_ROLE = "MedDDPM.canvas"
# Voxels of a new mask are at most this large (mm), also for models with a coarser grid: one cannot paint well on 2 mm.
FINEST_NEEDED = 1.0


def newSegmentation(reference: Any, grid: Any, name: str = "Mask") -> Any:
    """A new, empty segmentation node on the grid of ``reference``, or on one that covers the model's ``grid``.

    ``reference`` is a scalar volume node or None; ``grid`` is a ``medddpm.config.GridConfig``, placed with its center
    at the origin (RAS).
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    giveGeometry(node, reference, grid)
    return node


def giveGeometry(node: Any, reference: Any, grid: Any) -> None:
    """Set the grid that a segmentation is painted on, where it has none yet."""
    if parameterLattice(node.GetSegmentation()) is not None:
        return
    if reference is not None and reference.GetImageData() is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
        return
    spacing = tuple(min(FINEST_NEEDED, side) for side in grid.spacing)
    x, y, z = (round(n * side / fine) for n, side, fine in zip(grid.shape, grid.spacing, spacing, strict=True))
    matrix = centered_affine((x, y, z), spacing, grid.orientation)
    fixGeometry(node.GetSegmentation(), Lattice(matrix, (0, x - 1, 0, y - 1, 0, z - 1)))


def knownCanvas(segmentation: Any) -> Any:
    """The blank volume that was made for a segmentation; None where there is none.

    In a loaded scene the reference to one, which was not saved, may lead to another volume.
    """
    canvas = segmentation.GetNodeReference(CANVAS_ROLE)
    return canvas if canvas is not None and not canvas.GetSaveWithScene() else None


def canvasOf(segmentation: Any) -> Any:
    """The blank, hidden volume on which a segmentation without an MRI is painted; None where it has no grid yet.

    The editor needs some volume. This one is not saved with the scene; it is made again when it is missing.
    """
    canvas = knownCanvas(segmentation)
    if canvas is None:
        lattice = _gridOf(segmentation.GetSegmentation())
        if lattice is None or lattice.empty:
            return None
        image, voxels = newImage(lattice.shape[::-1], "u1")
        voxels[:] = 0
        canvas = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        canvas.UnRegister(None)
        canvas.SetName(f"{segmentation.GetName()} (no MRI)")
        canvas.SetHideFromEditors(True)
        canvas.SetSaveWithScene(False)
        canvas = slicer.mrmlScene.AddNode(canvas)
        canvas.SetIJKToRASMatrix(toMatrix(lattice.affine))
        canvas.SetAndObserveImageData(image)
        canvas.CreateDefaultDisplayNodes()
        segmentation.SetNodeReferenceID(CANVAS_ROLE, canvas.GetID())
    canvas.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    return canvas


def _gridOf(segmentation: Any) -> Lattice | None:
    """What a vtkSegmentation is painted on, or what its segments span; None where it has neither."""
    lattice = parameterLattice(segmentation)
    if lattice is None and segmentation.GetNumberOfSegments():
        segments, image = vtk.vtkStringArray(), slicer.vtkOrientedImageData()
        segmentation.GetSegmentIDs(segments)
        text = segmentation.DetermineCommonLabelmapGeometry(segmentation.EXTENT_UNION_OF_SEGMENTS_PADDED, segments)
        if text and slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
            return Lattice.ofImage(image)
    return lattice
